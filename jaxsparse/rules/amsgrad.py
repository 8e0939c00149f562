"""AMSGrad: what the maximum is taken of, and where epsilon is, differ between all four conventions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.adam import AdamLaw, moments
from jaxsparse.rules.law import Block, State, correction
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import Coefficients, bias_corrected, epsilon_hat, quotient, zeros
from jaxsparse.trees import Mask, Tree


def amsgrad(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """AMSGrad: Adam, with the largest second moment so far in place of the current one.

    With m, v, c1, c2 as in `adam` and `h <- max(h, v)`, the step is `learning_rate` times

        torch       (m / c1) / (sqrt(h / c2) + eps)
        keras       (m / c1) * sqrt(c2) / (sqrt(h) + eps)
        optax       (m / c1) / (sqrt(h') + eps),  h' <- max(h', v / c2)
        paper       m / (sqrt(h) + eps),  eps = 0

    Reddi et al. 2018, Algorithm 2.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      It remembers the largest gradient: after one of 1 the penalty moves hardly anything, where Adam forgets.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> gradients = jnp.zeros((3000, 1)).at[0].set(1.0)
      >>> l2 = js.CoupledL2(1e-3)
      >>> for rule in (js.amsgrad, js.adam):
      ...     w = js.simulate(rule(1e-3, b2=0.99, regularizer=l2), jnp.ones(1), gradients)
      ...     print(f"{rule.__name__}: {abs(w[-1, 0]):.2f}")
      amsgrad: 0.97
      adam: 0.00
    """
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, b1=b1, b2=b2, eps=eps)


def _uncorrected(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    del count, b1, b2
    return 1.0, eps


def _scale_by_amsgrad(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    coefficients: Coefficients = bias_corrected,
) -> optax.GradientTransformation:
    """As Adam, with the largest uncorrected second moment so far in place of the current one."""

    def init_fn(params: Tree) -> optax.OptState:
        mu, nu, nu_max = zeros(params, 3)
        return optax.ScaleByAmsgradState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu, nu_max=nu_max)

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)
        count = optax.safe_increment(state.count)
        a, e = coefficients(count, b1, b2, eps)
        updates = jax.tree.map(lambda m, v: quotient(m, a * jnp.sqrt(v) + e), mu, nu_max)
        return updates, optax.ScaleByAmsgradState(count=count, mu=mu, nu=nu, nu_max=nu_max)

    return optax.GradientTransformation(init_fn, update_fn)


class _Law(AdamLaw):
    """As Adam's, with the largest second moment so far: zero is never unstable again."""

    forgets = False

    @property
    def has_cycle(self) -> bool:
        return False

    def denominator(self, t: int, state: State) -> float:
        if self.convention == "paper":
            return math.sqrt(state.top) + self.eps
        if self.convention == "optax":
            return correction(self.b1, t) * (math.sqrt(state.top) + self.eps)
        return self.corrected(t, state.top)

    def accumulate(self, state: State, t: int, block: Block) -> State:
        second = self.second(state, block)
        seen = second / correction(self.memory, t + block.length) if self.convention == "optax" else second
        return state._replace(second=second, top=max(state.top, seen))

    def watched(self, states: Sequence[State]) -> list[float]:
        """The second moment where it is near the maximum, which must not be stepped over."""
        seconds = [state.second for state in states]
        return seconds if 2 * max(seconds) > states[0].top else []


RULE = Rule(
    "amsgrad",
    {
        "torch": Form(scaled(_scale_by_amsgrad), moments(1e-8), 1e-3),
        "keras": Form(scaled(partial(_scale_by_amsgrad, coefficients=epsilon_hat)), moments(1e-7), 1e-3),
        "optax": Form(scaled(optax.scale_by_amsgrad), moments(1e-8)),
        "paper": Form(scaled(partial(_scale_by_amsgrad, coefficients=_uncorrected)), moments(0.0)),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    # not stated, and taken to be Adam's: b2 is 0.99, where Reddi et al. 2018 try 0.99 and 0.999, and PyTorch has 0.999
    papers={"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    label="AMSGrad",
    look=Look("#E69F00", (0, (5, 1.5))),
    law=_Law,
)
