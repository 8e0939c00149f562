"""`cluttered-digits-SIDE-FRAGMENTS-COUNT`: real digits among fragments of others, on a larger canvas.

The digits of the data set `digits`, each placed whole at a random position of a SIDE x SIDE canvas [16], with
FRAGMENTS [4] quarters of other digits scattered over it (after the cluttered MNIST of Mnih et al. 2014, *Recurrent
models of visual attention*, section 4). COUNT [10,000] training images, made from the training digits alone, and a
fifth as many test images, from the test digits alone. With 0 fragments digits and positions are the same, only the
clutter is gone.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jaxsparse.checks import require
from jaxsparse.data import cache, digits
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

NAME = "cluttered-digits"
SIDE, FRAGMENTS, COUNT = 16, 4, 10_000
DIGIT, FRAGMENT = 8, 4
"""Sides in pixels."""


def settings(name: str, family: str, defaults: tuple[int, int, int], least: int = 50) -> tuple[int, int, int]:
    """Side, fragments and count, `least` at least, in a name `FAMILY-SIDE-FRAGMENTS-COUNT`.

    Raises:
      InvalidInput: for a name of another form or numbers out of range.
    """
    found = re.fullmatch(rf"{family}(?:-(\d{{1,3}})-(\d{{1,3}})(?:-(\d{{1,7}}))?)?", name)
    require(found is not None, "data", name, f"{family}-SIDE-FRAGMENTS-COUNT or its beginning, like {family}-16-4")
    assert found is not None
    side, fragments, count = (
        int(given) if given else default for given, default in zip(found.groups(), defaults, strict=True)
    )
    require(DIGIT <= side <= 64, "side of the canvas", side, f"{DIGIT} to 64 pixels")
    require(fragments <= 64, "number of fragments", fragments, "0 to 64")
    require(least <= count <= 10**6, "number of training images", count, f"{least} to 1000000")
    return side, fragments, count


def describe(name: str) -> Description:
    """Description of `cluttered-digits-SIDE-FRAGMENTS-COUNT`.

    Raises:
      InvalidInput: for a name of another form or numbers out of range.
    """
    side, fragments, count = settings(name, NAME, (SIDE, FRAGMENTS, COUNT))
    summary = f"the digits at random positions of a {side}x{side} canvas, among {fragments} fragments of others"
    return Description(name, summary, (side, side, 1), 10, count, count // 5, white=digits.DESCRIPTION.white)


def pasted(canvas: np.ndarray, patches: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Canvases `[n, side, side]` with patches `[n, k, k]` laid on them, the brighter pixel above; `where` `[n, 2]` in
    [0, 1)."""
    canvas, size = canvas.copy(), patches.shape[1]
    corner = np.floor(where * (canvas.shape[1] - size + 1)).astype(int)
    rows = corner[:, 0, None, None] + np.arange(size)[:, None]
    columns = corner[:, 1, None, None] + np.arange(size)
    which = np.arange(len(canvas))[:, None, None]
    canvas[which, rows, columns] = np.maximum(canvas[which, rows, columns], patches)
    return canvas


def scattered(
    canvas: np.ndarray, images: np.ndarray, shown: np.ndarray, fragments: int, seed: int, stream: int
) -> np.ndarray:
    """Canvases `[n, side, side]` with quarters of images `[m, 8, 8]` other than the one shown on each `[n]`; they draw
    from streams of the seed of their own, from `stream` on, so that none changes what the others draw."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (FRAGMENT, FRAGMENT), (1, 2))
    for fragment in range(fragments):
        draws = np.random.default_rng((seed, stream + fragment)).random((len(canvas), 5))
        others = (shown + 1 + np.floor(draws[:, 0] * (len(images) - 1)).astype(int)) % len(images)
        corner = np.floor(draws[:, 1:3] * (DIGIT - FRAGMENT + 1)).astype(int)
        canvas = pasted(canvas, windows[others, corner[:, 0], corner[:, 1]], draws[:, 3:])
    return canvas


def _clutter(originals: Arrays, side: int, fragments: int, count: int, seed: int) -> Arrays:
    """`count` images made from the originals in turn."""
    images, labels = originals[0][..., 0], originals[1]
    chosen = np.arange(count) % len(images)
    canvas = np.zeros((count, side, side), np.uint8)
    canvas = pasted(canvas, images[chosen], np.random.default_rng((seed, 0)).random((count, 2)))
    return scattered(canvas, images, chosen, fragments, seed, stream=1)[..., None], labels[chosen]


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    description, (side, fragments, count) = describe(name), settings(name, NAME, (SIDE, FRAGMENTS, COUNT))

    def make() -> tuple[Arrays, Arrays]:
        train, test = digits.splits()
        return (
            _clutter(train, side, fragments, count, seed=0),
            _clutter(test, side, fragments, description.test_size, seed=1),
        )

    return on_device(description, *cache.remember(name, (Path(__file__), Path(digits.__file__)), make))
