"""As a service: what systemd is told, stalled threads, links that go and come back, and no root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import BINARIES, BYPASSD, SERVER4, Server, tap_site, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from lab import run, wait_for
from test_clients import fetch
from test_control import slow_transfer

WATCHDOG_SECONDS = 0.4
_SEIZE, _INTERRUPT, _DETACH, _WALL = 0x4206, 0x4207, 17, 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Manager:
    """A service manager: hears what is said to NOTIFY_SOCKET."""

    def __init__(self, place: Path) -> None:
        self.path = place / "notify"
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            now = time.monotonic()
            self.heard += [(now, line) for line in message.decode().splitlines()]

    @property
    def lines(self) -> list[str]:
        """All that was said."""
        return [line for _, line in self.heard]

    def pings(self, since: float) -> int:
        """How often the watchdog was fed since then."""
        return sum(1 for when, line in self.heard if line == "WATCHDOG=1" and when > since)

    def pings_in(self, seconds: float) -> int:
        """How often the watchdog is fed in so many seconds from now on."""
        begin = time.monotonic()
        time.sleep(seconds)
        return self.pings(begin)

    def close(self) -> None:
        """Ends the listener."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager with a watchdog."""
    made = Manager(tmp_path)
    yield made
    made.close()


def managed(start: Starter, manager: Manager) -> Server:
    """A server on a veth, started as systemd does it."""
    watchdog = f"WATCHDOG_USEC={int(WATCHDOG_SECONDS * 1e6)}"
    return start(veth_site(), prefix=("env", f"NOTIFY_SOCKET={manager.path}", watchdog))


