"""The server under test on its network: bypassd on net_tap or on veth + net_af_packet, or a stock server instead."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import REPO, LabError, Namespace, quiet_link, run, veth, wait_for

SERVER4, CLIENT4, SERVER6, CLIENT6 = "10.99.0.1", "10.99.0.2", "fd00::1", "fd00::2"
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "release"
PEERS = REPO / "target" / "peers"
BYPASSD = "bypassd"
STOP_SECONDS = 20.0


@dataclass
class Site:
    """Where clients and server are. `link` is the client's end; a tap's exists only while the server runs."""

    client: Namespace
    server: Namespace
    link: str
    vdev: str
    addressed: bool = True
    others: list[Namespace] = field(default_factory=list)

    @property
    def tap(self) -> bool:
        """The client's link is the server's tap."""
        return self.client is self.server

    def address_client(self) -> None:
        """Gives the client's kernel its addresses."""
        if self.addressed:
            self.client.run("ip", "address", "add", f"{CLIENT4}/24", "dev", self.link)
            self.client.run("ip", "address", "add", f"{CLIENT6}/64", "dev", self.link, "nodad")

    def close(self) -> None:
        """Removes the namespaces, and with them the links."""
        for namespace in (self.client, self.server, *self.others):
            namespace.close()


def veth_site(*, addressed: bool = True, vdev_options: str = "") -> Site:
    """A cable between two namespaces. Not `addressed`: the client's kernel is silent, for hosts made of raw frames."""
    server, client = Namespace("s"), Namespace("c")
    veth(server, "srv0", client, "cli0", ipv6=False)
    site = Site(client, server, "cli0", f"net_af_packet0,iface=srv0{vdev_options}", addressed)
    if addressed:
        client.run("sysctl", "-qw", "net.ipv6.conf.cli0.disable_ipv6=0")
    site.address_client()
    return site


def tap_site() -> Site:
    """One namespace in which bypassd makes a tap; the clients use its kernel side."""
    both = Namespace("t")
    return Site(both, both, "bypass0", "net_tap0,iface=bypass0")


