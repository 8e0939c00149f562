"""What a safetensors file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxsparse.checks import InvalidInput


def arrays_of(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and metadata, of a safetensors file.

    Raises:
      InvalidInput: for a file that is none, or with numbers that NumPy lacks (bfloat16).
    """
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise InvalidInput(f"file must be a readable .safetensors file, got {str(path)!r}: {error}") from None
