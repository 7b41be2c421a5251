"""Networks other than a clean cable: loss, IPv6, VLAN tags, a router between; and what is not TFTP: ARP and ping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import SERVER4, SERVER6, Server
from clients import CLIENTS, atftp, busybox, curl, tftp_hpa
from conftest import Content
from frames import RawHost
from test_clients import fetch
from tftp import Reader

LOSSY = {
    # name: (client, file). A client that is alone in noticing a lost request does so after 5 s; curl asks the server, too, to
    # wait for so long after each loss (RFC 2349, timeout).
    "tftp-hpa": (tftp_hpa("octet"), "text"),
    "busybox-1428": (busybox("-b", "1428"), "text"),
    "curl-1428": (curl("--tftp-blksize", "1428"), "text"),
    "atftp-1428-w1": (atftp(1428, 1), "k200"),
    "atftp-512-w4": (atftp(512, 4), "k200"),
    "atftp-1428-w16": (atftp(1428, 16), "m1"),
}


@pytest.mark.parametrize("client", LOSSY)
def test_5_percent_loss_each_way(
    lossy_server: Server, content: Content, tmp_path: Path, client: str, kind: str
) -> None:
    if kind != "bypassd":
        pytest.skip("stock servers wait for seconds after each loss")
    argv, name = LOSSY[client]
    local = tmp_path / "got"
    fetch(lossy_server, argv(SERVER4, name, local), local, content.files[name], timeout=80)


@pytest.mark.parametrize("client", ["tftp-hpa", "atftp-1428-w16", "curl-1428"])
def test_ipv6(server: Server, content: Content, tmp_path: Path, client: str) -> None:
    argv = tftp_hpa("octet", "-6") if client == "tftp-hpa" else CLIENTS[client]
    local = tmp_path / "got"
    fetch(server, argv(SERVER6, "m1", local), local, content.files["m1"])


@pytest.mark.parametrize("vlan", [1, 7, 4094])
def test_replies_carry_the_vlan_tag_of_the_request(raw: RawHost, content: Content, kind: str, vlan: int) -> None:
    if kind != "bypassd":
        pytest.skip("a kernel server has no address in that VLAN")
    raw.vlan = vlan
    assert raw.fetch("exact", blksize=1024) == content.files["exact"]


def test_a_kernel_client_in_a_vlan(veth_server: Server, content: Content, tmp_path: Path, kind: str) -> None:
    client = veth_server.site.client
    made = client.run("ip", "link", "add", "link", "cli0", "name", "cli0.7", "type", "vlan", "id", "7", check=False)
    if made.returncode != 0 or kind != "bypassd":
        pytest.skip("this kernel has no VLAN interfaces (CONFIG_VLAN_8021Q), or no server in the VLAN")
    try:
        client.run("ip", "address", "flush", "dev", "cli0")
        client.run("ip", "address", "add", "10.99.0.2/24", "dev", "cli0.7")
        client.run("ip", "link", "set", "cli0.7", "up")
        local = tmp_path / "got"
        fetch(veth_server, CLIENTS["atftp-1428-w4"](SERVER4, "m1", local), local, content.files["m1"])
    finally:
        client.run("ip", "link", "del", "cli0.7")
        veth_server.site.address_client()


@pytest.mark.parametrize("client", ["tftp-hpa", "atftp-1428-w16", "curl"])
def test_behind_a_router(routed_server: Server, content: Content, tmp_path: Path, client: str) -> None:
    local = tmp_path / "got"
    fetch(routed_server, CLIENTS[client](SERVER4, "m1", local), local, content.files["m1"])


@pytest.mark.parametrize(
    ("address", "size"), [(SERVER4, 0), (SERVER4, 56), (SERVER4, 1472), (SERVER6, 56), (SERVER6, 1452)]
)
def test_ping(server: Server, address: str, size: int) -> None:
    done = server.site.client.run(
        *("ping", "-n", "-c", "5", "-i", "0.05", "-W", "2", "-s", str(size), address), check=False
    )
    assert ", 0% packet loss" in done.stdout, done.stdout + done.stderr


def test_arping(server: Server) -> None:
    done = server.site.client.run("arping", "-c", "2", "-w", "5", "-I", server.site.link, SERVER4, check=False)
    assert done.returncode == 0 and "reply" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def readers(veth_server: Server) -> Iterator[list[Reader]]:
    """Eight clients in the same namespace."""
    many = [Reader(veth_server.site.client, SERVER4) for _ in range(8)]
    yield many
    for reader in many:
        reader.close()


def test_interleaved_transfers_keep_their_own_bytes(readers: list[Reader], content: Content) -> None:
    names = ["exact", "m1", "b513", "text"] * 2
    for reader, name in zip(readers, names, strict=True):
        assert reader.request(name, blksize=1024) is not None
    while not all(reader.done for reader in readers):
        for reader in readers:
            if not reader.done:
                reader.read(3)
    assert [bytes(reader.content) for reader in readers] == [content.files[name] for name in names]
