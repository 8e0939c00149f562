"""Data sets: arrays that live on the device, normalised and flipped there; where they don't fit, a stream of batches.

Each source has a module of its own; this file is their registry. There are embedded sets, made here, some of whose
names go on with settings (`shapes-32x32x3-cluttered`), and published ones, which `jaxsparse data prepare` converts from
their archives once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from jaxsparse.config import InvalidInput, require, require_choice
from jaxsparse.data import (
    cifar,
    cluttered,
    digits,
    imagenet,
    mnist,
    noise,
    objectnet3d,
    paired,
    prepared,
    preparing,
    shapes,
    tinyimagenet,
)
from jaxsparse.data.dataset import Dataset, Description, Split, batches_of, preprocess, shuffled
from jaxsparse.data.passes import Seen, examples, seen_in
from jaxsparse.data.streaming import Stream, Streamed

__all__ = [
    "Dataset",
    "Description",
    "Seen",
    "Split",
    "Stream",
    "Streamed",
    "batches_of",
    "describe",
    "examples",
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
}
_WITH_SETTINGS = (cluttered.NAME, paired.NAME, shapes.NAME)
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
    """Whether a data set is embedded or prepared.

    Raises:
      InvalidInput: for an unknown name.
    """
    return _embedded(name) is not None or prepared.is_there(name)


def require_ready(name: str) -> None:
    """Raises `InvalidInput` unless `opened` would find the data set."""
    if not is_ready(name):
        prepared.require_prepared(name)


def load(name: str) -> Dataset:
    """The data set's arrays, on the default device.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first or streamed.
    """
    embedded = _embedded(name)
    if embedded is not None:
        return embedded.load(name)
    require(describe(name).fits, "data", name, "a set that fits on a device")
    require_ready(name)
    return prepared.load(_PUBLISHED[name].official(name))


def stream(name: str) -> Stream:
    """A data set that does not fit on a device, read while it is used.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first, or that fits.
    """
    require(not describe(name).fits, "data", name, f"a set that is streamed: {' '.join(_STREAMED)}")
    require_ready(name)
    return _STREAMED[name].stream(name)


def opened(name: str) -> Dataset | Stream:
    """The data set, whether it fits on a device or not.

    Raises:
      InvalidInput: for an unknown name, or a set that has to be prepared first.
    """
    return load(name) if describe(name).fits else stream(name)


def prepare(name: str, manual: Path | None, root: Path, unverified: bool) -> Path:
    """Prepares a published set, see `preparing.prepare`.

    Raises:
      InvalidInput: for a name of no published set, and what `preparing.prepare` raises.
    """
    require_choice("data", name, tuple(_PUBLISHED))
    return preparing.prepare(name, _PUBLISHED[name], manual, root, unverified)
