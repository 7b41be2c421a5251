"""The log against what was transferred: one record per transfer and refusal, as JSON and as text; latencies, bursts, hits."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from appliance import BINARIES, CLIENT4, CLIENT6, SERVER4, SERVER6, Server, veth_site
from clients import CLIENTS, Client
from conftest import Content, Starter
from lab import run, wait_for
from test_clients import fetch
from test_control import slow_transfer
from tftp import ERROR, OACK, PORT, WRQ, Reader, error, rrq

Record = dict[str, Any]


def records(text: str) -> list[Record]:
    """The records of transfers among the lines of a JSON log."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == "transfer"]


def record_of(server: Server, port: int) -> Record:
    """The one record of the client at `port`; records are written some 20 ms after the end."""

    def found() -> list[Record]:
        return [line for line in records(server.output()) if line["client"].endswith(f":{port}")]

    wait_for(f"a record of port {port}", found, timeout=20)
    assert len(found()) == 1, found()
    return found()[0]


def port_of(reader: Reader) -> int:
    """The UDP port of a client."""
    return reader.socket.getsockname()[1]


@pytest.fixture
def json_server(start: Starter) -> Server:
    """A server that logs in JSON."""
    return start(veth_site(), "--log-format", "json")


# name of the client, its address, blksize and windowsize as negotiated
STOCK: dict[str, tuple[Client, str, int, int]] = {
    "tftp-hpa": (CLIENTS["tftp-hpa"], SERVER4, 512, 1),
    "atftp": (CLIENTS["atftp-1428-w16"], SERVER4, 1428, 16),
    "curl": (CLIENTS["curl-1428"], SERVER4, 1428, 1),
    "curl-ipv6": (CLIENTS["curl"], SERVER6, 512, 1),
}


def test_stock_clients_leave_one_record_each(json_server: Server, content: Content, tmp_path: Path) -> None:
    wanted = []
    for number, (client, server, blksize, windowsize) in enumerate(STOCK.values()):
        name = ["m1", "exact", "k200", "inside"][number]
        local = tmp_path / f"got{number}"
        fetch(json_server, client(server, name, local), local, content.files[name])
        # An alias is shown under the file's own name.
        file = {"inside": "boot/config"}.get(name, name)
        wanted.append((file, len(content.files[name]), blksize, windowsize, server))
    wait_for("all records", lambda: len(records(json_server.output())) >= len(wanted))
    got = records(json_server.output())
    shown = [(r["file"], r["bytes"], r["blksize"], r["windowsize"], r["server"]) for r in got]
    assert shown == wanted
    for record in got:
        address, port = record["client"].rsplit(":", 1)
        assert address.strip("[]") == (CLIENT6 if record["server"] == SERVER6 else CLIENT4) and int(port) > 1023
        assert (record["outcome"], record["mode"], record["operation"]) == ("done", "octet", "read"), record
        assert record["bytes"] == record["total_bytes"] and 0 < record["duration_us"] < 60_000_000, record
        assert record["level"] == "INFO" and "timestamp" in record and "error_code" not in record, record
    stats = json_server.ctl("show", "stats")
    assert stats["transfers"]["done"] == len(wanted) and stats["log_records_lost"] == 0, stats
    assert sum(record["blocks_resent"] for record in got) == stats["blocks_resent"]
    json_server.stop()


