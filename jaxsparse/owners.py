"""Processes that write into the same folders: who wrote something, and whether that process is still there.

An owner is a text, `PLACE-PROCESS-BIRTH`: a machine since its start (as its containers see it), the number of a process
there, and when that was born, as numbers are given again.
"""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path

PATTERN = r"[0-9a-f]{8}-\d+-\d+"
"""Of an owner, as a regular expression."""


@cache
def _place() -> str:
    told = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            told.append(read())
        except OSError:  # elsewhere than on Linux
            told.append("")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def _born(process: int) -> str | None:
    """When a process here was born, in the kernel's clock (0 where that is not told); None where there is no such."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "0"


def own() -> str:
    """This process."""
    return f"{_place()}-{os.getpid()}-{_born(os.getpid())}"


def is_gone(owner: str) -> bool | None:
    """Whether a process has ended; None where that can't be told from here, as on another machine."""
    place, _, rest = owner.partition("-")
    process, _, born = rest.partition("-")
    if place != _place() or not process.isdecimal():
        return None
    return _born(int(process)) != born
