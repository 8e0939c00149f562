"""`paired-digits-SIDE-FRAGMENTS-COUNT`: two real digits of different classes, which may overlap; 45 classes.

Two of the digits of the data set `digits`, each placed whole at a random position of a SIDE x SIDE canvas [12], the
brighter pixel above (after the MultiMNIST of Sabour, Frosst, Hinton 2017, *Dynamic routing between capsules*, section
6), with FRAGMENTS [0] quarters of other digits scattered over it as in `cluttered-digits`. The class is the unordered
pair of their classes. COUNT [25,000] training images, made from the training digits alone, and a fifth as many test
images, from the test digits alone.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from jaxsparse.data import cache, cluttered, digits
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

NAME = "paired-digits"
SIDE, FRAGMENTS, COUNT = 12, 0, 25_000
PAIRS = tuple(itertools.combinations(range(10), 2))
"""Digits of each class, in order of the labels."""


def _settings(name: str) -> tuple[int, int, int]:
    """Side, fragments and count; a test image of each class at least."""
    return cluttered.settings(name, NAME, (SIDE, FRAGMENTS, COUNT), least=5 * len(PAIRS))


def describe(name: str) -> Description:
    """Description of `paired-digits-SIDE-FRAGMENTS-COUNT`.

    Raises:
      InvalidInput: for a name of another form or numbers out of range.
    """
    side, fragments, count = _settings(name)
    among = f", among {fragments} fragments of others" if fragments else ""
    summary = f"pairs of different digits at random positions of a {side}x{side} canvas, which may overlap{among}"
    white = digits.DESCRIPTION.white
    return Description(name, summary, (side, side, 1), len(PAIRS), count, count // 5, white=white)


def _pair(originals: Arrays, side: int, fragments: int, count: int, seed: int) -> Arrays:
    """`count` images, the classes in turn, the digits of each class at random among the originals."""
    images, classes = originals[0][..., 0], originals[1]
    labels = np.arange(count, dtype=np.int32) % len(PAIRS)
    canvas, chosen = np.zeros((count, side, side), np.uint8), np.zeros(count, int)
    for place, members in enumerate(np.transpose(PAIRS)):  # a stream each, so that neither changes what the other draws
        draws = np.random.default_rng((seed, place)).random((count, 3))
        for digit in range(10):
            where, known = np.flatnonzero(members[labels] == digit), np.flatnonzero(classes == digit)
            chosen[where] = known[np.floor(draws[where, 0] * len(known)).astype(int)]
        canvas = cluttered.pasted(canvas, images[chosen], draws[:, 1:])
    return cluttered.scattered(canvas, images, chosen, fragments, seed, stream=2)[..., None], labels


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    description, (side, fragments, count) = describe(name), _settings(name)

    def make() -> tuple[Arrays, Arrays]:
        train, test = digits.splits()
        return (
            _pair(train, side, fragments, count, seed=0),
            _pair(test, side, fragments, description.test_size, seed=1),
        )

    sources = (Path(__file__), Path(cluttered.__file__), Path(digits.__file__))
    return on_device(description, *cache.remember(name, sources, make))
