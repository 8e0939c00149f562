"""What every benchmark takes: rounds, and a rival."""

from __future__ import annotations

import importlib.util

from jaxsparse.checks import require

RIVALS = {"torch": ("torch", "bench"), "torch-pruning": ("torch_pruning", "torch-pruning")}
"""The module of each rival, and the extra that it comes with."""


def check(rounds: int, against: str | None, rival: str = "torch") -> None:
    """Raises `InvalidInput` unless there is a round, and against is none or the rival, a library that is installed."""
    require(rounds >= 1, "rounds", rounds, "a whole number >= 1")
    require(against in (None, rival), "against", against, rival)
    module, extra = RIVALS[rival]
    found = against is None or importlib.util.find_spec(module) is not None
    require(found, "against", against, f"an installed library: pip install 'jaxsparse[{extra}]'")
