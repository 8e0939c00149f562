"""What several rules scale gradients with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxsparse.regularizers import Scalar
from jaxsparse.trees import Tree

Coefficients: TypeAlias = Callable[[ArrayLike, Scalar, Scalar, Scalar], tuple[Scalar, Scalar]]
"""From t, b1, b2 and eps to the `a_t` and `e_t` of `m / (a_t * sqrt(v) + e_t)`."""


def correction(count: ArrayLike, b: Scalar) -> jax.Array:
    """`1 - b^t`, without the cancellation that costs float32 half of its digits at small t."""
    return -jnp.expm1(jnp.log(b) * count)


def bias_corrected(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    """Both moments are, and epsilon is added to the corrected root."""
    c1, c2 = correction(count, b1), correction(count, b2)
    return c1 / jnp.sqrt(c2), c1 * eps


def epsilon_hat(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    """Both moments are corrected, and epsilon is added to the uncorrected root."""
    c1, c2 = correction(count, b1), correction(count, b2)
    a = c1 / jnp.sqrt(c2)
    return a, a * eps


def zeros(params: Tree, copies: int) -> list[Tree]:
    """Accumulators that share no memory, so that a training loop may donate the state."""
    return [optax.tree.zeros_like(params) for _ in range(copies)]


def adam_state(params: Tree) -> optax.OptState:
    """Before the first step: two moments that are zero, and the count."""
    mu, nu = zeros(params, 2)
    return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu)


def quotient(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """`numerator / denominator`, with 1 for a denominator that is 0, so that 0/0 is 0."""
    return numerator / jnp.where(denominator == 0, 1, denominator)


class ScaleByRootState(NamedTuple):
    """State of RMSProp and Adagrad: mean or sum of squares."""

    nu: Tree


def scale_by_root(
    accumulate: Callable[[jax.Array, jax.Array], jax.Array], eps: Scalar, initial: Scalar
) -> optax.GradientTransformation:
    """`g / (sqrt(v) + eps)`, v what `accumulate` makes of g and the former v."""

    def init_fn(params: Tree) -> optax.OptState:
        return ScaleByRootState(nu=optax.tree.full_like(params, initial))

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        nu = jax.tree.map(accumulate, updates, state.nu)
        updates = jax.tree.map(lambda g, v: quotient(g, jnp.sqrt(v) + eps), updates, nu)
        return updates, ScaleByRootState(nu=nu)

    return optax.GradientTransformation(init_fn, update_fn)
