"""One NIC for everything: DHCP, SSH, TCP, ping, ARP and ND by the kernel through `--kernel-interface`, at the address at which bypassd
serves TFTP, at the same time; and a flood of frames for the kernel, which must not cost those who are served."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import CLIENT4, CLIENT6, SERVER4, SERVER6, Server, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from lab import run, wait_for
from test_accounting import settled
from test_clients import fetch

KERNEL = "kern0"
BULK = random.Random(22).randbytes(8_000_000)
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@pytest.fixture
def one_nic(start: Starter) -> Server:
    """A server with one link, beside its kernel; the client's link is up and has no address yet."""
    site = veth_site(addressed=False)
    # Of a NIC bound to DPDK the kernel would see nothing; of this end of a cable it sees all, and must take none of it as its own.
    site.server.run("sysctl", "-qw", "net.ipv4.conf.srv0.rp_filter=1", "net.ipv4.conf.srv0.arp_ignore=8")
    server = start(site, "--kernel-interface", KERNEL)
    site.server.run("sysctl", "-qw", f"net.ipv6.conf.{KERNEL}.accept_dad=0")
    site.server.run("ip", "address", "add", f"{SERVER4}/24", "dev", KERNEL)
    site.server.run("ip", "address", "add", f"{SERVER6}/64", "dev", KERNEL, "nodad")
    site.server.run("ip", "link", "set", KERNEL, "up")
    return server


@pytest.fixture
def addressed(one_nic: Server) -> Server:
    """The same with a client that has its addresses."""
    client = one_nic.site.client
    client.run("sysctl", "-qw", "net.ipv6.conf.cli0.disable_ipv6=0")
    client.run("ip", "address", "add", f"{CLIENT4}/24", "dev", "cli0")
    client.run("ip", "address", "add", f"{CLIENT6}/64", "dev", "cli0", "nodad")
    return one_nic


@contextlib.contextmanager
def running(server: Server, *argv: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program on the server's side, ended afterwards."""
    with log.open("w") as out:
        process = subprocess.Popen(
            server.site.server.argv(*argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


LEASE_SCRIPT = """#!/bin/sh
# udhcpc tells what it got in the environment.
[ "$1" = bound ] || exit 0
ip address flush dev "$interface"
ip address add "$ip/$mask" dev "$interface"
echo "$ip $serverid $siaddr $boot_file" >"$LEASE"
"""


@pytest.mark.parametrize("reply", ["unicast", "broadcast"])
def test_a_client_boots_by_dhcp_and_tftp_from_one_address(
    one_nic: Server, content: Content, tmp_path: Path, reply: str
) -> None:
    """dnsmasq gives the address and the name of the boot file, bypassd the file, over one cable."""
    script, lease = tmp_path / "lease.sh", tmp_path / "lease"
    script.write_text(LEASE_SCRIPT)
    script.chmod(0o755)
    dnsmasq = ["dnsmasq", "-k", "--port=0", "-C/dev/null", "-uroot", f"--interface={KERNEL}", "--bind-interfaces"]
    dnsmasq += ["--pid-file=", f"--dhcp-leasefile={tmp_path}/leases", "--log-facility=-", "--log-dhcp"]
    dnsmasq += ["--dhcp-range=10.99.0.100,10.99.0.150,255.255.255.0,1h", f"--dhcp-boot=m1,,{SERVER4}"]
    log = tmp_path / "dnsmasq.log"
    with running(one_nic, *dnsmasq, log=log):
        wait_for("dnsmasq is ready", lambda: "DHCP, IP range" in log.read_text())
        client = ["env", f"LEASE={lease}", "busybox", "udhcpc", "-f", "-q", "-n", "-t", "8", "-T", "1", "-i", "cli0"]
        client += ["-s", str(script)] + (["-B"] if reply == "broadcast" else [])
        done = one_nic.site.client.run(*client, timeout=40, check=False)
        assert done.returncode == 0 and lease.exists(), f"{done.stderr}\n{log.read_text()}\n{one_nic.tail()}"
    address, server_id, next_server, boot_file = lease.read_text().split()
    assert address.startswith("10.99.0.1") and (server_id, next_server, boot_file) == (SERVER4, SERVER4, "m1")
    local = tmp_path / "got"
    fetch(one_nic, CLIENTS["busybox-1428"](next_server, boot_file, local), local, content.files["m1"])
    one_nic.site.client.run("ping", "-c", "2", "-W", "2", SERVER4)
    stats = settled(one_nic)
    assert stats["to_kernel"] >= 4 and stats["from_kernel"] >= 4, "offer, acknowledgement, ARP, ping"
    assert stats["transfers"]["done"] == 1 and stats["served"]["arp_replied"] == stats["served"]["echo_replied"] == 0
    assert stats["rx_frames"] == stats["accounted_frames"]
    one_nic.stop()


def test_arp_ping_nd_and_multicast_are_the_kernels(addressed: Server) -> None:
    client, host = addressed.site.client, addressed.site.server
    client.run("arping", "-c", "2", "-w", "5", "-I", "cli0", SERVER4)
    client.run("ping", "-c", "2", "-W", "2", SERVER4)
    client.run("ping", "-6", "-c", "2", "-W", "2", SERVER6)  # behind a multicast neighbour solicitation
    group = "239.9.9.9"
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard, client.socket(socket.AF_INET, socket.SOCK_DGRAM) as says:
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, KERNEL.encode())
        heard.bind(("", 9999))
        mine = socket.inet_aton(group) + socket.inet_aton(SERVER4)
        heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mine)
        heard.settimeout(5)
        says.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENT4))
        says.sendto(b"to a group", (group, 9999))
        assert heard.recv(100) == b"to a group"
        says.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        says.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"cli0")
        says.sendto(b"to all", ("255.255.255.255", 9999))
        assert heard.recv(100) == b"to all"
    served = settled(addressed)["served"]
    assert served["arp_replied"] == served["nd_replied"] == served["echo_replied"] == 0 < served["to_kernel"]
    addressed.stop()


