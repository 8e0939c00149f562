"""Data sets that do not fit on a device: their batches come from the host, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.data.dataset import Description, Split

Batch: TypeAlias = Mapping[str, np.ndarray]
"""In the host's memory: `image` `[n, height, width, channels]` uint8 and `label` `[n]` int32."""


def on_device(batch: Batch) -> Split:
    """The batch on the default device; it need not be there yet when this returns."""
    return Split(jnp.asarray(batch["image"]), jnp.asarray(batch["label"]))


class Streamed(Protocol):
    """A split that is read batch by batch; one that is equal has the same images."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """Every image once, in order and without augmentation; the last batch may be smaller."""
        ...


class Resumable(Protocol):
    """Batches without end, whose place in their order can be kept."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def get_state(self) -> Any:
        """The place, as JSON can hold it."""
        ...

    def set_state(self, state: Any) -> None:
        """Goes on from a place: the next batch is the one that came next there."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stream:
    """A data set that is read while it is trained on; a pytree that holds the moments of the pixels only."""

    mean: jax.Array
    """per channel, what `preprocess` takes off: that of the training images, or 0"""
    deviation: jax.Array
    """per channel, what `preprocess` divides by: that of the training images, or white"""
    train: Streamed = field(metadata={"static": True})
    test: Streamed = field(metadata={"static": True})
    shuffled: Callable[[int, int], Resumable] = field(metadata={"static": True})
    """from the size of a batch and a seed to augmented batches of the training images, each image once in an epoch;
    an epoch's incomplete last batch is left out"""
    description: Description = field(metadata={"static": True})
