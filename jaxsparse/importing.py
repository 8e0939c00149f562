"""Things of a person's own, as a command line names them: `package.module:function`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from jaxsparse.checks import InvalidInput


def imported(text: str, field: str) -> Any:
    """What a name `package.module:function` stands for, looked for in the current folder too; its own code runs.

    Only what a person has just written on a command line is imported, never a name that a file tells.

    Raises:
      InvalidInput: naming the field, where there is no such module, or nothing of that name in it.
    """
    module, _, path = text.partition(":")
    told = f"{field} must be module:name of what can be imported, got {text!r}"
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:  # whatever the module does when it is imported
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"{told} ({reason})") from None
    return found


def function(text: str, field: str) -> Callable[..., Any]:
    """The same, of something that can be called.

    Raises:
      InvalidInput: as `imported`, and for anything else.
    """
    found = imported(text, field)
    if not callable(found):
        raise InvalidInput(f"{field} must be module:name of a function or a class, got {text!r}")
    return found
