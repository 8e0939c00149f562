"""Decay of the weights after the step, which no preconditioner sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from jaxsparse.checks import require_choice
from jaxsparse.regularizers.base import (
    FRACTION,
    NON_NEGATIVE,
    Decoupled,
    DecoupledPenalty,
    LearningRate,
    Scalar,
    after_step,
    check_range,
    given,
    masked,
)
from jaxsparse.trees import Mask, Tree

DecayScale: TypeAlias = Literal["schedule", "learning_rate"]


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["scale"])
@dataclass(frozen=True)
class DecoupledDecay(Decoupled):
    """Weight decay proper: shrinks the weights after the optimizer's step, by a share that ignores the gradient.

    | `scale`         | theta after the step                                  | source                              |
    |-----------------|-------------------------------------------------------|-------------------------------------|
    | `schedule`      | `(1 - strength * s_t) * (theta + update)`             | Mehta et al. 2019, section 2.1      |
    | `learning_rate` | `theta + update - learning_rate_t * strength * theta` | AdamW (Loshchilov and Hutter 2019)  |

    `s_t = learning_rate_t / learning_rate_0` (Mehta et al., caption of Table 1), so a schedule must not start at zero.
    The strength that Mehta et al. print is the base learning rate times that of `torch.optim.AdamW`, up to rounding.

    Attributes:
      strength: lambda, a scalar; in [0, 1) with `scale="schedule"`, else finite and >= 0.
      scale: what the strength is multiplied by.

    Raises:
      ValueError: if a concrete strength is out of range, or the scale is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = jnp.array([1.0])
      >>> for scale in ("schedule", "learning_rate"):
      ...     tx = js.adam(1e-2, regularizer=js.DecoupledDecay(1e-2, scale=scale))
      ...     updates, state = tx.update(jnp.zeros(1), tx.init(w), w)
      ...     print(f"{scale}: {updates[0]:.4f}")
      schedule: -0.0100
      learning_rate: -0.0001
    """

    strength: Scalar
    scale: DecayScale = "schedule"

    def __post_init__(self) -> None:
        require_choice("scale", self.scale, get_args(DecayScale))
        check_range("strength", self.strength, FRACTION if self.scale == "schedule" else NON_NEGATIVE)

    @property
    def name(self) -> str:
        return "wd" if self.scale == "schedule" else "wd-lr"

    def rate(self, learning_rate: LearningRate, count: int | jax.Array) -> Scalar:
        """Share of a weight that is taken away by the step after `count` others; a scalar."""
        if not callable(learning_rate):
            return self.strength if self.scale == "schedule" else self.strength * learning_rate
        now = jnp.asarray(learning_rate(count))
        return self.strength * (now / learning_rate(0) if self.scale == "schedule" else now)

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        of_the_stepped = self.scale == "schedule"

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            rate = self.rate(learning_rate, count)
            return jax.tree.map(lambda u, w: u - rate * (w + u if of_the_stepped else w), updates, params)

        return masked(after_step(shrunk), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CautiousDecay(DecoupledPenalty):
    """AdamW's decay of those weights alone that the optimizer's step does not make larger:

        theta + update - learning_rate_t * strength * theta,  but theta + update where update * theta > 0

    Chen et al. 2025 (cautious weight decay), algorithm 1.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.

    Example:
      A step of SGD makes the first weight larger and the second smaller: it alone decays.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.sgd(0.1, regularizer=js.regularizers.CautiousDecay(0.5))
      >>> w = jnp.array([1.0, 1.0])
      >>> updates, state = tx.update(jnp.array([-1.0, 1.0]), tx.init(w), w)
      >>> [round(float(update), 3) for update in updates]
      [0.1, -0.15]
    """

    @property
    def name(self) -> str:
        return "wd-cautious"

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            rate = self.rate(learning_rate, count)
            return jax.tree.map(lambda u, w: jnp.where(u * w > 0, u, u - rate * w), updates, params)

        return masked(after_step(shrunk), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DecayToStart(DecoupledPenalty):
    """AdamW's decay, towards the weights that training started from in place of zero:

        theta + update - learning_rate_t * strength * (theta - theta_0)

    L2-SP of Li et al. 2018 (equation 4) in decoupled form; without their penalty on what is new.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.sgd(0.1, regularizer=js.regularizers.DecayToStart(1.0))
      >>> start = jnp.array([1.0])
      >>> w = js.simulate(tx, start, jnp.zeros((50, 1)).at[0].set(5.0))  # one gradient that takes it away
      >>> print(", ".join(f"{w[step, 0]:.2f}" for step in (0, 1, 10, 50)))
      1.00, 0.50, 0.81, 1.00
    """

    @property
    def name(self) -> str:
        return "wd-to-start"

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""

        def init_fn(params: Tree) -> optax.OptState:
            return _Started(jnp.zeros([], jnp.int32), jax.tree.map(jnp.copy, params))  # a training may donate both

        def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
            rate = self.rate(learning_rate, state.count)
            updates = jax.tree.map(lambda u, w, start: u - rate * (w - start), updates, given(params), state.start)
            return updates, _Started(jnp.asarray(optax.safe_increment(state.count)), state.start)

        return masked(optax.GradientTransformation(init_fn, update_fn), mask)


class _Started(NamedTuple):
    count: jax.Array
    start: Tree


DECAYS = (DecoupledDecay, CautiousDecay, DecayToStart)
"""What acts on each weight by itself after the step."""
