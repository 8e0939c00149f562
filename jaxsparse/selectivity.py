"""On how many images a unit is active: universality and selectivity (Mehta et al. 2019, section 3).

The *peak* of a unit on an image is its largest |activation| at any position. With the peaks divided by the largest over
the training set, the unit's *universality* is the percentage of the training images on which they exceed 1e-3, and its
*selectivity* 100 minus that. A dead unit has universality 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse.config import Thresholds
from jaxsparse.data import Dataset, batches_of, preprocess
from jaxsparse.losses import EVALUATION_BATCH
from jaxsparse.sparsity import outputs

RELATIVE_PEAK = 1e-3
"""Share of its largest peak above which a unit counts as active on an image (section 3)."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Selectivity:
    """Of a layer's units, `[units]` each, in percent."""

    universality: jax.Array
    """of the images"""
    active: jax.Array
    """of all positions of all images, those where the activation is above 0"""


def observe(
    model: nnx.Module, data: Dataset, only: str = "", rectifier: Callable[[jax.Array], jax.Array] = jax.nn.relu
) -> dict[str, Selectivity]:
    """Universality of the units of each layer below the path `only`, in one pass over the training set; traceable.

    Args:
      model: in evaluation mode; as trained, without mirrored images.
      data: on whose training images it is measured.
      only: path below which layers count; everything where empty.
      rectifier: the model's activation function.

    Memory: 4 bytes for each unit and training image (CIFAR and the 1,856 units of BasicNet: 371 MB), twice, and the
    activations of a batch.
    """
    batches, _ = batches_of(data.train, min(EVALUATION_BATCH, len(data.train)))
    graph, state = nnx.split(model)

    def seen(images: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        found = outputs(nnx.merge(graph, state, copy=True), preprocess(data, images), only)
        return OrderedDict((name, _peaks([rectifier(out) for out in calls])) for name, calls in found.items())

    def judged(peaks: jax.Array, shares: jax.Array) -> Selectivity:
        images = len(data.train)  # what comes after them fills the last batch
        peaks, shares = (a.reshape(-1, a.shape[-1])[:images] for a in (peaks, shares))
        largest = peaks.max(0)
        alive = largest > Thresholds.activation
        return Selectivity(
            universality=100 * jnp.where(alive, (peaks > RELATIVE_PEAK * largest[None]).mean(0), 0.0),
            active=100 * shares.mean(0),
        )

    found: dict[str, Any] = jax.lax.map(seen, batches.images)
    return OrderedDict((name, judged(*both)) for name, both in found.items())  # a plain dict would be sorted by name


def _peaks(calls: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Largest |activation| of each image and unit, and the share of its positions that are above 0: `[n, units]`."""
    positions = tuple(range(1, calls[0].ndim - 1))
    peaks = [abs(activation).max(positions) for activation in calls]
    shares = [(activation > 0).mean(positions) for activation in calls]
    return jnp.stack(peaks).max(0), jnp.stack(shares).mean(0)
