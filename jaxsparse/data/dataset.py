"""Data sets that fit on the device, and what they share with those that do not.

Images stay as they came (uint8) and are normalised, and where the set asks for it flipped, inside the compiled step:
nothing travels from host to device during an epoch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.checks import require, require_choice


@dataclass(frozen=True)
class Description:
    """What is known about a data set before it is loaded."""

    name: str
    summary: str
    """one sentence: what it is, where it comes from, how it is split"""
    shape: tuple[int, ...]
    """of an example; of an image: height, width, channels"""
    classes: int
    """of the labels; where the targets are real numbers, how many each example has"""
    train_size: int
    test_size: int
    flip: bool = False
    """mirror training images left-right at random"""
    verified: bool = True
    """made here, or prepared from the official archives; false where their checksums were not the published ones"""
    fits: bool = True
    """on a device as a whole; false for what has to be streamed"""
    white: int = 255
    """the largest value that a pixel can have; the smallest is 0"""
    dtype: str = "uint8"
    """of the examples: images are uint8, and preprocessed; anything else is fed to the network as it is"""
    real: bool = False
    """whether the targets are real numbers, not labels of classes"""
    target: tuple[int, ...] = ()
    """shape of an example's target; a single number where empty"""

    @property
    def example(self) -> jax.ShapeDtypeStruct:
        """Shape and type of one example as a network gets it, with the axis of a batch."""
        return jax.ShapeDtypeStruct((1, *self.shape), "float32" if self.dtype == "uint8" else self.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Split:
    """Examples `[n, ..]`, of images `[n, height, width, channels]` uint8; and labels int32, or real targets float32:
    `[n]`, or `[n, ..]` where an example has several.

    Example:
      >>> import jaxsparse as js
      >>> split = js.data.load("digits").train
      >>> half = js.data.Split(split.images[::2], split.labels[::2])
      >>> len(split), len(half)
      (1437, 719)
    """

    images: jax.Array
    labels: jax.Array

    def __len__(self) -> int:
        return self.labels.shape[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dataset:
    """A data set on the device; a pytree whose description is static.

    Example:
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> images, labels = np.array([0, 100], np.uint8).reshape(2, 1, 1, 1), np.array([0, 1])
      >>> data = js.data.load(js.data.arrays((images, labels), test=(images, labels), name="mine"))
      >>> float(data.mean[0]), float(data.deviation[0]), data.description.classes
      (50.0, 50.0, 2)
      >>> js.data.preprocess(data, data.train.images).ravel().tolist()
      [-1.0, 1.0]
    """

    train: Split
    test: Split
    mean: jax.Array
    """per channel, what `preprocess` takes off: that of the training images, or 0 (see `PIXELS`)"""
    deviation: jax.Array
    """per channel, what `preprocess` divides by: that of the training images, or white"""
    description: Description = field(metadata={"static": True})


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of images and labels, first the training then the test split."""
    digest = hashlib.sha256()
    for array in (dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels):
        held = np.ascontiguousarray(array)
        digest.update(f"{held.dtype} {held.shape} ".encode())
        digest.update(held.data)
    return digest.hexdigest()


Arrays = tuple[np.ndarray, np.ndarray]
"""Images `[n, height, width, channels]` uint8 and labels `[n]` of any integer type, in the host's memory."""


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation per channel, float64, from exact counts of the 256 levels."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(images), 1000):  # bincount widens what it counts
        chunk = images[start : start + 1000]
        counts += [np.bincount(chunk[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
    levels, share = np.arange(256.0), counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    return mean, np.sqrt((share * (levels - mean[:, None]) ** 2).sum(1))


def on_device(description: Description, train: Arrays, test: Arrays) -> Dataset:
    """The data set of these arrays, on the default device; also inside a function that is being traced."""
    mean, deviation = _moments(train[0]) if description.dtype == "uint8" else (np.zeros(1), np.ones(1))
    target = jnp.float32 if description.real else jnp.int32
    with jax.ensure_compile_time_eval():
        return Dataset(
            train=Split(jnp.asarray(train[0]), jnp.asarray(train[1], target)),
            test=Split(jnp.asarray(test[0]), jnp.asarray(test[1], target)),
            mean=jnp.asarray(mean, jnp.float32),
            deviation=jnp.asarray(deviation, jnp.float32),
            description=description,
        )


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


PIXELS = ("standardised", "unit")
"""What networks are fed: pixels with mean 0 and deviation 1 over the training images, per channel; or from 0 to 1."""


def require_pixels(pixels: str, description: Description) -> None:
    """Raises `InvalidInput` unless it is one of `PIXELS`, and the first for what are no images."""
    require_choice("pixels", pixels, PIXELS)
    fits = description.dtype == "uint8" or pixels == PIXELS[0]
    require(fits, "pixels", pixels, f"{PIXELS[0]} for what are no images: {description.dtype} is fed as it is")


class Pixels(Protocol):
    """What `preprocess` has to know of a data set."""

    @property
    def mean(self) -> jax.Array: ...

    @property
    def deviation(self) -> jax.Array: ...

    @property
    def description(self) -> Description: ...


def preprocess(data: Pixels, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Float32 images, `(pixels - mean) / deviation` with the set's own of each channel (see `PIXELS`); mirrored at
    random if a key is given and the set wants it. What is not uint8 is no image, and stays as it is."""
    if images.dtype != jnp.uint8:
        return images
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
