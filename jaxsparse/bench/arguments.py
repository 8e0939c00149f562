"""What every benchmark takes: rounds, and a rival."""

from __future__ import annotations

import importlib.util

from jaxsparse.config import require


def check(rounds: int, against: str | None) -> None:
    """Raises `InvalidInput` unless there is a round, and a rival is a library that is installed."""
    require(rounds >= 1, "rounds", rounds, "a whole number >= 1")
    require(against in (None, "torch"), "against", against, "torch")
    found = against is None or importlib.util.find_spec("torch") is not None
    require(found, "against", against, "an installed library: pip install 'jaxsparse[bench]'")
