"""`bypassctl` at a terminal: history, completion, mistakes, a daemon that comes and goes, `top` and `trace`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from appliance import BINARIES, CLIENT4, SERVER4, Server, veth_site
from clients import CLIENTS
from conftest import Content, Starter
from test_clients import fetch

PROMPT = "bypassctl> "
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
Terminal = pexpect.spawn
Opener = Callable[..., Terminal]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """`terminal(server, *words)` runs bypassctl in a pseudo-terminal of 40 lines and 120 columns."""
    opened: list[Terminal] = []

    def begin(server: Server, *words: str) -> Terminal:
        child = pexpect.spawn(
            str(BINARIES / "bypassctl"),
            ["--control", str(server.control), *words],
            env={"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "PATH": "/usr/bin:/bin"},
            dimensions=(40, 120),
            timeout=20,
            encoding="utf-8",
        )
        opened.append(child)
        return child

    yield begin
    for child in opened:
        child.close(force=True)


def say(prompt: Terminal, line: str) -> str:
    """Types a line; what comes back up to the next prompt."""
    prompt.sendline(line)
    prompt.expect_exact(PROMPT)
    while "\n" not in str(prompt.before):
        prompt.expect_exact(PROMPT)  # the line that is being typed may be drawn again behind its prompt
    return str(prompt.before)


def at_prompt(terminal: Opener, server: Server) -> Terminal:
    prompt = terminal(server)
    prompt.expect_exact(PROMPT)
    return prompt


def test_words_help_and_mistakes(veth_server: Server, terminal: Opener) -> None:
    prompt = at_prompt(terminal, veth_server)
    assert "busy-%" in say(prompt, "show workers")
    assert "did you mean `show`?" in say(prompt, "shwo workers")
    assert "show port stats all|N" in say(prompt, "help show port")
    assert "a quotation has no end" in say(prompt, "load 'x")
    assert "there is no port 7" in say(prompt, "show port stats 7")
    assert "Rx-pps" not in say(prompt, "show port stats all")
    assert "Rx-pps" in say(prompt, "show port stats all"), "the second show has rates"
    prompt.sendline("quit")
    prompt.expect(pexpect.EOF)
    prompt.close()
    assert prompt.exitstatus == 0


def test_tab_completes_words_and_what_the_daemon_knows(veth_server: Server, terminal: Opener) -> None:
    prompt = at_prompt(terminal, veth_server)
    prompt.send("sh\twor\t\r")
    prompt.expect_exact("busy-%")
    prompt.expect_exact(PROMPT)
    prompt.send("show port stats \t\t")
    prompt.expect(r"all\s+0\b")
    prompt.send("0\r")
    prompt.expect_exact("NIC statistics for port 0")


def test_history_is_kept_and_ctrl_d_ends(veth_server: Server, terminal: Opener, tmp_path: Path) -> None:
    prompt = at_prompt(terminal, veth_server)
    assert "DPDK" in say(prompt, "show version")
    prompt.sendeof()
    prompt.expect(pexpect.EOF)
    prompt.close()
    assert prompt.exitstatus == 0
    history = tmp_path / "bypassd" / "bypassctl_history"
    assert "show version" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
    again = at_prompt(terminal, veth_server)
    again.send("\x1b[A\r")  # up
    again.expect_exact("built with")


def test_it_outlives_the_daemon(start: Starter, terminal: Opener) -> None:
    server = start(veth_site())
    prompt = at_prompt(terminal, server)
    assert "busy-%" in say(prompt, "show workers")
    server.stop()
    assert "there is no control socket" in say(prompt, "show workers")
    server.start()
    assert "busy-%" in say(prompt, "show workers")
    server.stop()


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_top_uses_the_other_screen_and_gives_the_terminal_back(
    veth_server: Server, terminal: Opener, key: str
) -> None:
    prompt = at_prompt(terminal, veth_server)
    prompt.sendline("top")
    prompt.expect_exact(ALTERNATE)
    prompt.expect_exact("every 1 s")
    prompt.expect_exact("busy-%")
    prompt.send(key)
    prompt.expect_exact(BACK)
    prompt.expect_exact(PROMPT)
    assert "DPDK" in say(prompt, "show version"), "the prompt goes on"
    prompt.sendeof()
    prompt.expect(pexpect.EOF)
    alone = terminal(veth_server, "top")
    alone.expect_exact(ALTERNATE)
    alone.expect_exact("busy-%")
    alone.send(key)
    alone.expect_exact(BACK)
    alone.expect(pexpect.EOF)
    alone.close()
    assert alone.exitstatus == 0


def test_trace_shows_a_transfer_line_by_line(
    veth_server: Server, terminal: Opener, content: Content, tmp_path: Path
) -> None:
    prompt = at_prompt(terminal, veth_server)
    prompt.sendline(f"trace {CLIENT4}")
    prompt.expect_exact("\n")
    assert veth_server.ctl("trace", "read")["running"], "it has begun"
    local = tmp_path / "got"
    fetch(veth_server, CLIENTS["atftp-1428-w4"](SERVER4, "b513", local), local, content.files["b513"])
    for text in ['RRQ "b513" octet', "OACK", "blksize=1428", "ACK 0", "DATA 1, 513 bytes", "ACK 1"]:
        prompt.expect_exact(text)
    prompt.send("q")
    prompt.expect_exact(PROMPT)
    assert "busy-%" in say(prompt, "show workers")
