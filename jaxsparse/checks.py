"""Checks of what a person gives, and how settings are written down. Nothing here takes long to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any


class InvalidInput(ValueError):
    """Input that a person gave and can mend; its message is one line naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> try:
      ...     js.Run(batch=0)
      ... except js.InvalidInput as error:
      ...     print(error)
      batch must be a whole number >= 1, got 0
    """


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raises `InvalidInput` ("name must be allowed, got value") unless the condition holds."""
    if not condition:
        raise InvalidInput(f"{name} must be {allowed}, got {value!r}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises `InvalidInput` unless the value is one of the allowed ones."""
    require(value in allowed, name, value, "one of " + " ".join(allowed))


def name_of(thing: Any) -> str:
    """What a setting is called: a name as it is, else the `name` of an object, a function's or a class's own.

    Raises:
      InvalidInput: for what has none.
    """
    thing = thing.func if isinstance(thing, partial) and not hasattr(thing, "name") else thing
    for found in (thing, getattr(thing, "name", None), getattr(thing, "__name__", None)):
        if isinstance(found, str):
            return found
    raise InvalidInput(f"a setting must have a name (an attribute `name`), got {thing!r}")


def plain(settings: Any) -> Any:
    """Settings as JSON can hold them: dataclasses as dicts, functions and classes as `module:name`, and everything else
    that is no number by its name."""
    if settings is None or isinstance(settings, str | int | float):
        return settings
    if isinstance(settings, Mapping):
        return {name: plain(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [plain(value) for value in settings]
    if isinstance(settings, Path):
        return str(settings)
    if hasattr(settings, "described"):
        return plain(settings.described)
    if hasattr(settings, "shape"):  # a number that JAX or NumPy holds
        return settings.tolist()
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type) and not hasattr(settings, "name"):
        return {field.name: plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    name = name_of(settings)
    settings = settings.func if isinstance(settings, partial) else settings
    module = settings.__module__ if name == getattr(settings, "__name__", None) else None  # None too where exec made it
    return f"{module}:{settings.__qualname__}" if module else name
