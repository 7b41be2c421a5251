"""TFTP packets, and a client over a kernel UDP socket that goes exactly as fast and as far as the test says."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from lab import Namespace

RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6
PORT = 69


@dataclass(frozen=True)
class Packet:
    """A TFTP packet taken apart: `number` is the block or the error code."""

    opcode: int
    number: int = 0
    data: bytes = b""
    options: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(raw: bytes) -> Packet:
        """Strict: what a picky boot ROM would refuse raises `ValueError`."""
        if len(raw) < 4 and raw[:2] != b"\0\6":
            raise ValueError(f"short packet {raw!r}")
        opcode, number = struct.unpack("!H", raw[:2])[0], 0
        if opcode == OACK:
            parts = raw[2:].split(b"\0")
            if parts.pop() != b"" or len(parts) % 2 or not parts:
                raise ValueError(f"padding or a missing NUL in OACK {raw!r}")
            text = [part.decode("ascii") for part in parts]
            return Packet(opcode, options=dict(zip(text[::2], text[1::2], strict=True)))
        number = struct.unpack("!H", raw[2:4])[0]
        if opcode == ERROR and (raw[-1:] != b"\0" or raw.count(b"\0", 4) != 1):
            raise ValueError(f"ERROR text without its NUL {raw!r}")
        return Packet(opcode, number, raw[4:])


def rrq(name: str | bytes, mode: str = "octet", opcode: int = RRQ, **options: object) -> bytes:
    """A read request; options in the given order."""
    parts = [name if isinstance(name, bytes) else name.encode(), mode.encode()]
    for key, value in options.items():
        parts += [key.encode(), str(value).encode()]
    return struct.pack("!H", opcode) + b"".join(part + b"\0" for part in parts)


def ack(block: int) -> bytes:
    """An acknowledgement of block `block` (taken modulo 65536)."""
    return struct.pack("!HH", ACK, block & 0xFFFF)


def error(code: int, text: bytes = b"stop\0") -> bytes:
    """An ERROR; `text` goes out as it is."""
    return struct.pack("!HH", ERROR, code) + text


def netascii(content: bytes) -> bytes:
    """The model: RFC 764's end of line (RFC 1350 section 1): LF is CR LF, CR is CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


class Reader:
    """One transfer, in lock step, from a namespace. Nothing happens between calls: a test can stop in the middle."""

    def __init__(self, ns: Namespace, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.socket = ns.socket(family, socket.SOCK_DGRAM)
        self.server = server
        self.peer: Any = None
        self.blksize, self.block = 512, 0
        self.content, self.done = bytearray(), False

    def request(self, name: str, mode: str = "octet", timeout: float = 2.0, **options: object) -> Packet | None:
        """Sends a request; the first answer (its first DATA is kept), or None when there was none."""
        self.socket.sendto(rrq(name, mode, **options), (self.server, PORT))
        packet = self.receive(timeout)
        if packet and packet.opcode == OACK:
            self.blksize = int(packet.options.get("blksize", 512))
        elif packet and packet.opcode == DATA:
            self._take(packet)
        return packet

    def receive(self, timeout: float = 2.0) -> Packet | None:
        """The next packet from the server's TID, or None."""
        self.socket.settimeout(timeout)
        try:
            raw, peer = self.socket.recvfrom(65536)
        except TimeoutError:
            return None
        self.peer = self.peer or peer
        assert peer == self.peer, f"the TID changed from {self.peer} to {peer}"
        return Packet.parse(raw)

    def _take(self, packet: Packet) -> None:
        if packet.opcode != DATA:
            raise AssertionError(f"DATA expected, got {packet}")
        if packet.number != (self.block + 1) & 0xFFFF:
            return  # a repeat
        self.block += 1
        self.content += packet.data
        self.done = len(packet.data) < self.blksize

    def read(self, blocks: int | None = None) -> bytes:
        """Acknowledges and takes `blocks` more blocks (None: to the end, with the last ACK); the content so far."""
        target = None if blocks is None else self.block + blocks
        tries = 0
        while not self.done and (target is None or self.block < target):
            self.socket.sendto(ack(self.block), self.peer)
            before, packet = self.block, self.receive(1.0)
            if packet is not None:
                self._take(packet)
            tries = 0 if self.block > before else tries + 1
            assert tries < 6, f"no progress after block {self.block}"
        if self.done:
            self.socket.sendto(ack(self.block), self.peer)
        return bytes(self.content)

    def close(self) -> None:
        """Closes the socket without a word to the server."""
        self.socket.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
