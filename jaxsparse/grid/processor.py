"""The processor of this machine: what it is called, and what it can do."""

from __future__ import annotations

import platform
from pathlib import Path

INSTRUCTION_SETS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
"""Vector instructions by the kernel's name, the widest first."""


def _told() -> dict[str, str]:
    """What the kernel tells of a core; nothing elsewhere than on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def identity() -> str:
    """Model and all abilities: a program compiled for one processor may not run on another."""
    told = _told()
    found = "".join(told.get(name, "") for name in ("model name", "flags", "Features"))
    return found or platform.processor() + platform.machine()


def name() -> str:
    """Model and widest vector instructions, as a person says it: `AMD EPYC 7R13 Processor, AVX2`."""
    told = _told()
    flags = f"{told.get('flags', '')} {told.get('Features', '')}".split()
    widest = [said for flag, said in INSTRUCTION_SETS.items() if flag in flags][:1]
    return ", ".join([told.get("model name") or platform.processor() or platform.machine(), *widest])
