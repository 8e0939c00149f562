"""`noise-HxWxC` or `noise-HxWxC-N`: N random images of any shape, for timing only (`jaxsparse bench`)."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.checks import require
from jaxsparse.data.dataset import Arrays, Dataset, Description, Split
from jaxsparse.data.given import Given

PREFIX = "noise-"
TRAIN_SIZE, TEST_SIZE, CLASSES = 512, 64, 10


def name(image: str, images: int = TRAIN_SIZE) -> str:
    """Of the set of so many training images, HEIGHTxWIDTHxCHANNELS each."""
    return f"{PREFIX}{image}" if images == TRAIN_SIZE else f"{PREFIX}{image}-{images}"


def like(description: Description) -> str | Given:
    """Random examples and targets of the same shapes and types as those of another set."""
    if description.dtype == "uint8" and not description.real and not description.target:
        return name("x".join(map(str, description.shape)))
    drawn = np.random.default_rng(0)

    def split(size: int) -> Arrays:
        x = drawn.normal(size=(size, *description.shape))
        if description.dtype != "float32":  # whole numbers: small ones are tokens whatever the vocabulary
            x = drawn.integers(0, 256 if description.dtype == "uint8" else 2, x.shape)
        y = drawn.normal(size=(size, *description.target))
        y = y if description.real else np.full(y.shape, description.classes - 1)
        return x.astype(description.dtype), y.astype(np.float32 if description.real else np.int32)

    called = f"{PREFIX}{description.dtype}-{'x'.join(map(str, description.shape))}-{description.classes}"
    described = replace(description, name=called, train_size=TRAIN_SIZE, test_size=TEST_SIZE)
    return Given(described, split(TRAIN_SIZE), split(TEST_SIZE))


def describe(name: str) -> Description:
    """Description of a set.

    Raises:
      InvalidInput: for a shape that is none.
    """
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})x(\d{1,4})(?:-(\d{1,7}))?", name.removeprefix(PREFIX))
    require(found is not None, "image", name.removeprefix(PREFIX), "HEIGHTxWIDTHxCHANNELS, like 32x32x3")
    assert found is not None
    height, width, channels, images = (int(number) for number in found.groups(TRAIN_SIZE))
    require(min(height, width, channels, images) >= 1, "image", name.removeprefix(PREFIX), "a shape without zeros")
    summary = "random images with random labels, for timing only"
    return Description(name, summary, (height, width, channels), CLASSES, images, TEST_SIZE)


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    description = describe(name)

    def split(seed: int, size: int) -> Split:
        images, labels = jax.random.split(jax.random.key(seed))
        return Split(
            jax.random.randint(images, (size, *description.shape), 0, 256).astype(jnp.uint8),
            jax.random.randint(labels, (size,), 0, CLASSES),
        )

    channels = description.shape[-1]
    mean, deviation = jnp.full(channels, 127.5), jnp.full(channels, 73.9)
    return Dataset(split(0, description.train_size), split(1, TEST_SIZE), mean, deviation, description)
