"""Stock clients fetch every kind of file on both networks; the bytes are those of the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from appliance import SERVER4, Server
from clients import CLIENTS, LONG_CLIENTS, atftp, curl, tftp_hpa
from conftest import Content
from content import LONG, SIZES
from lab import run
from tftp import Reader, netascii


def fetch(server: Server, argv: list[str], local: Path, want: bytes, timeout: float = 60) -> None:
    """Runs a client and compares checksums."""
    done = server.site.client.run(*argv, timeout=timeout, check=False)
    said = f"{' '.join(argv)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}\n{server.tail()}"
    assert local.exists(), said
    got = local.read_bytes()
    assert done.returncode == 0, said
    assert (len(got), hashlib.sha256(got).digest()) == (len(want), hashlib.sha256(want).digest()), said


@pytest.mark.parametrize("name", [*SIZES, "boot/config"])
@pytest.mark.parametrize("client", CLIENTS)
def test_fetch(server: Server, content: Content, tmp_path: Path, client: str, name: str) -> None:
    if client.startswith("curl") and not content.files[name]:
        pytest.skip("curl refuses a tsize of 0 (its own limit)")
    local = tmp_path / "got"
    fetch(server, CLIENTS[client](SERVER4, name, local), local, content.files[name])


@pytest.mark.parametrize("client", LONG_CLIENTS)
def test_block_numbers_roll_over(server: Server, content: Content, tmp_path: Path, client: str) -> None:
    local = tmp_path / "got"
    fetch(server, CLIENTS[client](SERVER4, LONG, local), local, content.files[LONG])


def test_a_client_turns_netascii_back(server: Server, content: Content, tmp_path: Path) -> None:
    local = tmp_path / "got"
    fetch(server, tftp_hpa("netascii")(SERVER4, "text", local), local, content.files["text"])


@pytest.mark.parametrize("blksize", [8, 9, 512, 1428])
def test_netascii_is_the_models(server: Server, content: Content, blksize: int) -> None:
    with Reader(server.site.client, SERVER4) as reader:
        assert reader.request("text", "netascii", blksize=blksize) is not None
        assert reader.read() == netascii(content.files["text"])


def test_200_clients_at_once(server: Server, content: Content, tmp_path: Path) -> None:
    kinds = [tftp_hpa("octet"), atftp(1428, 16), curl("--tftp-blksize", "1428"), atftp(512, 4)]
    lines = []
    for number in range(200):
        argv = kinds[number % len(kinds)](SERVER4, "exact", tmp_path / f"got{number}")
        lines.append(" ".join(f"'{word}'" for word in argv) + f" || echo client {number} failed &")
    script = tmp_path / "clients.sh"
    script.write_text("\n".join([*lines, "wait", ""]))
    done = run(*server.site.client.argv("sh", str(script)), timeout=80)
    assert "failed" not in done.stdout, done.stdout + done.stderr
    want = hashlib.sha256(content.files["exact"]).digest()
    wrong = [n for n in range(200) if hashlib.sha256((tmp_path / f"got{n}").read_bytes()).digest() != want]
    assert not wrong
