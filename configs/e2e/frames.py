"""A host made of one raw socket: builds any frame, right or wrong, and hears and checks what comes back."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import struct
import time
from dataclasses import dataclass, replace

import tftp
from lab import Namespace

_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_AUXDATA, _ETH_P_ALL = 263, 8, 3
_VLAN_VALID = 0x10
IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
BROADCAST = b"\xff" * 6
_ports = itertools.count(20_001)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Udp:
    """A UDP datagram in a frame with every field open to lies; None means "what is right"."""

    source_mac: bytes
    target_mac: bytes
    source: str
    target: str
    sport: int
    dport: int
    payload: bytes
    vlan: int | None = None
    version_ihl: int | None = None
    ip_options: bytes = b""
    total_length: int | None = None
    fragment: int = 0
    ip_checksum: int | None = None
    udp_length: int | None = None
    udp_checksum: int | None = None
    protocol: int = 17
    padding: bytes = b""

    def frame(self) -> bytes:
        """The frame's bytes, from the target MAC on."""
        source, target = ipaddress.ip_address(self.source), ipaddress.ip_address(self.target)
        length = 8 + len(self.payload)
        udp_length = length if self.udp_length is None else self.udp_length
        udp = struct.pack("!HHHH", self.sport, self.dport, udp_length, 0) + self.payload
        tail = (
            struct.pack("!HH", self.protocol, length) if source.version == 4 else struct.pack("!IHBB", length, 0, 0, 17)
        )
        udp_sum = self.udp_checksum
        if udp_sum is None:
            udp_sum = checksum(source.packed + target.packed + tail + udp) or 0xFFFF
        udp = udp[:6] + struct.pack("!H", udp_sum) + udp[8:]
        if source.version == 6:
            ip = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source.packed + target.packed
        else:
            ip = self._ipv4_header(source.packed + target.packed, len(udp))
        link = self.target_mac + self.source_mac
        if self.vlan is not None:
            link += struct.pack("!HH", VLAN, self.vlan)
        return link + struct.pack("!H", IPV4 if source.version == 4 else IPV6) + ip + udp + self.padding

    def _ipv4_header(self, addresses: bytes, udp_len: int) -> bytes:
        header_len = 20 + len(self.ip_options)
        first = 0x40 | header_len // 4 if self.version_ihl is None else self.version_ihl
        total = header_len + udp_len if self.total_length is None else self.total_length
        fixed = struct.pack("!BBHHHBBH", first, 0, total, 7, self.fragment, 64, self.protocol, 0)
        header = fixed + addresses + self.ip_options
        right = checksum(header)
        return header[:10] + struct.pack("!H", right if self.ip_checksum is None else self.ip_checksum) + header[12:]


@dataclass(frozen=True)
class Heard:
    """A UDP datagram that came back, its checksums verified."""

    source_mac: bytes
    source: str
    target: str
    sport: int
    dport: int
    payload: bytes
    vlan: int | None

    @property
    def packet(self) -> tftp.Packet:
        """The TFTP packet in it."""
        return tftp.Packet.parse(self.payload)


