"""Adadelta: one form in all conventions, with other defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.law import Block, Law, State
from jaxsparse.rules.recursion import Recursion, geometric
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.trees import Mask


def adadelta(
    learning_rate: LearningRate,
    *,
    rho: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adadelta: steps in the units of the weights, from running mean squares of gradients and of steps.

    `v <- rho v + (1 - rho) g^2; d = g sqrt(a + eps) / sqrt(v + eps); a <- rho a + (1 - rho) d^2`, and the step is
    `learning_rate * d`. One form in all conventions; only the defaults differ. The paper's learning rate is 1.
    `optax.adadelta()` without a learning rate *ascends*: it does not negate the step. Here it is required.

    Zeiler 2012, Algorithm 1.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      rho: in [0, 1).
      eps: >= 0; with 0 no weight ever moves.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = js.simulate(js.adadelta(1.0, regularizer=js.CoupledL2(1e-3)), jnp.ones(1), jnp.zeros((3000, 1)))
      >>> print(", ".join(f"{w[step, 0]:.2f}" for step in (0, 1000, 2000, 3000)))
      1.00, 0.37, 0.14, 0.05
    """
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, rho=rho, eps=eps)


class _Law(Law):
    """With the running mean square of moves above the line."""

    needs_short_blocks = True
    rate_has_no_unit = True

    @cached_property
    def inside(self) -> bool:
        return True

    def gain(self, t: int, state: State) -> float:
        denominator = self.denominator(t, state)
        return self.learning_rate * math.sqrt(state.moves + self.hyper["eps"]) / denominator if denominator else 0.0

    def last_gain(self, t: int, state: State, block: Block, after: State) -> float:
        """From the moves before that step."""
        before = self.advance(state, t, block._replace(length=block.length - 1))
        return self.gain(t + block.length, after._replace(moves=before.moves))

    def accumulate(self, state: State, t: int, block: Block) -> State:
        second = self.second(state, block)
        return state._replace(second=second, moves=self._moves(state, block, second))

    def _moves(self, state: State, block: Block, second: float) -> float:
        """Mean square of moves: `a <- rho a + (1 - rho) r (a + eps)`, `r = w^2 / (v + eps)`.

        Linear in a where r is frozen, at the mean of its ends. Freezing the gain instead would lose a's growth, which
        is the small difference of the two terms.
        """
        first = state.weight**2 / (self.memory * state.second + self.share * state.weight**2 + self.eps_inside)
        last = float(block.path.at(block.length - 1)) ** 2 / (second + self.eps_inside)
        r = (first + last) / 2
        kept = block.length * math.log(self.memory + self.share * r)
        reached = self.hyper["eps"] * r / (1 - r) if r != 1 else 0.0
        grown = -math.expm1(kept) * reached if r != 1 else block.length * self.share * self.hyper["eps"]
        return math.exp(kept) * state.moves + grown


def _law(
    convention: str, learning_rate: float, strength: float, hyper: Mapping[str, Any], init: float
) -> Law | Recursion:
    """Without epsilon no weight ever moves."""
    if hyper["eps"] == 0:
        return geometric(init, 0.0)
    return _Law(convention, learning_rate, strength, hyper, init)


RULE = Rule(
    "adadelta",
    {
        "torch": Form(scaled(optax.scale_by_adadelta), {"rho": 0.9, "eps": 1e-6}, 1.0),
        "keras": Form(scaled(optax.scale_by_adadelta), {"rho": 0.95, "eps": 1e-7}, 1e-3),
        "optax": Form(scaled(optax.scale_by_adadelta), {"rho": 0.9, "eps": 1e-6}),
        "paper": Form(scaled(optax.scale_by_adadelta), {"rho": 0.95, "eps": 1e-6}),
    },
    ranges={"rho": FRACTION, "eps": NON_NEGATIVE},
    learning_rate=1.0,
    papers={"rho": 0.9, "eps": 1e-6},
    label="Adadelta",
    look=Look("#56B4E9", (0, (3, 1.5))),
    law=_law,
)
