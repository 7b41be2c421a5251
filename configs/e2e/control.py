"""The control socket without bypassctl: no process per question, and refusals as values."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class Refused(RuntimeError):
    """bypassd refused; `code`, `message` and `help` say why and what to do."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(f"{error['code']}: {error['message']} ({error['help']})")
        self.code, self.message, self.help = error["code"], error["message"], error["help"]


class Control:
    """One connection."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._reader = self._socket.makefile("rb")

    def ask(self, *words: str) -> dict[str, Any]:
        """The facts asked for; raises `Refused`."""
        self._socket.sendall(json.dumps({"words": words}).encode() + b"\n")
        reply = json.loads(self._reader.readline())
        if "error" in reply:
            raise Refused(reply["error"])
        return reply["ok"]

    def close(self) -> None:
        """Hangs up."""
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
