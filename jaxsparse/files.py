"""Files and folders that are there whole or not at all, of one writer each, and JSON that tells when it was damaged.

What is being written has a name of its own, `NAME.OWNER.NUMBER.partial`, until it is whole and synced; then it is
renamed. A killed writer leaves such names behind, and `clear_partial` removes those of writers that are gone.

Sealed JSON holds its own checksum:

    {"format": 2, .., "sha256": of everything else}
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxsparse import owners
from jaxsparse.checks import InvalidInput, require

PARTIAL = ".partial"
"""Suffix of what is still being written; whatever carries it after a crash is worthless."""
FORMAT = 2
"""Of what is sealed; 1 are files of earlier versions, which have no seal."""
SEAL = "sha256"
FORGOTTEN_SECONDS = 3600.0
"""After which what another machine was writing counts as left behind."""

_counted = itertools.count()
_OWNED = re.compile(rf"\.({owners.PATTERN})\.\d+{re.escape(PARTIAL)}$")


class Damaged(InvalidInput):
    """A file that is not what was written, or lacks a part."""


class Unwritable(InvalidInput):
    """What can't be written, as on a full disk; what was written before is whole."""

    def __init__(self, path: Path, error: OSError):
        super().__init__(
            f"{path} can't be written ({error.strerror or error}): what was finished is kept, and once that is mended "
            "the same command goes on where it was"
        )


def partial_of(path: Path) -> Path:
    """What a file or folder is called while this process writes it; another name at every call."""
    return path.with_name(f"{path.name}.{owners.own()}.{next(_counted)}{PARTIAL}")


def clear_partial(folder: Path) -> None:
    """Removes what writers left half-written that are gone."""
    for leftover in folder.glob(f"*{PARTIAL}"):
        owned = _OWNED.search(leftover.name)
        gone = True if owned is None else owners.is_gone(owned[1])
        with suppress(OSError):
            if gone or (gone is None and time.time() - leftover.stat().st_mtime > FORGOTTEN_SECONDS):
                remove(leftover)


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, replacing an older one.

    Raises:
      Unwritable: where that fails.
    """
    _written(path, content, Path.replace)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, as UTF-8."""
    write_bytes(path, text.encode())


def _written(path: Path, content: bytes, put: Any) -> None:
    partial = partial_of(path)
    try:
        partial.write_bytes(content)
        sync(partial)
        put(partial, path)
        sync(path.parent)
    except OSError as error:
        raise Unwritable(path, error) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def _put_first(partial: Path, path: Path) -> None:
    """Puts a file in its place unless one is there, which no two writers can both do."""
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            partial.replace(path)


def writable(folder: Path, field: str = "out") -> None:
    """Makes sure that a folder, which a field names, exists and can be written to.

    Raises:
      InvalidInput: where it can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = partial_of(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidInput(
            f"{field} must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from None


def sealed(content: Mapping[str, Any]) -> str:
    """As JSON, with its checksum."""
    marked = {"format": FORMAT, **content}
    return json.dumps({**marked, SEAL: _checksum(marked)}, indent=1)


def unsealed(text: str | bytes) -> dict[str, Any]:
    """What was sealed, without format and checksum; text of earlier versions as it is.

    Raises:
      ValueError: for text that is no JSON object, or is not what was sealed.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    if "format" in content or SEAL in content:
        seal = content.pop(SEAL, None)
        if seal != _checksum(content):
            raise ValueError("its checksum is another")
        form = content.pop("format")
        if form != FORMAT:
            raise ValueError(f"it is of format {form}, which this version does not know")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted path: `{"run": {"batch": 64}}` to `{"run.batch": 64}`."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        path = f"{prefix}{name}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return found


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What two nested mappings of what JSON can hold differ in: `run.batch was 1, is now 2`.

    Args:
      theirs: as it was read.
      ours: what is wanted.
      defaults: what stands in theirs for what an earlier version did not write.
    """
    then, now, usual = (flat(json.loads(json.dumps(one))) for one in (theirs, ours, defaults))
    then = {**{path: value for path, value in usual.items() if path in now}, **then}
    absent = object()
    told: list[str] = []
    for path in {**then, **now}:
        before, after = then.get(path, absent), now.get(path, absent)
        if before != after and not (before != before and after != after):  # nan is nan
            was, now_is = ("absent" if value is absent else value for value in (before, after))
            told.append(f"{path} was {was}, is now {now_is}")
    return told


def declare(
    path: Path,
    what: str,
    declaration: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    renew: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    growing: Collection[str] = (),
) -> None:
    """Makes a folder that of one declaration: writes it there as sealed JSON, or finds the same there already; or one
    whose lists have fewer entries, where it may grow.

    Of several processes that declare at the same time one is the first, and the others find that.

    Args:
      path: of the declaration; its folder is made if it is missing.
      what: is declared, for the message: `grid`.
      declaration: of what JSON can hold.
      defaults: of what earlier versions did not declare.
      renew: puts what is found there into the names of now.
      growing: names of the lists that may become longer: what is written down then has the entries of both.

    Raises:
      InvalidInput: where the folder holds another declaration, with the differences; or anything else; or where it
        can't be written to.
    """
    folder = path.parent
    writable(folder)
    if not path.exists():
        free = all(other.suffix == PARTIAL for other in folder.iterdir()) or path.exists()
        require(free, "out", str(folder), f"a new or empty folder, or one of the same {what}")
        _written(path, sealed(declaration).encode(), _put_first)
    while True:  # until ours is there whatever others add at the same time
        theirs, ours = dict(renew(declared(path, "out"))), json.loads(json.dumps(declaration))
        both = {name: _united(theirs[name], ours[name]) for name in growing if name in theirs}
        told = differences(theirs | both, ours | both, defaults or {})
        if told:
            raise InvalidInput(
                f"out must be a new folder or one of the same {what}, {str(folder)!r} differs: {'; '.join(told)}"
            )
        if all(theirs[name] == found for name, found in both.items()):
            return
        write_bytes(path, sealed(ours | both).encode())


def _united(some: list[Any], more: list[Any]) -> list[Any]:
    """The entries of both, numbers rising where they were."""
    found = [*some, *(entry for entry in more if entry not in some)]
    numbers = all(isinstance(entry, int | float) for entry in found)
    return sorted(found) if numbers and some == sorted(some) else found


def declared(path: Path, field: str) -> dict[str, Any]:
    """A declaration, as it was written.

    Raises:
      InvalidInput: where it can't be read or is damaged, naming the field that names its folder.
    """
    try:
        return unsealed(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"{field} must be a folder with a readable {path.name}, got {str(path.parent)!r} ({reason})"
        ) from None
