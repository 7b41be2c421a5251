"""Start and stop: lcore layouts, hugepages or none, drain, signals, `bypassctl`, and a start right after kill -9."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from appliance import BINARIES, SERVER4, Server, tap_site, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from lab import run, wait_for
from test_clients import fetch
from tftp import DATA, OACK, Reader

LAYOUTS = {
    # name: (-l, EAL arguments, workers)
    "one-core": ("0", (), 1),
    "two-cores": ("0-1", (), 1),
    "three-lcores-on-two-cores": ("0@0,1@1,2@1", (), 2),
    "lcores-by-eal": (None, ("--lcores", "0@0,1@1,2@1"), 2),
}


def slow_transfer(server: Server) -> Reader:
    """A transfer of `exact` that stands still after a few blocks."""
    reader = Reader(server.site.client, SERVER4)
    assert reader.request("exact", timeout=5) is not None
    reader.read(5)
    return reader


def refused(server: Server) -> bool:
    """Whether a new request gets no file: silence or an ERROR."""
    with Reader(server.site.client, SERVER4) as late:
        answer = late.request("one", timeout=0.5)
        return answer is None or answer.opcode not in (DATA, OACK)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lcores(start: Starter, content: Content, tmp_path: Path, layout: str) -> None:
    lcores, eal, workers = LAYOUTS[layout]
    server = start(veth_site(), lcores=lcores, eal=eal)
    shown = server.ctl("show", "workers")
    assert (shown["count"], len(shown["workers"])) == (workers, workers), shown
    for number in range(6):  # different ports: with two workers, some flows arrive at the other one
        local = tmp_path / f"got{number}"
        fetch(server, CLIENTS["atftp-1428-w4"](SERVER4, "m1", local), local, content.files["m1"])
    server.stop()


def test_without_hugepages(start: Starter, content: Content, tmp_path: Path) -> None:
    config = tmp_path / "ordinary.toml"
    config.write_text("[eal]\nhuge = false\n")
    server = start(veth_site(), "--config", str(config))
    assert server.ctl("show", "files")["page_kind"] != "huge_2m"
    assert not any("map" in path.name for path in server.traces.new()), "hugepage files"
    local = tmp_path / "got"
    fetch(server, CLIENTS["atftp-1428-w16"](SERVER4, "m40", local), local, content.files["m40"])
    server.stop()


@pytest.mark.parametrize("network", ["veth", "tap"])
def test_sigterm_lets_a_running_transfer_finish(start: Starter, content: Content, network: str) -> None:
    server = start(tap_site() if network == "tap" else veth_site())
    with slow_transfer(server) as reader:
        server.signal()
        time.sleep(0.3)
        assert server.running(), "did not wait for the running transfer"
        assert refused(server)
        counts = [server.ctl("show", "workers")["count"]]
        assert reader.read() == content.files["exact"]
    assert server.wait() == 0, server.tail()
    assert counts == [1]


def test_workers_count_down_to_zero(start: Starter) -> None:
    server = start(veth_site(), lcores="0@0,1@1,2@1")
    assert server.ctl("show", "workers")["count"] == 2
    server.stop()
    assert re.search(r"\b0 workers?\b|\bworkers?[:=] ?0\b|worker count is 0\b", server.output()), server.tail()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(start: Starter, second: signal.Signals) -> None:
    server = start(veth_site())
    with slow_transfer(server):
        server.signal()
        time.sleep(0.3)
        assert server.running()
        server.signal(second)
        server.wait(timeout=3)


def test_sigint_stops_an_idle_server(start: Starter) -> None:
    server = start(veth_site())
    server.signal(signal.SIGINT)
    assert server.wait(timeout=5) == 0


def test_bypassctl_stop(start: Starter) -> None:
    server = start(veth_site())
    server.ctl("stop")
    assert server.wait(timeout=5) == 0


def test_bypassctl_drain(start: Starter, content: Content) -> None:
    server = start(veth_site())
    with slow_transfer(server) as reader:
        server.ctl("drain")
        time.sleep(0.2)
        assert refused(server)
        assert reader.read() == content.files["exact"]
    if server.running():
        server.signal()
    assert server.wait() == 0


def test_the_control_socket_is_the_owners_alone(start: Starter) -> None:
    server = start(veth_site())
    mode = server.control.stat().st_mode
    assert stat.S_ISSOCK(mode) and not mode & 0o007, stat.filemode(mode)
    server.stop()


@pytest.mark.parametrize("words", ["workers", "stats", "sessions", "files", "drops", "latency"])
def test_bypassctl_shows_text_and_json(veth_server: Server, words: str, kind: str) -> None:
    if kind != "bypassd":
        pytest.skip("looks into bypassd")
    assert veth_server.ctl("show", words)
    text = run(str(BINARIES / "bypassctl"), "--control", str(veth_server.control), "show", words).stdout
    assert text.strip() and not text.lstrip().startswith("{")


def test_sessions_are_shown_while_they_run(start: Starter) -> None:
    server = start(veth_site())
    with slow_transfer(server) as reader:
        port = reader.socket.getsockname()[1]
        assert str(port) in str(server.ctl("show", "sessions"))
        reader.read()
    server.stop()


@pytest.mark.parametrize("network", ["veth", "tap"])
def test_start_right_after_kill_9(start: Starter, content: Content, tmp_path: Path, network: str) -> None:
    server = start(tap_site() if network == "tap" else veth_site())
    before = server.traces
    with slow_transfer(server):
        load = server.site.client
        local = tmp_path / "load"
        argv = load.argv(*CLIENTS["atftp-512-w1"](SERVER4, "m40", local))
        client = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the load has begun", lambda: local.exists() and local.stat().st_size > 0)
        server.kill()
        client.kill()
        client.wait()
    server.start()
    server.traces = before  # what the killed one left behind must be gone at the end, too
    local = tmp_path / "got"
    fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
    server.stop()
