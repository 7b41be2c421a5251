"""Content larger than the cache: every file arrives whole through a budget of a few megabytes, on demand, and the memory stays bounded."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from appliance import SERVER4, SERVER6, Server, veth_site
from clients import atftp, busybox, curl, tftp_hpa
from conftest import Starter
from lab import wait_for
from tftp import ERROR, Reader

MIB = 1 << 20
BUDGET = 4 * MIB
SIZE = 700_000
COUNT = 24  # 16 MiB: four times the budget


class Tree:
    """A tree several times the budget, with a few files that are to be loaded at start."""

    def __init__(self, root: Path) -> None:
        rng = random.Random(40)
        self.root = root
        self.files: dict[str, bytes] = {}
        for number in range(COUNT):
            self.put(f"images/disk{number:02}.img", rng.randbytes(SIZE + number * 997))
        self.put("pxelinux.0", rng.randbytes(60_000))
        self.put("EFI/BOOT/bootx64.efi", rng.randbytes(300_000))
        self.put("text", b"menu\r\nlabel linux\n" * 5000)
        for place in (root.parent, root):
            place.chmod(0o755)

    def put(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
        self.files[name] = content


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree of the test's own, which it may change."""
    return Tree(tmp_path / "root")


def config(tmp_path: Path) -> str:
    """A configuration with patterns."""
    path = tmp_path / "cache.toml"
    path.write_text(f'[files]\nbudget = {BUDGET}\npreload = ["pxelinux*", "*.efi", "*.none"]\n')
    return str(path)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(server: Server, client, name: str, local: Path, host: str = SERVER4) -> None:
    """Fetches one file with a stock client; asserts that its bytes are right."""
    argv = server.site.client.argv(*client(host, name, local))
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=90)
    assert done.returncode == 0, f"{argv}: {done.stdout!r} {done.stderr!r}\n{server.tail()}"


def cache(server: Server) -> dict[str, int]:
    """What happened in the cache so far."""
    return server.ctl("show", "stats")["cache"]


def resident(server: Server) -> set[str]:
    """The names of the files in memory."""
    return {entry["name"] for entry in server.ctl("show", "files")["list"] if entry["resident"]}


def refusal(server: Server, name: str) -> str:
    """The text of the ERROR that a request for this file gets."""
    with Reader(server.site.client, SERVER4) as reader:
        packet = reader.request(name, timeout=10)
        assert packet is not None and packet.opcode == ERROR, packet
        return packet.data.rstrip(b"\0").decode()


def test_every_file_of_a_tree_larger_than_the_budget_arrives(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), "--config", config(tmp_path), root=tree.root)
    clients = [atftp(1428, 4), busybox("-b", "1428"), curl("--tftp-blksize", "1428"), tftp_hpa("binary"), atftp(512, 16)]
    local = tmp_path / "got"
    for number, (name, content) in enumerate(tree.files.items()):
        host = SERVER6 if number % 5 == 0 else SERVER4
        get(server, clients[number % len(clients)], name, local, host)
        assert digest(local.read_bytes()) == digest(content), name
        shown = server.ctl("show", "files")["cache"]
        assert shown["pinned_bytes"] + shown["on_demand_bytes"] <= shown["budget_bytes"] == BUDGET, shown
    counts = cache(server)
    assert counts["loads"] >= COUNT and counts["misses"] >= COUNT, counts
    assert counts["evictions"] >= COUNT - 6, counts
    assert counts["load_failures"] == counts["wants_lost"] == 0, counts
    stats = server.ctl("show", "stats")
    assert stats["rx_frames"] == stats["accounted_frames"], stats
    assert stats["served"]["request_parked"] >= COUNT
    # The last one is still there.
    last = list(tree.files)[COUNT - 1]
    get(server, atftp(1428, 4), last, local)
    assert cache(server)["hits"] > 0
    server.stop()


def test_files_that_match_are_there_at_start(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), "--config", config(tmp_path), root=tree.root)
    assert resident(server) == {"pxelinux.0", "EFI/BOOT/bootx64.efi"}
    local = tmp_path / "got"
    for name in ("pxelinux.0", "EFI/BOOT/bootx64.efi"):
        get(server, atftp(1428, 4), name, local)
        assert local.read_bytes() == tree.files[name]
    assert cache(server)["misses"] == cache(server)["loads"] == 0, "nothing had to be loaded"
    output = server.output()
    assert re.search(r"cache budget: 4\.00 MiB as configured, with ", output), output
    assert re.search(r"2 of 27 files are in memory .*, 25 are loaded on demand", output), output
    assert 'no file has a name like "*.none"' in output
    server.stop()


