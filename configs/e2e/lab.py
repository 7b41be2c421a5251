"""Network namespaces, veth pairs and hugepages for the tests: made under unique names, gone afterwards. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

REPO = Path(__file__).resolve().parents[2]
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()
T = TypeVar("T")


class LabError(RuntimeError):
    """A command of the lab failed; the text says which and why."""


def run(*argv: str, timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without standard input; its output is text."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout
    )
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Namespace:
    """A network namespace of our own. `close` ends what still runs in it and removes it."""

    def __init__(self, role: str) -> None:
        self.name = f"bpd{os.getpid()}-{next(_numbers)}{role}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def argv(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in here (`ip netns exec` replaces itself: the pid is the program's)."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Like `run`, in here."""
        return run(*self.argv(*argv), timeout=timeout, check=check)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in here inside the `with`; sockets opened meanwhile stay here."""
        with open("/proc/thread-self/ns/net") as outside, open(f"/run/netns/{self.name}") as inside:
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(outside.fileno())

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that belongs to this namespace."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def close(self) -> None:
        """Kills the processes that are left in here (nobody else knows the name) and removes the namespace."""
        for pid in run("ip", "netns", "pids", self.name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", self.name, check=False)


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def veth(a: Namespace, a_name: str, b: Namespace, b_name: str, *, ipv6: bool = False) -> None:
    """A cable between two namespaces, up at both ends, with finished checksums in every frame (no offload)."""
    run("ip", "link", "add", a_name, "netns", a.name, "type", "veth", "peer", "name", b_name, "netns", b.name)
    for ns, name in ((a, a_name), (b, b_name)):
        quiet_link(ns, name, ipv6=ipv6)
        ns.run("ethtool", "-K", name, "tx", "off", "rx", "off", check=False)
        ns.run("ip", "link", "set", name, "up")


def quiet_link(ns: Namespace, name: str, *, ipv6: bool) -> None:
    """Without IPv6 the kernel sends nothing of its own accord on the link, so that frames can be counted."""
    if not ipv6:
        ns.run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1", check=False)
    ns.run(
        "sysctl",
        "-qw",
        f"net.ipv6.conf.{name}.accept_dad=0",
        f"net.ipv6.conf.{name}.router_solicitations=0",
        check=False,
    )


def wait_for(what: str, ready: Callable[[], T | None], timeout: float = 10.0, pause: float = 0.02) -> T:
    """Polls until `ready` gives a true value and returns it; `LabError`, naming `what`, after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)


class Hugepages:
    """At least `count` free 2 MiB pages and a place to map them from; `close` restores what was there."""

    _NUMBER = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    _PLACE = Path("/dev/hugepages")

    def __init__(self, count: int) -> None:
        self._before = int(self._NUMBER.read_text())
        self._mounted = self._made = False
        if self._before < count:
            self._NUMBER.write_text(str(count))
        self.available = int(self._NUMBER.read_text()) >= count
        if "hugetlbfs" not in Path("/proc/mounts").read_text():
            self._made = not self._PLACE.exists()
            self._PLACE.mkdir(exist_ok=True)
            run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "nodev", str(self._PLACE))
            self._mounted = True

    def close(self) -> None:
        """Unmounts and gives back what the constructor mounted and reserved."""
        if self._mounted:
            run("umount", str(self._PLACE), check=False)
        if self._made:
            self._PLACE.rmdir()
        self._NUMBER.write_text(str(self._before))
