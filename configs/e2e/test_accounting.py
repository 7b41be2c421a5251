"""Every received frame ends in exactly one counter, and the counters agree with what the port received."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from appliance import SERVER4, SERVER6, Server, tap_site, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from frames import RawHost
from lab import wait_for
from test_clients import fetch
from tftp import Reader, ack, rrq

CLIENT_KINDS = ["tftp-hpa", "atftp-1428-w16", "curl"]


def settled(server: Server) -> dict[str, Any]:
    """`show stats` once the wire is quiet: two equal readings in a row."""
    previous: list[Any] = [None]

    def equal() -> dict[str, Any] | None:
        now = server.ctl("show", "stats")
        same = previous[0] == now["rx_frames"]
        previous[0] = now["rx_frames"]
        return now if same else None

    return wait_for("no more frames arrive", equal, timeout=10, pause=0.3)


def bad_traffic(host: RawHost) -> int:
    """Frames of many wrong kinds; how many."""
    right = host.udp(rrq("one"), host.port())
    frames = [right.frame()[:length] for length in range(14, 60, 3)]
    frames += [host.udp(payload, host.port()).frame() for payload in (b"", b"\0", rrq("nothing"), rrq("../x"), ack(3))]
    frames += [host.udp(b"x", host.port(), dport).frame() for dport in (1, 53, 50_000, 65_535)]
    frames += [b"\xff" * 6 + host.mac + b"\x88\xcc" + bytes(50), bytes(60), b"\xff" * 60]
    for frame in frames:
        host.send(frame)
    return len(frames)


@pytest.mark.parametrize("network", ["veth", "tap"])
@pytest.mark.parametrize("lcores", ["0-1", "0@0,1@1,2@1"])
def test_frames_in_are_frames_accounted_for(
    start: Starter, content: Content, tmp_path: Path, network: str, lcores: str
) -> None:
    site = tap_site() if network == "tap" else veth_site()
    server = start(site, lcores=lcores)
    for client in CLIENT_KINDS:
        local = tmp_path / client
        fetch(server, CLIENTS[client](SERVER4, "m1", local), local, content.files["m1"])
    server.site.client.run("ping", "-n", "-c", "3", "-i", "0.05", SERVER6)
    with Reader(site.client, SERVER4) as gives_up:
        gives_up.request("m1")
    host = RawHost(site.client, site.link, SERVER4, "10.99.0.60")
    bad = bad_traffic(host)
    host.close()
    stats = settled(server)
    served, dropped = sum(stats["served"].values()), sum(stats["dropped"].values())
    received = sum(port["rx_packets"] for port in stats["ports"])
    assert stats["rx_frames"] == stats["accounted_frames"] == served + dropped == received, stats
    # Two of them are answered, and a veth does not pass every stump on.
    assert dropped >= bad - 4, stats
    assert served > 1_000_000 // 1428 // 16, stats
    server.stop()
