"""Where data lie on disk: what a person prepared, and what can be made again at any time."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def prepared() -> Path:
    """Folder of the prepared data sets: `JAXSPARSE_DATA`, else the platform's folder for a user's data."""
    return Path(os.environ.get("JAXSPARSE_DATA") or platformdirs.user_data_dir("jaxsparse", appauthor=False))


def cache() -> Path:
    """Folder of generated arrays: `JAXSPARSE_CACHE`, else the platform's folder for caches. It may be deleted."""
    return Path(os.environ.get("JAXSPARSE_CACHE") or platformdirs.user_cache_dir("jaxsparse", appauthor=False))
