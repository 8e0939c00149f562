"""On how many images a unit is active: universality and selectivity (Mehta et al. 2019, section 3).

The *peak* of a unit on an image is its largest |activation| at any position. With the peaks divided by the largest over
the training set, the unit's *universality* is the percentage of the training images on which they exceed 1e-3, and its
*selectivity* 100 minus that. A dead unit has universality 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial

from jaxsparse.criteria import Thresholds
from jaxsparse.data import Dataset, Seen, Split, Stream, Streamed, batches_of, preprocess, seen_in
from jaxsparse.data.passes import EVALUATION_BATCH
from jaxsparse.sparsity import outputs, wiring_for

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


def observe(model: nnx.Module, data: Dataset | Stream, only: str = "") -> dict[str, Selectivity]:
    """Universality of the units of each layer below the path `only`; traceable where the data are on the device.

    Args:
      model: in evaluation mode; as trained, without mirrored images.
      data: on whose training images it is measured.
      only: path below which layers count; everything where empty.

    Data on the device take one pass, which keeps the peaks: 4 bytes for each unit and training image (CIFAR and the
    1,856 units of BasicNet: 371 MB), twice, and the activations of a batch. Streamed data take two passes instead,
    one for the largest peaks and one that counts, in no more memory than the activations of a batch.
    """
    graph, state = nnx.split(model)
    look = Partial(_looking(only), graph, state, data)
    order = [
        layer.name for layer in wiring_for(model, data).hidden if layer.below(only)
    ]  # which a plain dict loses in a compiled function
    found = _on_device(look, data.train) if isinstance(data.train, Split) else _streamed(look, data.train)
    return OrderedDict((name, found[name]) for name in order)


@lru_cache(maxsize=64)
def _looking(only: str) -> Callable[..., dict[str, tuple[jax.Array, jax.Array]]]:
    """Peaks and shares of the images of a batch; one function for the same settings, so that it is compiled once."""

    def look(
        graph: nnx.GraphDef, state: Any, data: Dataset | Stream, batch: Split
    ) -> dict[str, tuple[jax.Array, jax.Array]]:
        found = outputs(nnx.merge(graph, state, copy=True), preprocess(data, batch.images), only)
        return {name: _peaks(calls) for name, calls in found.items()}

    return look


def _on_device(look: Partial, split: Split) -> dict[str, Selectivity]:
    def judged(peaks: jax.Array, shares: jax.Array) -> Selectivity:
        images = len(split)  # what comes after them fills the last batch
        peaks, shares = (a.reshape(-1, a.shape[-1])[:images] for a in (peaks, shares))
        largest = peaks.max(0)
        return _selectivity(largest, (peaks > RELATIVE_PEAK * largest[None]).mean(0), shares.mean(0))

    batches, _ = batches_of(split, min(EVALUATION_BATCH, len(split)))
    return {name: judged(*both) for name, both in jax.lax.map(look, batches).items()}


def _streamed(look: Partial, split: Streamed) -> dict[str, Selectivity]:
    largest = seen_in(split, Partial(_largest, look)).largest
    counts = seen_in(split, Partial(_counts, look, largest)).sums
    return {
        name: _selectivity(largest[name], active / len(split), share / len(split))
        for name, (active, share) in counts.items()
    }


def _largest(look: Partial, batch: Split, real: jax.Array) -> Seen:
    del real
    return Seen(largest={name: peaks.max(0) for name, (peaks, _) in look(batch).items()})


def _counts(look: Partial, largest: dict[str, jax.Array], batch: Split, real: jax.Array) -> Seen:
    def of(name: str, peaks: jax.Array, shares: jax.Array) -> tuple[jax.Array, jax.Array]:
        active = peaks > RELATIVE_PEAK * largest[name][None]
        return (active & real[:, None]).sum(0), jnp.where(real[:, None], shares, 0.0).sum(0)

    return Seen(sums={name: of(name, *both) for name, both in look(batch).items()})


def _selectivity(largest: jax.Array, active: jax.Array, share: jax.Array) -> Selectivity:
    """From the largest peaks, the share of the images with active ones, and that of the positions above 0."""
    return Selectivity(100 * jnp.where(largest > Thresholds.activation, active, 0.0), 100 * share)


def _peaks(calls: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Largest |activation| of each image and unit, and the share of its positions that are above 0: `[n, units]`."""
    positions = tuple(range(1, calls[0].ndim - 1))
    peaks = [abs(activation).max(positions) for activation in calls]
    shares = [(activation > 0).mean(positions) for activation in calls]
    return jnp.stack(peaks).max(0), jnp.stack(shares).mean(0)
