"""Archives as their publishers offer them: found or downloaded, checked against their checksum, read without unpacking.

Members are read in memory and picked by name; nothing that an archive holds ever becomes a path on this machine.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from rich.progress import Progress

from jaxsparse.checks import InvalidInput, require
from jaxsparse.files import partial_of

BLOCK = 1 << 20
LARGEST = 1 << 28
"""Bytes of a file in an archive; the official ones have at most 154 million."""


@dataclass(frozen=True)
class Archive:
    """One file of a data set."""

    file: str
    url: str
    checksum: str
    """`sha256:..` or `md5:..` of the official file, as public sources state it"""
    terms: str = ""
    """what has to be agreed to before it is downloaded by hand; empty: it may be downloaded by a program"""

    def official(self, path: Path, progress: Progress) -> bool:
        """Whether a file is this one."""
        algorithm, expected = self.checksum.split(":")
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with progress.open(path, "rb", description=f"check {self.file}") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == expected

    def require_available(self, manual: Path | None) -> None:
        """Raises `InvalidInput` unless the file is in the folder given, or without one may be downloaded."""
        available = not self.terms if manual is None else (manual / self.file).is_file()
        where = f"a folder with {self.file} ({self.terms or 'download it'}: {self.url})"
        require(available, "manual-dir", None if manual is None else str(manual), where)

    def download(self, folder: Path, progress: Progress) -> None:
        """Downloads the file into a folder unless it is there; it appears whole or not at all.

        Raises:
          InvalidInput: where it can't be downloaded.
        """
        path = folder / self.file
        if path.exists():
            return
        partial = partial_of(path)
        try:
            with urllib.request.urlopen(self.url, timeout=60) as answer, partial.open("wb") as file:
                size = answer.headers.get("Content-Length")
                task = progress.add_task(f"download {self.file}", total=None if size is None else int(size))
                while block := answer.read(BLOCK):
                    file.write(block)
                    progress.advance(task, len(block))
        except (OSError, HTTPException) as error:
            partial.unlink(missing_ok=True)
            raise InvalidInput(
                f"manual-dir must be a folder with {self.file}, as {self.url} can't be downloaded ({error})"
            ) from None
        partial.replace(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file raises into one line.

    Raises:
      InvalidInput: naming the file.
    """
    try:
        yield
    except (OSError, EOFError, KeyError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(
            f"{path.name} must be whole and of the official layout, it can't be read: {reason}"
        ) from None


def read_bounded(file: IO[bytes] | gzip.GzipFile, path: Path, name: str = "", most: int = LARGEST) -> bytes:
    """All of a file, of which no more is unpacked than a bound.

    Args:
      file: is read.
      path: of the archive.
      name: of the file in it.
      most: bytes.

    Raises:
      InvalidInput: naming the archive and the file, where there is more.
    """
    content = file.read(most + 1)
    named = " ".join(filter(None, (path.name, name)))
    require(len(content) <= most, named, "more", f"of the official layout, with at most {most} bytes in a file")
    return content


def tar_members(path: Path, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar archive's files, in order, compressed or not; only of those that are wanted.

    Raises:
      InvalidInput: where it is damaged, or a file in it is larger than `LARGEST`.
    """
    with reading(path), tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (wanted is None or member.name in wanted):
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, read_bounded(file, path, member.name)
