"""Data sets: content against scikit-learn, normalisation, shuffling, flips, batching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from jaxsparse import data
from jaxsparse.checks import InvalidInput
from jaxsparse.data.dataset import Dataset, Description, Split


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def test_digits_are_all_there_once(digits: Dataset) -> None:
    images, labels = load_digits(return_X_y=True)
    ours = np.concatenate([digits.train.images, digits.test.images]).reshape(-1, 64)
    our_labels = np.concatenate([digits.train.labels, digits.test.labels])
    expected = sorted((*map(int, image), int(label)) for image, label in zip(images, labels, strict=True))
    assert sorted((*map(int, image), int(label)) for image, label in zip(ours, our_labels, strict=True)) == expected


def test_digits_are_as_described_and_stratified(digits: Dataset) -> None:
    description = digits.description
    assert len(digits.train) == description.train_size
    assert len(digits.test) == description.test_size
    assert digits.train.images.shape[1:] == description.shape
    assert digits.train.images.dtype == jnp.uint8
    share = np.bincount(digits.train.labels) / np.bincount(np.concatenate([digits.train.labels, digits.test.labels]))
    np.testing.assert_allclose(share, 0.8, atol=0.01)


def test_normalised(digits: Dataset) -> None:
    x = np.asarray(data.preprocess(digits, digits.train.images), np.float64)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)


def test_pixels_from_0_to_1() -> None:
    """Divided by the largest value that a pixel can have, which is not 255 everywhere; default: as ever."""
    for name, white in (("digits", 16), ("cluttered-digits-12-0-60", 16), ("noise-4x4x3", 255)):
        unit, standardised = (data.load(name, pixels) for pixels in ("unit", "standardised"))
        pixels = np.asarray(unit.test.images, np.float64)
        assert pixels.max() <= white
        np.testing.assert_allclose(data.preprocess(unit, unit.test.images), pixels / white, rtol=1e-6)
        np.testing.assert_array_equal(standardised.mean, data.load(name).mean)
        np.testing.assert_array_equal(standardised.deviation, data.load(name).deviation)
    with pytest.raises(InvalidInput, match=r"^pixels must be one of standardised unit, got 'raw'"):
        data.load("digits", "raw")


def colour(flip: bool) -> Dataset:
    images = jnp.arange(200 * 2 * 3 * 2, dtype=jnp.uint32).reshape(200, 2, 3, 2).astype(jnp.uint8)
    split = Split(images, jnp.zeros(200, jnp.int32))
    description = Description("colour", "", (2, 3, 2), 2, 200, 200, flip=flip)
    return Dataset(split, split, jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0]), description)


def test_normalised_per_channel() -> None:
    dataset = colour(flip=False)
    expected = (np.asarray(dataset.train.images, np.float64) - [1, 2]) / [2, 4]
    np.testing.assert_allclose(data.preprocess(dataset, dataset.train.images), expected, rtol=1e-6)


def test_half_of_the_images_are_mirrored_whole() -> None:
    dataset = colour(flip=True)
    plain = np.asarray(data.preprocess(dataset, dataset.train.images))
    seen = np.asarray(data.preprocess(dataset, dataset.train.images, jax.random.key(0)))
    mirrored = (seen == plain[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (seen == plain).all((1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130  # binomial(200, 1/2): beyond 4 deviations outside
    unflipped = colour(flip=False)
    np.testing.assert_array_equal(data.preprocess(unflipped, dataset.train.images, jax.random.key(0)), plain)


@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**31), epoch=st.integers(0, 10**6))
def test_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    order = data.shuffled(jax.random.key(seed), jnp.asarray(epoch), size)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))
    again = data.shuffled(jax.random.key(seed), jnp.asarray(epoch), size)
    np.testing.assert_array_equal(order, again)


def test_orders_are_uniform_and_unlike_each_other() -> None:
    keys = jax.random.split(jax.random.key(0), 24_000)
    orders = np.asarray(jax.vmap(lambda key: data.shuffled(key, jnp.asarray(0), 4))(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 59.5  # 23 degrees of freedom: 1 in 20,000
    one, other = (data.shuffled(jax.random.key(0), jnp.asarray(epoch), 1437) for epoch in (0, 1))
    assert (one == other).mean() < 0.01


@pytest.mark.parametrize(("length", "size"), [(7, 3), (6, 3), (1, 5), (5, 5)])
def test_batches_hold_everything_once(length: int, size: int) -> None:
    split = Split(jnp.arange(length, dtype=jnp.uint8).reshape(length, 1, 1, 1), jnp.arange(length))
    batches, real = data.batches_of(split, size)
    np.testing.assert_array_equal(np.asarray(batches.labels)[np.asarray(real)], np.arange(length))
    np.testing.assert_array_equal(np.asarray(batches.images)[..., 0, 0, 0][np.asarray(real)], np.arange(length))


@pytest.mark.parametrize("name", ["../digits", "", "mnist2", "noise-3x3", "noise-0x3x3", "noise-3x3x3/.."])
def test_unknown_name(name: str) -> None:
    for use in (data.describe, data.load):
        with pytest.raises(InvalidInput, match=r"(data|image) must be .*"):
            use(name)


def test_noise_has_the_shape_in_its_name() -> None:
    noise = data.load("noise-5x6x3")
    assert noise.train.images.shape == (noise.description.train_size, 5, 6, 3)
    x = np.asarray(data.preprocess(noise, noise.train.images))
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=0.02)


def test_loaded_while_tracing() -> None:
    """Whoever keeps what was loaded keeps arrays, not tracers."""
    kept: list[data.Dataset] = []
    jax.jit(lambda: kept.append(data.load("digits")))()
    assert kept[0].train.images.shape == (1437, 8, 8, 1)
    assert float(kept[0].mean[0]) > 0
