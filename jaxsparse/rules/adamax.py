"""Adamax: epsilon is inside the maximum in torch and optax, beside it in Keras and the paper."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.adam import moments
from jaxsparse.rules.law import Block, Law, State
from jaxsparse.rules.law import correction as correction_of
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import adam_state, correction, quotient
from jaxsparse.trees import Mask, Tree


def adamax(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adamax: Adam with a running maximum of |g| in place of the root mean square.

    With m, c1 as in `adam`, the step is `learning_rate` times

        torch, optax    (m / c1) / u,  u <- max(b2 u, |g| + eps)
        keras, paper    (m / c1) / (u + eps),  u <- max(b2 u, |g|);  in the paper eps = 0

    Kingma and Ba 2015, Algorithm 2.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the maximum, in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.adamax(2e-3, regularizer=js.CoupledL2(1e-4))
      >>> w = js.simulate(tx, jnp.ones(1), jnp.zeros((1000, 1)))
      >>> print(f"{w[-1, 0]:.2f} after 1000 steps without a loss gradient")
      0.03 after 1000 steps without a loss gradient
    """
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, b1=b1, b2=b2, eps=eps)


def _scale_by_adamax(b1: Scalar, b2: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """`m / (c1 * (u + eps))`: epsilon outside the maximum, where `optax.scale_by_adamax` has it inside."""

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_infinity_moment(updates, state.nu, b2, 0.0)
        count = optax.safe_increment(state.count)
        c1 = correction(count, b1)
        updates = jax.tree.map(lambda m, u: quotient(m, c1 * (u + eps)), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(adam_state, update_fn)


class _Law(Law):
    """With the running maximum of |w|, in some conventions of |w| and epsilon."""

    forgets = True

    @property
    def _shifted(self) -> bool:
        return self.convention in ("torch", "optax")

    def denominator(self, t: int, state: State) -> float:
        return correction_of(self.b1, t) * (state.second + (0.0 if self._shifted else self.eps))

    def accumulate(self, state: State, t: int, block: Block) -> State:
        seen = abs(float(block.path.at(block.length - 1))) + (self.eps if self._shifted else 0.0)
        return state._replace(second=max(self.memory**block.length * state.second, seen))


RULE = Rule(
    "adamax",
    {
        "torch": Form(scaled(optax.scale_by_adamax), moments(1e-8), 2e-3),
        "keras": Form(scaled(_scale_by_adamax), moments(1e-7), 1e-3),
        "optax": Form(scaled(optax.scale_by_adamax), moments(1e-8)),
        "paper": Form(scaled(_scale_by_adamax), moments(0.0)),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    learning_rate=2e-3,
    label="Adamax",
    look=Look("#CC79A7"),
    law=_Law,
)
