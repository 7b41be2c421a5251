"""A tree whose files say in every line of which version they are, and a way to tell whether what was fetched is of one version."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

_LINE = 32
_HEAD = re.compile(rb"v(\d{8}) ")


def body(name: str, version: int, size: int) -> bytes:
    """The content of `name` in this version: lines of 32 bytes, each with version, name and place."""
    tag = f"v{version:08} {name[:8]:8} ".encode()
    lines = b"".join(tag + f"{place:012}\n\n".encode() for place in range(0, size, _LINE))
    return lines[:size]


def version_of(name: str, content: bytes) -> int:
    """The one version that `content` is of; `AssertionError` when it is of none, or of several."""
    head = _HEAD.match(content)
    assert head, f"{name}: {content[:64]!r}"
    version = int(head[1])
    assert content == body(name, version, len(content)), f"{name}: several versions, or other bytes"
    return version


class Tree:
    """Files that change together or not at all: `publish` replaces those that change, by rename."""

    def __init__(self, root: Path, changing: dict[str, int], still: dict[str, int]) -> None:
        self.root, self.sizes, self._changing = root, changing | still, changing
        self._spare = (f".next{number}" for number in itertools.count())
        root.mkdir()
        root.chmod(0o755)
        for name in still:
            self.write(name, 0)
        self.publish(1)

    def publish(self, version: int) -> None:
        """Brings all files that change to this version."""
        for name in self._changing:
            self.write(name, version)

    def write(self, name: str, version: int) -> None:
        """Replaces one file."""
        spare = self.root.with_name(next(self._spare))
        spare.write_bytes(body(name, version, self.sizes[name]))
        spare.chmod(0o644)
        spare.replace(self.root / name)
