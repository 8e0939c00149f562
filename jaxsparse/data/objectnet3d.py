"""`objectnet3d`, `objectnet3d-cluttered`: renders of 30 classes of objects, 64x64 grey, from a folder per class.

Mehta et al. 2019 (section 3 and S4) rendered about 50,000 views of ObjectNet3D's models twice, alike but for the
background. The renders are not published, so there is no official archive: bring your own as
`objectnet3d/CLASS/*.png` and `objectnet3d-cluttered/CLASS/*.png`, and prepare them with `--unverified`. The paper does
not state its split; here every fifth image of a class, in order of the files' names, is a test image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsparse.checks import require
from jaxsparse.data import images
from jaxsparse.data.archives import Archive, reading
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits, png

NAMES: tuple[str, ...] = ("objectnet3d", "objectnet3d-cluttered")
CLASSES = (
    *("aeroplane", "bed", "bench", "bicycle", "boat", "bookshelf", "bus", "camera", "chair", "clock", "eyeglasses"),
    *("fan", "flashlight", "guitar", "headphone", "jar", "kettle", "keyboard", "laptop", "piano", "racket", "shoe"),
    *("sofa", "suitcase", "teapot", "toaster", "train", "trophy", "tub", "wheelchair"),
)
"""Of the paper (S4), in order of their labels."""
SIDE = 64
EVERY = 5


def official(name: str) -> Description:
    """Description of the paper's set."""
    background = "cluttered" if name.endswith("cluttered") else "clean"
    summary = f"renders of 30 classes on a {background} background, 64x64 grey; to be prepared from your own folder"
    return Description(name, summary, (SIDE, SIDE, 1), len(CLASSES), train_size=40_000, test_size=10_000, flip=True)


def archives(name: str) -> tuple[Archive, ...]:
    """None: the set was never published."""
    del name
    return ()


def splits(name: str, folder: Path) -> Splits:
    """Training and test examples from `folder/NAME/CLASS/*.png`."""
    root = folder / name
    found = {label: sorted((root / label).glob("*.png")) for label in CLASSES}
    empty = [label for label, files in found.items() if len(files) < EVERY]
    require(
        not empty,
        "manual-dir",
        str(folder),
        f"a folder with {EVERY} or more images as {root.name}/{'|'.join(empty)}/*.png",
    )

    def examples(test: bool) -> Iterator[Example]:
        for label, files in enumerate(found.values()):
            for position, path in enumerate(files):
                if (position % EVERY == EVERY - 1) == test:
                    with reading(path):
                        content = path.read_bytes()
                    name = str(path.relative_to(folder))
                    image = np.asarray(images.decoded(content, "L", name))
                    require(image.shape == (SIDE, SIDE), name, image.shape, "64x64 pixels")
                    yield png(image), label

    return examples(test=False), examples(test=True)
