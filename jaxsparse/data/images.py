"""Image files that others made: their size is looked at before they are unpacked."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from jaxsparse.checks import InvalidInput, require

MOST_PIXELS = 1 << 26
"""Of an image file, such as 8192x8192."""


def opened(content: bytes, name: str) -> Image.Image:
    """An image that is not unpacked yet.

    Raises:
      InvalidInput: for a file that is no image, or has more than `MOST_PIXELS`, naming it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound here is lower
            image = Image.open(io.BytesIO(content))
    except Exception as error:  # each format has errors of its own
        raise _unreadable(name, error) from None
    width, height = image.size
    require(width * height <= MOST_PIXELS, name, f"{width}x{height}", f"an image of at most {MOST_PIXELS} pixels")
    return image


def decoded(content: bytes, mode: str, name: str) -> Image.Image:
    """The image in Pillow's mode `L` or `RGB`.

    Raises:
      InvalidInput: as `opened`, and for a file that is damaged further on.
    """
    image = opened(content, name)
    try:
        return image.convert(mode)
    except Exception as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> InvalidInput:
    told = "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error)
    reason = (told.splitlines() or [type(error).__name__])[0]
    return InvalidInput(f"{name} must be a readable image of at most {MOST_PIXELS} pixels: {reason}")