def exchange(server: Server) -> None:
    """8 MB over TCP from the client to the server's kernel and back, as they were."""
    with server.site.server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((SERVER4, 2222))
        listener.listen()
        listener.settimeout(30)

        def echo() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(60)
                whole = b"".join(iter(lambda: peer.recv(65536), b""))
                peer.sendall(whole)

        kernel = threading.Thread(target=echo)
        kernel.start()
        with server.site.client.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
            stream.settimeout(60)
            stream.connect((SERVER4, 2222))
            stream.sendall(BULK)
            stream.shutdown(socket.SHUT_WR)
            back = b"".join(iter(lambda: stream.recv(65536), b""))
        kernel.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(BULK).digest()


def test_tcp_goes_on_beside_transfers(addressed: Server, content: Content, tmp_path: Path) -> None:
    clients = {"tftp-hpa": "exact", "atftp-1428-w16": "m40", "curl-1428": "m1", "busybox": "k200"}
    failed: list[BaseException] = []

    def one(name: str) -> None:
        try:
            for turn in range(3 if clients[name] != "m40" else 1):
                local = tmp_path / f"{name}-{turn}"
                fetch(addressed, CLIENTS[name](SERVER4, clients[name], local), local, content.files[clients[name]])
        except BaseException as error:  # noqa: BLE001  (a thread's failure is the test's)
            failed.append(error)

    threads = [threading.Thread(target=one, args=(name,)) for name in clients]
    for thread in threads:
        thread.start()
    exchange(addressed)
    for thread in threads:
        thread.join()
    assert not failed, failed
    stats = settled(addressed)
    assert stats["transfers"]["done"] + stats["transfers"]["unconfirmed"] == 10
    # Whole TCP segments went both ways, not a few frames.
    assert min(stats["to_kernel"], stats["from_kernel"]) > len(BULK) // 65_536
    assert stats["rx_frames"] == stats["accounted_frames"]
    addressed.stop()


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed (apt install openssh-server)")
def test_ssh_goes_on(addressed: Server, tmp_path: Path) -> None:
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key))
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    config = {"ListenAddress": SERVER4, "HostKey": tmp_path / "host", "AuthorizedKeysFile": tmp_path / "authorized"}
    config |= {"StrictModes": "no", "UsePAM": "no", "PidFile": "none", "PermitRootLogin": "prohibit-password"}
    (tmp_path / "config").write_text("".join(f"{key} {value}\n" for key, value in config.items()))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = tmp_path / "sshd.log"
    with running(addressed, str(SSHD), "-D", "-e", "-f", str(tmp_path / "config"), log=log):
        wait_for("sshd listens", lambda: "Server listening" in log.read_text())
        ssh = ["ssh", "-i", str(tmp_path / "user"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", f"UserKnownHostsFile={tmp_path}/known", f"root@{SERVER4}", "sha256sum"]
        done = subprocess.run(addressed.site.client.argv(*ssh), input=BULK, capture_output=True, timeout=60)
    said = f"{done.stderr.decode()}\n{log.read_text()}"
    assert done.returncode == 0 and done.stdout.split()[0].decode() == hashlib.sha256(BULK).hexdigest(), said
    addressed.stop()


FLOOD = """
import signal, socket, sys, time
link, seconds, frame = sys.argv[1], float(sys.argv[2]), bytes.fromhex(sys.argv[3])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((link, 0))
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
print("begins", flush=True)
end, sent = time.monotonic() + seconds, 0
while time.monotonic() < end and not told:
    for _ in range(64):
        try:
            out.send(frame)
            sent += 1
        except OSError:
            pass  # the link's queue is full
print(sent)
"""


def not_ours(server: Server) -> bytes:
    """A TCP segment to the server that belongs to no connection and is answered by nobody: RST."""
    mac = server.ctl("show", "port", "stats", "all")["ports"][0]["mac"]
    link = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000099") + b"\x08\x00"
    body = struct.pack("!HHIIBBHHH", 4000, 22, 1, 0, 0x50, 0x04, 0, 0, 0) + bytes(6)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 7, 0, 64, 6, 0, socket.inet_aton(CLIENT4), socket.inet_aton(SERVER4))
    words = struct.unpack("!10H", header)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return link + header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:] + body


