"""`cifar10`, `cifar100`: 60,000 colour photographs, 32x32 (Krizhevsky 2009).

From the binary archives, so that nothing is unpickled. A record is one label byte (two for CIFAR-100, coarse then fine)
and 3072 bytes of pixels, channel by channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsparse.checks import require
from jaxsparse.data.archives import Archive, tar_members
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits, png

_URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class _Layout:
    """Of one of the two archives."""

    classes: int
    label_bytes: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    archive: Archive


def _archive(file: str, checksum: str) -> Archive:
    return Archive(file, _URL + file, f"sha256:{checksum}")


_LAYOUTS = {  # checksums: tensorflow/datasets, url_checksums/cifar10.txt and cifar100.txt
    "cifar10": _Layout(
        classes=10,
        label_bytes=1,
        train=tuple(f"cifar-10-batches-bin/data_batch_{part}.bin" for part in range(1, 6)),
        test=("cifar-10-batches-bin/test_batch.bin",),
        archive=_archive("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ),
    "cifar100": _Layout(
        classes=100,
        label_bytes=2,
        train=("cifar-100-binary/train.bin",),
        test=("cifar-100-binary/test.bin",),
        archive=_archive("cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    ),
}
NAMES: tuple[str, ...] = tuple(_LAYOUTS)


def official(name: str) -> Description:
    """Description of the published set."""
    classes = _LAYOUTS[name].classes
    summary = f"60,000 colour photographs of {classes} classes, 32x32 (Krizhevsky); to be prepared, downloads 160 MB"
    return Description(name, summary, (32, 32, 3), classes, train_size=50_000, test_size=10_000, flip=True)


def archives(name: str) -> tuple[Archive, ...]:
    """The one file of the set."""
    return (_LAYOUTS[name].archive,)


def splits(name: str, folder: Path) -> Splits:
    """Training and test examples from the archive in a folder."""
    layout = _LAYOUTS[name]
    path = folder / layout.archive.file
    wanted = {*layout.train, *layout.test}
    contents = dict(tar_members(path, wanted))
    missing = sorted(wanted - contents.keys())
    require(not missing, path.name, f"none of {' '.join(missing)}", "the binary version, with all its parts")

    def examples(parts: tuple[str, ...]) -> Iterator[Example]:
        for part in parts:
            content, size = contents[part], layout.label_bytes + 3072
            require(len(content) % size == 0, part, f"{len(content)} bytes", f"a multiple of {size} bytes")
            for record in np.frombuffer(content, np.uint8).reshape(-1, size):
                image = record[layout.label_bytes :].reshape(3, 32, 32).transpose(1, 2, 0)
                yield png(image), int(record[layout.label_bytes - 1])

    return examples(layout.train), examples(layout.test)
