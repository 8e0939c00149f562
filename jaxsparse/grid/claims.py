"""Who trains what, where several processes share a folder: a claim for each cell, which one of them holds.

    NAME.claim-1        its owner; touched every few seconds while that one lives
    NAME.claim-2        of who took over from an owner that had died

A claim is made by creating its file, which no two processes can both do; the highest number counts. Whether an owner of
this machine lives, the kernel says; of another machine, that its claim is still touched, whatever the clocks say.
"""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from jaxsparse import owners
from jaxsparse.files import Unwritable

BEAT_SECONDS = 5.0
"""Between two touches of a claim that is held."""
DEAD_SECONDS = 60.0
"""Without a touch, after which the owner of a claim on another machine counts as dead."""

_NUMBERED = re.compile(r"(.+)\.claim-(\d+)")


class Claims:
    """Those of this process, from `with Claims() as claims` to the end of the block."""

    def __init__(self) -> None:
        self._held: dict[tuple[Path, str], Path] = {}
        self._watched: dict[Path, tuple[int, float]] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._heart.join()
        for folder, name in list(self._held):
            self.release(folder, name)

    def take(self, folder: Path, name: str) -> bool:
        """Claims a cell, unless another owner that lives has it.

        Raises:
          Unwritable: where that can't be written down.
        """
        with self._lock:
            there = _claims_on(folder, name)
            if not all(self._is_dead(claim) for claim in there.values()):
                return False
            claim = folder / f"{name}.claim-{max(there, default=0) + 1}"
            try:
                with claim.open("x", encoding="ascii") as file:
                    file.write(owners.own())
            except FileExistsError:
                return False
            except OSError as error:
                raise Unwritable(claim, error) from None
            others = [other for other in _claims_on(folder, name).values() if other != claim]
            if not all(self._is_dead(other) for other in others):  # numbers start anew once a claim is given back
                _unlink(claim)
                return False
            self._held[folder, name] = claim
        for other in others:
            _unlink(other)
        return True

    def others(self, folder: Path) -> set[str]:
        """Names of the cells that an owner has that lives."""
        found = [(_NUMBERED.fullmatch(path.name), path) for path in folder.glob("*.claim-*")]
        with self._lock:
            return {match[1] for match, path in found if match is not None and not self._is_dead(path)}

    def holds(self, folder: Path, name: str) -> bool:
        """Whether a cell is still this process's: not taken over by one that took it for dead."""
        claim = self._held.get((folder, name))
        return claim is not None and claim.exists() and claim == max(_claims_on(folder, name).items())[1]

    def release(self, folder: Path, name: str) -> None:
        """Gives a cell back."""
        with self._lock:
            claim = self._held.pop((folder, name), None)
        if claim is not None:
            _unlink(claim)

    def _is_dead(self, claim: Path) -> bool:
        try:
            gone = owners.is_gone(claim.read_text(encoding="ascii", errors="replace"))
            touched = claim.stat().st_mtime_ns
        except OSError:  # given back just now
            return True
        if gone is not None:
            return gone
        seen, since = self._watched.get(claim, (None, 0.0))
        if seen != touched:
            self._watched[claim] = touched, time.monotonic()
            return False
        return time.monotonic() - since > DEAD_SECONDS

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            for claim in list(self._held.values()):
                with suppress(OSError):
                    os.utime(claim)


def _claims_on(folder: Path, name: str) -> dict[int, Path]:
    """The claims on a cell, by number."""
    found = ((_NUMBERED.fullmatch(path.name), path) for path in folder.glob(f"{glob.escape(name)}.claim-*"))
    return {int(match[2]): path for match, path in found if match is not None and match[1] == name}


def _unlink(claim: Path) -> None:
    with suppress(OSError):
        claim.unlink()
