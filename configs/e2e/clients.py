"""Stock TFTP clients as command lines, and what each is known not to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lab import REPO

Client = Callable[[str, str, Path], list[str]]
TFTPY = Path(os.environ.get("BYPASSD_VENV", REPO / "target" / "venv")) / "bin" / "python"
_TFTPY_CODE = """
import sys, tftpy
host, name, local, blksize = sys.argv[1:]
tftpy.TftpClient(host, 69, {"blksize": int(blksize)}).download(name, local)
"""


def tftp_hpa(mode: str, *flags: str) -> Client:
    """tftp-hpa, which asks for no options."""
    return lambda host, name, local: ["tftp", *flags, "-m", mode, host, "-c", "get", name, str(local)]


def atftp(blksize: int, window: int) -> Client:
    """atftp with blocks and windows (RFC 7440)."""
    options = ["--option", f"blksize {blksize}"] + (["--option", f"windowsize {window}"] if window > 1 else [])
    return lambda host, name, local: ["atftp", *options, "-g", "-r", name, "-l", str(local), host, "69"]


def curl(*flags: str) -> Client:
    """curl, which asks for tsize, blksize and timeout."""

    def argv(host: str, name: str, local: Path) -> list[str]:
        at = f"[{host}]" if ":" in host else host
        return ["curl", "-sS", "--max-time", "60", *flags, "-o", str(local), f"tftp://{at}/{name}"]

    return argv


def busybox(*flags: str) -> Client:
    """busybox tftp."""
    return lambda host, name, local: ["busybox", "tftp", "-g", *flags, "-r", name, "-l", str(local), host]


def tftpy(blksize: int) -> Client:
    """Python's tftpy, in its own process."""
    return lambda host, name, local: [str(TFTPY), "-c", _TFTPY_CODE, host, name, str(local), str(blksize)]


CLIENTS: dict[str, Client] = {
    "tftp-hpa": tftp_hpa("octet"),
    "atftp-512-w1": atftp(512, 1),
    "atftp-512-w4": atftp(512, 4),
    "atftp-512-w16": atftp(512, 16),
    "atftp-1428-w1": atftp(1428, 1),
    "atftp-1428-w4": atftp(1428, 4),
    "atftp-1428-w16": atftp(1428, 16),
    "curl": curl(),
    "curl-1428": curl("--tftp-blksize", "1428"),
    "busybox": busybox(),
    "busybox-1428": busybox("-b", "1428"),
    "tftpy": tftpy(512),
    "tftpy-1428": tftpy(1428),
}

LONG_CLIENTS = ["tftp-hpa", "atftp-512-w1", "atftp-512-w16", "atftp-1428-w16", "curl", "busybox"]