def lossy_site(percent: int, how: str, logs: Path) -> Site:
    """Two cables with a namespace between them that loses frames both ways: by netem, or by `lossy_wire.py`.

    In the middle, because net_af_packet sends past its own link's queueing discipline.
    """
    server, middle, client = Namespace("s"), Namespace("m"), Namespace("c")
    veth(server, "srv0", middle, "left", ipv6=False)
    veth(client, "cli0", middle, "right", ipv6=False)
    client.run("sysctl", "-qw", "net.ipv6.conf.cli0.disable_ipv6=0")
    site = Site(client, server, "cli0", "net_af_packet0,iface=srv0", others=[middle])
    if how == "netem":
        middle.run("ip", "link", "add", "wire", "type", "bridge")
        for link in ("left", "right"):
            middle.run("ip", "link", "set", link, "master", "wire")
            middle.run("tc", "qdisc", "add", "dev", link, "root", "netem", "loss", f"{percent}%")
        middle.run("ip", "link", "set", "wire", "up")
    else:
        log = logs / "wire.log"
        wire = [sys.executable, str(Path(__file__).with_name("lossy_wire.py")), "left", "right", str(percent), "7440"]
        with log.open("w") as out:
            subprocess.Popen(middle.argv(*wire), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_for("the lossy wire is ready", lambda: "ready" in log.read_text())
    site.address_client()
    return site


def routed_site() -> Site:
    """The clients are behind a router (10.98.0.0/24); bypassd has no route to them, only the frames' source MAC."""
    server, router, client = Namespace("s"), Namespace("r"), Namespace("c")
    veth(server, "srv0", router, "left")
    veth(client, "cli0", router, "right")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    router.run("ip", "address", "add", "10.99.0.254/24", "dev", "left")
    router.run("ip", "address", "add", "10.98.0.1/24", "dev", "right")
    client.run("ip", "address", "add", "10.98.0.2/24", "dev", "cli0")
    client.run("ip", "route", "add", "default", "via", "10.98.0.1")
    return Site(client, server, "cli0", "net_af_packet0,iface=srv0", addressed=False, others=[router])


class Traces:
    """What DPDK leaves in the file system: hugepage files and run-time folders. Compares with how it was before."""

    _PLACES = (Path("/dev/hugepages"), Path("/var/run/dpdk"))

    def __init__(self) -> None:
        self._before = self._now()

    def new(self) -> set[Path]:
        """What has come since."""
        return self._now() - self._before

    def _now(self) -> set[Path]:
        entries = {entry for place in self._PLACES if place.is_dir() for entry in place.iterdir()}
        return {entry for entry in entries if not self._is_of_a_running_server(entry)}

    @staticmethod
    def _is_of_a_running_server(entry: Path) -> bool:
        """Another test module's server may run beside this one."""
        pid = entry.name.removeprefix("bypassd-")
        return pid != entry.name and Path("/proc", pid).is_dir()


class Server:
    """A running server; made by `start`, ended by `stop`, `wait`, or without ceremony by `kill`."""

    def __init__(self, kind: str, site: Site, root: Path, work: Path) -> None:
        self.kind, self.site, self.root, self.work = kind, site, root, work
        self.control = work / "ctl"
        self.log = work / "server.log"
        self.traces = Traces()
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *args: str, eal: tuple[str, ...] = (), lcores: str | None = "0-1", prefix: tuple[str, ...] = ()
    ) -> Server:
        """Starts it and returns when it serves; `args` and `eal` (after `--`) are bypassd's, `prefix` starts it (env, setpriv)."""
        argv = self._bypassd(args, eal, lcores) if self.kind == BYPASSD else self._peer()
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                self.site.server.argv(*prefix, *argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.work
            )
        try:
            if self.kind == BYPASSD:
                wait_for("bypassd says ready", self._ready, timeout=20)
            if self.site.tap:
                quiet_link(self.site.client, self.site.link, ipv6=True)
                self.site.client.run("ip", "link", "set", self.site.link, "up")
                self.site.address_client()
            if self.kind != BYPASSD:
                wait_for(f"{self.kind} listens", self._listens)
        except BaseException:
            self.kill()
            raise
        return self

    def ctl(self, *words: str) -> dict[str, Any]:
        """What `bypassctl --json WORDS` says."""
        tool = str(BINARIES / "bypassctl")
        done = run(tool, "--control", str(self.control), "--json", *words, timeout=10)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def ask(self, *words: str) -> dict[str, Any]:
        """The reply to one request line on the control socket itself: `{"ok": …}` or `{"error": …}`."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self.control))
            control.sendall(json.dumps({"words": words}).encode() + b"\n")
            return json.loads(control.makefile().readline())

    def drops(self) -> dict[str, int]:
        """Dropped frames by reason."""
        return self.ctl("show", "stats")["dropped"]

    def output(self) -> str:
        """What the server has written so far."""
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Waits for the end; asserts that nothing was left behind; the exit status."""
        assert self.process is not None
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.tail()}") from None
        assert not self.control.exists(), "the control socket is still there"
        assert not self.traces.new(), f"left behind: {self.traces.new()}"
        return status

    def stop(self) -> None:
        """SIGTERM; asserts exit status 0 (a stock server's is its own business) and that nothing is left behind."""
        self.signal()
        status = self.wait()
        assert status == 0 or self.kind != BYPASSD, f"exit status {status}\n{self.tail()}"

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()

    def tail(self) -> str:
        """The last lines of its output, for failure messages."""
        return "\n".join(self.output().splitlines()[-30:])

    def _ready(self) -> bool:
        if not self.running():
            raise LabError(f"bypassd ended before it was ready\n{self.tail()}")
        return re.search(r"\bready\b", self.output()) is not None

    def _bypassd(self, args: tuple[str, ...], eal: tuple[str, ...], lcores: str | None) -> list[str]:
        argv = [str(BINARIES / "bypassd"), "run", "--root", str(self.root), "--control", str(self.control)]
        argv += ["--address", f"{SERVER4}/24", "--address", f"{SERVER6}/64", "--vdev", self.site.vdev]
        argv += ["-l", lcores] if lcores else []
        return argv + list(args) + (["--", *eal] if eal else [])

    def _peer(self) -> list[str]:
        link = self.site.server
        link.run("sysctl", "-qw", "net.ipv6.conf.srv0.disable_ipv6=0")
        link.run("ip", "address", "add", f"{SERVER4}/8", "dev", "srv0", check=False)
        link.run("ip", "address", "add", f"{SERVER6}/64", "dev", "srv0", "nodad", check=False)
        link.run("ip", "route", "add", "10.98.0.0/24", "via", "10.99.0.254", check=False)
        root = str(self.root.resolve())
        path = f"{PEERS}/tftpd-hpa/usr/sbin:{PEERS}/atftpd/usr/sbin:{os.environ['PATH']}:/usr/sbin"
        commands = {
            "dnsmasq": ["dnsmasq", "-k", "-p0", "--enable-tftp", f"--tftp-root={root}", "-uroot", "-C/dev/null", "-x"]
            + ["--tftp-max=400", "--log-facility=-"],
            "in.tftpd": ["in.tftpd", "-L", "-s", "-u", "nobody", root],
            "atftpd": ["atftpd", "--daemon", "--no-fork", "--user", "root.root", "--logfile", "-", root],
        }
        return ["env", f"PATH={path}", *commands[self.kind]]

    def _listens(self) -> bool:
        if not self.running():
            raise LabError(f"{self.kind} ended\n{self.tail()}")
        return ":69" in self.site.server.run("ss", "-Hlun", "sport", "=", ":69").stdout
