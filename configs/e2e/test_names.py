"""Who gets what under which name, and from which port: rules for clients and names, a range of reply ports, one port for all."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from appliance import BINARIES, SERVER4, Server, Site, routed_site
from clients import Client, atftp, busybox, curl, tftp_hpa
from conftest import Starter
from lab import Namespace, run
from tftp import ERROR, OACK, Reader

NEAR, FAR = "10.99.0.254", "10.98.0.2"
"""The router is a client on the server's own network; behind it is one of another network."""

STOCK: dict[str, Client] = {
    "tftp-hpa": tftp_hpa("octet"),
    "atftp": atftp(1428, 16),
    "curl": curl("--tftp-blksize", "1428"),
    "busybox": busybox("-b", "1428"),
}
ETH_P_IP, OUTGOING, SO_RCVBUFFORCE = 0x0800, 4, 33


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with files of the same name in several folders."""
    root = tmp_path_factory.mktemp("names")
    folders = ("lab", "new", f"by/{FAR}", "private")
    for place in (root, *(root / folder for folder in folders), root / "by"):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
    for number, name in enumerate(["x", "lab/x", "new/x", f"by/{FAR}/own", "only-common", "private/x"]):
        (root / name).write_bytes(f"{name} ".encode() * (3_000 + number))
        (root / name).chmod(0o644)
    return root


Begin = Callable[[str], Server]


@pytest.fixture
def begin(start: Starter, tree: Path, tmp_path: Path) -> Begin:
    """Starts bypassd with a configuration."""

    def begin(config: str) -> Server:
        path = tmp_path / "bypassd.toml"
        path.write_text(config)
        return start(routed_site(), "--config", str(path), root=tree)

    return begin


def namespaces(site: Site) -> tuple[Namespace, Namespace]:
    """The near client's and the far one's."""
    return site.others[0], site.client


def fetch(server: Server, ns: Namespace, client: Client, name: str, local: Path) -> bytes:
    """What a stock client gets."""
    local.unlink(missing_ok=True)
    argv = client(SERVER4, name, local)
    done = ns.run(*argv, timeout=60, check=False)
    assert done.returncode == 0 and local.exists(), f"{argv}\n{done.stdout}{done.stderr}\n{server.tail()}"
    return local.read_bytes()


def answer(ns: Namespace, name: str, **options: object) -> tuple[int, int, dict[str, str]] | None:
    """Opcode, error code and options of the first answer to a request."""
    with Reader(ns, SERVER4) as reader:
        packet = reader.request(name, timeout=1.0, **options)
    return packet and (packet.opcode, packet.number, packet.options)


class Capture:
    """The UDP datagrams from the server that the router sees, and the ports that they left from."""

    def __init__(self, router: Namespace) -> None:
        self.socket = router.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self.socket.bind(("left", ETH_P_IP))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.setblocking(False)

    def ports(self) -> set[int]:
        """Those of all datagrams so far."""
        seen = set()
        try:
            while True:
                packet, place = self.socket.recvfrom(2048)
                is_udp = len(packet) >= 28 and packet[9] == 17 and packet[12:16] == socket.inet_aton(SERVER4)
                if is_udp and place[2] != OUTGOING:
                    seen.add(struct.unpack_from("!H", packet, (packet[0] & 15) * 4)[0])
        except BlockingIOError:
            return seen


@contextmanager
def capture(router: Namespace) -> Iterator[Capture]:
    """Listens while the block runs."""
    listener = Capture(router)
    try:
        yield listener
    finally:
        listener.socket.close()


SUBNETS = f"""
[[client]]
prefix = "10.98.0.0/24"
root = ["by/{{ip}}", "lab"]

[[remap]]
name = "old/*"
to = '\\1'

