"""What a claim's rule is made of: comparisons of figures over seeds, and the verdict.

A rule is written before the trainings that it judges. It looks at the effect and at its spread: `more` asks for a
difference of at least so many points *and* of twice its standard error.
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


@dataclass(frozen=True)
class Verdict:
    """What a rule found."""

    shown: bool
    measured: str
    """the figures it was decided by"""


Rule: TypeAlias = Callable[[Measured], Verdict]


def judge(rule: Rule | None, measured: Measured) -> tuple[str, str]:
    """Status (`shown`, `not shown`, `not run`) and figures of a claim."""
    if rule is None:
        return "not run", ""
    try:
        verdict = rule(measured)
    except NotRun as missing:
        return "not run", f"missing: {missing}"
    return ("shown" if verdict.shown else "not shown"), verdict.measured


def values(measured: Measured, setting: Setting, metric: str = "sparsity_scale") -> np.ndarray:
    """A figure over the seeds.

    Raises:
      NotRun: where the setting was not trained with every seed.
    """
    found = measured.values(setting, metric)
    if not len(found):
        raise NotRun(" ".join(map(str, vars(setting).values())).strip())
    return found


def layers(measured: Measured, setting: Setting, metric: str) -> np.ndarray:
    """A figure of each layer, `[seeds, layers]`."""
    values(measured, setting)
    return np.asarray([run[metric] for run in measured.runs(setting)], float)


def error_of_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the difference of two means; infinite where a mean is of one seed only."""
    if min(len(a), len(b)) < 2:
        return float("inf")
    return float(np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b)))


def more(a: np.ndarray, b: np.ndarray, least: float = 1.0) -> bool:
    """Whether a is larger than b by at least so much, and by twice the standard error of the difference."""
    return bool(np.mean(a) - np.mean(b) >= max(least, 2 * error_of_difference(a, b)))


def alike(a: np.ndarray, b: np.ndarray, most: float) -> bool:
    """Whether two means differ by at most so much."""
    return bool(abs(np.mean(a) - np.mean(b)) <= most)


def falling(sequence: Sequence[np.ndarray], slack: float = 2.0) -> bool:
    """Whether no mean is larger than the one before by more than the slack, and the last is less than the first."""
    means = [float(np.mean(one)) for one in sequence]
    steps = all(later <= earlier + slack for earlier, later in pairwise(means))
    return steps and more(sequence[0], sequence[-1], least=slack)


def sensible(measured: Measured, setting: Setting, classes: Mapping[str, int]) -> bool:
    """Whether the network has learned its task: less than half of the error of guessing."""
    guessing = 100 * (1 - 1 / classes[setting.dataset])
    return float(np.mean(values(measured, setting, "test_error"))) < guessing / 2


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
