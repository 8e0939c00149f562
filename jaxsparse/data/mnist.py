"""`mnist`: 70,000 handwritten digits, 28x28 grey (LeCun, Cortes, Burges), from the original idx files.

An idx file is a header of big-endian words (2051 for images or 2049 for labels, count, and for images height and
width), then one byte a value.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsparse.checks import require
from jaxsparse.data.archives import Archive, read_bounded, reading
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits, png

NAMES: tuple[str, ...] = ("mnist",)
_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_CHECKSUMS = {  # tensorflow/datasets, url_checksums/mnist.txt
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def official(name: str) -> Description:
    """Description of the published set."""
    summary = "70,000 handwritten digits, 28x28 grey (LeCun, Cortes, Burges); to be prepared, downloads 12 MB"
    return Description(name, summary, (28, 28, 1), classes=10, train_size=60_000, test_size=10_000)


def archives(name: str) -> tuple[Archive, ...]:
    """The four files of the set."""
    del name
    return tuple(Archive(file, _URL + file, f"sha256:{checksum}") for file, checksum in _CHECKSUMS.items())


def _idx(path: Path, magic: int, dimensions: int) -> np.ndarray:
    with reading(path), gzip.open(path) as file:
        content = read_bounded(file, path)
    header = np.frombuffer(content, ">u4", min(1 + dimensions, len(content) // 4))
    shape = tuple(int(size) for size in header[1:])
    fits = len(header) == 1 + dimensions and header[0] == magic and len(content) == header.nbytes + np.prod(shape)
    require(fits, path.name, f"{len(content)} bytes", f"an idx file with {dimensions} dimensions")
    return np.frombuffer(content, np.uint8, offset=header.nbytes).reshape(shape)


def _split(images: Path, labels: Path) -> Iterator[Example]:
    pixels, classes = _idx(images, 2051, 3), _idx(labels, 2049, 1)
    fits = len(pixels) == len(classes) and pixels.shape[1:] == (28, 28)
    require(fits, images.name, pixels.shape, f"{len(classes)} images of 28x28 pixels")
    for image, label in zip(pixels, classes, strict=True):
        yield png(image), int(label)


def splits(name: str, folder: Path) -> Splits:
    """Training and test examples from the files in a folder."""
    train_images, train_labels, test_images, test_labels = (folder / archive.file for archive in archives(name))
    return _split(train_images, train_labels), _split(test_images, test_labels)
