"""What a record says of bounds, and of the weights that they act on."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.thresholding.bounds import deviation
from jaxsparse.thresholding.methods import Bounds
from jaxsparse.thresholding.shrinkage import hard_shrink
from jaxsparse.trees import Tree, flatten

BINS = np.linspace(-4, 4, 81)
"""Edges of the histogram of weights, in standard deviations of their layer."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observation:
    """Of the kernels that have a bound, in the order of their names."""

    bound: jax.Array
    """`[kernels]`"""
    zero: jax.Array
    """`[kernels]`: percent of the weights that are zero"""
    histogram: jax.Array
    """`[kernels, 80]`: percent of its weights, before any becomes zero, between two of `BINS`; the rest is outside"""
    task_slope: jax.Array
    """`[kernels]`: d CE / d b on the training images, by equation 18; nan where bounds are not trained. Where a bound
    rests, the slope of the sparsity loss is as large and of the other sign"""


def observe(params: Tree, bounds: Bounds, slopes: Bounds | None = None) -> Observation:
    """What there is to see of parameters and bounds, and of slopes of the loss of the task by the same names; of empty
    arrays where there are no bounds."""
    leaves = flatten(params)
    kernels = [leaves[name] for name in bounds]
    if not kernels:
        return Observation(jnp.zeros(0), jnp.zeros(0), jnp.zeros((0, len(BINS) - 1)), jnp.zeros(0))
    zero = [100 * jnp.mean(hard_shrink(w, bounds[name]) == 0) for name, w in zip(bounds, kernels, strict=True)]
    counts = [jnp.histogram(w / deviation(w), jnp.asarray(BINS, w.dtype))[0] / w.size for w in kernels]
    bound = jnp.stack(list(bounds.values()))
    slope = jnp.stack([slopes[name] for name in bounds]) if slopes else jnp.full_like(bound, jnp.nan)
    return Observation(bound, jnp.stack(zero), 100 * jnp.stack(counts), slope)
