"""`bypassbench storm` against bypassd and dnsmasq: everything is done, everything is right, results can be read."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from appliance import BINARIES, BYPASSD, SERVER4, SERVER6, Server, Site, veth_site
from conftest import Content, Starter
from lab import wait_for

STORM = BINARIES / "bypassbench"
TAGS = {"first_data", "oack", "transfer", "start_lag"}
SECONDS = 3

pytestmark = pytest.mark.skipif(not STORM.exists(), reason="bypassbench is not built: cargo build --release")


@dataclass
class Ended:
    """A run that has ended."""

    status: int
    result: dict[str, Any]
    out: str
    hlog: Path

    def is_good(self) -> None:
        """Everything that began was done, and right."""
        transfers = self.result["transfers"]
        assert self.status == 0, self.out
        assert transfers["started"] > 0
        assert transfers["done"] == transfers["started"], self.out
        assert transfers["mismatched"] == self.result["packets"]["wrong_blocks"] == 0


def argv(site: Site, work: Path, *args: str, clients_from: str = "10.99.0.10", server: str = SERVER4) -> list[str]:
    """A storm on the client's end of the link."""
    words = [str(STORM), "storm", "--vdev", f"net_af_packet1,iface={site.link}", "-l", "0", "--server", server]
    words += ["--clients-from", clients_from]
    usual = {"--clients": "100", "--rate": "200", "--duration": str(SECONDS)}
    if "--closed" in args:
        del usual["--rate"]
    for option, value in usual.items():
        words += [] if option in args else [option, value]
    words += ["--json", str(work / "storm.json"), "--hlog", str(work / "storm.hlog"), *args]
    return site.client.argv(*words)