def _ptrace(request: int, thread: int) -> None:
    _libc.ptrace.argtypes = [ctypes.c_long] * 4
    if _libc.ptrace(request, thread, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[None]:
    """One thread stands still inside the `with`, the others of its process go on."""
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        _ptrace(_DETACH, thread)


def worker_thread(server: Server) -> int:
    """The thread of the only worker."""
    assert server.process is not None
    tasks = Path("/proc", str(server.process.pid), "task")
    [found] = [int(task.name) for task in tasks.iterdir() if "worker" in (task / "comm").read_text()]
    return found


def test_systemd_hears_of_ready_and_of_the_end(start: Starter, manager: Manager) -> None:
    server = managed(start, manager)
    wait_for("READY=1", lambda: "READY=1" in manager.lines)
    ready = manager.lines.index("READY=1")
    assert manager.lines[:ready] == ["STATUS=loading files", "STATUS=starting DPDK"]
    assert manager.lines[ready + 1].startswith("STATUS=serving: 1 worker(s), 0 transfer(s)")
    with slow_transfer(server) as reader:
        server.signal()
        wait_for("STOPPING=1", lambda: "STOPPING=1" in manager.lines)
        fed = time.monotonic()
        wait_for("the watchdog is fed while draining", lambda: manager.pings(fed) >= 2)
        assert sum(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.lines) >= 1
        reader.read()
    assert server.wait() == 0
    wait_for("the last word", lambda: manager.lines[-1] == "STATUS=ended as asked")
    assert manager.lines.count("READY=1") == manager.lines.count("STOPPING=1") == 1


def test_a_stalled_worker_is_reported_and_starves_the_watchdog(
    start: Starter, manager: Manager, content: Content, tmp_path: Path
) -> None:
    server = managed(start, manager)
    wait_for("the watchdog is fed", lambda: manager.pings(0) >= 2)
    with stopped(worker_thread(server)):
        wait_for("the log names the worker", lambda: "worker 0 on lcore 1 stalls" in server.output(), timeout=5)
        time.sleep(WATCHDOG_SECONDS)  # a ping may have been on its way
        assert manager.pings_in(3 * WATCHDOG_SECONDS) == 0, manager.heard
        [worker] = server.ctl("show", "workers")["workers"]
        assert (worker["state"], worker["stalls"] >= 1) == ("stalled", True)
    wait_for("the log says how long", lambda: "worker 0 on lcore 1 is back after a stall of" in server.output())
    back = time.monotonic()
    wait_for("the watchdog is fed again", lambda: manager.pings(back) >= 2)
    assert server.ctl("show", "workers")["workers"][0]["state"] in ("polling", "stalled")  # the machine is shared
    local = tmp_path / "got"
    fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
    server.stop()


def test_a_dead_control_thread_starves_the_watchdog_and_workers_go_on(
    start: Starter, manager: Manager, content: Content, tmp_path: Path
) -> None:
    server = managed(start, manager)
    wait_for("the watchdog is fed", lambda: manager.pings(0) >= 2)
    assert server.process is not None
    with stopped(server.process.pid):
        time.sleep(WATCHDOG_SECONDS)
        begin = time.monotonic()
        local = tmp_path / "got"
        fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
        time.sleep(3 * WATCHDOG_SECONDS)
        assert manager.pings(begin) == 0, manager.heard
    back = time.monotonic()
    wait_for("the watchdog is fed again", lambda: manager.pings(back) >= 2)
    assert "stalls" not in server.output(), "a pause of control's is no stall of a worker's"
    server.stop()


def test_a_link_that_goes_and_comes_back_is_logged_and_announced(
    start: Starter, content: Content, tmp_path: Path
) -> None:
    server = start(tap_site())
    site = server.site
    local = tmp_path / "got"
    for losses in (1, 2):
        site.client.run("ip", "link", "set", site.link, "down")
        wait_for("the loss is counted", lambda: _port(server)["link_losses"] == losses)  # noqa: B023
        assert _port(server)["link"]["up"] is False
        with site.client.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as arp:
            arp.bind((site.link, 0x0806))
            arp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that the link is down is known
            arp.settimeout(10)
            site.client.run("ip", "link", "set", site.link, "up")
            while arp.recv(100)[28:32] != socket.inet_aton(SERVER4):
                pass  # whose address it is; the kernel may ask for others
        wait_for("the log says so", lambda: server.output().count(", after") == losses)  # noqa: B023
        fetch(server, CLIENTS["curl"](SERVER4, "m1", local), local, content.files["m1"])
    log = server.output()
    assert log.count("port 0 (net_tap0): link down: it was up") == 2, log
    assert log.count("port 0 (net_tap0): link up") == 2, log
    server.stop()


def _port(server: Server) -> dict:
    return server.ctl("show", "port", "stats", "all")["ports"][0]


def test_without_root(content: Content, tmp_path: Path, kind: str) -> None:
    """As the unit for a lab does it: another user, no capabilities but the two that net_af_packet takes, no new privileges."""
    caps = "-all,+net_raw,+net_admin"
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", f"--bounding-set={caps}")
    rights = (f"--inh-caps={caps}", f"--ambient-caps={caps}")
    place = tmp_path / "runtime"
    place.mkdir(mode=0o755)
    os.chown(place, 65534, 65534)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    if kind != BYPASSD or run(*user, "test", "-x", str(BINARIES / "bypassd"), check=False).returncode != 0:
        pytest.skip("the program is out of reach for other users")
    config = tmp_path / "lab.toml"
    config.write_text("[eal]\nhuge = false\n")
    site = veth_site()
    server = Server(kind, site, content.root, place)
    try:
        server.start("--config", str(config), prefix=(*user, *rights, "env", f"RUNTIME_DIRECTORY={place}"))
        assert server.process is not None
        status = Path("/proc", str(server.process.pid), "status").read_text()
        assert "\nUid:\t65534\t65534\t" in status and "\nCapEff:\t0000000000003000\n" in status, status
        local = tmp_path / "got"
        fetch(server, CLIENTS["atftp-1428-w16"](SERVER4, "m1", local), local, content.files["m1"])
        assert run("stat", "-c", "%a %u", str(server.control)).stdout == "600 65534\n"
        server.stop()
        assert [left for left in place.rglob("*") if left.is_file() and left != server.log] == [], "left behind"
    finally:
        server.kill()
        site.close()
