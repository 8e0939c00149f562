"""How sparsity rises while a pruned network is trained on: functions from finished epochs to sparsity.

Training follows a *plan*, the epochs before which there is pruning and how much is pruned then:

    plan(one_shot(0.9), 20)                       ((0, 0.9),)
    plan(iterative(0.9, rounds=2, every=10), 20)  ((0, 0.684), (10, 0.9))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from jaxsparse.checks import require
from jaxsparse.pruning.comparing import Sparsity

Schedule: TypeAlias = Callable[[int], Sparsity]
"""From finished epochs to what is to be pruned from then on."""

Plan: TypeAlias = tuple[tuple[int, Sparsity], ...]
"""Finished epochs, rising, and what is pruned then."""


def one_shot(sparsity: Sparsity) -> Schedule:
    """Everything at once (Li et al. 2017).

    Example:
      >>> import jaxsparse as js
      >>> js.pruning.plan(js.pruning.one_shot(0.9), epochs=20)
      ((0, 0.9),)
    """
    return lambda epoch: sparsity


def iterative(sparsity: float, rounds: int, every: int) -> Schedule:
    """In rounds, `every` so many epochs, that each prune the same share of what is left: `1 - (1 - sparsity)^(k /
    rounds)` in round k = 1, 2, .. (Han et al. 2015, section 3.4; the equal shares are those of Frankle and Carbin 2019,
    section 1).

    Raises:
      InvalidInput: for a sparsity outside [0, 1], or rounds or epochs < 1.

    Example:
      >>> import jaxsparse as js
      >>> schedule = js.pruning.iterative(0.9, rounds=2, every=10)
      >>> [round(schedule(epoch), 3) for epoch in (0, 9, 10, 20)]
      [0.684, 0.684, 0.9, 0.9]
    """
    _check(sparsity)
    require(rounds >= 1, "rounds", rounds, "a whole number >= 1")
    require(every >= 1, "every", every, "a whole number >= 1")

    def schedule(epoch: int) -> float:
        done = epoch // every + 1
        return sparsity if done >= rounds else 1 - (1 - sparsity) ** (done / rounds)

    return schedule


def cubic(sparsity: float, end: int, *, begin: int = 0, every: int = 1, initial: float = 0.0) -> Schedule:
    """Fast at first, then slower: `sparsity + (initial - sparsity) * (1 - (t - begin) / (end - begin))^3`, for t the
    last of begin, begin + every, .. that is reached; `sparsity` from `end` on, and nothing before `begin` (Zhu and
    Gupta 2017, equation 1).

    Raises:
      InvalidInput: for a sparsity outside [0, 1], epochs out of order, or steps < 1.

    Example:
      >>> import jaxsparse as js
      >>> schedule = js.pruning.cubic(0.8, end=4)
      >>> [round(schedule(epoch), 4) for epoch in range(6)]
      [0.0, 0.4625, 0.7, 0.7875, 0.8, 0.8]
    """
    _check(sparsity)
    _check(initial)
    require(0 <= begin <= end, "end", end, f"at least begin ({begin}), which is at least 0")
    require(every >= 1, "every", every, "a whole number >= 1")

    def schedule(epoch: int) -> float:
        if epoch >= end or epoch < begin:
            return sparsity if epoch >= end else 0.0
        reached = (epoch - begin) // every * every
        return sparsity + (initial - sparsity) * (1 - reached / (end - begin)) ** 3

    return schedule


def plan(schedule: Schedule, epochs: int) -> Plan:
    """What the schedule says for a training of `epochs` >= 0: where it changes, and the first of it.

    Example:
      >>> import jaxsparse as js
      >>> js.pruning.plan(js.pruning.cubic(0.5, end=4, every=2), epochs=20)  # before epochs 0, 2 and 4
      ((0, 0.0), (2, 0.4375), (4, 0.5))
    """
    values = [(epoch, schedule(epoch)) for epoch in range(max(1, epochs))]
    return tuple(value for index, value in enumerate(values) if index == 0 or value[1] != values[index - 1][1])


def _check(sparsity: float) -> None:
    require(0 <= sparsity <= 1, "sparsity", sparsity, "a fraction in [0, 1]")