def test_what_else_may_become_of_a_transfer(json_server: Server, content: Content) -> None:
    client = json_server.site.client
    with Reader(client, SERVER4) as probe:
        answer = probe.request("m1", tsize=0)
        assert answer is not None and answer.opcode == OACK and answer.options["tsize"] == str(len(content.files["m1"]))
        probe.socket.sendto(error(8, b"just\nasking\0"), probe.peer)
        record = record_of(json_server, port_of(probe))
        assert (record["outcome"], record["bytes"], record["total_bytes"]) == ("probe", 0, len(content.files["m1"]))
        assert (record["error_code"], record["error_text"]) == (8, "just\\x0aasking")
    with Reader(client, SERVER4) as aborting:
        aborting.request("exact")
        aborting.read(3)
        aborting.socket.sendto(error(3, b"disk full\0"), aborting.peer)
        record = record_of(json_server, port_of(aborting))
        assert (record["outcome"], record["error_text"]) == ("aborted", "disk full")
        # Block 4 has come, but only blocks 1 to 3 are acknowledged.
        assert record["bytes"] == 3 * 512 and record["total_bytes"] == len(content.files["exact"])
    with Reader(client, SERVER4) as refused:
        refused.socket.sendto(rrq(b"../\x1b[2J\xff\n{\"outcome\":\"done\"}"), (SERVER4, PORT))
        answer = refused.receive()
        assert answer is not None and answer.opcode == ERROR
        record = record_of(json_server, port_of(refused))
        assert (record["outcome"], record["error_code"]) == ("refused", answer.number), record
        assert record["file"] == '../\\x1b[2J\\xff\\x0a{"outcome":"done"}'
        assert record["error_text"].encode() == answer.data.rstrip(b"\0")
    with Reader(client, SERVER4) as writing:
        writing.socket.sendto(rrq("up", opcode=WRQ), (SERVER4, PORT))
        writing.receive()
        record = record_of(json_server, port_of(writing))
        assert (record["outcome"], record["operation"], record["file"]) == ("refused", "write", "up")
    with slow_transfer(json_server) as cut:
        json_server.ctl("stop")
        assert json_server.wait(timeout=10) == 0
        record = record_of(json_server, port_of(cut))
        assert (record["outcome"], record["bytes"]) == ("cut_off", 5 * 512), record


def test_a_client_that_is_killed_in_mid_transfer(json_server: Server, tmp_path: Path) -> None:
    local = tmp_path / "part"
    argv = json_server.site.client.argv(*CLIENTS["atftp-512-w1"](SERVER4, "m40", local))
    client = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("the transfer has begun", lambda: local.exists() and local.stat().st_size > 0)
    client.kill()
    client.wait()
    wait_for("a record", lambda: records(json_server.output()), timeout=60)
    [record] = records(json_server.output())
    # Its kernel says that the port is closed.
    assert (record["outcome"], record["file"]) == ("unreachable", "m40"), record
    assert local.stat().st_size - 512 * 64 <= record["bytes"] < record["total_bytes"], record
    json_server.stop()


def test_refusals_are_rationed(start: Starter, tmp_path: Path) -> None:
    config = tmp_path / "log.toml"
    config.write_text('[log]\nformat = "json"\nrefusals_per_second = 5\n')
    server = start(veth_site(), "--config", str(config))
    with Reader(server.site.client, SERVER4) as asking:
        for number in range(200):
            asking.socket.sendto(rrq(f"absent-{number}"), (SERVER4, PORT))
    wait_for("all are answered", lambda: server.ctl("show", "stats")["served"]["request_refused"] == 200)
    server.stop()
    lines = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    told = [re.fullmatch(r"(\d+) more refused request\(s\) suppressed .*", line["message"]) for line in lines]
    suppressed = sum(int(found[1]) for found in told if found)
    shown = len(records(server.output()))
    assert shown + suppressed == 200 and 5 <= shown <= 60, (shown, suppressed)


def test_text_for_people(start: Starter, content: Content, tmp_path: Path) -> None:
    server = start(veth_site())
    local = tmp_path / "got"
    fetch(server, CLIENTS["atftp-1428-w4"](SERVER4, "m1", local), local, content.files["m1"])
    line = wait_for("the line", lambda: re.search(r"^transfer done .*$", server.output(), re.MULTILINE))[0]
    facts = f"outcome=done client={CLIENT4}:"
    assert facts in line and f"file=m1 operation=read worker=0 tid={line.split('tid=')[1]}" in line, line
    assert f" bytes={len(content.files['m1'])} " in line and " blksize=1428 windowsize=4" in line, line
    server.stop()
    assert "control socket: " in server.output() and "bypassd: ended as asked" in server.output()


def test_a_file_of_their_own_and_a_quiet_log(start: Starter, content: Content, tmp_path: Path) -> None:
    config, own = tmp_path / "log.toml", tmp_path / "transfers.jsonl"
    config.write_text(f'[log]\ntransfer_file = "{own}"\nrefusals_per_second = 0\n')
    server = start(veth_site(), "--config", str(config), "--log-level", "warn")
    local = tmp_path / "got"
    fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
    server.stop()
    [record] = records(own.read_text())
    assert (record["outcome"], record["file"], record["bytes"]) == ("done", "m1", len(content.files["m1"]))
    assert "transfer" not in server.output() and "worker count" not in server.output(), server.output()


