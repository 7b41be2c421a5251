"""The rows of hostile-input.md over a real port, with raw frames. The row's number begins each test's identity.

A row that drops is answered by silence, and `bypassctl show drops` has exactly one more frame per frame sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import tftp
from appliance import SERVER4, SERVER6, Server
from conftest import Content
from content import LONGEST_NAME
from frames import Heard, RawHost, Udp, unreachable
from lab import wait_for
from tftp import DATA, ERROR, OACK, RRQ, WRQ, ack, error, rrq

SILENCE = 0.15
DROP, SERVE, SERVE_OR_E4 = "drop", "serve", "serve or E4"


@dataclass(frozen=True)
class E:
    """An ERROR with this code is the answer."""

    code: int


def oack(**options: object) -> dict[str, str]:
    """Exactly these options are the answer."""
    return {key: str(value) for key, value in options.items()}


def op(code: int, rest: bytes = b"") -> bytes:
    """A packet with any opcode."""
    return code.to_bytes(2, "big") + rest


PORT_69: list[tuple[str, bytes, Any]] = [
    ("01-empty", b"", DROP),
    ("01-one-byte", b"\0", DROP),
    ("01-opcode-only", op(RRQ), DROP),
    ("02-opcode-0", op(0, b"one\0octet\0"), DROP),
    ("02-opcode-7", op(7, b"one\0octet\0"), DROP),
    ("02-opcode-65535", op(65535, b"one\0octet\0"), DROP),
    ("02-data", op(DATA, b"\0\1xyz"), DROP),
    ("02-ack", ack(0), DROP),
    ("02-error", error(0), DROP),
    ("02-oack", op(OACK, b"blksize\x00512\0"), DROP),
    ("04-wrq", rrq("one", opcode=WRQ), E(2)),
    ("04-wrq-new-file", rrq("new", opcode=WRQ, tsize=12), E(2)),
    ("04-wrq-malformed", op(WRQ, b"abc"), E(2)),
    ("05-no-nul", op(RRQ, b"one"), E(4)),
    ("05-no-mode", op(RRQ, b"one\0"), E(4)),
    ("05-mode-without-nul", op(RRQ, b"one\0octet"), E(4)),
    ("06-empty-name", rrq(""), E(4)),
    ("06-empty-mode", rrq("one", ""), E(4)),
    ("06-mail", rrq("one", "mail"), E(4)),
    ("06-unknown-mode", rrq("one", "binary"), E(4)),
    ("07-mixed-case", rrq("b513", "OcTeT"), SERVE),
    ("07-upper-case", rrq("b513", "NETASCII"), SERVE),
    ("08-name-too-long", rrq("b513" + "x" * (LONGEST_NAME + 1)), E(1)),
    ("08-path-too-long", rrq("x/" * 220 + "b513"), E(1)),
    ("09-percent-n", rrq("%n%n%s"), E(1)),
    ("09-control-bytes", rrq(b"one\x01\x1b[2J\n"), E(1)),
    ("09-garbage-0xff", rrq(b"b513\xff"), E(1)),
    ("10-dot-dot", rrq("../outside"), E(2)),
    ("10-dot-dot-inside", rrq("boot/../../outside"), E(2)),
    ("10-dot-dot-backslash", rrq("..\\outside"), E(2)),
    ("10-drive", rrq("C:\\one"), E(2)),
    ("11-directory", rrq("boot"), E(2)),
    ("11-fifo", rrq("fifo"), E(2)),
    ("11-device", rrq("device"), E(2)),
    ("11-symlink-out", rrq("leak"), E(2)),
    ("11-not-readable", rrq("secret"), E(2)),
    ("11-symlink-inside", rrq("inside"), SERVE),
    ("12-not-there", rrq("nothing"), E(1)),
    ("13-empty-file", rrq("empty"), SERVE),
    ("13-empty-file-tsize", rrq("empty", tsize=0), oack(tsize=0)),
    ("l-backslash", rrq("\\boot\\config"), SERVE),
    ("l-separators", rrq("//boot///config"), SERVE),
    ("l-dot", rrq("./boot/config"), SERVE),
    ("15-no-value", rrq("b513") + b"blksize\0", SERVE),
    ("15-unknown", rrq("b513", frobnicate=1), SERVE),
    ("15-empty-value", rrq("b513", blksize=""), SERVE),
    ("15-unknown-and-known", rrq("b513", frobnicate=1, tsize=0), oack(tsize=513)),
    ("16-value-without-nul", rrq("b513") + b"blksize\x001024", E(4)),
    *(
        (f"17-blksize-{value or 'empty'}", rrq("b513", blksize=value), SERVE)
        for value in ["0", "1", "7", "-512", "0x200", "junk", ""]
    ),
    ("17-blksize-30-digits", rrq("b513", blksize="9" * 30), SERVE),
    ("18-blksize-8", rrq("b513", blksize=8), oack(blksize=8)),
    ("18-blksize-1468", rrq("b513", blksize=1468), oack(blksize=1468)),
    ("18-blksize-1469", rrq("b513", blksize=1469), oack(blksize=1468)),
    ("18-blksize-65464", rrq("b513", blksize=65464), oack(blksize=1468)),
    ("18-blksize-65465", rrq("b513", blksize=65465), oack(blksize=1468)),
    *((f"19-timeout-{value}", rrq("b513", timeout=value), SERVE) for value in ["0", "256", "junk"]),
    ("19-timeout-255", rrq("b513", timeout=255), oack(timeout=255)),
    *((f"20-windowsize-{value}", rrq("b513", windowsize=value), SERVE) for value in ["0", "junk"]),
    ("20-windowsize-65535", rrq("b513", windowsize=65535), oack(windowsize=64)),
    ("21-tsize-junk", rrq("b513", tsize="junk"), SERVE),
    ("21-tsize-number", rrq("b513", tsize=12345), oack(tsize=513)),
    ("22-tsize-netascii", rrq("b513", "netascii", tsize=0), SERVE),
    ("23-multicast", rrq("b513", multicast=""), SERVE),
    ("23-msftwindow", rrq("b513", msftwindow=31416), SERVE),
    ("23-utimeout", rrq("b513", utimeout=1000), SERVE),
    (
        "23-windows",
        rrq("b513", tsize=0, blksize=1456, windowsize=4, msftwindow=31416),
        oack(tsize=513, blksize=1456, windowsize=4),
    ),
    ("24-100-options", rrq("b513", **{f"o{n}": n for n in range(100)}), SERVE_OR_E4),
    ("24-1400-bytes", rrq("b513", junk="x" * 1380), SERVE_OR_E4),
    ("b-asked-order", rrq("b513", windowsize=2, tsize=0, blksize=100), oack(windowsize=2, tsize=513, blksize=100)),
    ("b-once-each", rrq("b513", blksize=100) + b"blksize\x00200\0", oack(blksize=100)),
]

_subnets = itertools.count(1)


def fresh_source() -> str:
    """An address in a subnet of its own, so that one row's error budget is not another's."""
    number = next(_subnets)
    return f"10.{100 + number // 250}.{number % 250}.7"


@contextmanager
def counted_as_drops(server: Server, frames: int) -> Iterator[None]:
    """What is sent inside is dropped: `frames` frames, each under one reason."""
    if server.kind != "bypassd":
        yield
        return
    before = sum(server.drops().values())
    yield
    wait_for(f"{frames} more drops", lambda: sum(server.drops().values()) - before >= frames, timeout=3)
    assert sum(server.drops().values()) - before == frames
    shown = server.ctl("show", "drops")
    assert shown["total"] == sum(drop["count"] for drop in shown["drops"]) == before + frames, shown


def check_answer(heard: Heard | None, answer: Any) -> None:
    """Holds the first answer against what the row says."""
    if answer == DROP:
        assert heard is None, f"not silent: {heard}"
        return
    assert heard is not None, "no answer"
    packet = heard.packet
    assert heard.sport != tftp.PORT, "answered from port 69, not from a TID"
    if isinstance(answer, E):
        assert (packet.opcode, packet.number) == (ERROR, answer.code), packet
    elif isinstance(answer, dict):
        assert packet.opcode == OACK and list(packet.options.items()) == list(answer.items()), packet
    elif answer == SERVE_OR_E4:
        assert packet.opcode in (DATA, OACK) or (packet.opcode, packet.number) == (ERROR, 4), packet
    else:
        assert (packet.opcode, packet.number) == (DATA, 1), packet


def ask(raw: RawHost, what: Udp, answer: Any) -> None:
    """Sends a frame to port 69, checks the answer, and aborts the session if there is one."""
    raw.send(what)
    heard = raw.hear(what.sport, SILENCE if answer == DROP else 1.0)
    if heard is not None and heard.packet.opcode != ERROR:
        raw.send(replace(raw.udp(error(0), what.sport, heard.sport), source=what.source))
    check_answer(heard, answer)


@pytest.mark.parametrize(("payload", "answer"), [pytest.param(*row[1:], id=row[0]) for row in PORT_69])
def test_port_69(raw: RawHost, quiet_server: Server, payload: bytes, answer: Any) -> None:
    with counted_as_drops(quiet_server, 1) if answer == DROP else nullcontext():
        ask(raw, raw.udp(payload, raw.port(), source=fresh_source()), answer)


@pytest.mark.parametrize("sport", [pytest.param(0, id="03-source-port-0"), pytest.param(69, id="03-source-port-69")])
def test_source_port(raw: RawHost, quiet_server: Server, sport: int) -> None:
    with counted_as_drops(quiet_server, 1):
        ask(raw, raw.udp(rrq("one"), sport), DROP)


SOURCES = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", SERVER4]


@pytest.mark.parametrize("source", [pytest.param(source, id=f"14-{source}") for source in SOURCES])
def test_source_address(raw: RawHost, quiet_server: Server, source: str) -> None:
    with counted_as_drops(quiet_server, 1):
        ask(raw, replace(raw.udp(rrq("one"), raw.port()), source=source), DROP)


# In a session


@dataclass
class Session:
    """A transfer whose block 1 has come, unacknowledged."""

    raw: RawHost
    port: int
    tid: int
    source: str

    def say(self, payload: bytes) -> Udp:
        """Sends to the TID."""
        what = self.raw.udp(payload, self.port, self.tid, self.source)
        self.raw.send(what)
        return what

    def blocks(self, seconds: float = SILENCE) -> list[int]:
        """The numbers of the DATA blocks that come within `seconds` of each other."""
        numbers = []
        while (heard := self.raw.hear(self.port, seconds)) is not None:
            assert heard.packet.opcode == DATA, heard.packet
            numbers.append(heard.packet.number)
        return numbers

    def goes_on(self, from_block: int) -> None:
        """Acknowledging `from_block` brings the next one."""
        self.say(ack(from_block))
        assert from_block + 1 in self.blocks()

    def is_over(self) -> None:
        """Nothing comes any more, not even for an ACK that would be right."""
        self.blocks(0.05)
        self.say(ack(1))
        assert self.blocks() == []


@pytest.fixture
def session(raw: RawHost) -> Iterator[Session]:
    """A transfer of `m1` at the default block size; aborted at the end."""
    port, source = raw.port(), fresh_source()
    raw.send(raw.udp(rrq("m1"), port, source=source))
    heard = raw.hear(port)
    assert heard is not None and heard.packet.number == 1
    session = Session(raw, port, heard.sport, source)
    yield session
    session.say(error(0))


def test_25_ack_of_a_block_not_yet_sent(session: Session) -> None:
    session.say(ack(7))
    assert set(session.blocks()) <= {1}
    session.goes_on(1)


def test_25_ack_of_an_old_block(session: Session) -> None:
    session.goes_on(1)
    session.goes_on(2)
    session.say(ack(1))
    assert set(session.blocks()) <= {3}
    session.goes_on(3)


def test_26_the_same_ack_1000_times(session: Session, kind: str) -> None:
    session.goes_on(1)
    for _ in range(1000):
        session.say(ack(1))
    repeats = session.blocks()
    assert set(repeats) <= {2}
    assert len(repeats) <= 8 or kind != "bypassd", f"{len(repeats)} repeats"
    session.goes_on(2)


def test_27_ack_with_more_bytes(session: Session) -> None:
    session.say(ack(1) + b"\x10")
    assert 2 in session.blocks()
    session.say(ack(2) + b"x" * 600)
    assert 3 in session.blocks()


@pytest.mark.parametrize("payload", [pytest.param(ack(1)[:size], id=f"28-ack-of-{size}-bytes") for size in (2, 3)])
def test_short_ack(session: Session, quiet_server: Server, payload: bytes) -> None:
    with counted_as_drops(quiet_server, 1):
        session.say(payload)
        assert set(session.blocks()) <= {1}
    session.goes_on(1)


ERRORS = {
    "29-two-bytes": op(ERROR),
    "29-three-bytes": op(ERROR, b"\0"),
    "29-without-nul": error(0, b"text"),
    "29-without-text": error(0, b""),
    "29-long-text": error(0, b"\x1b[31m%n" * 180),
    "c-code-8": error(8),
    "c-code-65535": error(65535),
}


@pytest.mark.parametrize("payload", [pytest.param(value, id=key) for key, value in ERRORS.items()])
def test_error_ends_the_session(session: Session, payload: bytes) -> None:
    session.say(payload)
    session.is_over()


@pytest.mark.parametrize(
    "other", [pytest.param("port", id="30-other-port"), pytest.param("address", id="30-other-address")]
)
def test_stranger(session: Session, raw: RawHost, other: str) -> None:
    port = raw.port() if other == "port" else session.port
    source = session.source if other == "port" else fresh_source()
    raw.send(raw.udp(ack(1), port, session.tid, source))
    answers = []
    while (heard := raw.hear(port, SILENCE)) is not None:
        if heard.target == source and (other == "port" or heard.packet.opcode == ERROR):
            answers.append((heard.sport, heard.packet.opcode, heard.packet.number))
    assert answers == [(session.tid, ERROR, 5)]
    session.goes_on(1)


def test_31_silence_after_oack(raw: RawHost, kind: str) -> None:
    port = raw.port()
    raw.send(raw.udp(rrq("m1", tsize=0), port, source=fresh_source()))
    heard: list[Heard] = []
    while (answer := raw.hear(port, 4.0)) is not None and len(heard) < 10:
        heard.append(answer)
    assert {answer.packet.opcode for answer in heard} == {OACK}
    assert len({answer.sport for answer in heard}) == 1
    assert len(heard) <= 3 or kind != "bypassd"


def test_a_repeated_request_is_answered_from_the_same_tid(raw: RawHost) -> None:
    port, source = raw.port(), fresh_source()
    tids = set()
    for _ in range(3):
        raw.send(raw.udp(rrq("m1"), port, source=source))
        heard = raw.hear(port)
        assert heard is not None and (heard.packet.opcode, heard.packet.number) == (DATA, 1)
        tids.add(heard.sport)
    raw.send(raw.udp(error(0), port, tids.copy().pop(), source))
    assert len(tids) == 1


def test_32_stale_acks_around_the_rollover(raw: RawHost, content: Content) -> None:
    port, source, window, block = raw.port(), fresh_source(), 64, 0
    raw.send(raw.udp(rrq("m1", blksize=8, windowsize=window), port, source=source))
    first = raw.hear(port)
    assert first is not None and first.packet.options == oack(blksize=8, windowsize=window)

    def say(number: int) -> None:
        raw.send(raw.udp(ack(number), port, first.sport, source))

    want = content.files["m1"]
    while block < 65536 + 3 * window:
        say(block)
        if 65536 - window < block < 65536 + window:
            for stale in (65535, 65500, 0, 1, 40000, block - 1, block - window):
                if stale & 0xFFFF != block & 0xFFFF and not 0 <= (stale - block) & 0xFFFF <= window:
                    say(stale)
        end = block + window
        while block < end:
            heard = raw.hear(port, 2.0)
            assert heard is not None, f"stuck at block {block}"
            if heard.packet.number == (block + 1) & 0xFFFF:
                assert heard.packet.data == want[block * 8 : block * 8 + 8]
                block += 1
    raw.send(raw.udp(error(0), port, first.sport, source))


def test_33_port_unreachable_ends_the_session(session: Session, kind: str) -> None:
    if kind != "bypassd":
        pytest.skip("kernel servers do not hear of it on an unconnected socket")
    raw = session.raw
    ours = raw.udp(b"", session.port, session.tid, session.source)
    theirs = replace(
        ours, source=SERVER4, target=session.source, sport=session.tid, dport=session.port, payload=bytes(516)
    )
    raw.send(unreachable(ours, theirs.frame()[14:]))
    session.is_over()


# Below UDP

BAD_FRAMES: dict[str, dict[str, Any]] = {
    "34-ihl-4": {"version_ihl": 0x44},
    "34-ihl-15-beyond-the-packet": {"version_ihl": 0x4F},
    "34-version-5": {"version_ihl": 0x55},
    "34-total-length-beyond-the-frame": {"total_length": 1000},
    "34-total-length-0": {"total_length": 0},
    "34-udp-length-7": {"udp_length": 7},
    "34-udp-length-beyond-ip": {"udp_length": 200},
    "36-ip-checksum": {"ip_checksum": 0x1234},
    "36-udp-checksum": {"udp_checksum": 0x1234},
}
FRAGMENTS: dict[str, dict[str, Any]] = {
    "37-first-fragment": {"fragment": 0x2000},
    "37-later-fragment": {"fragment": 0x0010},
}
GOOD_FRAMES: dict[str, dict[str, Any]] = {
    "35-padding": {"padding": bytes(18)},
    "35-much-padding": {"padding": b"\xff" * 700},
    "36-udp-checksum-0": {"udp_checksum": 0},
    "37-ip-options": {"ip_options": b"\x01" * 12},
}


@pytest.mark.parametrize("lie", [pytest.param(value, id=key) for key, value in BAD_FRAMES.items()])
def test_bad_frame(raw: RawHost, quiet_server: Server, lie: dict[str, Any]) -> None:
    with counted_as_drops(quiet_server, 1):
        ask(raw, replace(raw.udp(rrq("one"), raw.port(), source=fresh_source()), **lie), DROP)


@pytest.mark.parametrize("lie", [pytest.param(value, id=key) for key, value in FRAGMENTS.items()])
def test_fragment(raw: RawHost, lie: dict[str, Any]) -> None:
    """net_af_packet has the kernel reassemble (PACKET_FANOUT_FLAG_DEFRAG): a lone fragment waits there and is never counted."""
    ask(raw, replace(raw.udp(rrq("one"), raw.port(), source=fresh_source()), **lie), DROP)


@pytest.mark.parametrize("oddity", [pytest.param(value, id=key) for key, value in GOOD_FRAMES.items()])
def test_good_frame(raw: RawHost, oddity: dict[str, Any]) -> None:
    ask(raw, replace(raw.udp(rrq("one"), raw.port(), source=fresh_source()), **oddity), SERVE)


@pytest.mark.parametrize(
    ("lie", "answer"),
    [
        pytest.param({}, SERVE, id="36-ipv6-right"),
        pytest.param({"udp_checksum": 0}, DROP, id="36-ipv6-udp-checksum-0"),
        pytest.param({"udp_checksum": 0x1234}, DROP, id="36-ipv6-udp-checksum"),
    ],
)
def test_ipv6_frame(raw: RawHost, quiet_server: Server, kind: str, lie: dict[str, Any], answer: Any) -> None:
    if kind != "bypassd":
        pytest.skip("the raw host answers ARP only")
    what = replace(raw.udp(rrq("one"), raw.port()), source="fd00::50", target=SERVER6, **lie)
    with counted_as_drops(quiet_server, 1) if answer == DROP else nullcontext():
        raw.send(what)
        heard = raw.hear(what.sport, SILENCE if answer == DROP else 1.0)
        check_answer(heard, answer)
    if heard is not None:
        raw.send(replace(what, payload=error(0), dport=heard.sport))


def test_38_a_request_cut_at_every_length(raw: RawHost, quiet_server: Server) -> None:
    what = raw.udp(rrq("one"), raw.port(), source=fresh_source())
    frame = what.frame()
    with counted_as_drops(quiet_server, len(frame) - 14):
        for length in range(14, len(frame)):
            raw.send(frame[:length])
        assert raw.hear(what.sport, SILENCE) is None


@pytest.mark.parametrize(
    "kind_of_frame",
    [pytest.param(0x88CC, id="38-lldp"), pytest.param(0x0003, id="38-802.3"), pytest.param(0xFFFF, id="38-unknown")],
)
def test_foreign_frame(raw: RawHost, quiet_server: Server, kind_of_frame: int) -> None:
    with counted_as_drops(quiet_server, 1):
        raw.send(raw.server_mac + raw.mac + kind_of_frame.to_bytes(2, "big") + bytes(46))


def test_39_arp_lies_in_mid_session(session: Session) -> None:
    raw = session.raw
    liar = b"\x02\0\0\0\0\x99"
    for target in (session.source, SERVER4):
        lie = bytearray(raw.arp_request(target, session.source))
        lie[6:12] = lie[22:28] = liar
        raw.send(bytes(lie))
        lie[20:22] = b"\0\2"
        raw.send(bytes(lie))
    for block in (1, 2, 3):
        session.goes_on(block)  # `hear` asserts that the frame is for our MAC


# Floods


def genuine(raw: RawHost, content: Content) -> None:
    """An honest client from elsewhere gets its file."""
    assert raw.fetch("b513", source=fresh_source(), blksize=100) == content.files["b513"]


def test_40_requests_from_one_address(raw: RawHost, content: Content, kind: str) -> None:
    source = fresh_source()
    for port in range(30_000, 32_000):
        raw.send(raw.udp(rrq("m1"), port, source=source))
    if kind == "bypassd":
        genuine(raw, content)


def test_41_requests_from_forged_addresses(raw: RawHost, session: Session, content: Content, kind: str) -> None:
    for number in range(2000):
        raw.send(raw.udp(rrq("m1"), 2000 + number, source=f"10.200.{number // 250}.{1 + number % 250}"))
    raw.forget()
    if kind == "bypassd":
        session.goes_on(1)
        genuine(raw, content)


def test_42_not_found_flood(raw: RawHost, quiet_server: Server, content: Content, kind: str) -> None:
    if kind != "bypassd":
        pytest.skip("stock servers answer each")
    source, port = fresh_source(), raw.port()
    for _ in range(5000):
        raw.send(raw.udp(rrq("nothing"), port, source=source))
    answers = 0
    while raw.hear(port, SILENCE) is not None:
        answers += 1
    # 1000 in a second, and two seconds' worth at once.
    assert 2000 <= answers < 4000, f"{answers} errors for 5000 requests"
    genuine(raw, content)
