"""The interface of every data set that fits on the device.

Images stay as they came (uint8) and are normalised, and where the set asks for it flipped, inside the compiled step:
nothing travels from host to device during an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Description:
    """What is known about a data set before it is loaded."""

    name: str
    summary: str
    """one sentence: what it is, where it comes from, how it is split"""
    shape: tuple[int, int, int]
    """of an image: height, width, channels"""
    classes: int
    train_size: int
    test_size: int
    flip: bool = False
    """mirror training images left-right at random"""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Split:
    """Images `[n, height, width, channels]` uint8 and labels `[n]` int32."""

    images: jax.Array
    labels: jax.Array

    def __len__(self) -> int:
        return self.labels.shape[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """A data set on the device; a pytree whose description is static."""

    train: Split
    test: Split
    mean: jax.Array
    """per channel, over the training images"""
    deviation: jax.Array
    """per channel, over the training images"""
    description: Description = field(metadata={"static": True})


def shuffled(key: jax.Array, epoch: jax.Array, size: int) -> jax.Array:
    """Order of the training images in an epoch `[size]`: a function of the seed's key and the epoch alone.

    A random word with the position in its low bits is sorted, in as many rounds as leave hardly a tie. XLA:CPU sorts
    single words five times faster than the pairs of `jax.random.permutation`, which cost a small network a tenth of
    its training.
    """
    low = size.bit_length()
    positions = jnp.arange(size, dtype=jnp.uint32)
    order = jnp.arange(size)
    for round_key in jax.random.split(jax.random.fold_in(key, epoch), -(-2 * low // (32 - low))):
        words = jax.random.bits(round_key, (size,), jnp.uint32) >> low << low
        order = order[jnp.sort(words | positions) & ((1 << low) - 1)]
    return order


def preprocess(data: Dataset, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Float32 images with zero mean and unit deviation per channel; mirrored at random if a key is given and the set
    wants it."""
    x = (images.astype(jnp.float32) - data.mean.reshape(1, 1, 1, -1)) / data.deviation.reshape(1, 1, 1, -1)
    if key is None or not data.description.flip:
        return x
    mirror = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(mirror, x[:, :, ::-1], x)


def batches_of(split: Split, size: int) -> tuple[Split, jax.Array]:
    """The split cut into equal batches `[count, size, ..]`, the last one filled up with copies of the first image.

    Returns the batches and `[count, size]` booleans that are false for the filling.
    """
    count = -(-len(split) // size)
    index = jnp.arange(count * size).reshape(count, size)
    real = index < len(split)
    index = jnp.where(real, index, 0)
    return Split(split.images[index], split.labels[index]), real
