"""RMSProp: epsilon is beside the root in torch and the paper, inside it in Keras and optax."""

from __future__ import annotations

from functools import cached_property

import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, LearningRate, Regularizer, Scalar
from jaxsparse.rules.law import Law
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import scale_by_root
from jaxsparse.trees import Mask


def rmsprop(
    learning_rate: LearningRate,
    *,
    decay: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """RMSProp: the gradient over its running root mean square, `v <- decay v + (1 - decay) g^2`.

    The step is `learning_rate` times

        torch, paper    g / (sqrt(v) + eps);  in the paper eps = 0
        keras, optax    g / sqrt(v + eps)

    Hinton, Srivastava and Swersky 2012, lecture 6e, slide 29.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      decay: in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.

    Example:
      The first step is longer than the learning rate by `1 / sqrt(1 - decay)`: nothing corrects the bias.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.rmsprop(1e-3, decay=0.99, regularizer=js.CoupledL2(1e-3))
      >>> w = jnp.array([1.0])
      >>> updates, state = tx.update(jnp.zeros(1), tx.init(w), w)
      >>> print(f"{updates[0]:.3f}")
      -0.010
    """
    return RULE(learning_rate, regularizer=regularizer, convention=convention, mask=mask, decay=decay, eps=eps)


def _scale_by_rms(decay: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """`g / (sqrt(v) + eps)`, v a running mean of squares."""
    return scale_by_root(lambda g, v: decay * v + (1 - decay) * g**2, eps, 0.0)


class _Law(Law):
    forgets = True

    @cached_property
    def inside(self) -> bool:
        return self.convention in ("keras", "optax")

    @property
    def has_cycle(self) -> bool:
        return not self.inside


RULE = Rule(
    "rmsprop",
    {
        "torch": Form(scaled(_scale_by_rms), {"decay": 0.99, "eps": 1e-8}, 1e-2),
        "keras": Form(scaled(optax.scale_by_rms), {"decay": 0.9, "eps": 1e-7}, 1e-3),
        "optax": Form(scaled(optax.scale_by_rms), {"decay": 0.9, "eps": 1e-8}),
        "paper": Form(scaled(_scale_by_rms), {"decay": 0.9, "eps": 0.0}),
    },
    ranges={"decay": FRACTION, "eps": NON_NEGATIVE},
    label="RMSprop",
    look=Look("#0072B2"),
    law=_Law,
)
