"""Splits that take a while to make, kept on disk with a checksum: what is damaged or outdated is made again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxsparse.data import folders
from jaxsparse.data.dataset import Arrays
from jaxsparse.files import partial_of

NAMES = ("train_images", "train_labels", "test_images", "test_labels")


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None where it is missing or not what was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in NAMES}
            written = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return arrays if _checksum(arrays) == written else None


def remember(name: str, sources: tuple[Path, ...], make: Callable[[], tuple[Arrays, Arrays]]) -> tuple[Arrays, Arrays]:
    """Training and test split that `make` gives, from the cache where they were made before.

    Args:
      name: of the file, a data set's.
      sources: files that decide the outcome, such as the module that makes it; when one changes, all is made again.
      make: gives the two splits.
    """
    decisive = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    path = folders.cache() / f"{name}-{decisive}.safetensors"
    arrays = _read(path)
    if arrays is None:
        train, test = make()
        arrays = dict[str, np.ndarray](zip(NAMES, (*train, *test), strict=True))
        with suppress(OSError):  # without a place to keep them they are made each time
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = partial_of(path)
            save_file(arrays, partial, {"sha256": _checksum(arrays)})
            partial.replace(path)
    return (arrays[NAMES[0]], arrays[NAMES[1]]), (arrays[NAMES[2]], arrays[NAMES[3]])