def test_a_flood_for_the_kernel_does_not_cost_a_transfer(addressed: Server, content: Content, tmp_path: Path) -> None:
    local = tmp_path / "got"
    argv = CLIENTS["atftp-1428-w16"](SERVER4, "m40", local)

    def timed() -> float:
        local.unlink(missing_ok=True)
        begin = time.monotonic()
        fetch(addressed, argv, local, content.files["m40"])
        return time.monotonic() - begin

    quiet = min(timed() for _ in range(2))
    before = addressed.ctl("show", "stats")
    flood = [sys.executable, "-c", FLOOD, "cli0", "60", not_ours(addressed).hex()]
    with subprocess.Popen(addressed.site.client.argv(*flood), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begins\n"
        try:
            loud = timed()
            assert process.poll() is None, "the flood lasted longer than the transfer"
        finally:
            process.terminate()
        sent = int(process.communicate(timeout=30)[0])
    stats = settled(addressed)
    given = stats["served"]["to_kernel"] - before["served"]["to_kernel"]
    full = stats["dropped"]["kernel_full"] - before["dropped"]["kernel_full"]
    lost = stats["kernel_lost"] - before["kernel_lost"]
    missed = sum(port["rx_missed"] for port in stats["ports"])
    print(f"quiet {quiet:.2f} s, beside {sent} frames {loud:.2f} s; given {given}, ring full {full}, interface full {lost}")
    # The flood's sender, the client and the links' own work take CPU time from the worker, too; a machine may have two cores only.
    assert loud < 10 * quiet + 5
    assert full > 0, "what was too much was dropped at the ring, and counted"
    # A NIC would count the rest as missed; the ring of net_af_packet is the kernel's, and DPDK is not told what it had no room for.
    assert given + full + missed <= sent + 200, "nothing was counted twice"
    assert stats["served"]["to_kernel"] - stats["to_kernel"] - stats["kernel_lost"] == 0, "none is left in between"
    assert stats["rx_frames"] == stats["accounted_frames"]
    # Afterwards the kernel has its interface again.
    addressed.site.client.run("ping", "-c", "2", "-W", "2", SERVER4)
    addressed.stop()
