"""`digits`: 1,797 real handwritten digits that scikit-learn ships (UCI Optical Recognition of Handwritten Digits).

8x8 grey images with values 0..16, 10 classes. The split is stratified and fixed: 1,437 training and 360 test images.
"""

from __future__ import annotations

import numpy as np

from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device

DESCRIPTION = Description(
    name="digits",
    summary="1,797 real 8x8 grey handwritten digits that scikit-learn ships (UCI); fixed stratified split",
    shape=(8, 8, 1),
    classes=10,
    train_size=1437,
    test_size=360,
    white=16,
)


def splits() -> tuple[Arrays, Arrays]:
    """Training and test images with their labels."""
    from sklearn.datasets import load_digits  # a second of imports that other data sets do not need
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, *DESCRIPTION.shape)
    split = train_test_split(
        images, labels.astype(np.int32), test_size=DESCRIPTION.test_size, stratify=labels, random_state=0
    )
    train_images, test_images, train_labels, test_labels = map(np.asarray, split)
    return (train_images, train_labels), (test_images, test_labels)


def describe(name: str) -> Description:
    """`DESCRIPTION`; there is only one."""
    del name
    return DESCRIPTION


def load(name: str) -> Dataset:
    """The arrays, on the default device."""
    del name
    return on_device(DESCRIPTION, *splits())
