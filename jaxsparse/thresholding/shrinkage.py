"""Weights below a bound become zero; the gradient goes through as if they had not."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxsparse.thresholding.bounds import deviation
from jaxsparse.trees import Tree, flatten


def hard_shrink(weights: jax.Array, bound: jax.Array | float, *, straight_through: bool = True) -> jax.Array:
    """`w` where `|w| >= b sigma`, else 0, with sigma the standard deviation of the weights.

    Retsinas et al. 2020, equation 14. Its gradients, of w~ = hard_shrink(w, b):

    | `straight_through` | d w~ / d w                   | d w~ / d b                                          |
    |--------------------|------------------------------|-----------------------------------------------------|
    | yes                | 1 (equation 16)              | (w~ - w) / b (equation 17); 0 where b is 0          |
    | no                 | 1 where w is kept, 0 elsewhere | 0                                                 |

    Sigma is taken as a constant (the remark that ends the paper's appendix). The rule for b is the same whether b is
    relative or absolute: with `beta = b sigma`, `d w~ / d b = sigma (w~ - w) / beta`.

    Args:
      weights: of one layer, any shape.
      bound: b >= 0, a scalar, relative to sigma.
      straight_through: whether zeroed weights, and the bound, get a gradient.

    Returns:
      An array like the weights.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = jnp.array([-2.0, -0.1, 0.1, 2.0])  # sigma is 1.416
      >>> print(js.thresholding.hard_shrink(w, 0.5))
      [-2.  0.  0.  2.]
      >>> print(jax.grad(lambda w: js.thresholding.hard_shrink(w, 0.5).sum())(w))
      [1. 1. 1. 1.]
      >>> print(jax.grad(lambda w: js.thresholding.hard_shrink(w, 0.5, straight_through=False).sum())(w))
      [1. 0. 0. 1.]
    """
    sigma = jax.lax.stop_gradient(deviation(weights))
    if straight_through:
        return _straight_through(weights, jnp.asarray(bound, weights.dtype), sigma)
    return _shrink(weights, jax.lax.stop_gradient(bound), sigma)


def _shrink(weights: jax.Array, bound: jax.Array | float, sigma: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(weights) < bound * sigma, jnp.zeros_like(weights), weights)


_straight_through = jax.custom_vjp(_shrink)


def _forward(weights: jax.Array, bound: jax.Array, sigma: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _shrink(weights, bound, sigma), (weights, bound, sigma)


def _backward(kept: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Equations 16 and 18; only zeroed weights count in the latter, w~ - w = -w."""
    weights, bound, sigma = kept
    zeroed = jnp.where(jnp.abs(weights) < bound * sigma, weights * g, jnp.zeros_like(weights))
    return g, -zeroed.sum() / jnp.where(bound > 0, bound, 1), jnp.zeros_like(sigma)


_straight_through.defvjp(_forward, _backward)


def apply(params: Tree, bounds: Mapping[str, jax.Array], *, straight_through: bool = True) -> Tree:
    """The parameters that a forward pass sees: those with a bound shrunk, all others as they are.

    Args:
      params: of any model.
      bounds: by name of a parameter (`jaxsparse.trees.flatten`), scalars >= 0 relative to its standard deviation.
      straight_through: see `hard_shrink`.

    Raises:
      KeyError: for a bound of a parameter that is not there.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.array([[-2.0, -0.1], [0.1, 2.0]]), "bias": jnp.array([0.1, 0.1])}}
      >>> effective = js.thresholding.apply(params, {"dense/kernel": jnp.array(0.5)})
      >>> print(effective["dense"]["kernel"], effective["dense"]["bias"])
      [[-2.  0.]
       [ 0.  2.]] [0.1 0.1]
    """
    leaves = flatten(params)
    shrunk = {name: hard_shrink(leaves[name], bounds[name], straight_through=straight_through) for name in bounds}
    return jax.tree.unflatten(jax.tree.structure(params), list({**leaves, **shrunk}.values()))
