"""Stochastic gradient descent: the learning rate is inside the momentum in Keras and the paper, behind it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax

from jaxsparse.regularizers import FRACTION, LearningRate, Regularizer, Scalar
from jaxsparse.rules.recursion import Recursion, momentum_sgd
from jaxsparse.rules.rule import INK, Form, Look, Numbers, Rule, rate_first, scaled
from jaxsparse.trees import Mask


def sgd(
    learning_rate: LearningRate,
    *,
    momentum: Scalar | None = None,
    nesterov: bool | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum.

    `torch`, `optax`: `v <- momentum * v + g; theta <- theta - learning_rate * v`. `keras`, `paper`: the learning rate
    is inside, `v <- momentum * v - learning_rate * g; theta <- theta + v`, which differs only while it changes.
    Nesterov's form takes `momentum * v + g` (of the new v) in place of v.

    Polyak 1964, equation 9; Sutskever et al. 2013, equations 1-4 (Nesterov's written for the look-ahead point).

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      momentum: in [0, 1); 0 if not given.
      nesterov: not traceable; False if not given.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      Without a loss gradient a step takes `learning_rate * strength` of the weight.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.sgd(0.1, momentum=0.9, regularizer=js.CoupledL2(1e-3))
      >>> w = jnp.array([1.0])
      >>> updates, state = tx.update(jnp.zeros(1), tx.init(w), w)
      >>> print(f"{updates[0]:.6f}")
      -0.000100
    """
    return RULE(
        learning_rate, regularizer=regularizer, convention=convention, mask=mask, momentum=momentum, nesterov=nesterov
    )


def _momentum(momentum: Scalar, nesterov: bool) -> optax.GradientTransformation:
    """`optax.trace`; nothing at all, and no state, for a momentum that is known to be zero."""
    if isinstance(momentum, float | int) and momentum == 0:
        return optax.identity()
    return optax.trace(momentum, nesterov)


def _law(convention: str, learning_rate: float, strength: float, hyper: Mapping[str, Any], init: float) -> Recursion:
    """Exact; at a constant learning rate the same in all conventions."""
    del convention
    return momentum_sgd(learning_rate * strength, init, float(hyper["momentum"]), hyper["nesterov"])


_NO_MOMENTUM: Numbers = {"momentum": 0.0, "nesterov": False}

RULE = Rule(
    "sgd",
    {
        "torch": Form(scaled(_momentum), _NO_MOMENTUM, 1e-3),
        "keras": Form(rate_first(_momentum), _NO_MOMENTUM, 1e-2),
        "optax": Form(scaled(_momentum), _NO_MOMENTUM),
        "paper": Form(rate_first(_momentum), _NO_MOMENTUM),
    },
    ranges={"momentum": FRACTION},
    learning_rate=0.1,
    papers={"momentum": 0.9},
    label="SGD",
    look=Look(INK, (0, (1, 1.2))),
    adaptive=False,
    law=_law,
)
