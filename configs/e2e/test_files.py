"""Files that change on disk after they were loaded: a transfer gets the bytes of the load, and nothing crashes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from appliance import SERVER4, veth_site
from conftest import Content, Starter
from tftp import ERROR, Reader

SIZE = 300_000


def truncate(file: Path) -> None:
    """In place, to nothing."""
    os.truncate(file, 0)


def overwrite(file: Path) -> None:
    """In place, with other bytes."""
    with file.open("r+b") as handle:
        handle.write(b"X" * SIZE)


def grow(file: Path) -> None:
    """In place, longer."""
    with file.open("ab") as handle:
        handle.write(b"X" * SIZE)


def replace(file: Path) -> None:
    """By another file, as package managers do."""
    other = file.with_name("new")
    other.write_bytes(b"Y" * SIZE)
    other.replace(file)


def delete(file: Path) -> None:
    """Gone."""
    file.unlink()


@pytest.mark.parametrize("change", [truncate, overwrite, grow, replace, delete])
def test_a_slow_transfer_keeps_the_bytes_of_the_load(
    start: Starter, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    content = random.Random(1350).randbytes(SIZE)
    file = tmp_path / "root" / "slow"
    file.parent.mkdir()
    file.write_bytes(content)
    file.chmod(0o644)
    server = start(veth_site(), root=file.parent)
    with Reader(server.site.client, SERVER4) as running, Reader(server.site.client, SERVER4) as later:
        assert running.request("slow") is not None
        running.read(20)
        change(file)
        assert running.read() == content
        first = later.request("slow", blksize=1428)
        assert first is not None and first.opcode != ERROR
        assert later.read() == content, "a new transfer, before any reload"
    server.stop()


def test_show_files_says_what_was_loaded_and_what_was_not(start: Starter, content: Content) -> None:
    server = start(veth_site())
    shown = server.ctl("show", "files")
    assert {entry["name"]: entry["bytes"] for entry in shown["list"]} == {
        name: len(file) for name, file in content.files.items()
    }
    assert sum(shown["left_out"].values()) == 4, shown  # secret, leak, fifo, device
    server.stop()
