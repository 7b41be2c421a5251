"""Reloads by word, by SIGHUP and by watching, under load and when they fail; settings that change live; `drain hold` and `resume`.

`BYPASSD_RELOADS=1000 pytest configs/e2e/test_reload.py -k under_load -s` is the long run, and prints what it measured.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from appliance import SERVER4, Server, veth_site
from clients import atftp, curl, tftp_hpa
from conftest import Starter
from control import Control, Refused
from lab import LabError, wait_for
from tftp import DATA, OACK, Packet, Reader
from versions import Tree, body, version_of

RELOADS = int(os.environ.get("BYPASSD_RELOADS", "100"))
CHANGING = {"small": 400, "medium": 40_000, "large": 700_000}
STILL = {"still": 3_000_000}
STOCK = {
    "curl": curl("--tftp-blksize", "1428"),
    "tftp-hpa": tftp_hpa("octet"),
    "atftp": atftp(1428, 8),
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files of version 1."""
    return Tree(tmp_path / "root", CHANGING, STILL)


@pytest.fixture
def server(start: Starter, tree: Tree) -> Server:
    """A server of the tree."""
    return start(veth_site(), root=tree.root)


def fetch(server: Server, name: str, timeout: float = 5.0) -> bytes:
    """One file, by a client in lock step with large blocks."""
    with Reader(server.site.client, SERVER4) as reader:
        first = reader.request(name, timeout=timeout, blksize=1428)
        assert first is not None and first.opcode in (DATA, OACK), f"{name}: {first}"
        return reader.read()


def version(server: Server, name: str = "small") -> int:
    """The version that a new transfer gets."""
    return version_of(name, fetch(server, name))


def rest(reader: Reader) -> bytes:
    """Reads on after a long pause, in which the server has sent its last block again and again."""
    reader.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            reader.socket.recv(65536)
    return reader.read()


def is_served(server: Server) -> bool:
    """Whether a new request is answered."""
    with Reader(server.site.client, SERVER4) as reader:
        return reader.request("small", timeout=0.5) is not None


def resident(server: Server) -> dict[str, int]:
    """What the server's memory is, in KiB, and how many mappings it has."""
    assert server.process is not None
    place = Path("/proc", str(server.process.pid))
    status = (place / "status").read_text()
    sizes = {key: int(value) for key, value in re.findall(r"^(VmRSS|HugetlbPages):\s+(\d+) kB$", status, re.MULTILINE)}
    return sizes | {"mappings": len((place / "maps").read_text().splitlines())}


