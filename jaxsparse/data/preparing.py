"""From a publisher's archives to a prepared set: find or download, check, convert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import Progress

from jaxsparse.checks import require
from jaxsparse.data import prepared
from jaxsparse.data.archives import Archive
from jaxsparse.data.dataset import Description
from jaxsparse.data.prepared import Example, Splits
from jaxsparse.files import writable


class Published(Protocol):
    """A module that reads a published data set, or several, from its archives."""

    NAMES: tuple[str, ...]

    def official(self, name: str) -> Description: ...

    def archives(self, name: str) -> tuple[Archive, ...]: ...

    def splits(self, name: str, folder: Path) -> Splits: ...


def prepare(name: str, source: Published, manual: Path | None, root: Path, unverified: bool) -> Path:
    """Prepares a data set, with progress on standard error; its folder.

    Args:
      name: of the set, one of the source's.
      source: reads its archives.
      manual: folder with the archives; else they are downloaded, where the licence allows it.
      root: folder of the prepared sets.
      unverified: take archives that are not the official ones too, and mark the set so.

    Raises:
      InvalidInput: naming an archive that is missing, damaged or not the official one.
    """
    official, archives = source.official(name), source.archives(name)
    require(archives != () or manual is not None, "manual-dir", None, f"a folder with your own {name}")
    for archive in archives:
        archive.require_available(manual)
    folder = root / "downloads" if manual is None else manual
    writable(root if manual else folder, "data-dir")
    console = Console(stderr=True)  # elsewhere than in a terminal, a bar is but an empty line
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for archive in archives:
            archive.download(folder, progress)
        others = [archive.file for archive in archives if not archive.official(folder / archive.file, progress)]
        if manual is None and not unverified:
            for file in others:  # the next attempt downloads it again
                (folder / file).unlink()
        known = bool(archives) and not others
        allowed = "the official archive, by its checksum, unless --unverified is given"
        require(known or unverified, " ".join(others) or name, "another", allowed)

        def followed(split: str, examples: Iterator[Example], size: int) -> Iterator[Example]:
            return iter(progress.track(examples, total=size, description=f"prepare {split}"))

        train, test = source.splits(name, folder)
        splits = followed("train", train, official.train_size), followed("test", test, official.test_size)
        return prepared.write(official, splits, known, root)
