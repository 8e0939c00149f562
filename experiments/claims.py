"""What a claim's rule is made of: comparisons of figures over seeds, and the verdict.

A rule is written before the trainings that it judges. It looks at the effect and at its spread: `more` asks for a
difference of at least so many points *and* of twice its standard error, and `alike` is never narrower than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from experiments.measured import Measured, NotRun
from experiments.papers import Setting
from experiments.tables import said


class Undecidable(Exception):
    """What a claim takes for granted is not so here: nothing is dead at the baseline, no filter is selective, .."""


@dataclass(frozen=True)
class Verdict:
    """What a rule found."""

    shown: bool
    measured: str
    """the figures it was decided by"""


Rule: TypeAlias = Callable[[Measured], Verdict]

SHOWN, NOT_SHOWN, UNDECIDABLE, NOT_RUN = STATUS = ("shown", "not shown", "undecidable here", "not run")


def judge(rule: Rule | None, measured: Measured) -> tuple[str, str]:
    """Status (of `STATUS`) and figures of a claim."""
    if rule is None:
        return NOT_RUN, ""
    try:
        verdict = rule(measured)
    except NotRun as missing:
        return NOT_RUN, f"missing: {missing}"
    except Undecidable as premise:
        return UNDECIDABLE, str(premise)
    return (SHOWN if verdict.shown else NOT_SHOWN), verdict.measured


def premise(holds: bool, otherwise: str) -> None:
    """Raises `Undecidable`, with the figures that say so, unless a claim's premise holds."""
    if not holds:
        raise Undecidable(otherwise)


def values(measured: Measured, setting: Setting, metric: str = "sparsity_scale") -> np.ndarray:
    """A figure over the seeds.

    Raises:
      NotRun: where the setting was not trained with every seed.
    """
    found = measured.values(setting, metric)
    if not len(found):
        raise NotRun(f"{metric} of {' '.join(map(str, vars(setting).values())).strip()}")
    return found


def layers(measured: Measured, setting: Setting, metric: str) -> np.ndarray:
    """A figure of each layer, `[seeds, layers]`.

    Raises:
      NotRun: where the setting was not trained with every seed.
    """
    return values(measured, setting, metric)


def error_of_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the difference of two means; infinite where a mean is of one seed only."""
    if min(len(a), len(b)) < 2:
        return float("inf")
    return float(np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b)))


def more(a: np.ndarray, b: np.ndarray, least: float = 1.0) -> bool:
    """Whether a is larger than b by at least so much, and by twice the standard error of the difference."""
    difference = np.mean(a) - np.mean(b)
    return bool(difference > 0 and difference >= max(least, 2 * error_of_difference(a, b)))


def spread(a: np.ndarray, b: np.ndarray) -> float:
    """Twice the standard error of the difference; 0 where a mean is of one seed only, whose spread nobody knows."""
    error = 2 * error_of_difference(a, b)
    return error if np.isfinite(error) else 0.0


def alike(a: np.ndarray, b: np.ndarray, most: float) -> bool:
    """Whether two means differ by at most so much, or by no more than twice the standard error of the difference."""
    return bool(abs(np.mean(a) - np.mean(b)) <= max(most, spread(a, b)))


def falling(sequence: Sequence[np.ndarray], least: float = 1.0) -> bool:
    """Whether no mean is larger than the one before by more than their spread, and the last is less than the first."""
    steps = all(np.mean(later) <= np.mean(earlier) + spread(earlier, later) for earlier, later in pairwise(sequence))
    return steps and more(sequence[0], sequence[-1], least)


def sensible(measured: Measured, setting: Setting, classes: Mapping[str, int]) -> bool:
    """Whether the network has learned its task: less than half of the error of guessing."""
    guessing = 100 * (1 - 1 / classes[setting.dataset])
    return float(np.mean(values(measured, setting, "test_error"))) < guessing / 2


def best(measured: Measured, settings: Sequence[Setting]) -> Setting:
    """The setting with the lowest mean test error."""
    return min(settings, key=lambda one: float(np.mean(values(measured, one, "test_error"))))


def sparsest(measured: Measured, settings: Sequence[Setting], error: float) -> Setting | None:
    """The setting with the most dead filters among those whose mean test error is at most so much."""
    good = [one for one in settings if np.mean(values(measured, one, "test_error")) <= error]
    return max(good, key=lambda one: float(np.mean(values(measured, one))), default=None)


def lowest_error(measured: Measured, settings: Sequence[Setting]) -> float:
    """Of the means over the seeds."""
    return min(float(np.mean(values(measured, one, "test_error"))) for one in settings)


def several(parts: Sequence[tuple[str, np.ndarray]]) -> str:
    """`name 49.1 ± 1.3; ..`"""
    return "; ".join(f"{name} {said(found)}" for name, found in parts)
