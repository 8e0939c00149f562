"""One pass over a split, in batches: the memory that it takes does not grow with the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxsparse.data.dataset import Split, batches_of
from jaxsparse.data.streaming import Batch, Streamed, on_device

EVALUATION_BATCH = 500
"""Images at a time, of those on the device."""
STREAMED_BATCH = 100
"""Images at a time, of those that are streamed, which are larger: 1.3 GB for the 64 channels of a layer at 224x224."""


class Seen(NamedTuple):
    """What there is to say of some images: two pytrees of arrays."""

    sums: Any = ()
    """over the images"""
    largest: Any = ()
    """over the images"""

    def joined(self, other: Seen) -> Seen:
        """Of the images of both."""
        return Seen(
            jax.tree.map(jnp.add, self.sums, other.sums), jax.tree.map(jnp.maximum, self.largest, other.largest)
        )


def seen_in(split: Split | Streamed, look: Partial) -> Seen:
    """What there is to say of all images of a split.

    Args:
      split: on the device, then this can be traced; or streamed, then every batch is a call of a compiled function, and
        the host reads the next one meanwhile.
      look: gives the `Seen` of a batch, from its `Split` and `[size]` booleans that are false for images that only fill
        it up; with the arrays that it needs beside.
    """
    if isinstance(split, Split):
        found = jax.lax.map(lambda both: look(*both), batches_of(split, min(EVALUATION_BATCH, len(split))))
        return Seen(jax.tree.map(lambda a: a.sum(0), found.sums), jax.tree.map(lambda a: a.max(0), found.largest))
    size, total = min(STREAMED_BATCH, len(split)), None
    for batch in split.batches(size):
        filled = _filled(batch, size)
        jax.block_until_ready(total)  # or batches would pile up where the device is slower than the host
        total = _first(look, *filled) if total is None else _next(total, look, *filled)
    assert total is not None
    return total


def examples(split: Split | Streamed, count: int) -> jax.Array:
    """The first images of a split, uint8."""
    return split.images[:count] if isinstance(split, Split) else on_device(next(split.batches(count))).images


_first = jax.jit(lambda look, batch, real: look(batch, real))
_next = jax.jit(lambda total, look, batch, real: total.joined(look(batch, real)))


def _filled(batch: Batch, size: int) -> tuple[Split, jax.Array]:
    """The batch on the device, filled up with copies of its first image, and which images are real."""
    real = np.arange(size) < len(batch["label"])
    index = np.where(real, np.arange(size), 0)
    return on_device({name: array[index] for name, array in batch.items()}), jnp.asarray(real)
