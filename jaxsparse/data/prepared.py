"""Data sets prepared once from their publishers' archives, on disk as TFDS keeps them (`array_record`, no TensorFlow).

    DATA/NAME/                      DATA: see `folders.prepared`
        dataset_info.json, features.json, NAME-train.array_record-..., NAME-test.array_record-...
        prepared.json               whether the archives were the official ones, how many examples, their checksum

Any reader of TFDS opens the folder too: `tfds.builder_from_directory(folder).as_data_source("train")`. Images are kept
as image files, those of an archive untouched. Writing and first reading need the extra `data`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxsparse.checks import InvalidInput, require
from jaxsparse.data import cache, folders, images
from jaxsparse.data.dataset import Arrays, Dataset, Description, on_device
from jaxsparse.files import clear_partial, partial_of, remove, write_text

Example = tuple[bytes, int]
"""An image file and its label."""
Splits = tuple[Iterator[Example], Iterator[Example]]
"""Training and test examples."""
MARKER = "prepared.json"


def png(pixels: np.ndarray) -> bytes:
    """An image `[height, width]` or `[height, width, 3]` uint8 as a PNG file, which loses nothing."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def pixels(image: bytes, channels: int) -> np.ndarray:
    """The pixels `[height, width, channels]` uint8 of an image file."""
    decoded = np.asarray(images.decoded(image, "L" if channels == 1 else "RGB", "image"))
    return decoded.reshape(*decoded.shape[:2], channels)


class Checksum:
    """SHA-256 of examples in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, example: Example) -> None:
        """Goes on with an example."""
        image, label = example
        self._digest.update(f"{label} {len(image)} ".encode())
        self._digest.update(image)

    def hexdigest(self) -> str:
        """Of all examples so far."""
        return self._digest.hexdigest()


def _tfds() -> Any:
    """TensorFlow Datasets, which needs no TensorFlow here.

    Raises:
      InvalidInput: where it is not installed.
    """
    try:
        import tensorflow_datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InvalidInput("data must be an embedded set without the extra: pip install 'jaxsparse[data]'") from None
    return tensorflow_datasets


def write(official: Description, splits: Splits, verified: bool, root: Path) -> Path:
    """Writes a set as a folder of its own, whole or not at all, replacing an older one; the folder.

    Args:
      official: description of the published set.
      splits: training and test examples.
      verified: whether they come from the official archives.
      root: folder of the prepared sets.

    Raises:
      InvalidInput: where the examples can't be read, or TFDS is not installed.
    """
    tfds, checksum = _tfds(), Checksum()

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        name = official.name.replace("-", "_")
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            image = tfds.features.Image(shape=(None, None, official.shape[-1]))
            features = {"image": image, "label": tfds.features.ClassLabel(num_classes=official.classes)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return dict(zip(("train", "test"), map(self._generate_examples, splits), strict=True))

        def _generate_examples(self, examples: Iterator[Example]) -> Iterator[tuple[int, dict[str, Any]]]:
            for key, (image, label) in enumerate(examples):
                require(
                    0 <= label < official.classes, "label", label, f"a whole number from 0 to {official.classes - 1}"
                )
                images.opened(image, f"image {key}")
                checksum.add((image, label))
                yield key, {"image": io.BytesIO(image), "label": label}

    final = root / official.name
    root.mkdir(parents=True, exist_ok=True)
    clear_partial(root)
    partial, former = partial_of(final), partial_of(final)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder = Builder(data_dir=partial, file_format="array_record")
        builder.download_and_prepare()
    sizes = {f"{name}_size": split.num_examples for name, split in builder.info.splits.items()}
    written = Path(builder.data_dir)
    write_text(written / MARKER, json.dumps({"verified": verified, **sizes, "sha256": checksum.hexdigest()}, indent=1))
    if final.exists():
        final.rename(former)
    written.rename(final)
    remove(partial)
    remove(former)
    _used.pop(final, None)
    return final


def _marker(name: str) -> dict[str, Any] | None:
    """What `write` noted about a set; None where it is not prepared."""
    try:
        return json.loads((folders.prepared() / name / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


_used: dict[Path, str] = {}
"""Checksums of the sets that this process uses, by folder."""


def fingerprint(name: str) -> str:
    """Checksum of the examples of a prepared set; always the same in a process, unless it prepares the set itself.

    Raises:
      InvalidInput: where it is not prepared, or was prepared anew since its first use here.
    """
    require_prepared(name)
    folder = folders.prepared() / name
    now = str((_marker(name) or {}).get("sha256"))
    if _used.setdefault(folder, now) != now:
        raise InvalidInput(f"data must be the same throughout, {folder} was prepared anew: give the command again")
    return now


def is_there(name: str) -> bool:
    """Whether a set is prepared."""
    return _marker(name) is not None


def describe(official: Description) -> Description:
    """What was prepared, else what was published."""
    marker = _marker(official.name)
    if marker is None:
        return official
    return replace(official, **{name: marker[name] for name in ("verified", "train_size", "test_size")})


def require_prepared(name: str) -> None:
    """Raises `InvalidInput`, with the command that prepares the set, unless it is prepared."""
    if not is_there(name):
        raise InvalidInput(f"data must be prepared first: jaxsparse data prepare {name}")


def source(name: str, split: str) -> Any:
    """Random access to the examples of a prepared set: `{"image": the file's bytes, "label": int}`.

    Raises:
      InvalidInput: where it is not prepared, or TFDS is not installed.
    """
    fingerprint(name)
    tfds = _tfds()
    builder = tfds.builder_from_directory(folders.prepared() / name)
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _arrays(description: Description, split: str, checksum: Checksum) -> Arrays:
    examples = source(description.name, split)
    shown = np.empty((len(examples), *description.shape), np.uint8)
    labels = np.empty(len(examples), np.int32)
    for index, example in enumerate(examples):
        checksum.add((example["image"], int(example["label"])))
        shown[index], labels[index] = pixels(example["image"], description.shape[-1]), example["label"]
    return shown, labels


def load(official: Description) -> Dataset:
    """The arrays of a prepared set, on the default device; decoded and checked once, then from the cache.

    Raises:
      InvalidInput: where it is not prepared, or damaged since.
    """
    fingerprint(official.name)
    description, folder = describe(official), folders.prepared() / official.name

    def make() -> tuple[Arrays, Arrays]:
        _tfds()
        checksum = Checksum()
        try:
            made = _arrays(description, "train", checksum), _arrays(description, "test", checksum)
        except Exception:  # many libraries read it, each with errors of its own
            made = None
        if made is None or checksum.hexdigest() != (_marker(official.name) or {}).get("sha256"):
            raise InvalidInput(
                f"data must be prepared again, {folder} is damaged: jaxsparse data prepare {folder.name}"
            )
        return made

    return on_device(description, *cache.remember(official.name, (folder / MARKER,), make))
