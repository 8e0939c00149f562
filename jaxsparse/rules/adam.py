"""Adam, in torch's form (epsilon beside the corrected root), Keras's (beside the uncorrected one) and optax's."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.law import Law, State, correction
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import Coefficients, adam_state, bias_corrected, epsilon_hat, quotient
from jaxsparse.trees import Mask, Tree


def adam(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adam: `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2`, then a step along their bias-corrected quotient.

    With `c1 = 1 - b1^t` and `c2 = 1 - b2^t`, the step is `learning_rate` times

        torch, optax, paper     (m / c1) / (sqrt(v / c2) + eps)
        keras                   (m / c1) * sqrt(c2) / (sqrt(v) + eps)       (epsilon hat)

    Kingma and Ba 2015, Algorithm 1; epsilon hat: end of its section 2.

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
      Without a loss gradient a step is as long as the learning rate, whatever the strength.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = jnp.array([1.0])
      >>> for strength in (1e-3, 1e-5):
      ...     tx = js.adam(1e-3, regularizer=js.CoupledL2(strength))
      ...     updates, state = tx.update(jnp.zeros(1), tx.init(w), w)
      ...     print(f"{strength}: {updates[0]:.5f}")
      0.001: -0.00100
      1e-05: -0.00100
    """
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, b1=b1, b2=b2, eps=eps)


def _scale_by_adam(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    coefficients: Coefficients = bias_corrected,
) -> optax.GradientTransformation:
    """Adam in any form: `m / (a_t * sqrt(v) + e_t)`, the forms differing in the scalars `a_t` and `e_t` only.

    The bias-corrected form is that of `optax.scale_by_adam` with one division a weight instead of three, which takes a
    sixth off the update of a small network.
    """

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        a, e = coefficients(count, b1, b2, eps)
        updates = jax.tree.map(lambda m, v: quotient(m, a * jnp.sqrt(v) + e), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(adam_state, update_fn)


class AdamLaw(Law):
    """With the running mean of w^2; also of AMSGrad, with the largest so far."""

    forgets = True

    @property
    def has_cycle(self) -> bool:
        return True

    def denominator(self, t: int, state: State) -> float:
        return self.corrected(t, state.second)

    def corrected(self, t: int, second: float) -> float:
        """What the first moment is divided by, with the correction of both moments."""
        c1, c2 = correction(self.b1, t), correction(self.memory, t)
        if self.convention == "keras":
            return c1 / math.sqrt(c2) * (math.sqrt(second) + self.eps)
        return c1 * (math.sqrt(second / c2) + self.eps)


def moments(eps: float) -> dict[str, float | bool]:
    """The defaults that all conventions have but for epsilon."""
    return {"b1": 0.9, "b2": 0.999, "eps": eps}


RULE = Rule(
    "adam",
    {
        "torch": Form(scaled(_scale_by_adam), moments(1e-8), 1e-3),
        "keras": Form(scaled(partial(_scale_by_adam, coefficients=epsilon_hat)), moments(1e-7), 1e-3),
        "optax": Form(scaled(optax.scale_by_adam), moments(1e-8)),
        "paper": Form(scaled(_scale_by_adam), moments(1e-8)),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    papers={"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    label="Adam",
    look=Look("#D55E00"),
    law=AdamLaw,
)