def test_many_clients_at_a_time_share_loads(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), "--cache-budget", "4MiB", root=tree.root, lcores="0@0,1@1,2@1")
    names = [f"images/disk{number:02}.img" for number in range(8)]

    def fetch_one(number: int) -> bool:
        local = tmp_path / f"got{number}"
        name = names[number % len(names)]
        get(server, atftp(1428, 8) if number % 2 else busybox("-b", "1428"), name, local)
        return digest(local.read_bytes()) == digest(tree.files[name])

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(fetch_one, range(48)))
    counts = cache(server)
    assert counts["loads"] < 48, f"clients of the same file share a load: {counts}"
    assert counts["hits"] >= 48 and counts["evictions"] >= 2, counts
    wait_for("all frames have their outcome", lambda: balanced(server))
    server.stop()


def balanced(server: Server) -> bool:
    stats = server.ctl("show", "stats")
    return stats["rx_frames"] == stats["accounted_frames"]


def test_netascii_and_sizes_of_files_on_demand(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), "--cache-budget", "4MiB", root=tree.root)
    local = tmp_path / "got"
    get(server, tftp_hpa("netascii"), "text", local)
    assert local.read_bytes() == tree.files["text"]
    with Reader(server.site.client, SERVER4) as reader:
        packet = reader.request("images/disk03.img", timeout=10, tsize=0, blksize=1428)
        assert packet is not None and packet.options["tsize"] == str(len(tree.files["images/disk03.img"]))
        assert reader.read() == tree.files["images/disk03.img"]
    server.stop()


def test_a_file_larger_than_the_budget_is_refused_and_said_once(start: Starter, tree: Tree, tmp_path: Path) -> None:
    tree.put("huge.iso", os.urandom(BUDGET + 1))
    server = start(veth_site(), "--config", config(tmp_path), root=tree.root)
    for _ in range(3):
        assert refusal(server, "huge.iso") == "file larger than the cache budget"
    lines = [line for line in server.output().splitlines() if "huge.iso" in line]
    assert len(lines) == 1 and "larger than the cache budget (raise files.budget" in lines[0], lines
    assert sum(server.ctl("show", "files")["left_out"].values()) == 1
    server.stop()


def test_files_that_are_gone_or_changed_before_their_first_request(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), "--config", config(tmp_path), root=tree.root)
    images = tree.root / "images"
    (images / "disk00.img").unlink()
    (images / "disk01.img").write_bytes(b"shorter")
    new = images / "new"
    new.write_bytes(tree.files["images/disk02.img"])
    new.chmod(0o644)
    new.replace(images / "disk02.img")
    (images / "disk03.img").unlink()
    (images / "disk03.img").symlink_to("/etc/passwd")
    assert refusal(server, "images/disk00.img") == "file is gone: not available"
    for name in ("disk01.img", "disk02.img", "disk03.img"):
        assert refusal(server, f"images/{name}") == "file has changed: not available now", name
    assert refusal(server, "images/disk01.img") == "file has changed: not available now"
    for name in ("disk00", "disk01", "disk02", "disk03"):
        said = [line for line in server.output().splitlines() if f"images/{name}.img cannot be loaded" in line]
        assert len(said) == 1, said
    local = tmp_path / "got"
    get(server, atftp(1428, 4), "images/disk04.img", local)
    assert local.read_bytes() == tree.files["images/disk04.img"], "the others are served"
    # What changes while it is in memory stays as it was loaded.
    (images / "disk04.img").write_bytes(b"changed")
    get(server, atftp(1428, 4), "images/disk04.img", local)
    assert local.read_bytes() == tree.files["images/disk04.img"]
    assert cache(server)["load_failures"] >= 5
    server.stop()


