"""Data sets: arrays that live on the device, normalised and flipped there; where they don't fit, a stream of batches.

Each source has a module of its own; this file is their registry. There are embedded sets, made here, some of whose
names go on with settings (`shapes-32x32x3-cluttered`), published ones, which `jaxsparse data prepare` converts from
their archives once, and those that a person has (`arrays`, or where they lie: `FILE.npz`, a folder, `tfds:NAME`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.data import (
    cifar,
    cluttered,
    digits,
    given,
    imagenet,
    mnist,
    mnist_5k,
    noise,
    objectnet3d,
    paired,
    prepared,
    preparing,
    shapes,
    tinyimagenet,
)
from jaxsparse.data import dataset as _dataset
from jaxsparse.data.dataset import PIXELS, Dataset, Description, Split, batches_of, preprocess, require_pixels, shuffled
from jaxsparse.data.given import Given, arrays
from jaxsparse.data.passes import Seen, examples, seen_in
from jaxsparse.data.streaming import Stream, Streamed

__all__ = [
    "PIXELS",
    "Dataset",
    "Description",
    "Given",
    "Seen",
    "Split",
    "Stream",
    "Streamed",
    "arrays",
    "batches_of",
    "called",
    "describe",
    "examples",
    "fingerprint",
    "is_known",
    "is_ready",
    "load",
    "located",
    "names",
    "opened",
    "prepare",
    "preprocess",
    "require_pixels",
    "require_ready",
    "seen_in",
    "shuffled",
    "stream",
]


Data: TypeAlias = str | Given
"""A data set by its name, by where it lies, or itself."""


class Embedded(Protocol):
    """A module that makes a data set, or a family of them."""

    def describe(self, name: str) -> Description: ...

    def load(self, name: str) -> Dataset: ...


_EMBEDDED: dict[str, Embedded] = {
    "digits": digits,
    cluttered.NAME: cluttered,
    paired.NAME: paired,
    shapes.NAME: shapes,
    mnist_5k.NAME: mnist_5k,
}
_WITH_SETTINGS = (cluttered.NAME, paired.NAME, shapes.NAME, mnist_5k.NAME)
_MODULES: tuple[preparing.Published, ...] = (mnist, cifar, tinyimagenet, objectnet3d, imagenet)
_PUBLISHED = {name: module for module in _MODULES for name in module.NAMES}
_STREAMED = dict.fromkeys(imagenet.NAMES, imagenet)


def names() -> tuple[str, ...]:
    """Names of the data sets, for `--data`.

    Example:
      >>> import jaxsparse as js
      >>> [name for name in js.data.names() if "mnist" in name or "cifar" in name]
      ['mnist-5k', 'mnist', 'cifar10', 'cifar100']
    """
    return (*_EMBEDDED, *_PUBLISHED)


def _given(data: Data) -> Given | None:
    """A set that a person has; None for one of ours.

    Raises:
      InvalidInput: where there is none at the place that is named.
    """
    if isinstance(data, Given):
        return data
    known = data in names() or data.startswith((noise.PREFIX, *(f"{family}-" for family in _WITH_SETTINGS)))
    return given.at(data) if not known and given.is_place(data) else None


def _embedded(name: str) -> Embedded | None:
    """Who makes a set; None for a published one.

    Raises:
      InvalidInput: for an unknown name.
    """
    if name.startswith(noise.PREFIX):
        return noise
    for family in _WITH_SETTINGS:
        if name.startswith(f"{family}-"):
            return _EMBEDDED[family]
    allowed = f"one of {' '.join(names())}, or FILE.npz, a folder of images, tfds:NAME"
    require(name in names(), "data", name, allowed)
    return _EMBEDDED.get(name)


def describe(name: Data) -> Description:
    """What is known about a data set without loading it; beside the listed ones, `noise-HxWxC` for timing.

    Raises:
      InvalidInput: for an unknown name.

    Example:
      >>> import jaxsparse as js
      >>> for name in ("digits", "cifar10"):  # whether it is prepared or not
      ...     found = js.data.describe(name)
      ...     print(found.shape, found.classes, found.train_size, found.test_size)
      (8, 8, 1) 10 1437 360
      (32, 32, 3) 10 50000 10000
    """
    own = _given(name)
    if own is not None:
        return own.description
    assert isinstance(name, str)
    embedded = _embedded(name)
    return prepared.describe(_PUBLISHED[name].official(name)) if embedded is None else embedded.describe(name)


def called(name: Data) -> str:
    """What records and tables call a data set."""
    if isinstance(name, str) and (name in names() or not given.is_place(name)):
        return name
    return describe(name).name


def located(name: Data) -> Data:
    """The same data set, whatever the current folder is when it is opened."""
    if isinstance(name, Given) or name in names() or not given.is_place(name):
        return name
    return given.located(name)


def is_known(name: Data) -> bool:
    """Whether there is a data set of this name."""
    try:
        describe(name)
    except InvalidInput:
        return False
    return True


def is_ready(name: Data) -> bool:
    """Whether a data set is embedded or prepared, and what it needs is installed.

    Raises:
      InvalidInput: for an unknown name.
    """
    if _given(name) is not None:
        return True
    assert isinstance(name, str)
    embedded = _embedded(name)
    if embedded is mnist_5k:
        return mnist_5k.is_installed()
    return embedded is not None or prepared.is_there(name)


def require_ready(name: Data) -> None:
    """Raises `InvalidInput` unless `opened` would find the data set."""
    if _given(name) is not None:
        return
    assert isinstance(name, str)
    embedded = _embedded(name)
    if embedded is mnist_5k:
        mnist_5k.require_installed()
    elif embedded is None:
        prepared.require_prepared(name)


def fingerprint(name: Data) -> str:
    """SHA-256 of the images and labels of a data set; the same throughout a process, in which no other may
    prepare it anew.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first.

    Example:
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> x, y = np.zeros((4, 2), np.float32), np.arange(4)
      >>> mine, same, other = (js.data.arrays((x, y), test=(x, labels), name="mine") for labels in (y, y, y[::-1]))
      >>> [js.data.fingerprint(mine) == js.data.fingerprint(each) for each in (same, other)]
      [True, False]
    """
    own = _given(name)
    if own is not None:
        return own.fingerprint
    assert isinstance(name, str)
    return prepared.fingerprint(name) if _embedded(name) is None else _fingerprint_of_embedded(name)


@lru_cache
def _fingerprint_of_embedded(name: str) -> str:
    return _dataset.fingerprint(load(name))


Opened = TypeVar("Opened", Dataset, Stream)


def _seen_as(dataset: Opened, pixels: str) -> Opened:
    """The data set with what `preprocess` takes off its pixels, and divides them by, as one of `PIXELS` wants it."""
    require_pixels(pixels, dataset.description)
    if pixels == PIXELS[0]:
        return dataset
    with jax.ensure_compile_time_eval():
        white = jnp.full_like(dataset.deviation, dataset.description.white)
        return replace(dataset, mean=jnp.zeros_like(dataset.mean), deviation=white)


def load(name: Data, pixels: str = PIXELS[0]) -> Dataset:
    """The data set's arrays, on the default device.

    Args:
      name: of `names`, with settings or not; or a set of a person's own.
      pixels: one of `PIXELS`, what `preprocess` makes of them.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first or streamed.

    Example:
      >>> import jaxsparse as js
      >>> data = js.data.load("digits")
      >>> data.train.images.shape, str(data.train.images.dtype), int(data.train.images.max())
      ((1437, 8, 8, 1), 'uint8', 16)
      >>> float(js.data.load("digits", pixels="unit").deviation[0])  # what pixels are divided by
      16.0
    """
    own = _given(name)
    if own is not None:
        return _seen_as(own.load(), pixels)
    assert isinstance(name, str)
    embedded = _embedded(name)
    if embedded is not None:
        return _seen_as(embedded.load(name), pixels)
    require(describe(name).fits, "data", name, "a set that fits on a device")
    require_ready(name)
    return _seen_as(prepared.load(_PUBLISHED[name].official(name)), pixels)


def stream(name: Data, pixels: str = PIXELS[0]) -> Stream:
    """A data set that does not fit on a device, read while it is used; arguments as of `load`.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first, or that fits.
    """
    require(not describe(name).fits, "data", name, f"a set that is streamed: {' '.join(_STREAMED)}")
    require_ready(name)
    assert isinstance(name, str)
    return _seen_as(_STREAMED[name].stream(name), pixels)


def opened(name: Data, pixels: str = PIXELS[0]) -> Dataset | Stream:
    """The data set, whether it fits on a device or not; arguments as of `load`.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first.
    """
    return load(name, pixels) if describe(name).fits else stream(name, pixels)


def prepare(name: str, manual: Path | None, root: Path, unverified: bool) -> Path:
    """Prepares a published set, see `preparing.prepare`.

    Raises:
      InvalidInput: for a name of no published set, and what `preparing.prepare` raises.
    """
    require_choice("data", name, tuple(_PUBLISHED))
    return preparing.prepare(name, _PUBLISHED[name], manual, root, unverified)
