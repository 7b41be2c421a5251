"""The files that the tests fetch, always the same bytes, and the things in the tree that must not be served."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

SIZES = {
    "empty": 0,
    "one": 1,
    "b511": 511,
    "b512": 512,
    "b513": 513,
    "exact": 512 * 1428,  # whole blocks at blksize 512 and at 1428
    "k200": 200_000,
    "m1": 1_000_003,
}
LONG = "m40"  # more than 65535 blocks of 512 bytes: block numbers roll over
LONG_SIZE = 40 * 1024 * 1024
LONGEST_NAME = 255


def build(parent: Path) -> tuple[Path, dict[str, bytes]]:
    """Makes the tree under `parent`; the root (a symlink, as `/tftp` may be one) and what is to be served, by name."""
    rng = random.Random(69)
    tree = parent / "tree"
    (tree / "boot").mkdir(parents=True)
    files = {name: rng.randbytes(size) for name, size in SIZES.items()}
    files["boot/config"] = b"label linux\n  kernel vmlinuz\n"
    files["text"] = netascii_corners(rng)
    files[LONG] = rng.randbytes(LONG_SIZE)
    for name, content in files.items():
        (tree / name).write_bytes(content)
        (tree / name).chmod(0o644)
    (parent / "outside").write_bytes(b"not yours\n")
    (tree / "secret").write_bytes(b"not world-readable\n")
    (tree / "secret").chmod(0o640)
    (tree / "leak").symlink_to("../outside")
    (tree / "inside").symlink_to("boot/config")
    files["inside"] = files["boot/config"]
    os.mkfifo(tree / "fifo", 0o644)
    os.mknod(tree / "device", stat.S_IFCHR | 0o644, os.makedev(1, 5))
    root = parent / "tftp"
    root.symlink_to(tree)
    for place in (parent, tree, tree / "boot"):
        place.chmod(0o755)
    return root, files


def netascii_corners(rng: random.Random) -> bytes:
    """Text with CR, LF, CR LF, CR NUL and LF CR at every offset around the block edges of the usual block sizes."""
    parts = [rng.choice([b"\r", b"\n", b"\r\n", b"\r\0", b"\n\r", b"a", b"word ", b"\0"]) for _ in range(9000)]
    return b"".join(parts) + b"\r"
