"""`imagenet`: 1.33 million photographs of 1000 classes (ILSVRC 2012), from the official archives, streamed.

Too large for a device: `training_batches` gives a `grain` iterator whose place in the order of the data can be kept and
found again. Preprocessing as in Mehta et al. 2019 (section 5): resized to 256x256, a random 224x224 crop and a random
mirroring in training, the central crop alone in testing. Classes are in order of their WordNet identifiers. The set is
tested on its validation images, whose labels the development kit numbers in an order of its own.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.data import images, prepared
from jaxsparse.data.archives import Archive, read_bounded, reading, tar_members
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits
from jaxsparse.data.streaming import Batch, Resumable, Stream

NAMES: tuple[str, ...] = ("imagenet",)
RESIZED, CROP = 256, 224
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the pixels, per channel: what torchvision's networks are trained with (0.485, .. and 0.229, .. times 255), as the
paper's own are not stated."""
THREADS = 16
_URL = "https://image-net.org/download-images.php"
_TERMS = "agree to ImageNet's terms of access, then download it"
TRAIN, TEST, KIT = (
    Archive(file, _URL, checksum, _TERMS)
    for file, checksum in (  # tensorflow/datasets, url_checksums/imagenet2012.txt; of the kit: torchvision, imagenet.py
        ("ILSVRC2012_img_train.tar", "sha256:b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb"),
        ("ILSVRC2012_img_val.tar", "sha256:c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0"),
        ("ILSVRC2012_devkit_t12.tar.gz", "md5:fa75699e90414af021442c21a62c3abf"),
    )
)


def official(name: str) -> Description:
    """Description of the published set."""
    summary = "1.33 million photographs of 1000 classes (ILSVRC 2012), streamed; to be prepared with --manual-dir"
    return Description(name, summary, (CROP, CROP, 3), 1000, 1_281_167, 50_000, flip=True, fits=False)


def archives(name: str) -> tuple[Archive, ...]:
    """Training and validation images, and the development kit with the validation labels."""
    del name
    return TRAIN, TEST, KIT


def _kit(path: Path) -> tuple[list[str], list[str]]:
    """The sorted identifiers of the classes, and the identifier of every validation image."""
    from scipy.io import loadmat

    root = "ILSVRC2012_devkit_t12/data"
    wanted = {f"{root}/meta.mat", f"{root}/ILSVRC2012_validation_ground_truth.txt"}
    contents = dict(tar_members(path, wanted))
    require(contents.keys() == wanted, path.name, " ".join(contents) or "nothing", f"with {' '.join(sorted(wanted))}")
    meta, truth = (contents[name] for name in sorted(wanted, reverse=True))
    with reading(path):
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
    leaves = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if int(s["num_children"]) == 0}
    with reading(path):
        return sorted(leaves.values()), [leaves[int(line)] for line in truth.split()]


def splits(name: str, folder: Path) -> Splits:
    """Training and validation examples from the archives in a folder."""
    del name
    classes, truth = _kit(folder / KIT.file)
    labels = {wnid: label for label, wnid in enumerate(classes)}

    def train() -> Iterator[Example]:
        path, seen = folder / TRAIN.file, set()
        with reading(path), tarfile.open(path) as outer:
            for member in outer:
                found = re.fullmatch(r"(n\d+)\.tar", member.name)
                require(found is not None and found[1] in labels, path.name, member.name, "made of one tar per class")
                assert found is not None
                seen.add(found[1])
                with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                    for image in inner:
                        file = inner.extractfile(image) if image.isfile() else None
                        if file is not None:
                            yield read_bounded(file, path, image.name), labels[found[1]]
        require(seen == labels.keys(), path.name, f"{len(seen)} classes", f"whole, with {len(labels)} classes")

    def test() -> Iterator[Example]:
        path, count = folder / TEST.file, 0
        for member, image in tar_members(path):
            found = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", member)
            known = found is not None and 1 <= int(found[1]) <= len(truth)
            require(known, path.name, member, f"made of validation images 1 to {len(truth)}")
            assert found is not None
            count += 1
            yield image, labels[truth[int(found[1]) - 1]]
        require(count == len(truth), path.name, f"{count} images", f"whole, with {len(truth)} images")

    return train(), test()


