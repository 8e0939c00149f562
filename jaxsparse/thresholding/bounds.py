"""The bound that gives a wanted share of zeros, relative to the standard deviation of the weights."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erf, erfinv

MARGIN = 1e-3
"""Of the binary search where nothing else is said; the paper states none."""
MOST_HALVINGS = 40
"""Of the searched interval: more than single precision can tell apart."""
BOUND_RANGE = (0.0, 5.0)
"""Where trained bounds are kept. Not in the paper; it is what the authors' released code does. At 5, one weight in two
million of a Gaussian is left."""


def deviation(weights: jax.Array) -> jax.Array:
    """Standard deviation of all weights of a layer (divided by their number), a scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> float(js.thresholding.deviation(jnp.array([[1.0, 5.0], [1.0, 5.0]])))
      2.0
    """
    return jnp.std(weights)


def gaussian(weights: jax.Array, sparsity: jax.Array | float) -> jax.Array:
    """The bound as if the weights were Gaussian with mean zero: `b = sqrt(2) erfinv(s)`, a scalar.

    Retsinas et al. 2020, equation 3, divided by sigma; so it depends on the weights by their type only.

    Args:
      weights: of one layer.
      sparsity: wanted share s of zeros, in [0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> [round(float(js.thresholding.gaussian(jnp.ones(3), share)), 3) for share in (0.0, 0.5, 0.85, 0.99)]
      [0.0, 0.674, 1.44, 2.576]
    """
    return math.sqrt(2) * erfinv(jnp.asarray(sparsity, weights.dtype))


def gaussian_share(bound: jax.Array) -> jax.Array:
    """Share of a Gaussian with mean zero that is within b standard deviations, `erf(b / sqrt(2))`, in [0, 1).

    Retsinas et al. 2020, equation 5, with b relative to sigma: the inverse of `gaussian`.

    Example:
      >>> import jaxsparse as js
      >>> [round(float(js.thresholding.gaussian_share(bound)), 3) for bound in (0.0, 1.0, 2.0)]
      [0.0, 0.683, 0.954]
    """
    return erf(bound / math.sqrt(2))


def binary_search(weights: jax.Array, sparsity: jax.Array | float, margin: float = MARGIN) -> jax.Array:
    """The bound that zeroes a wanted share of the weights, found by halving an interval; a scalar.

    Retsinas et al. 2020, equation 2: `|#{|w| < b sigma} / #w - s| < margin`. What can't be reached, because a layer has
    few weights or many that are equal, is approached as far as single precision tells bounds apart.

    Args:
      weights: of one layer.
      sparsity: wanted share s of zeros, in [0, 1).
      margin: > 0, a share.

    Example:
      Weights that are uniform, not Gaussian:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w = jnp.linspace(-1, 1, 10_000)
      >>> bounds = js.thresholding.binary_search(w, 0.85), js.thresholding.gaussian(w, 0.85)
      >>> [round(float((js.thresholding.hard_shrink(w, bound) == 0).mean()), 2) for bound in bounds]
      [0.85, 0.83]
    """
    magnitudes, sigma = jnp.abs(weights), deviation(weights)
    sparsity = jnp.asarray(sparsity, magnitudes.dtype)

    def middle(interval: tuple[jax.Array, ...]) -> jax.Array:
        return (interval[0] + interval[1]) / 2

    def missed(interval: tuple[jax.Array, ...]) -> jax.Array:
        """How much more than wanted is zero."""
        return jnp.mean(magnitudes < middle(interval) * sigma, dtype=magnitudes.dtype) - sparsity

    def going_on(carry: tuple[jax.Array, ...]) -> jax.Array:
        *_, error, halvings = carry
        return (jnp.abs(error) >= margin) & (halvings < MOST_HALVINGS)

    def halved(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, error, halvings = carry
        between = middle((low, high))
        narrowed = jnp.where(error > 0, low, between), jnp.where(error > 0, between, high)
        return *narrowed, missed(narrowed), halvings + 1

    whole = jnp.zeros((), magnitudes.dtype), jnp.max(magnitudes) / jnp.where(sigma > 0, sigma, 1)
    low, high, *_ = jax.lax.while_loop(going_on, halved, (*whole, missed(whole), jnp.zeros((), jnp.int32)))
    return jax.lax.stop_gradient(middle((low, high)))
