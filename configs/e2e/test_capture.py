"""Captures: what the workers received and sent, in a file that another program reads; bounded, private, never over another file."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from appliance import BINARIES, CLIENT4, SERVER4, Server, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from lab import wait_for
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader
from test_clients import fetch
from tftp import ACK, DATA, RRQ, Packet, Reader

INBOUND, OUTBOUND = 1, 2


class Frame(NamedTuple):
    """One packet of a capture file."""

    bytes: bytes
    wire_len: int
    seconds: float
    direction: int
    interface: str


def read(path: Path) -> list[Frame]:
    """All packets of a capture file, by scapy."""
    frames = []
    reader = RawPcapNgReader(str(path))
    for raw, about in reader:
        stamp = ((about.tshigh << 32) + about.tslow) / about.tsresol
        frames.append(Frame(raw, about.wirelen, stamp, about.direction, about.ifname.decode()))
    reader.close()
    return frames


def tftp(frame: Frame) -> Packet | None:
    """The TFTP packet in it; None for other frames, and for the request's shape."""
    packet = Ether(frame.bytes)
    if UDP not in packet:
        return None
    payload = bytes(packet[UDP].payload)
    return Packet(RRQ) if payload[:2] == b"\0\1" else Packet.parse(payload)


def refusal(server: Server, *words: str) -> str:
    """What bypassctl complains about."""
    argv = [str(BINARIES / "bypassctl"), "--control", str(server.control), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1, done
    return done.stderr


@pytest.fixture(scope="module")
def two_workers(module_start: Starter) -> Iterator[Server]:
    """A server whose flows arrive at two workers."""
    server = module_start(veth_site(), lcores="0@0,1@1,2@1")
    yield server
    server.stop()


def test_a_capture_holds_both_directions_of_a_transfer(two_workers: Server, content: Content, tmp_path: Path) -> None:
    server, local, path = two_workers, tmp_path / "got", tmp_path / "new.pcapng"
    begin = time.time()
    started = server.ctl("capture", "start", str(path), "host", CLIENT4, "udp")
    assert started["running"] and path.stat().st_mode & 0o777 == 0o600
    fetch(server, CLIENTS["atftp-1428-w4"](SERVER4, "k200", local), local, content.files["k200"])
    ended = server.ctl("capture", "stop")
    assert (ended["running"], ended["ended"], ended["lost"]) == (False, "told to", 0)
    assert ended["bytes"] == path.stat().st_size

    frames = read(path)
    assert len(frames) == ended["packets"] > 0
    said = [(frame.direction, packet) for frame in frames if (packet := tftp(frame))]
    assert len(said) == len(frames), "only UDP was asked for"
    blocks = {p.number: p.data for way, p in said if p.opcode == DATA and way == OUTBOUND}
    assert b"".join(blocks[number] for number in sorted(blocks)) == content.files["k200"]
    assert [way for way, p in said if p.opcode == RRQ] == [INBOUND]
    assert any(way == INBOUND and p.opcode == ACK for way, p in said)
    assert all(begin - 1 <= frame.seconds <= time.time() + 1 for frame in frames), "the wall clock's time"
    assert all(frame.interface.startswith("port 0 (net_af_packet0) worker ") for frame in frames)
    assert all(frame.wire_len == len(frame.bytes) for frame in frames)


def test_arp_alone_and_a_snap_length(two_workers: Server, tmp_path: Path) -> None:
    path = tmp_path / "arp.pcapng"
    two_workers.ctl("capture", "start", str(path), "arp", "snaplen", "20")
    two_workers.site.client.run("arping", "-c", "2", "-I", two_workers.site.link, SERVER4)
    assert two_workers.ctl("capture", "stop")["packets"] >= 4, "two questions, two answers"
    frames = read(path)
    assert all(frame.bytes[12:14] == b"\x08\x06" and len(frame.bytes) == 20 < frame.wire_len for frame in frames)
    assert {frame.direction for frame in frames} == {INBOUND, OUTBOUND}


def test_it_ends_by_itself_at_its_size(two_workers: Server, content: Content, tmp_path: Path) -> None:
    path, local = tmp_path / "small.pcapng", tmp_path / "got"
    two_workers.ctl("capture", "start", str(path), "limit", "20k")
    fetch(two_workers, CLIENTS["atftp-1428-w4"](SERVER4, "k200", local), local, content.files["k200"])
    wait_for("it is full", lambda: not two_workers.ctl("show", "capture")["running"])
    ended = two_workers.ctl("show", "capture")
    assert ended["ended"] == "the file has its size"
    # The interfaces' statistics at the end come on top.
    assert 15_000 < path.stat().st_size < 20 * 1024 + 500
    assert len(read(path)) == ended["packets"]


def test_it_ends_by_itself_at_its_time(two_workers: Server, tmp_path: Path) -> None:
    path = tmp_path / "short.pcapng"
    two_workers.ctl("capture", "start", str(path), "seconds", "1")
    assert "is running" in refusal(two_workers, "capture", "start", str(tmp_path / "other.pcapng"))
    wait_for("its time is over", lambda: not two_workers.ctl("show", "capture")["running"])
    assert two_workers.ctl("capture", "stop")["ended"] == "the time is over"


def test_no_file_is_written_over(two_workers: Server, tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("precious")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link, tmp_path / "no" / "folder"):
        assert "cannot make" in refusal(two_workers, "capture", "start", str(path))
    assert "does not begin with /" in refusal(two_workers, "capture", "start", "here.pcapng")
    assert "arp and udp at a time" in refusal(two_workers, "capture", "start", str(tmp_path / "x"), "arp", "udp")
    assert there.read_text() == "precious" and not (tmp_path / "elsewhere").exists() and not (tmp_path / "x").exists()


def test_a_trace_is_read_piece_by_piece(two_workers: Server, content: Content, tmp_path: Path) -> None:
    assert two_workers.ctl("trace", CLIENT4)["running"]
    assert "is running" in refusal(two_workers, "trace", CLIENT4)
    with Reader(two_workers.site.client, SERVER4) as reader:
        assert reader.request("b513", blksize=512) is not None
        time.sleep(1.5)  # longer than the first resend of the OACK takes
        assert reader.read() == content.files["b513"]
    time.sleep(0.1)
    lines = two_workers.ctl("trace", "stop")["lines"]
    said = [line["packet"] for line in lines]
    assert said[0] == 'RRQ "b513" octet blksize=512' and lines[0]["received"]
    assert [line["again"] for line in lines if line["packet"].startswith("OACK")][:2] == [False, True]
    assert "DATA 1, 512 bytes" in said and "DATA 2, 1 bytes" in said and "ACK 2" in said
    assert "no trace was started" in refusal(two_workers, "trace", "read")


def test_ports_cores_and_pools_can_be_looked_at(two_workers: Server) -> None:
    info = two_workers.ctl("show", "port", "info", "all")["ports"][0]
    assert (info["name"], info["driver"], info["link"]["up"]) == ("net_af_packet0", "net_af_packet", True)
    cores = two_workers.ctl("show", "config", "cores")["cores"]
    assert [(core["worker"], core["cpus"]) for core in cores] == [(None, "0"), (0, "1"), (1, "1")]
    assert all(pool["available"] + pool["in_use"] == pool["frames"] for pool in two_workers.ctl("show", "mempool")["pools"])
    two_workers.site.client.run("ping", "-c", "2", SERVER4)
    xstats = two_workers.ctl("show", "port", "xstats", "0")["ports"][0]["xstats"]
    counted = {xstat["name"]: xstat["count"] for xstat in xstats}
    assert counted["rx_good_packets"] > 0 and counted["tx_good_packets"] > 0
    assert two_workers.ctl("show", "port", "stats", "0")["ports"][0]["rx_packets"] > 0
    two_workers.ctl("clear", "port", "stats", "all")
    assert two_workers.ctl("show", "port", "stats", "0")["ports"][0]["rx_bytes"] == 0
    assert "there is no port 7" in refusal(two_workers, "clear", "port", "xstats", "7")
