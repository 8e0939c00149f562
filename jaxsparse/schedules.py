"""Learning-rate schedules of the reference papers, as optax schedules: functions from steps done to learning rate.

A shape (boundaries, factor, period) is static; the learning rate that it scales may be traced. Lengths are given in
epochs together with `steps_per_epoch`, or in optimizer steps, which is `steps_per_epoch=1`:

| paper               | schedule                                                                          |
|---------------------|-----------------------------------------------------------------------------------|
| Mehta et al. 2019   | `step_decay(1e-3, (250,), 0.1, steps_per_epoch)`, 325 epochs                      |
| Yaguchi et al. 2018 | `step_decay(1e-3, evenly(3, 100), 0.5, steps_per_epoch)`, 100 epochs              |
| Retsinas et al. 2020| `cosine_restarts(0.1, 40, steps_per_epoch)`, 120 epochs                           |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxsparse.checks import require
from jaxsparse.regularizers import POSITIVE, Scalar, check_range


def step_decay(
    learning_rate: Scalar, boundaries: Sequence[float], factor: Scalar, steps_per_epoch: int = 1
) -> Callable[[ArrayLike], jax.Array]:
    """`learning_rate * factor^k` after k boundaries are reached; a step that equals a boundary is beyond it.

    Like `optax.piecewise_constant_schedule`, but with a factor that may be traced too.

    Args:
      learning_rate: before the first boundary; a scalar > 0.
      boundaries: rising epochs > 0, whole or not; each is rounded to the nearest step.
      factor: of each boundary; a scalar > 0.
      steps_per_epoch: steps in a unit of `boundaries`, >= 1.

    Raises:
      ValueError: if boundaries, a concrete factor, or steps_per_epoch are out of range.

    Example:
      >>> import jaxsparse as js
      >>> rate = js.schedules.step_decay(1e-3, (250,), 0.1, steps_per_epoch=10)
      >>> [f"{rate(step):.0e}" for step in (0, 2499, 2500)]
      ['1e-03', '1e-03', '1e-04']
    """
    rising = list(boundaries) == sorted(set(boundaries)) and all(boundary > 0 for boundary in boundaries)
    require(rising, "boundaries", boundaries, "rising and > 0")
    require(steps_per_epoch >= 1, "steps_per_epoch", steps_per_epoch, ">= 1")
    check_range("factor", factor, POSITIVE)
    first_steps = [round(boundary * steps_per_epoch) for boundary in boundaries]

    def schedule(count: ArrayLike) -> jax.Array:
        passed = sum(count >= jnp.asarray(step) for step in first_steps)
        return jnp.asarray(learning_rate * factor**passed)

    return schedule


def evenly(times: int, total: float) -> tuple[float, ...]:
    """`times` boundaries that cut a training of `total` epochs (or steps) into equal parts: `evenly(3, 100)` is
    `(25.0, 50.0, 75.0)`.

    Raises:
      ValueError: if times < 0 or total <= 0.

    Example:
      >>> import jaxsparse as js
      >>> js.schedules.evenly(3, 100)
      (25.0, 50.0, 75.0)
    """
    require(times >= 0, "times", times, ">= 0")
    check_range("total", total, POSITIVE)
    return tuple(total * part / (times + 1) for part in range(1, times + 1))


def cosine_restarts(learning_rate: Scalar, period: float, steps_per_epoch: int = 1) -> Callable[[ArrayLike], jax.Array]:
    """Cosine annealing to zero over each period, then again from `learning_rate`, without end.

    `learning_rate / 2 * (1 + cos(pi * (t mod T) / T))`; Loshchilov and Hutter 2017 (SGDR), equation 5, with periods of
    constant length and minimum 0.

    Args:
      learning_rate: at the start of each period; a scalar > 0.
      period: epochs > 0, rounded to the nearest step (at least one step).
      steps_per_epoch: steps in a unit of `period`, >= 1.

    Raises:
      ValueError: if period or steps_per_epoch are out of range.

    Example:
      >>> import jaxsparse as js
      >>> rate = js.schedules.cosine_restarts(0.1, 40)
      >>> [f"{rate(step):.3f}" for step in (0, 20, 39, 40)]
      ['0.100', '0.050', '0.000', '0.100']
    """
    require(steps_per_epoch >= 1, "steps_per_epoch", steps_per_epoch, ">= 1")
    check_range("period", period, POSITIVE)
    steps = max(1, round(period * steps_per_epoch))
    cycle = optax.cosine_decay_schedule(learning_rate, steps)  # pyright: ignore[reportArgumentType]
    return lambda count: jnp.asarray(cycle(jnp.asarray(count) % steps))