def test_a_slow_reader_keeps_its_file_and_others_wait_for_room(start: Starter, tree: Tree, tmp_path: Path) -> None:
    big = os.urandom(3 * MIB)
    tree.put("big-a", big)
    tree.put("big-b", big[::-1])
    server = start(veth_site(), "--cache-budget", "4MiB", root=tree.root)
    with Reader(server.site.client, SERVER4) as slow, Reader(server.site.client, SERVER4) as other:
        assert slow.request("big-a", timeout=10, blksize=1428) is not None
        slow.read(20)
        assert other.request("big-b", timeout=2) is None, "there is no room while the first is read"
        assert "big-a" in resident(server)
        assert slow.read() == big
        # The client's own repeat finds it.
        packet = None
        for _ in range(5):
            packet = packet or other.request("big-b", timeout=3, blksize=1428)
        assert packet is not None and packet.opcode != ERROR
        assert other.read() == big[::-1]
    assert cache(server)["no_room"] >= 1
    assert "waits for room" in server.output()
    server.stop()


def test_memory_is_bounded(start: Starter, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    rng = random.Random(9)
    for number in range(40):
        path = root / f"f{number}"
        path.write_bytes(rng.randbytes(4 * MIB))
        path.chmod(0o644)
    server = start(veth_site(), "--cache-budget", "16MiB", root=root)
    assert server.process is not None
    local = tmp_path / "got"
    get(server, atftp(1428, 16), "f0", local)
    before = anonymous(server.process.pid)
    for number in range(40):
        get(server, atftp(1428, 16), f"f{number}", local)
        assert local.stat().st_size == 4 * MIB
    grown = anonymous(server.process.pid) - before
    assert grown < 16 * MIB, f"{grown} bytes more than after the first file"
    assert cache(server)["evictions"] >= 36
    server.stop()


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory that a process (or what it replaced) has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)
    assert kib is not None, text
    return int(kib[1]) * 1024


def test_everything_that_fits_is_loaded_as_ever(start: Starter, tree: Tree, tmp_path: Path) -> None:
    server = start(veth_site(), root=tree.root)
    shown = server.ctl("show", "files")
    assert all(entry["resident"] for entry in shown["list"])
    assert shown["cache"]["on_demand_total"] == 0
    (tree.root / "images" / "disk00.img").unlink()
    local = tmp_path / "got"
    get(server, atftp(1428, 4), "images/disk00.img", local)
    assert local.read_bytes() == tree.files["images/disk00.img"]
    assert re.search(r"cache budget: .*, 80 % of ", server.output()), server.output()
    assert all(count == 0 for count in cache(server).values()), cache(server)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20


def test_a_reload_brings_new_content_on_demand_while_clients_read(start: Starter, tree: Tree, tmp_path: Path) -> None:
    """Each fetch gives one whole version of its file, and after a reload the new one."""
    server = start(veth_site(), "--config", config(tmp_path), root=tree.root)
    rng = random.Random(41)
    names = [f"images/disk{number:02}.img" for number in range(0, COUNT, 3)]
    known = {name: {digest(tree.files[name])} for name in names}
    for round_number in range(4):
        with ThreadPoolExecutor(4) as pool:
            fetched = {
                name: pool.submit(get, server, atftp(1428, 8), name, tmp_path / name.replace("/", "-")) for name in names
            }
            changed = rng.sample(names, 3)
            for name in changed:
                # By rename, as a publisher does: what is being read stays whole.
                new = tree.root / f"{name}.new"
                new.write_bytes(rng.randbytes(SIZE + round_number))
                new.chmod(0o644)
                known[name].add(digest(new.read_bytes()))
                new.rename(tree.root / name)
                tree.files[name] = (tree.root / name).read_bytes()
            reloaded = server.ctl("reload")
            # Files that are younger than two seconds prove nothing by their times, and count as changed too.
            assert reloaded["renewed"] and reloaded["changed"] >= len(changed), reloaded
            # One that was replaced before its first request is refused until the reload.
            failed = [name for name, done in fetched.items() if done.exception() is not None]
            assert set(failed) <= set(changed), failed
        for name in names:
            if name not in failed:
                assert digest((tmp_path / name.replace("/", "-")).read_bytes()) in known[name], name
        for name in changed:
            get(server, atftp(1428, 8), name, tmp_path / "again")
            assert digest((tmp_path / "again").read_bytes()) == digest(tree.files[name]), name
    shown = server.ctl("show", "files")["cache"]
    assert shown["pinned_bytes"] + shown["on_demand_bytes"] <= shown["budget_bytes"] == BUDGET, shown
    stats = server.ctl("show", "stats")
    assert stats["rx_frames"] == stats["accounted_frames"], stats
    server.stop()
