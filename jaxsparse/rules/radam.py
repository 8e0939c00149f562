"""RAdam, Adam whose step is rectified while few gradients have been seen: epsilon sits otherwise in torch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, Scalar
from jaxsparse.rules.adam import moments
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import Coefficients, adam_state, bias_corrected, correction, epsilon_hat, quotient
from jaxsparse.trees import Tree

THRESHOLD = 5.0
"""Length of the second moment's memory above which it is used; the paper has 4, the libraries 5."""


def _scale_by_radam(
    b1: Scalar, b2: Scalar, eps: Scalar, coefficients: Coefficients = bias_corrected, threshold: float = THRESHOLD
) -> optax.GradientTransformation:
    """With `p_inf = 2 / (1 - b2) - 1` and `p = p_inf - 2 t b2^t / (1 - b2^t)`, m and v as in `adam`,

        m / c1                                       while p <= threshold
        r (m / c1) / (sqrt(v / c2) + eps)            then, torch: r (m / c1) sqrt(c2) / (sqrt(v) + eps)

    and `r^2 = (p - 4) (p - 2) p_inf / ((p_inf - 4) (p_inf - 2) p)`. Liu et al. 2020, algorithm 2.
    """

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * count * b2**count / correction(count, b2)
        used = length > threshold
        known = jnp.where(used, length, 5.0)  # no root of a negative number in the branch that is not taken
        share = (known - 4) * (known - 2) * longest / ((longest - 4) * (longest - 2) * known)
        a, e = coefficients(count, b1, b2, eps)
        rectified, plain = jnp.sqrt(share), 1 / correction(count, b1)
        updates = jax.tree.map(
            lambda m, v: jnp.where(used, rectified * quotient(m, a * jnp.sqrt(v) + e), plain * m), mu, nu
        )
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(adam_state, update_fn)


def _of_torch(b1: Scalar, b2: Scalar, eps: Scalar) -> optax.GradientTransformation:
    return _scale_by_radam(b1, b2, eps, epsilon_hat)


def _of_the_paper(b1: Scalar, b2: Scalar, eps: Scalar) -> optax.GradientTransformation:
    return _scale_by_radam(b1, b2, eps, threshold=4.0)


RULE = Rule(
    "radam",
    {
        "torch": Form(scaled(_of_torch), moments(1e-8), 1e-3),
        "optax": Form(scaled(optax.scale_by_radam), moments(1e-8)),
        "paper": Form(scaled(_of_the_paper), moments(0.0)),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    label="RAdam",
    look=Look("#E69F00", "-"),
)