@dataclass
class Load:
    """Clients that fetch and check until they are told to stop."""

    server: Server
    tree: Tree
    tmp: Path
    floor: int = 1  # what every new transfer must have by now
    ceiling: int = 1  # what was published by now
    fetched: int = 0
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def check(self, client: str, name: str, content: bytes, floor: int) -> None:
        """Whole, of one version, and of one that could be served when it was asked for."""
        try:
            assert len(content) == self.tree.sizes[name], f"{len(content)} bytes"
            found = version_of(name, content)
            assert name in STILL or floor <= found <= self.ceiling, f"version {found}, not {floor} to {self.ceiling}"
            self.fetched += 1
        except AssertionError as error:
            self.wrong.append(f"{client} {name}: {error}")

    def fast(self) -> None:
        """In this process, one small transfer after the other."""
        while not self.stop.is_set():
            for name in ("small", "medium", "small"):
                floor = self.floor
                try:
                    self.check("reader", name, fetch(self.server, name), floor)
                except AssertionError as error:
                    self.wrong.append(f"reader {name}: {error}")

    def stock(self, client: str) -> None:
        """A real client, one process after the other."""
        local = self.tmp / client
        while not self.stop.is_set():
            for name in ("large", "still", "medium"):
                floor = self.floor
                argv = self.server.site.client.argv(*STOCK[client](SERVER4, name, local))
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
                if done.returncode != 0:
                    self.wrong.append(f"{client} {name}: exit status {done.returncode} {done.stdout!r} {done.stderr!r}")
                    continue
                self.check(client, name, local.read_bytes(), floor)
                local.unlink()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The load, for as long as the block lasts; then what went wrong."""
        threads = [threading.Thread(target=self.fast) for _ in range(2)]
        threads += [threading.Thread(target=self.stock, args=(client,)) for client in STOCK]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(90)
        assert not self.wrong, "\n".join([*self.wrong[:10], self.server.tail()])


def reload_by_signal(server: Server, control: Control, before: int) -> None:
    """SIGHUP, and the new generation."""
    server.signal(signal.SIGHUP)
    wait_for("SIGHUP has reloaded", lambda: control.ask("show", "files")["generation"] > before, timeout=30, pause=0.002)


def quiet(server: Server) -> dict[str, int]:
    """The memory once nobody reads an old generation any more."""
    time.sleep(2.5)  # finished sessions linger for a second
    return resident(server)


@pytest.mark.timeout(120 + 2 * RELOADS)
def test_reloads_under_load(server: Server, tree: Tree, tmp_path: Path) -> None:
    load = Load(server, tree, tmp_path)
    swap_us: list[int] = []
    load_ms: list[float] = []
    visible_ms: list[float] = []
    with Control(server.control) as control:
        for generation in range(2, 6):
            tree.publish(generation)
            load.ceiling = generation
            assert control.ask("reload")["renewed"]
        load.floor = load.ceiling
        before = quiet(server)
        pinned = Reader(server.site.client, SERVER4)
        assert pinned.request("large", blksize=1428) is not None
        pinned_version = load.floor
        with load.running():
            for number in range(RELOADS):
                load.ceiling += 1
                tree.publish(load.ceiling)
                if number % 10 == 9:
                    reload_by_signal(server, control, load.ceiling - 1)
                else:
                    done = control.ask("reload")
                    assert (done["generation"], done["added"], done["changed"], done["removed"], done["unchanged"]) == (
                        load.ceiling, 0, len(CHANGING), 0, len(STILL)
                    ), done
                    swap_us.append(done["swap_us"])
                    load_ms.append(done["load_seconds"] * 1e3)
                load.floor = load.ceiling
                began = time.monotonic()
                assert version(server) == load.ceiling, "the new version is visible as soon as the reload is answered"
                visible_ms.append((time.monotonic() - began) * 1e3)
                if number % 5 == 0:
                    pinned.read(1)
        assert version_of("large", pinned.read()) == pinned_version, "a transfer keeps what it began with"
        pinned.close()
        after = quiet(server)
        stats = control.ask("show", "stats")
        print(
            f"\n{RELOADS} reloads, {load.fetched} transfers checked; swap us: median {statistics.median(swap_us):.0f}, "
            f"99 % {sorted(swap_us)[len(swap_us) * 99 // 100]}, max {max(swap_us)}; load ms: median "
            f"{statistics.median(load_ms):.1f}, max {max(load_ms):.1f}; reload answered to new version fetched ms: median "
            f"{statistics.median(visible_ms):.2f}, max {max(visible_ms):.2f}; before {before}, after {after}; "
            f"transfers {stats['transfers']}"
        )
        assert load.fetched > RELOADS / 10
        assert statistics.median(swap_us) < 100_000, "a loaded machine may be slow, but not most of the time"
        # One leaked generation has 3.7 MB.
        for key, most in {"VmRSS": 16_384, "HugetlbPages": 8_192, "mappings": 12}.items():
            assert after[key] <= before[key] + most, f"{key} grew: {before}, {after}"
    server.stop()


def test_what_has_not_changed_is_not_read_again(start: Starter, tree: Tree) -> None:
    time.sleep(2.2)  # younger files are read once more, as their time stamps prove nothing
    server = start(veth_site(), root=tree.root)
    same = server.ctl("reload")
    assert (same["renewed"], same["generation"], same["read_files"], same["reused_files"]) == (False, 1, 0, 4)
    tree.write("small", 2)
    done = server.ctl("reload")
    assert (done["generation"], done["changed"], done["unchanged"]) == (2, 1, 3)
    assert (done["read_files"], done["read_bytes"], done["reused_files"]) == (1, CHANGING["small"], 3)
    assert version(server) == 2
    assert [version(server, name) for name in ("medium", "large", "still")] == [1, 1, 0]
    (tree.root / "large").unlink()
    (tree.root / "added").write_bytes(b"new\n")
    (tree.root / "added").chmod(0o644)
    done = server.ctl("reload")
    assert (done["added"], done["changed"], done["removed"], done["files"]) == (1, 0, 1, 4)
    assert "added" in str(server.ctl("show", "files"))
    server.stop()


def test_a_session_of_an_older_generation_keeps_its_name(server: Server, tree: Tree) -> None:
    with Reader(server.site.client, SERVER4) as reader:
        assert reader.request("large") is not None
        reader.read(3)
        (tree.root / "large").rename(tree.root / "renamed")
        assert server.ctl("reload")["removed"] == 1
        sessions = server.ctl("show", "sessions")["sessions"]
        assert [(session["file"], session["generation"]) for session in sessions] == [("large", 1)]
        assert version_of("large", reader.read()) == 1
    server.stop()


def test_a_failed_reload_says_why_and_leaves_everything(server: Server, tree: Tree) -> None:
    with Control(server.control) as control:
        away = tree.root.with_name("away")
        tree.root.rename(away)
        with pytest.raises(Refused, match=r"does not exist.*generation 1 is still served") as refused:
            control.ask("reload")
        assert refused.value.code == "not_done"
        with pytest.raises(LabError, match="does not exist"):
            server.ctl("reload")
        server.signal(signal.SIGHUP)
        wait_for("the log says that it failed", lambda: "reload (SIGHUP) failed: the root" in server.output())
        assert version(server) == 1
        away.rename(tree.root)
        # More than any machine has.
        with (tree.root / "huge").open("wb") as huge:
            huge.truncate(1 << 42)
        (tree.root / "huge").chmod(0o644)
        tree.publish(2)
        done = control.ask("reload")
        assert (done["changed"], done["left_out"]) == (len(CHANGING), 1), "it is left out, and the others are served"
        assert version(server) == 2
    server.stop()


def test_as_many_generations_as_there_are_places(server: Server, tree: Tree) -> None:
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(Control(server.control))
        readers = []
        for generation in range(1, 9):
            reader = stack.enter_context(Reader(server.site.client, SERVER4))
            assert reader.request("medium") is not None
            reader.read(1)
            readers.append(reader)
            if generation < 8:
                tree.publish(generation + 1)
                assert control.ask("reload")["generation"] == generation + 1
        tree.publish(9)
        with pytest.raises(Refused, match=r"8 generations.*generation 8 is still served"):
            control.ask("reload")
        assert version(server) == 8
        assert version_of("medium", rest(readers[2])) == 3
        assert control.ask("reload")["renewed"], "there is a place again"
        assert version(server) == 9
        for number, reader in enumerate(readers):
            if number != 2:
                assert version_of("medium", rest(reader)) == number + 1
    server.stop()


CONFIG = """
[limits]
max_blksize = 1024
max_sessions = 20000
[timers]
drain_seconds = 25
"""


def granted(server: Server) -> int:
    """The block size that a client gets that asks for the largest."""
    with Reader(server.site.client, SERVER4) as reader:
        offer = reader.request("small", blksize=1428)
        assert isinstance(offer, Packet) and offer.opcode == OACK
        return int(offer.options["blksize"])


def test_settings_change_live_or_say_that_they_need_a_restart(start: Starter, tree: Tree, tmp_path: Path) -> None:
    config = tmp_path / "bypassd.toml"
    config.write_text(CONFIG)
    server = start(veth_site(), "--config", str(config), root=tree.root)
    assert granted(server) == 1024
    config.write_text(CONFIG.replace("1024", "600").replace("20000", "30000") + "[names]\nfold_case = true\n")
    done = server.ctl("reload")
    assert [(change["key"], change["old"], change["new"]) for change in done["settings"]] == [
        ("names.fold_case", "false", "true"),
        ("limits.max_blksize", "1024", "600"),
    ]
    assert [change["key"] for change in done["needs_restart"]] == ["limits.max_sessions"]
    assert granted(server) == 600
    assert fetch(server, "SMALL") == body("small", 1, 400)
    # Wrong in its last line: nothing of it holds, and the tree is not loaded either.
    config.write_text(CONFIG.replace("1024", "700") + "[names]\nfold_cases = true\n")
    tree.publish(2)
    with pytest.raises(LabError, match=r"bypassd.toml:8:1: names.fold_cases: unknown key(?s:.*)did you mean `fold_case`"):
        server.ctl("reload")
    assert (granted(server), version(server)) == (600, 1)
    with Control(server.control) as control:
        config.unlink()
        with pytest.raises(Refused, match="cannot read the configuration"):
            control.ask("reload")
    config.write_text(CONFIG)
    server.signal(signal.SIGHUP)
    wait_for("SIGHUP has changed the settings", lambda: "now: limits.max_blksize = 1024 (was 600)" in server.output())
    assert (granted(server), version(server)) == (1024, 2)
    server.stop()


def test_the_drain_time_changes_live(start: Starter, tree: Tree, tmp_path: Path) -> None:
    config = tmp_path / "bypassd.toml"
    config.write_text("[timers]\ndrain_seconds = 600\n")
    server = start(veth_site(), "--config", str(config), root=tree.root)
    config.write_text("[timers]\ndrain_seconds = 1\n")
    assert [change["key"] for change in server.ctl("reload")["settings"]] == ["timers.drain_seconds"]
    with Reader(server.site.client, SERVER4) as reader:
        assert reader.request("large") is not None
        server.signal()
        assert server.wait(timeout=15) == 0
    assert "draining for at most 1 s" in server.output()


def test_watching_loads_what_has_become_quiet(start: Starter, tree: Tree, tmp_path: Path) -> None:
    config = tmp_path / "bypassd.toml"
    config.write_text("[files]\nwatch_seconds = 1\n")
    server = start(veth_site(), "--config", str(config), root=tree.root)
    tree.publish(2)
    wait_for("the change was noticed", lambda: version(server) == 2, timeout=30, pause=0.1)
    assert "reload (the tree has changed)" in server.output()
    shutil.rmtree(tree.root)
    wait_for("the loss was noticed", lambda: "cannot watch the files: the root" in server.output(), timeout=30)
    assert version(server) == 2
    Tree(tree.root, CHANGING, STILL).publish(3)
    wait_for("the return was noticed", lambda: version(server) == 3, timeout=30, pause=0.1)
    server.stop()


def test_a_hold_refuses_until_it_is_resumed(server: Server, tree: Tree) -> None:
    with Reader(server.site.client, SERVER4) as running:
        assert running.request("large") is not None
        running.read(3)
        server.ctl("drain", "hold")
        wait_for("requests are refused", lambda: not is_served(server))
        assert version_of("large", running.read()) == 1, "what runs goes on"
    tree.publish(2)
    assert server.ctl("reload")["generation"] == 2, "a held server reloads"
    time.sleep(1.5)
    assert server.running(), "nothing is running, and it stays"
    server.ctl("resume")
    assert version(server) == 2
    server.ctl("drain", "hold")
    server.signal()
    assert server.wait() == 0


def test_a_drain_is_resumed_while_it_lasts(server: Server) -> None:
    orders: list[Callable[[], object]] = [lambda: server.ctl("drain"), server.signal]
    for order in orders:
        with Reader(server.site.client, SERVER4) as running:
            assert running.request("large") is not None
            running.read(3)
            order()
            wait_for("requests are refused", lambda: not is_served(server))
            server.ctl("resume")
            assert is_served(server)
            assert version_of("large", running.read()) == 1
        time.sleep(0.3)
        assert server.running()
    server.stop()


def test_reloads_asked_for_at_once_are_few(server: Server, tree: Tree) -> None:
    tree.publish(2)
    answers: list[dict[str, object]] = []

    def ask() -> None:
        with Control(server.control) as control:
            answers.append(control.ask("reload"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(50):
        server.signal(signal.SIGHUP)
        time.sleep(0.002 * (number % 3))
    for thread in threads:
        thread.join(30)
    assert len(answers) == 6
    assert version(server) == 2
    assert server.running()
    server.stop()


def test_a_reload_under_way_does_not_hold_the_end_up(start: Starter, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "big", {"large": 60_000_000}, {})
    server = start(veth_site(), root=tree.root)
    tree.publish(2)
    server.signal(signal.SIGHUP)
    server.signal()
    assert server.wait() == 0
