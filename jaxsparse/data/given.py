"""Data that a person has: arrays, an `.npz` file, a folder of images, or a set of TensorFlow Datasets.

    js.data.arrays((x, y), test=(x_test, y_test), name="mine")

Arrays of uint8 with the axes `[n, height, width, channels]` are images, and are preprocessed like those of every other
set. Anything else goes to the network as it is: real numbers as float32, whole ones (tokens) as int32. Labels are whole
numbers from 0; real targets make it a regression.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxsparse.checks import InvalidInput, require
from jaxsparse.data import images
from jaxsparse.data.dataset import Arrays, Dataset, Description, fingerprint, on_device

NAME, NOT_IN_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), re.compile(r"[^A-Za-z0-9._-]")
TFDS = "tfds:"
"""What the name of a set of TensorFlow Datasets begins with."""
FIELDS = ("x_train", "y_train", "x_test", "y_test")
"""Arrays of an `.npz` file, named as Keras does."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
"""Of image files in a folder."""
MOST_BYTES = 1 << 36
"""Of the arrays of a file, unpacked."""


class Given:
    """A data set that a person has. Two of the same arrays and name are equal.

    Attributes:
      description: its name, shapes and sizes.
    """

    def __init__(self, description: Description, train: Arrays, test: Arrays):
        self.description = description
        self._train, self._test = train, test

    @property
    def name(self) -> str:
        """What records call it."""
        return self.description.name

    def load(self) -> Dataset:
        """The arrays, on the default device."""
        return on_device(self.description, self._train, self._test)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of examples and targets."""
        return fingerprint(self.load())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given) or other.description != self.description:
            return False
        return self is other or other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.description)

    def __repr__(self) -> str:
        return f"data.arrays(name={self.name!r})"


def arrays(train: Sequence[Any], *, test: Sequence[Any], name: str, flip: bool = False) -> Given:
    """A data set of arrays.

    Args:
      train: examples `[n, ..]`, and of each its label, a whole number from 0, or real targets: `[n]` or `[n, ..]`.
      test: the same of those that the error is counted on.
      name: of letters, digits, `.`, `_` and `-`, for records and tables.
      flip: mirror training images left-right at random.

    Returns:
      What `data` takes in `js.Grid` and `js.Run`.

    Raises:
      InvalidInput: naming the array and what it should be.

    Example:
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> x, y = np.linspace(-1, 1, 100).reshape(50, 2), np.arange(50) % 3
      >>> mine = js.data.arrays((x[:40], y[:40]), test=(x[40:], y[40:]), name="mine")
      >>> found = js.data.describe(mine)
      >>> found.shape, found.classes, found.train_size, found.real
      ((2,), 3, 40, False)
      >>> js.data.describe(js.data.arrays((x[:40], x[:40, 0]), test=(x[40:], x[40:, 0]), name="regression")).real
      True
    """
    require(isinstance(name, str) and bool(NAME.fullmatch(name)), "name", name, "letters, digits, . _ - (64 at most)")
    splits = {"train": train, "test": test}
    for field, pair in splits.items():
        require(isinstance(pair, Sequence) and len(pair) == 2, field, type(pair).__name__, "a pair (examples, targets)")
    shown = {field: _examples(f"{field} examples", pair[0]) for field, pair in splits.items()}
    wanted = {field: _targets(f"{field} targets", pair[1], len(shown[field])) for field, pair in splits.items()}
    (x, x_test), (y, y_test) = shown.values(), wanted.values()
    for field, one, other in (("examples", x, x_test), ("targets", y, y_test)):
        alike = (one.shape[1:], one.dtype) == (other.shape[1:], other.dtype)
        told = f"{list(other.shape[1:])} {other.dtype}", f"{list(one.shape[1:])} {one.dtype} each, as for training"
        require(alike, f"test {field}", *told)
    real = y.dtype.kind == "f"
    is_images = x.dtype == np.uint8
    require(is_images or not flip, "flip", flip, "left out for what are no images (uint8)")
    require(not real or y.ndim <= 2, "train targets", list(y.shape), "of one axis or two, where they are real numbers")
    classes = (1 if y.ndim == 1 else y.shape[1]) if real else int(max(y.max(), y_test.max())) + 1
    description = Description(
        name=name,
        summary=f"given as arrays: {'x'.join(map(str, x.shape[1:])) or 'numbers'}",
        shape=tuple(x.shape[1:]),
        classes=classes,
        train_size=len(x),
        test_size=len(x_test),
        flip=flip,
        dtype=str(x.dtype),
        real=real,
        target=tuple(y.shape[1:]),
    )
    return Given(description, (x, y), (x_test, y_test))


def _examples(field: str, given: Any) -> np.ndarray:
    """Examples in one of the three types that there are."""
    found = np.asarray(given)
    require(found.ndim >= 1 and len(found) > 0, field, list(found.shape), "an array [n, ..] with at least one example")
    if found.dtype == np.uint8:
        require(found.ndim == 4, field, list(found.shape), "[n, height, width, channels] where they are uint8, images")
        return found
    require(found.dtype.kind in "fiub", field, str(found.dtype), "real or whole numbers")
    found = found.astype(np.int32 if found.dtype.kind in "iu" else np.float32)
    require(bool(np.isfinite(found).all()), field, "nan or infinity", "finite numbers")
    return found


def _targets(field: str, given: Any, count: int) -> np.ndarray:
    found = np.asarray(given)
    require(found.dtype.kind in "fiub", field, str(found.dtype), "whole numbers (labels) or real ones (regression)")
    require(found.ndim >= 1 and len(found) == count, field, list(found.shape), f"one for each of the {count} examples")
    if found.dtype.kind == "f":
        require(bool(np.isfinite(found).all()), field, "nan or infinity", "finite numbers")
        return found.astype(np.float32)
    require(int(found.min()) >= 0, field, int(found.min()), "labels from 0")
    require(int(found.max()) < 2**31, field, int(found.max()), "labels below 2^31")
    return found.astype(np.int32)


def npz(path: Path) -> Given:
    """A file of NumPy with the arrays `FIELDS`, named like the file.

    Raises:
      InvalidInput: where it can't be read, or lacks an array.
    """
    told = f"an .npz file with the arrays {' '.join(FIELDS)}"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        require(size <= MOST_BYTES, "data", str(path), f"a file of at most {MOST_BYTES} bytes, unpacked")
        with np.load(path, allow_pickle=False) as file:
            missing = [field for field in FIELDS if field not in file.files]
            require(not missing, "data", f"{path} without {' '.join(missing)}", told)
            x, y, x_test, y_test = (file[field] for field in FIELDS)
    except InvalidInput:
        raise
    except Exception as error:  # zip, zlib and NumPy have errors of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"data must be {told}, got {str(path)!r} ({reason})") from None
    return arrays((x, y), test=(x_test, y_test), name=_called(path.stem))


def folder(path: Path) -> Given:
    """Image files in `train/CLASS/` and `test/CLASS/` (or `val/CLASS/`), all of one size; labels count the classes in
    the order of their names, and grey images stay grey where all are.

    Raises:
      InvalidInput: naming what is missing, or the first file that is no image or of another size.
    """
    parts = [path / "train", next((path / name for name in ("test", "val") if (path / name).is_dir()), path / "test")]
    for part in parts:
        require(part.is_dir(), "data", str(path), "a folder with train/CLASS/*.png and test/CLASS/*.png")
    names = sorted({each.name for part in parts for each in part.iterdir() if each.is_dir()})
    files = [[(file, label) for label, name in enumerate(names) for file in _images_in(part / name)] for part in parts]
    for part, found in zip(parts, files, strict=True):
        require(bool(found), "data", str(part), f"a folder with images ({' '.join(SUFFIXES)}) in folders of classes")
    opened = {file: images.opened(file.read_bytes(), str(file)) for part in files for file, _ in part}
    mode = "L" if all(image.mode in ("L", "1") for image in opened.values()) else "RGB"
    size = next(iter(opened.values())).size
    for file, image in opened.items():
        require(image.size == size, str(file), "x".join(map(str, image.size)), f"of one size, {size[0]}x{size[1]}")

    def split(part: list[tuple[Path, int]]) -> Arrays:
        shown = [np.asarray(images.decoded(file.read_bytes(), mode, str(file))) for file, _ in part]
        return np.stack(shown).reshape(len(part), size[1], size[0], -1), np.asarray([label for _, label in part])

    return arrays(split(files[0]), test=split(files[1]), name=_called(path.name))


def _images_in(path: Path) -> list[Path]:
    return [file for file in sorted(path.glob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]


def tfds(name: str) -> Given:
    """A set of TensorFlow Datasets, `tfds:NAME`, that is prepared on this machine with `file_format="array_record"`
    (then it is read without TensorFlow): its splits `train` and `test` (or `validation`), images and labels.

    Raises:
      InvalidInput: where it is not there, or no set of images of one size with labels.
    """
    try:
        import tensorflow_datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInput("data must be another set without the extra: pip install 'jaxsparse[data]'") from None
    try:
        builder: Any = tensorflow_datasets.builder(
            name.removeprefix(TFDS), file_format="array_record", data_dir=os.environ.get("TFDS_DATA_DIR")
        )
        held_out = "test" if "test" in builder.info.splits else "validation"
        decoders = {"image": tensorflow_datasets.decode.SkipDecoding()}
        mode = "L" if builder.info.features["image"].shape[-1] == 1 else "RGB"
        splits = [_split(builder.as_data_source(split, decoders=decoders), mode) for split in ("train", held_out)]
    except Exception as error:  # it has errors of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        told = "tfds:NAME of a prepared set (file_format array_record) of images of one size with labels"
        raise InvalidInput(f"data must be {told}, got {name!r} ({reason})") from None
    return arrays(splits[0], test=splits[1], name=_called(name.removeprefix(TFDS)))


def _split(source: Any, mode: str) -> Arrays:
    """Decoded images and labels of a source of TensorFlow Datasets."""
    decoded = [np.asarray(images.decoded(each["image"], mode, "image")) for each in source]
    shown = np.stack(decoded)
    return shown.reshape(*shown.shape[:3], -1), np.asarray([each["label"] for each in source])


def _called(text: str) -> str:
    """The name of a set that lies somewhere."""
    return NOT_IN_NAMES.sub("-", text).lstrip("._-")[:64] or "data"


def located(place: str) -> str:
    """The same place, whatever the current folder."""
    return place if place.startswith(TFDS) else os.path.abspath(Path(place).expanduser())


def is_place(name: str) -> bool:
    """Whether a name says where a set lies, and not what it is called."""
    return name.startswith(TFDS) or name.endswith(".npz") or Path(name).is_dir()


@lru_cache(maxsize=16)
def at(place: str) -> Given:
    """The set that lies at a place, read once: `FILE.npz`, `tfds:NAME`, or a folder of images.

    Raises:
      InvalidInput: where there is none.
    """
    if place.startswith(TFDS):
        return tfds(place)
    path = Path(place).expanduser()
    return npz(path) if path.suffix == ".npz" else folder(path)
