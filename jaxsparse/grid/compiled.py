"""Compiled programs stay in the user's cache folder, where the next process finds them."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jaxlib.version

from jaxsparse.data import folders
from jaxsparse.grid import processor

COMPILE_SECONDS = 0.2
"""Programs that compile faster are not worth a file."""
_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")
"""What JAX warns of before it compiles the program anew. It keeps the file that it could not read, and never writes
over one, so that the program would be compiled at every start."""


def keep_compiled() -> None:
    """Keeps compiled programs, so that the next process need not compile them again.

    Each version of jaxlib and model of processor has a folder of its own, so that machines may share a home. The folder
    may be deleted at any time, and what can't be read in it is replaced. `JAX_COMPILATION_CACHE_DIR` names another,
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing; where nothing can be written, nothing is kept.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    machine = hashlib.sha256(processor.identity().encode()).hexdigest()[:12]
    folder = folders.cache() / "compiled" / f"jaxlib-{jaxlib.version.__version__}-{machine}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILE_SECONDS)
        _replace_unreadable(folder)


def _replace_unreadable(folder: Path) -> None:
    """Removes what JAX warns that it can't read, in place of the warning; it then writes the program anew."""
    show = warnings.showwarning

    def look(message: Warning | str, *details: Any, **more: Any) -> None:
        unreadable = _UNREADABLE.match(str(message))
        if unreadable is None:
            show(message, *details, **more)
            return
        for entry in folder.glob(f"{glob.escape(unreadable[1])}-*"):  # a program's name, then what it was made from
            entry.unlink(missing_ok=True)

    warnings.showwarning = look