[[remap]]
regex = "^private/"
then = "refuse"
"""


@pytest.mark.parametrize("client", STOCK)
def test_one_name_is_another_file_in_another_subnet(begin: Begin, tree: Path, tmp_path: Path, client: str) -> None:
    server = begin(SUBNETS)
    near, far = namespaces(server.site)
    local = tmp_path / "got"
    for name in ("x", "old/x"):
        assert fetch(server, near, STOCK[client], name, local) == (tree / "x").read_bytes()
        assert fetch(server, far, STOCK[client], name, local) == (tree / "lab/x").read_bytes()
    assert fetch(server, far, STOCK[client], "own", local) == (tree / f"by/{FAR}/own").read_bytes()
    assert fetch(server, near, STOCK[client], "only-common", local) == (tree / "only-common").read_bytes()
    assert answer(far, "only-common") == (ERROR, 1, {})
    assert answer(near, "private/x") == answer(far, "\\private//x") == (ERROR, 2, {})
    assert answer(far, "../x") == answer(far, "old/../../x") == (ERROR, 2, {})
    server.stop()


@pytest.mark.parametrize("deny", ["drop", "error"])
@pytest.mark.parametrize("others", ["allow", "deny"])
def test_who_is_denied_hears_nothing_or_an_error(begin: Begin, tree: Path, tmp_path: Path, deny: str, others: str) -> None:
    denied_by_rule = f'[[client]]\nprefix = "{FAR}"\nallow = false\n'
    allowed_by_rule = '[[client]]\nprefix = "10.99.0.0/24"\n'
    rule = denied_by_rule if others == "allow" else allowed_by_rule
    server = begin(f'[access]\ndefault_action = "{others}"\ndeny = "{deny}"\n{rule}')
    near, far = namespaces(server.site)
    assert fetch(server, near, STOCK["curl"], "x", tmp_path / "got") == (tree / "x").read_bytes()
    assert answer(far, "x") == (None if deny == "drop" else (ERROR, 2, {}))
    assert answer(far, "absent") == (None if deny == "drop" else (ERROR, 2, {}))
    assert server.drops()["client_denied"] == (2 if deny == "drop" else 0)
    server.stop()


CAPS = f"""
[[client]]
prefix = "{NEAR}"
max_window_blocks = 4
max_blksize = 1024
[[client]]
prefix = "{FAR}"
options = ["blksize", "tsize"]
"""


def test_caps_are_seen_in_the_oack(begin: Begin, tree: Path, tmp_path: Path) -> None:
    server = begin(CAPS)
    near, far = namespaces(server.site)
    asked = {"windowsize": 16, "blksize": 1428, "tsize": 0}
    size = str((tree / "x").stat().st_size)
    assert answer(near, "x", **asked) == (OACK, 0, {"windowsize": "4", "blksize": "1024", "tsize": size})
    assert answer(far, "x", **asked) == (OACK, 0, {"blksize": "1428", "tsize": size})
    for ns in (near, far):
        assert fetch(server, ns, STOCK["atftp"], "x", tmp_path / "got") == (tree / "x").read_bytes()
    server.stop()


def test_a_range_of_reply_ports_is_kept_to(begin: Begin, tree: Path, tmp_path: Path) -> None:
    server = begin('[network]\nreply_ports = "50000-50999"\n')
    near, far = namespaces(server.site)
    # A firewall that knows this range and nothing else of the server's.
    near.run("nft", "add table ip guard")
    near.run("nft", "add chain ip guard in { type filter hook forward priority 0 ; }")
    near.run("nft", f"add rule ip guard in ip saddr {SERVER4} udp sport != 50000-50999 drop")
    with capture(near) as seen:
        for number in range(10):
            for client in STOCK.values():
                assert fetch(server, far, client, "x", tmp_path / f"got{number}") == (tree / "x").read_bytes()
            assert answer(far, "absent") == (ERROR, 1, {})
        ports = seen.ports()
    assert all(50_000 <= port <= 50_999 for port in ports), ports
    assert len(ports) > 20, f"{ports} are no random choice for 50 transfers"
    server.stop()


def masquerade(router: Namespace) -> None:
    """The far network is behind a NAT, without a helper that would know of TFTP."""
    router.run("nft", "add table ip nat")
    router.run("nft", "add chain ip nat out { type nat hook postrouting priority 100 ; }")
    router.run("nft", "add rule ip nat out oifname left masquerade")
    helper = Path("/proc/sys/net/netfilter/nf_conntrack_helper")
    assert not helper.exists() or helper.read_text().strip() == "0"


def test_a_single_port_serves_stock_clients_through_a_nat(begin: Begin, tree: Path, tmp_path: Path) -> None:
    server = begin("[network]\nsingle_port = true\n")
    near, far = namespaces(server.site)
    masquerade(near)
    with capture(near) as seen:
        for client in STOCK.values():
            for ns in (far, near):
                assert fetch(server, ns, client, "x", tmp_path / "got") == (tree / "x").read_bytes()
        assert answer(far, "absent") == (ERROR, 1, {})
        ports = seen.ports()
    assert ports == {69}
    transfers = server.ctl("show", "stats")["transfers"]
    assert (transfers["opened"], transfers["done"]) == (8, 8), "each client was served once"
    server.stop()


def test_a_nat_is_what_a_single_port_is_for(begin: Begin) -> None:
    server = begin("")
    near, far = namespaces(server.site)
    assert answer(far, "x") is not None, "without the NAT"
    masquerade(near)
    assert answer(far, "x") is None, "a TID of its own does not come through"
    server.stop()


def test_many_transfers_share_the_single_port(begin: Begin, tree: Path) -> None:
    server = begin("[network]\nsingle_port = true\n")
    near, far = namespaces(server.site)
    masquerade(near)
    readers = [Reader(ns, SERVER4) for ns in (near, far) for _ in range(20)]
    names = ["x", "lab/x", "new/x", "only-common"]
    for number, reader in enumerate(readers):
        assert reader.request(names[number % 4], blksize=1024) is not None
        assert reader.peer[1] == 69
    while not all(reader.done for reader in readers):
        for reader in readers:
            if not reader.done:
                reader.read(2)
    for number, reader in enumerate(readers):
        assert bytes(reader.content) == (tree / names[number % 4]).read_bytes()
        reader.close()
    server.stop()


def test_map_test_says_what_the_server_does(begin: Begin, tree: Path, tmp_path: Path) -> None:
    server = begin(SUBNETS)
    near, far = namespaces(server.site)
    config = str(tmp_path / "bypassd.toml")
    for ns, address in ((near, NEAR), (far, FAR)):
        for name in ("x", "old/x", "own", "only-common", "private/x", "../x", "absent"):
            argv = [str(BINARIES / "bypassd"), "map-test", "--config", config, "--root", str(tree), "--json", name, address]
            done = run(*argv, check=False)
            said = json.loads(done.stdout)
            assert done.returncode == (0 if said["served"] else 1), done.stdout + done.stderr
            with Reader(ns, SERVER4) as reader:
                first = reader.request(name, blksize=1428)
                assert first is not None
                if said["served"]:
                    assert first.opcode == OACK
                    assert reader.read() == (tree / said["file"]).read_bytes()
                    assert len(reader.content) == said["bytes"]
                else:
                    assert (first.opcode, first.number) == (ERROR, said["answer"]["code"])
    server.stop()


def test_ports_that_do_not_do_are_refused_before_anything_is_served(tmp_path: Path, tree: Path) -> None:
    config = tmp_path / "bypassd.toml"
    config.write_text('[network]\nreply_ports = "50000-50010"\n')
    done = run(
        *(str(BINARIES / "bypassd"), "run", "--config", str(config), "--root", str(tree), "--vdev", "net_null0"),
        *("--address", "192.0.2.1/24", "--control", str(tmp_path / "ctl")),
        check=False,
    )
    assert done.returncode == 2 and "at least 33 ports" in done.stderr, done.stdout + done.stderr
