"""`tinyimagenet`: 110,000 photographs of 200 ImageNet classes, 64x64 (Stanford CS231n), from the official zip.

Tested on its validation images, as Mehta et al. 2019 do (Table 4): the test images have no labels. Classes are in order
of their WordNet identifiers.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from jaxsparse.checks import require
from jaxsparse.data.archives import Archive, read_bounded, reading
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits

NAMES: tuple[str, ...] = ("tinyimagenet",)
ARCHIVE = Archive(
    "tiny-imagenet-200.zip",
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    "md5:90528d7ca1a48142e341f4ef8d21d0de",  # as many public loaders state it; the publisher states none
    terms="agree to ImageNet's terms of access, then download it",
)
ROOT = "tiny-imagenet-200"


def official(name: str) -> Description:
    """Description of the published set."""
    summary = "110,000 photographs of 200 classes, 64x64 (Stanford CS231n); to be prepared with --manual-dir"
    return Description(name, summary, (64, 64, 3), classes=200, train_size=100_000, test_size=10_000, flip=True)


def archives(name: str) -> tuple[Archive, ...]:
    """The one file of the set."""
    del name
    return (ARCHIVE,)


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    with archive.open(name) as file:
        return read_bounded(file, path, name)


def splits(name: str, folder: Path) -> Splits:
    """Training and validation examples from the zip in a folder."""
    del name
    path = folder / ARCHIVE.file
    with reading(path), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        classes = sorted(_member(archive, path, f"{ROOT}/wnids.txt").decode().split())
        lines = _member(archive, path, f"{ROOT}/val/val_annotations.txt").decode().splitlines()
    labels = {wnid: label for label, wnid in enumerate(classes)}
    pattern = re.compile(rf"{ROOT}/train/(n\d+)/images/\1_\d+\.JPEG")
    train = {member: found[1] for member in members if (found := pattern.fullmatch(member))}
    test = {f"{ROOT}/val/images/{file}": wnid for file, wnid, *_ in map(str.split, filter(None, lines))}
    unknown = sorted({*train.values(), *test.values()} - labels.keys())
    require(not unknown, path.name, " ".join(unknown[:3]), "without classes that wnids.txt does not list")
    lacking = sorted(test.keys() - set(members))
    require(
        not lacking, path.name, f"none of {' '.join(lacking[:3])}", "complete, with all that val_annotations.txt lists"
    )

    def examples(part: dict[str, str]) -> Iterator[Example]:
        with reading(path), zipfile.ZipFile(path) as archive:
            for member, wnid in part.items():
                yield _member(archive, path, member), labels[wnid]

    return examples(train), examples(test)
