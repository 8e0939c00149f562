"""`jaxsparse bench torch`: all that is timed beside PyTorch, each in a process of its own, as one table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from jaxsparse.bench import arguments
from jaxsparse.checks import require
from jaxsparse.grid import processor

WORKS: Mapping[str, tuple[str, ...]] = {
    "MLP 64-300-10, batch 64": ("step", "--model", "mlp"),
    "BasicNet, quarter width, batch 64": ("step", "--model", "basicnet", "--width", "0.25"),
    "BasicNet, full width, batch 40": ("step", "--model", "basicnet", "--batch", "40"),
    "1,000,000 scalars, 1,000 Adam steps": ("decay",),
}
"""Flags of `jaxsparse bench` by what is timed: steps of Adam with L2 of one network when every core trains one."""


def beside_torch(rounds: int, works: Mapping[str, tuple[str, ...]] = WORKS) -> dict[str, Any]:
    """Times works beside PyTorch's best way of doing the same.

    Args:
      rounds: measurements of each, of which the median counts.
      works: flags of `jaxsparse bench`, by name.

    Returns:
      `processor`: its name and widest instructions; by work the milliseconds of ours and theirs, how often ours goes
      into theirs, and which of PyTorch's ways was best.

    Raises:
      InvalidInput: without PyTorch, or where a work does not run.
    """
    arguments.check(rounds, "torch")
    found: dict[str, Any] = {"processor": processor.name()}
    for name, flags in works.items():
        command = [sys.executable, "-m", "jaxsparse", "bench", *flags, "--against", "torch", "--json"]
        ended = subprocess.run([*command, "--rounds", str(rounds)], capture_output=True, text=True, check=False)
        require(ended.returncode == 0, "bench", " ".join(flags), f"one that runs: {ended.stderr.strip()[-200:]}")
        measured = json.loads(ended.stdout)
        if flags[0] == "decay":
            ours, ratio, best = 1e3 * measured["million_seconds"], measured["ratio_million"], measured["torch_best"]
            found[name] = {"ms": ours, "torch_ms": ratio * ours, "ratio": ratio, "best": best["million"]}
        else:
            keys = {"ms": "ms_per_step", "torch_ms": "torch_ms_per_step", "ratio": "ratio", "best": "torch_best"}
            found[name] = {key: measured[theirs] for key, theirs in keys.items()}
    return found
