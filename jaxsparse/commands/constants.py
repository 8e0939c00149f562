"""Flags that `grid` and `train` share beside the settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Constants:
    """The update rules' own hyperparameters, each for the rules that have it;
    what is not given has the paper's value, else its convention's."""

    b1: float | None = None
    """decay of the first moment"""
    b2: float | None = None
    """decay of the second moment"""
    eps: float | None = None
    """keeps the division finite"""
    decay: float | None = None
    """decay of the mean square"""
    rho: float | None = None
    """decay of the mean squares"""
    momentum: float | None = None
    """share of the former step that is taken again"""
    initial_accumulator_value: float | None = None
    """what the sum of squares starts at"""
    nesterov: bool = False
    """Nesterov's momentum"""

    def given(self) -> dict[str, float]:
        """Those that were given, less `nesterov`."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "nesterov"}
