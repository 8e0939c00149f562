"""Names that a flag may have, found without importing what they stand for: that takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from jaxsparse.checks import require

RULES = Path(__file__).parents[1] / "rules"


@cache
def usual_optimizers() -> tuple[str, ...]:
    """The rules that have a function of their own, in the order of every table: the list in `rules/functions.py`."""
    body = ast.parse((RULES / "functions.py").read_text(encoding="utf-8")).body
    return tuple(next(ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)))


@cache
def optimizers() -> tuple[str, ...]:
    """The package's rules, as `rules.NAMES`: the usual ones, then those of other files with a rule."""
    files = sorted(path for path in RULES.glob("*.py") if path.stem not in usual_optimizers())
    return (*usual_optimizers(), *(path.stem for path in files if "\nRULE = " in path.read_text(encoding="utf-8")))


def require_optimizers(names: tuple[str, ...], field: str) -> None:
    """Raises `InvalidInput` for a name that is none of the package's, nor says where a rule is, `module:name`."""
    for name in names:
        require(":" in name or name in optimizers(), field, name, "one of " + " ".join(optimizers()))