def test_transfers_may_go_unlogged(start: Starter, content: Content, tmp_path: Path) -> None:
    config = tmp_path / "log.toml"
    config.write_text("[log]\ntransfers = false\n")
    server = start(veth_site(), "--config", str(config))
    local = tmp_path / "got"
    fetch(server, CLIENTS["curl"](SERVER4, "one", local), local, content.files["one"])
    server.stop()
    assert "transfer done" not in server.output()


JOURNAL = Path("/run/systemd/journal/socket")


@pytest.fixture
def journal() -> Iterator[list[bytes]]:
    """The entries that a journal would get, on a machine without one."""
    if JOURNAL.exists():
        pytest.skip("there is a journal here")
    missing = [place for place in JOURNAL.parents if not place.exists()]
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(JOURNAL))
        listening.settimeout(0.1)
        entries: list[bytes] = []
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    entries.append(listening.recv(65536))

        # Nobody may have to wait for room in the socket.
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield entries
        ended.set()
        thread.join(5)
    JOURNAL.unlink()
    for place in missing:
        place.rmdir()


def test_the_journal_gets_a_field_for_each_fact(
    journal: list[bytes], start: Starter, content: Content, tmp_path: Path
) -> None:
    server = start(veth_site(), "--log-format", "journald")
    local = tmp_path / "got"
    fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
    entry = wait_for("the entry", lambda: next((entry for entry in journal if b"transfer done" in entry), None))
    wanted = ["BYPASSD_OUTCOME=done", "BYPASSD_FILE=m1", f"BYPASSD_BYTES={len(content.files['m1'])}"]
    # The journal's own form: NAME=value, or NAME, a length in 64 bit, value.
    for name, value in (fact.split("=") for fact in [*wanted, "SYSLOG_IDENTIFIER=bypassd"]):
        length = struct.pack("<Q", len(value))
        forms = (f"{name}={value}\n".encode(), f"{name}\n".encode() + length + f"{value}\n".encode())
        assert any(form in entry for form in forms), (name, value, entry)
    server.stop()
    assert "transfer done" not in server.output()


def test_without_a_journal_the_log_goes_to_standard_error(start: Starter) -> None:
    if JOURNAL.exists():
        pytest.skip("there is a journal here")
    server = start(veth_site(), "--log-format", "journald")
    server.stop()
    assert "no journal to log to" in server.output() and "worker count is 0" in server.output()


def test_latencies_bursts_and_hits(start: Starter, content: Content, tmp_path: Path) -> None:
    server = start(veth_site(), lcores="0@0,1@1,2@1")
    for number, client in enumerate(["tftp-hpa", "tftp-hpa", "curl", "atftp-1428-w16"]):
        local = tmp_path / f"got{number}"
        fetch(server, CLIENTS[client](SERVER4, "k200", local), local, content.files["k200"])
    shown = {entry["name"]: entry for entry in server.ctl("show", "latency")["latencies"]}
    assert {name: entry["count"] for name, entry in shown.items()} == {
        "first_data": 2,
        "first_data_after_oack": 2,
        "transfer": 4,
    }
    for entry in shown.values():
        assert 0 < entry["p50_us"] <= entry["p99_9_us"] <= entry["max_us"] < 60_000_000, entry
        assert entry["hdr_histogram"].startswith("HISTFAAA"), entry
    assert shown["first_data"]["p50_us"] <= shown["transfer"]["max_us"]

    files = {entry["name"]: entry for entry in server.ctl("show", "files")["list"]}
    size = len(content.files["k200"])
    assert (files["k200"]["hits"], files["k200"]["served_bytes"]) == (4, 4 * size)
    assert (files["m1"]["hits"], files["m1"]["served_bytes"]) == (0, 0)

    workers = server.ctl("show", "workers")["workers"]
    bursts = [sum(count * size for size, count in enumerate(worker["bursts"])) for worker in workers]
    assert bursts == [worker["rx_frames"] for worker in workers]
    assert all(len(worker["bursts"]) == 33 and worker["bursts"][0] == 0 for worker in workers)
    assert any(worker["cycles_per_packet"] > 0 for worker in workers if "cycles_per_packet" in worker)
    text = run(str(BINARIES / "bypassctl"), "--control", str(server.control), "show", "workers").stdout
    assert "RX-bursts" in text and "cycles/packet" in text
    server.stop()
