"""Data sets: arrays that live on the device, normalised and flipped there.

Each source has a module of its own with a `DESCRIPTION` and a `load()`; this file is their registry.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxsparse.config import require_choice
from jaxsparse.data import digits, noise
from jaxsparse.data.dataset import Dataset, Description, Split, batches_of, preprocess, shuffled

__all__ = ["Dataset", "Description", "Split", "batches_of", "describe", "load", "names", "preprocess", "shuffled"]

_SOURCES: dict[str, tuple[Description, Callable[[], Dataset]]] = {
    "digits": (digits.DESCRIPTION, digits.load),
}


def names() -> tuple[str, ...]:
    """Names of the data sets, for `--data`."""
    return tuple(_SOURCES)


def describe(name: str) -> Description:
    """What is known about a data set without loading it; beside the listed ones, `noise-HxWxC` for timing.

    Raises:
      InvalidInput: for an unknown name.
    """
    if name.startswith(noise.PREFIX):
        return noise.describe(name)
    require_choice("data", name, names())
    return _SOURCES[name][0]


def load(name: str) -> Dataset:
    """The data set's arrays, on the default device.

    Raises:
      InvalidInput: for an unknown name.
    """
    if name.startswith(noise.PREFIX):
        return noise.load(name)
    require_choice("data", name, names())
    return _SOURCES[name][1]()
