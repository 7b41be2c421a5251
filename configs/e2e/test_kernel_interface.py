"""`--kernel-interface`: the kernel owns the address and answers everything but TFTP, which stays ours."""

import socket
import threading
from pathlib import Path

from appliance import SERVER4, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from test_clients import fetch


def test_the_kernel_serves_tcp_and_ping_beside_our_tftp(start: Starter, content: Content, tmp_path: Path) -> None:
    site = veth_site()
    # The kernel has this end of the cable too, which it would not have of a NIC: let it answer nothing that comes in there.
    site.server.run("sysctl", "-qw", "net.ipv4.conf.srv0.rp_filter=1", "net.ipv4.conf.srv0.arp_ignore=1")
    server = start(site, "--kernel-interface", "kern0")
    site.server.run("ip", "address", "add", f"{SERVER4}/24", "dev", "kern0")
    site.client.run("ping", "-c", "2", "-W", "2", SERVER4)

    listener = site.server.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((SERVER4, 2222))
    listener.listen()
    listener.settimeout(10)
    heard: list[bytes] = []

    def answer() -> None:
        peer, _ = listener.accept()
        with peer:
            heard.append(peer.recv(100))
            peer.sendall(b"from the kernel")

    kernel_side = threading.Thread(target=answer)
    kernel_side.start()
    with site.client.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
        stream.settimeout(10)
        stream.connect((SERVER4, 2222))
        stream.sendall(b"over TCP")
        assert stream.recv(100) == b"from the kernel"
    kernel_side.join()
    listener.close()
    assert heard == [b"over TCP"]

    local = tmp_path / "got"
    fetch(server, CLIENTS["atftp-1428-w16"](SERVER4, "m1", local), local, content.files["m1"])
    stats = server.ctl("show", "stats")
    assert stats["served"]["request_opened"] == 1
    assert stats["served"]["to_kernel"] > 0 < stats["from_kernel"]
    assert stats["served"]["arp_replied"] == stats["served"]["echo_replied"] == 0, "those are the kernel's"
    assert stats["rx_frames"] == stats["accounted_frames"]
    server.stop()
