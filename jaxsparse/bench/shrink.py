"""`jaxsparse bench shrink`: what removing half of a network's units gives, in multiplications and in time.

The units are drawn at random and made dead (gamma 0, beta <= 0); which ones they are does not matter to the time. Both
networks are timed in turn, a few calls at a time.
"""

from __future__ import annotations

import statistics

import jax
import numpy as np
from flax import nnx

from jaxsparse import data, models, sparsity
from jaxsparse.bench import arguments
from jaxsparse.config import require
from jaxsparse.data import noise
from jaxsparse.shrinking import masked
from jaxsparse.shrinking import shrink as shrunk
from jaxsparse.shrinking.costs import cost, stopwatch

CALLS = 5
"""Of each network in a round."""


def _half_dead(model: nnx.Module, only: str, rng: np.random.Generator) -> nnx.Module:
    """The model with every second unit, at random, of the layers below `only` dead."""
    layers = sparsity.layers(model, only)
    dead = {
        layer.name: np.isin(np.arange(layer.size), rng.permutation(layer.size)[: layer.size // 2]) for layer in layers
    }
    return masked(model, dead, {name: np.full(len(mask), -1.0) for name, mask in dead.items()})


def shrink(model: str, width: float, image: str, batch: int, rounds: int = 7) -> dict[str, object]:
    """Removes half of a network's units and times it before and after.

    Args:
      model: name of the network.
      width: multiplies its own widths.
      image: HEIGHTxWIDTHxCHANNELS.
      batch: images in a call.
      rounds: of a few calls of each network, in turn; medians are given.

    Returns:
      Parameters, multiplications and milliseconds of a call before and after, and what was gained in each; `share`:
      the gain in time over that in multiplications.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    require(batch >= 1, "batch", batch, "a whole number >= 1")
    description = data.describe(noise.PREFIX + image)
    network = models.build(
        model,
        shape=description.shape,
        classes=description.classes,
        widths=models.widths_of(model, width),
        rngs=nnx.Rngs(0),
    )
    network.eval()
    large = _half_dead(network, models.features_of(model), np.random.default_rng(0))
    one = jax.random.normal(jax.random.key(0), (1, *description.shape))
    small, _ = shrunk(large, one)
    costs = [cost(each, one, batches=()) for each in (large, small)]
    stopwatches = [stopwatch(each, one, batch) for each in (large, small)]
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for seconds, kept in zip(stopwatches, times, strict=True):
            seconds()  # the other network has just had the caches
            kept += [1e3 * seconds() for _ in range(CALLS)]
    before, after = map(statistics.median, times)
    macs = costs[0].macs / costs[1].macs
    return {
        "parameters": [each.parameters for each in costs],
        "macs": [each.macs for each in costs],
        "milliseconds": [before, after],
        "macs_gain": macs,
        "time_gain": before / after,
        "share": before / after / macs,
    }
