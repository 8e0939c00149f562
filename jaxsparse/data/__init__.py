"""Data sets: arrays that live on the device, normalised and flipped there; where they don't fit, a stream of batches.

Each source has a module of its own; this file is their registry. There are embedded sets, made here, some of whose
names go on with settings (`shapes-32x32x3-cluttered`), and published ones, which `jaxsparse data prepare` converts from
their archives once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp

from jaxsparse.config import InvalidInput, require, require_choice
from jaxsparse.data import (
    cifar,
    cluttered,
    digits,
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
from jaxsparse.data.dataset import PIXELS, Dataset, Description, Split, batches_of, preprocess, shuffled
from jaxsparse.data.passes import Seen, examples, seen_in
from jaxsparse.data.streaming import Stream, Streamed

__all__ = [
    "PIXELS",
    "Dataset",
    "Description",
    "Seen",
    "Split",
    "Stream",
    "Streamed",
    "batches_of",
    "describe",
    "examples",
    "fingerprint",
    "is_known",
    "is_ready",
    "load",
    "names",
    "opened",
    "prepare",
    "preprocess",
    "require_ready",
    "seen_in",
    "shuffled",
    "stream",
]


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
    """Names of the data sets, for `--data`."""
    return (*_EMBEDDED, *_PUBLISHED)


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
    require_choice("data", name, names())
    return _EMBEDDED.get(name)


def describe(name: str) -> Description:
    """What is known about a data set without loading it; beside the listed ones, `noise-HxWxC` for timing.

    Raises:
      InvalidInput: for an unknown name.
    """
    embedded = _embedded(name)
    return prepared.describe(_PUBLISHED[name].official(name)) if embedded is None else embedded.describe(name)


def is_known(name: str) -> bool:
    """Whether there is a data set of this name."""
    try:
        describe(name)
    except InvalidInput:
        return False
    return True


def is_ready(name: str) -> bool:
    """Whether a data set is embedded or prepared, and what it needs is installed.

    Raises:
      InvalidInput: for an unknown name.
    """
    embedded = _embedded(name)
    if embedded is mnist_5k:
        return mnist_5k.is_installed()
    return embedded is not None or prepared.is_there(name)


def require_ready(name: str) -> None:
    """Raises `InvalidInput` unless `opened` would find the data set."""
    embedded = _embedded(name)
    if embedded is mnist_5k:
        mnist_5k.require_installed()
    elif embedded is None:
        prepared.require_prepared(name)


def fingerprint(name: str) -> str:
    """SHA-256 of the images and labels of a data set; the same throughout a process, in which no other may
    prepare it anew.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first.
    """
    return prepared.fingerprint(name) if _embedded(name) is None else _fingerprint_of_embedded(name)


@lru_cache
def _fingerprint_of_embedded(name: str) -> str:
    return _dataset.fingerprint(load(name))


Opened = TypeVar("Opened", Dataset, Stream)


def _seen_as(dataset: Opened, pixels: str) -> Opened:
    """The data set with what `preprocess` takes off its pixels, and divides them by, as one of `PIXELS` wants it."""
    require_choice("pixels", pixels, PIXELS)
    if pixels == PIXELS[0]:
        return dataset
    with jax.ensure_compile_time_eval():
        white = jnp.full_like(dataset.deviation, dataset.description.white)
        return replace(dataset, mean=jnp.zeros_like(dataset.mean), deviation=white)


def load(name: str, pixels: str = PIXELS[0]) -> Dataset:
    """The data set's arrays, on the default device.

    Args:
      name: of `names`, with settings or not.
      pixels: one of `PIXELS`, what `preprocess` makes of them.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first or streamed.
    """
    embedded = _embedded(name)
    if embedded is not None:
        return _seen_as(embedded.load(name), pixels)
    require(describe(name).fits, "data", name, "a set that fits on a device")
    require_ready(name)
    return _seen_as(prepared.load(_PUBLISHED[name].official(name)), pixels)


def stream(name: str, pixels: str = PIXELS[0]) -> Stream:
    """A data set that does not fit on a device, read while it is used; arguments as of `load`.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first, or that fits.
    """
    require(not describe(name).fits, "data", name, f"a set that is streamed: {' '.join(_STREAMED)}")
    require_ready(name)
    return _seen_as(_STREAMED[name].stream(name), pixels)


def opened(name: str, pixels: str = PIXELS[0]) -> Dataset | Stream:
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
