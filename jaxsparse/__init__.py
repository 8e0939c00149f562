"""jaxsparse: sparsity that appears by itself when a network is trained.

import jaxsparse as js

tx = js.adam(1e-3, b2=0.99, regularizer=js.CoupledL2(1e-4))   # any optax training loop
print(js.measure(model, batches))                             # any model: which units are dead

Each name is imported when it is first used: JAX and Flax alone take seconds, which a command's help need not wait for.
`__init__.pyi` has the names.
"""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jaxsparse import starting  # noqa: F401  # before all that takes long to import

__version__ = "0.1.0"


def _exported() -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Where each name comes from, and the modules all of whose names are here."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    names: dict[str, tuple[str, str]] = {}
    whole: list[str] = []
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if alias.name == "*":
                    whole.append(node.module)
                else:
                    names[alias.asname or alias.name] = node.module, alias.name
    return names, whole


_NAMES, _WHOLE = _exported()


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted({*_NAMES, *(name for module in _WHOLE for name in import_module(module).__all__)})
    if name in _NAMES:
        module, attribute = _NAMES[name]
        found = import_module(f"{module}.{name}") if module == __name__ else getattr(import_module(module), attribute)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        found = import_module(f"{__name__}.{name}")
    else:
        holders = () if name.startswith("_") else map(import_module, _WHOLE)
        holder = next((module for module in holders if name in module.__all__), None)
        if holder is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(holder, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