class RawHost:
    """Speaks for any address on its link; answers ARP for those that it has used, as ordinary servers need it."""

    def __init__(self, ns: Namespace, link: str, server: str, address: str = "10.99.0.50") -> None:
        self.socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        # A flood's answers must not push out the one that is waited for.
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self.socket.bind((link, _ETH_P_ALL))
        self.mac = self.socket.getsockname()[4]
        self.server, self.address = server, address
        self.vlan: int | None = None
        self._mine = {address}
        self.server_mac = self._resolve()

    def port(self) -> int:
        """A source port that no test has used yet, so that a late answer to one test is not another's."""
        return next(_ports)

    def udp(self, payload: bytes, sport: int, dport: int = tftp.PORT, source: str | None = None) -> Udp:
        """A right datagram to the server, to be sent as it is or changed with `replace`."""
        source = source or self.address
        self._mine.add(source)
        return Udp(self.mac, self.server_mac, source, self.server, sport, dport, payload, vlan=self.vlan)

    def send(self, what: Udp | bytes) -> None:
        """Puts a frame on the wire."""
        self.socket.send(what.frame() if isinstance(what, Udp) else what)

    def hear(self, dport: int, timeout: float = 1.0) -> Heard | None:
        """The next UDP datagram to our port `dport`; None after `timeout` seconds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            frame = self._frame(left)
            heard = self._udp(*frame) if frame else None
            if heard and heard.dport == dport:
                return heard
        return None

    def forget(self) -> None:
        """Throws away what came so far, such as the answers to a flood."""
        self.socket.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                self.socket.recv(64)

    def arp_request(self, target: str, source: str | None = None) -> bytes:
        """A broadcast question for `target`'s MAC."""
        return self._arp(1, BROADCAST, bytes(6), target, source or self.address)

    def fetch(self, name: str, source: str | None = None, **options: int) -> bytes:
        """A whole transfer in lock step; checks that TID, MAC, address and VLAN stay the same (rule e)."""
        port, block, content = self.port(), 0, b""
        self.send(self.udp(tftp.rrq(name, "octet", tftp.RRQ, **options), port, source=source))
        first = heard = self._must_hear(port)
        blksize = int(heard.packet.options.get("blksize", 512))
        while True:
            key = (heard.source_mac, heard.source, heard.sport, heard.vlan)
            assert key == (first.source_mac, first.source, first.sport, first.vlan)
            packet = heard.packet
            assert packet.opcode != tftp.ERROR, packet
            if packet.opcode == tftp.DATA and packet.number == (block + 1) & 0xFFFF:
                block, content = block + 1, content + packet.data
            self.send(self.udp(tftp.ack(block), port, first.sport, source))
            if packet.opcode == tftp.DATA and len(packet.data) < blksize:
                return content
            heard = self._must_hear(port)

    def close(self) -> None:
        """Closes the socket."""
        self.socket.close()

    def _must_hear(self, port: int) -> Heard:
        heard = self.hear(port, 3.0)
        assert heard is not None, "no answer"
        return heard

    def _resolve(self) -> bytes:
        for _ in range(10):
            self.send(self.arp_request(self.server))
            end = time.monotonic() + 0.5
            while (left := end - time.monotonic()) > 0:
                frame = self._frame(left)
                if frame and frame[0][12:14] == b"\x08\x06" and frame[0][20:22] == b"\0\2":
                    return frame[0][22:28]
        raise AssertionError(f"{self.server} does not answer ARP")

    def _frame(self, timeout: float) -> tuple[bytes, int | None] | None:
        """The next received frame and its VLAN identifier (the kernel moves the tag out of the bytes)."""
        self.socket.settimeout(timeout)
        try:
            raw, extra, _, address = self.socket.recvmsg(65536, 256)
        except TimeoutError:
            return None
        if address[2] == socket.PACKET_OUTGOING:
            return None
        vlan = None
        for level, kind, data in extra:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data)
                vlan = tci & 0xFFF if status & _VLAN_VALID else None
        self._answer_arp(raw)
        return raw, vlan

    def _answer_arp(self, raw: bytes) -> None:
        if raw[12:14] != b"\x08\x06" or raw[20:22] != b"\0\1":
            return
        asked, asker = str(ipaddress.IPv4Address(raw[38:42])), str(ipaddress.IPv4Address(raw[28:32]))
        if asked in self._mine and asker == self.server:
            self.send(self._arp(2, raw[6:12], raw[22:28], asker, asked))

    def _arp(self, operation: int, to: bytes, target_mac: bytes, target: str, source: str) -> bytes:
        body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + self.mac + ipaddress.ip_address(source).packed
        return to + self.mac + struct.pack("!H", ARP) + body + target_mac + ipaddress.ip_address(target).packed

    def _udp(self, raw: bytes, vlan: int | None) -> Heard | None:
        kind = raw[12:14]
        if kind == b"\x08\0" and raw[14] >> 4 == 4 and raw[23] == 17:
            ip_len, total = (raw[14] & 15) * 4, struct.unpack("!H", raw[16:18])[0]
            assert checksum(raw[14 : 14 + ip_len]) == 0, "wrong IPv4 header checksum"
            source, target = raw[26:30], raw[30:34]
            udp = raw[14 + ip_len : 14 + total]
            pseudo = source + target + struct.pack("!HH", 17, len(udp))
        elif kind == b"\x86\xdd" and raw[20] == 17:
            source, target = raw[22:38], raw[38:54]
            udp = raw[54 : 54 + struct.unpack("!H", raw[18:20])[0]]
            pseudo = source + target + struct.pack("!IHBB", len(udp), 0, 0, 17)
        else:
            return None
        sport, dport, length, udp_sum = struct.unpack("!HHHH", udp[:8])
        assert length == len(udp), "UDP length and IP length differ"
        assert udp_sum == 0 or checksum(pseudo + udp) == 0, "wrong UDP checksum"
        assert raw[:6] == self.mac, f"sent to {raw[:6].hex(':')}, which is not our MAC"
        addresses = [str(ipaddress.ip_address(part)) for part in (source, target)]
        return Heard(raw[6:12], addresses[0], addresses[1], sport, dport, udp[8:], vlan)


def unreachable(about: Udp, quoted: bytes) -> bytes:
    """An ICMP port unreachable from `about`'s source that quotes the IPv4 packet `quoted`."""
    body = struct.pack("!BBHI", 3, 3, 0, 0) + quoted[:28]
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    whole = replace(about, payload=b"", protocol=1).frame()
    header = bytearray(whole[14:34])
    header[2:4] = struct.pack("!H", 20 + len(body))
    header[10:12] = b"\0\0"
    header[10:12] = struct.pack("!H", checksum(bytes(header)))
    return whole[:14] + bytes(header) + body