def resized(image: bytes) -> np.ndarray:
    """An image file as `[256, 256, 3]` uint8."""
    photograph = images.decoded(image, "RGB", "image")
    return np.asarray(photograph.resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))


def centre(pixels: np.ndarray) -> np.ndarray:
    """The central crop `[224, 224, 3]`."""
    margin = (RESIZED - CROP) // 2
    return pixels[margin : margin + CROP, margin : margin + CROP]


def augmented(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random crop `[224, 224, 3]`, mirrored in half of the cases."""
    top, left = generator.integers(0, RESIZED - CROP + 1, 2)
    crop = pixels[top : top + CROP, left : left + CROP]
    return crop[:, ::-1] if generator.integers(2) else crop


def _grain() -> Any:
    """The reader.

    Raises:
      InvalidInput: where it is not installed.
    """
    try:
        import grain  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInput("data must be an embedded set without the extra: pip install 'jaxsparse[data]'") from None
    return grain


def batches(split: str, size: int, *, threads: int = THREADS) -> Any:
    """Batches `{"image": [size, 224, 224, 3] uint8, "label": [size] int32}` of the central crops of the prepared set,
    every image once and in order; the last batch may be smaller. A `grain.IterDataset`.

    Args:
      split: `train` or `test`.
      size: images in a batch.
      threads: that read and decode.

    Raises:
      InvalidInput: where the set is not prepared or grain is not installed.
    """
    require_choice("split", split, ("train", "test"))
    grain, examples = _grain(), prepared.source(NAMES[0], split)

    def seen(example: dict[str, Any]) -> dict[str, Any]:
        return {"image": centre(resized(example["image"])), "label": np.int32(example["label"])}

    batched = grain.MapDataset.source(examples).map(seen).batch(size)
    return batched.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))


def training_batches(size: int, *, seed: int = 0, epochs: int | None = None, threads: int = THREADS) -> Any:
    """Batches of random crops of the training images, mirrored in half of the cases, in another order each epoch; an
    epoch's incomplete last batch is left out. A `grain.IterDataset` of batches as those of `batches`.

    Its iterator's `get_state()` and `set_state(state)` resume at the very same image, crop and mirroring.

    Args:
      size: images in a batch.
      seed: of order and augmentation.
      epochs: passes over the images; None: without end.
      threads: that read and decode.

    Raises:
      InvalidInput: where the set is not prepared or grain is not installed.
    """
    grain, examples = _grain(), prepared.source(NAMES[0], "train")

    def seen(example: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"image": augmented(resized(example["image"]), generator), "label": np.int32(example["label"])}

    shuffled = grain.MapDataset.source(examples).seed(seed).shuffle()
    batched = shuffled.random_map(seen).batch(size, drop_remainder=True).repeat(epochs)
    return batched.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))


@dataclass(frozen=True)
class Photographs:
    """A split of the prepared set."""

    split: str
    size: int

    def __len__(self) -> int:
        return self.size

    def batches(self, size: int) -> Iterator[Batch]:
        """See `Streamed`."""
        return iter(batches(self.split, size))


def _shuffled(size: int, seed: int) -> Resumable:
    batches: Any = iter(training_batches(size, seed=seed))
    return batches


def stream(name: str) -> Stream:
    """The prepared set.

    Raises:
      InvalidInput: where it is not prepared.
    """
    prepared.require_prepared(name)
    described = prepared.describe(official(name))
    train, test = Photographs("train", described.train_size), Photographs("test", described.test_size)
    return Stream(jnp.asarray(MEAN), jnp.asarray(DEVIATION), train, test, _shuffled, described)