def storm(site: Site, work: Path, *args: str, **options: str) -> Ended:
    """Runs one to its end."""
    done = subprocess.run(
        argv(site, work, *args, **options), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    out = done.stdout + done.stderr
    assert (work / "storm.json").exists(), out
    return Ended(done.returncode, json.loads((work / "storm.json").read_text()), out, work / "storm.hlog")


def read_hlog(path: Path) -> dict[str, int]:
    """How many values each tag's histograms hold, read by hand (HdrHistogram interval log, V2 deflate)."""
    values: dict[str, int] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#") or line.startswith('"'):
            continue
        tag, start, length, maximum, encoded = line.split(",")
        assert float(start) >= 0 <= float(maximum) and float(length) > 0
        name = tag.removeprefix("Tag=")
        values[name] = values.get(name, 0) + count_of(base64.b64decode(encoded))
    return values


def count_of(blob: bytes) -> int:
    """The number of values in one compressed histogram: ZigZag LEB128 counts, negative ones are runs of zeros."""
    assert blob[:4] == (0x1C849314).to_bytes(4, "big"), "V2 with deflate"
    plain = zlib.decompress(blob[8:])
    assert plain[:4] == (0x1C849313).to_bytes(4, "big"), "V2"
    counts, total, at = plain[40:], 0, 0
    while at < len(counts):
        number = shift = 0
        while True:
            byte = counts[at]
            at += 1
            if shift == 56:  # the ninth byte is whole
                number |= byte << shift
                break
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        signed = (number >> 1) ^ -(number & 1)
        total += max(signed, 0)
    return total


@pytest.fixture(params=[BYPASSD, "dnsmasq"])
def target(
    request: pytest.FixtureRequest, kind: str, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server at the end of a veth whose other end has no addresses: the kernel there is silent."""
    if kind != BYPASSD:
        pytest.skip("brings its own servers")
    if request.param == "dnsmasq" and not (shutil.which("dnsmasq") or Path("/usr/sbin/dnsmasq").exists()):
        pytest.skip("dnsmasq is not installed (configs/setup.sh --peers)")
    site = veth_site(addressed=False)
    server = Server(request.param, site, content.root, tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()
        site.close()


def test_everything_is_done_and_right(target: Server, content: Content, tmp_path: Path) -> None:
    files = [part for name in ("one:3", "b511", "b512", "b513", "k200", "empty") for part in ("--file", name)]
    options = ("--blksize", "1428", "--tsize", "--verify", str(content.root))
    ended = storm(target.site, tmp_path, *files, *options)
    ended.is_good()
    result = ended.result
    assert result["schema"] == "bypassbench.storm/1"
    transfers, latency = result["transfers"], result["latency"]
    # A Poisson process of 200 a second: 600 within five standard deviations.
    assert abs(transfers["started"] + transfers["not_started"] - 200 * SECONDS) < 125
    assert latency["transfer"]["count"] == transfers["done"] == latency["first_data"]["count"]
    assert latency["oack"]["count"] == result["packets"]["oacks"] == transfers["done"]
    for distribution in latency.values():
        names = ("min_us", "p50_us", "p90_us", "p99_us", "p999_us", "p9999_us", "max_us")
        values = [distribution[name] for name in names]
        assert values == sorted(values), distribution
    assert result["verification"] == {"mode": "files", "mismatches": 0, "first_mismatch": None}
    assert {file["name"]: file["bytes"] for file in result["files"]} == {
        name: len(content.files[name]) for name in ("one", "b511", "b512", "b513", "k200", "empty")
    }
    counts = read_hlog(ended.hlog)
    assert set(counts) == TAGS
    assert counts["transfer"] == counts["first_data"] == transfers["done"]
    assert counts["start_lag"] == transfers["started"]


def test_without_options(target: Server, tmp_path: Path) -> None:
    ended = storm(target.site, tmp_path, "--file", "k200", "--rate", "20", "--arrivals", "uniform")
    ended.is_good()
    assert ended.result["transfers"]["started"] == 20 * SECONDS
    assert ended.result["packets"]["oacks"] == 0
    assert ended.result["verification"]["mode"] == "consistency"


def test_with_loss(target: Server, content: Content, tmp_path: Path) -> None:
    options = ("--loss", "2", "--retransmit-initial-ms", "100", "--tries", "10", "--grace", "20", "--clients", "1000")
    ended = storm(
        target.site, tmp_path, "--file", "b513", "--verify", str(content.root), *options, clients_from="10.99.1.1"
    )
    ended.is_good()
    assert ended.result["frames"]["lost_sent"] > 0 < ended.result["frames"]["lost_received"]
    assert ended.result["packets"]["requests_resent"] > 0


def test_missing_files_are_counted_as_what_they_are(target: Server, tmp_path: Path) -> None:
    ended = storm(target.site, tmp_path, "--file", "absent", "--rate", "50")
    transfers = ended.result["transfers"]
    assert ended.status == 1 and "no transfer was completed" in ended.out
    assert transfers["failed"] == transfers["started"] == ended.result["failures"]["server_error"][1] > 0


def test_wrong_content_is_found(target: Server, content: Content, tmp_path: Path) -> None:
    flipped = bytearray(content.files["k200"])
    flipped[123_456] ^= 1
    (tmp_path / "k200").write_bytes(flipped)
    ended = storm(target.site, tmp_path, "--file", "k200", "--rate", "10", "--verify", str(tmp_path))
    assert ended.status == 1
    assert ended.result["verification"]["mismatches"] == ended.result["transfers"]["done"] > 0
    block_begin = 123_456 // 512 * 512
    assert f"block at byte {block_begin}" in ended.result["verification"]["first_mismatch"]


def test_ctrl_c_ends_it_with_its_results(target: Server, tmp_path: Path) -> None:
    words = argv(target.site, tmp_path, "--file", "b513", "--duration", "60")
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for("the storm has begun", lambda: "done" in (tmp_path / "out").read_text(), timeout=20)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0, (tmp_path / "out").read_text()
    finally:
        process.kill()
        process.wait()
    result = json.loads((tmp_path / "storm.json").read_text())
    assert result["load"]["interrupted"] is True
    assert result["load"]["seconds"] < 30
    assert result["transfers"]["done"] == result["transfers"]["started"] > 0


@pytest.mark.parametrize(
    "options",
    [
        ("--windowsize", "16", "--blksize", "1428", "--rate", "20", "--file", "m1"),
        ("--rate", "1", "--arrivals", "uniform", "--duration", "1", "--grace", "30", "--windowsize", "9", "--file", "m40"),
        ("--arrivals", "burst", "--burst", "50", "--file", "b513"),
    ],
    ids=["windows", "rollover", "bursts"],
)
def test_more_of_bypassd(start: Starter, content: Content, tmp_path: Path, options: tuple[str, ...]) -> None:
    server = start(veth_site(addressed=False))
    storm(server.site, tmp_path, "--verify", str(content.root), *options).is_good()
    server.stop()


def test_a_closed_loop(start: Starter, content: Content, tmp_path: Path) -> None:
    server = start(veth_site(addressed=False))
    closed = ("--closed", "--think", "10", "--verify", str(content.root))
    ended = storm(server.site, tmp_path, "--file", "b513", *closed)
    ended.is_good()
    result = ended.result
    assert result["load"]["rate_kept"] is None
    stats = server.ctl("show", "stats")
    assert stats["served"]["request_opened"] == result["transfers"]["started"]
    server.stop()


def test_ipv6(start: Starter, content: Content, tmp_path: Path) -> None:
    server = start(veth_site(addressed=False))
    options = ("--file", "k200", "--rate", "20", "--verify", str(content.root))
    storm(server.site, tmp_path, *options, clients_from="fd00::1:0/112", server=SERVER6).is_good()
    server.stop()


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    site = veth_site(addressed=False)
    try:
        done = subprocess.run(argv(site, tmp_path, "--file", "x"), capture_output=True, text=True, timeout=30)
    finally:
        site.close()
    assert done.returncode == 1 and f"{SERVER4} does not answer for its MAC" in done.stderr, done.stderr
