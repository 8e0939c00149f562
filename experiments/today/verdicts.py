"""What may be said of a rule: written, and committed, before the trainings that it is said of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WORTH = 1.0
"""Percent of the units: fewer dead ones count as none."""
NEAR = 1.0
"""Points of error that a rule may be behind the best, at least; two standard errors where those are more."""


@dataclass(frozen=True)
class Outcome:
    """Of a setting, a number a seed, in percent."""

    dead: np.ndarray
    error: np.ndarray

    @property
    def surely_dead(self) -> float:
        """Mean share of dead units less two standard errors."""
        return float(np.mean(self.dead) - 2 * _standard_error(self.dead))


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def near_the_best(one: Outcome, best: Outcome) -> bool:
    """Whether an error is that of the best setting of the network, of any rule: within `NEAR` points, or two standard
    errors of the difference."""
    spread = 2 * np.hypot(_standard_error(one.error), _standard_error(best.error))
    return bool(np.mean(one.error) - np.mean(best.error) <= max(NEAR, spread))


def best(outcomes: Sequence[Outcome]) -> Outcome:
    """That of the lowest mean error."""
    return min(outcomes, key=lambda one: float(np.mean(one.error)))


def kills(of_rule: Mapping[str, Outcome], best: Outcome) -> str | None:
    """The regularizer under which a rule kills most units at the error of the best: more than `WORTH` percent by two
    standard errors; None where it kills none there."""
    found = {name: one for name, one in of_rule.items() if one.surely_dead > WORTH and near_the_best(one, best)}
    return max(found, key=lambda name: float(np.mean(found[name].dead))) if found else None
