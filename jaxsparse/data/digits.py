"""`digits`: 1,797 real handwritten digits that scikit-learn ships (UCI Optical Recognition of Handwritten Digits).

8x8 grey images with values 0..16, 10 classes. The split is stratified and fixed: 1,437 training and 360 test images.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxsparse.data.dataset import Dataset, Description, Split

DESCRIPTION = Description(
    name="digits",
    summary="1,797 real 8x8 grey handwritten digits that scikit-learn ships (UCI); fixed stratified split",
    shape=(8, 8, 1),
    classes=10,
    train_size=1437,
    test_size=360,
)


def load() -> Dataset:
    """The arrays, on the default device."""
    from sklearn.datasets import load_digits  # a second of imports that other data sets do not need
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, *DESCRIPTION.shape)
    split = train_test_split(
        images, labels.astype(np.int32), test_size=DESCRIPTION.test_size, stratify=labels, random_state=0
    )
    train_x, test_x, train_y, test_y = map(np.asarray, split)
    return Dataset(
        train=Split(jnp.asarray(train_x), jnp.asarray(train_y)),
        test=Split(jnp.asarray(test_x), jnp.asarray(test_y)),
        mean=jnp.asarray(train_x.mean((0, 1, 2), dtype=np.float64), jnp.float32),
        deviation=jnp.asarray(train_x.std((0, 1, 2), dtype=np.float64), jnp.float32),
        description=DESCRIPTION,
    )
