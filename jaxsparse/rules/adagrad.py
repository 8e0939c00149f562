"""Adagrad: epsilon is beside the root in torch and the paper, inside it elsewhere, where the sum starts above 0."""

from __future__ import annotations

from functools import cached_property

import optax

from jaxsparse.regularizers import NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.law import Law
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import scale_by_root
from jaxsparse.trees import Mask


def adagrad(
    learning_rate: LearningRate,
    *,
    eps: Scalar | None = None,
    initial_accumulator_value: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adagrad: the gradient over the root of the sum of all squares, `s <- s + g^2` from `initial_accumulator_value`.

    The step is `learning_rate` times

        torch, paper    g / (sqrt(s) + eps);  in the paper eps (its delta) = 0, and 0/0 = 0 (its pseudo-inverse)
        keras, optax    g / sqrt(s + eps)

    Duchi et al. 2011, Figure 1, diagonal case.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      eps: >= 0.
      initial_accumulator_value: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      Steps become shorter with the sum of squares, so a weight decays ever more slowly.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = js.simulate(js.adagrad(1e-2, regularizer=js.CoupledL2(1e-3)), jnp.ones(1), jnp.zeros((3000, 1)))
      >>> print(", ".join(f"{w[step, 0]:.2f}" for step in (0, 1000, 2000, 3000)))
      1.00, 0.46, 0.29, 0.20
    """
    hyper = {"eps": eps, "initial_accumulator_value": initial_accumulator_value}
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, **hyper)


def _scale_by_rss(eps: Scalar, initial_accumulator_value: Scalar) -> optax.GradientTransformation:
    """`g / (sqrt(s) + eps)`, s the sum of squares."""
    return scale_by_root(lambda g, s: s + g**2, eps, initial_accumulator_value)


class _Law(Law):
    """With the sum of w^2."""

    @cached_property
    def share(self) -> float:
        return 1.0

    @cached_property
    def inside(self) -> bool:
        return self.convention in ("keras", "optax")


RULE = Rule(
    "adagrad",
    {
        "torch": Form(scaled(_scale_by_rss), {"eps": 1e-10, "initial_accumulator_value": 0.0}, 1e-2),
        "keras": Form(scaled(optax.scale_by_rss), {"eps": 1e-7, "initial_accumulator_value": 0.1}, 1e-3),
        "optax": Form(scaled(optax.scale_by_rss), {"eps": 1e-7, "initial_accumulator_value": 0.1}),
        "paper": Form(scaled(_scale_by_rss), {"eps": 0.0, "initial_accumulator_value": 0.0}),
    },
    ranges={"eps": NON_NEGATIVE, "initial_accumulator_value": NON_NEGATIVE},
    learning_rate=1e-2,
    label="Adagrad",
    look=Look("#009E73", (0, (5, 1.5, 1, 1.5))),
    law=_Law,
)
