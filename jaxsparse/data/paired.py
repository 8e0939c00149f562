"""`paired-digits-SIDE-COUNT`: two real digits of different classes on one canvas, which may overlap; 45 classes.

Two of the digits of the data set `digits`, each placed whole at a random position of a SIDE x SIDE canvas [12], the
brighter pixel above (after the MultiMNIST of Sabour, Frosst, Hinton 2017, *Dynamic routing between capsules*, section
6). The class is the unordered pair of their classes. COUNT [20,000] training images, made from the training digits
alone, and a fifth as many test images, from the test digits alone.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np

from jaxsparse.config import require
from jaxsparse.data import cache, cluttered, digits
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

NAME = "paired-digits"
SIDE, COUNT = 12, 20_000
PAIRS = tuple(itertools.combinations(range(10), 2))
"""Digits of each class, in order of the labels."""


def _settings(name: str) -> tuple[int, int]:
    """Side and count in a name."""
    found = re.fullmatch(rf"{NAME}(?:-(\d{{1,3}})(?:-(\d{{1,7}}))?)?", name)
    require(found is not None, "data", name, f"{NAME}-SIDE-COUNT or its beginning, like {NAME}-16")
    assert found is not None
    side, count = (
        int(given) if given else default for given, default in zip(found.groups(), (SIDE, COUNT), strict=True)
    )
    require(cluttered.DIGIT <= side <= 64, "side of the canvas", side, f"{cluttered.DIGIT} to 64 pixels")
    require(225 <= count <= 10**6, "number of training images", count, "225 to 1000000")
    return side, count


def describe(name: str) -> Description:
    """Description of `paired-digits-SIDE-COUNT`.

    Raises:
      InvalidInput: for a name of another form or numbers out of range.
    """
    side, count = _settings(name)
    summary = f"pairs of different digits at random positions of a {side}x{side} canvas, which may overlap"
    return Description(name, summary, (side, side, 1), len(PAIRS), count, count // 5)


def _pair(originals: Arrays, side: int, count: int, seed: int) -> Arrays:
    """`count` images, the classes in turn, the digits of each class at random among the originals."""
    images, classes = originals[0][..., 0], originals[1]
    labels = np.arange(count, dtype=np.int32) % len(PAIRS)
    canvas = np.zeros((count, side, side), np.uint8)
    for place, members in enumerate(np.transpose(PAIRS)):  # a stream each, so that neither changes what the other draws
        draws = np.random.default_rng((seed, place)).random((count, 3))
        for digit, of_digit in ((digit, np.flatnonzero(classes == digit)) for digit in range(10)):
            where = np.flatnonzero(members[labels] == digit)
            chosen = of_digit[np.floor(draws[where, 0] * len(of_digit)).astype(int)]
            canvas[where] = cluttered.pasted(canvas[where], images[chosen], draws[where, 1:])
    return canvas[..., None], labels


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    description, (side, count) = describe(name), _settings(name)

    def make() -> tuple[Arrays, Arrays]:
        train, test = digits.splits()
        return _pair(train, side, count, seed=0), _pair(test, side, description.test_size, seed=1)

    sources = (Path(__file__), Path(cluttered.__file__), Path(digits.__file__))
    return on_device(description, *cache.remember(name, sources, make))
