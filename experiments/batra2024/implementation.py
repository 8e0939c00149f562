"""How much code each method of pruning takes in this package: a stand-in for how easy it is to implement."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.findings import Findings
from jaxsparse import pruning

METHODS: tuple[Callable[..., Any], ...] = (pruning.magnitude, pruning.filters, pruning.hybrid, pruning.slimming)


def _tree(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def _reached(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """A function, and those of `jaxsparse.pruning` that it calls, and they call, by name."""
    found, waiting = dict[str, Callable[..., Any]](), [function]
    while waiting:
        one = waiting.pop()
        if one.__name__ in found:
            continue
        found[one.__name__] = one
        names = {node.id for node in ast.walk(_tree(one)) if isinstance(node, ast.Name)}
        used = [inspect.unwrap(one).__globals__.get(name) for name in names]
        waiting += [each for each in used if inspect.isfunction(each) and each.__module__.startswith(pruning.__name__)]
    return found


def _without_docstring(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def lines(function: Callable[..., Any]) -> int:
    """Lines of code of a function and of what it reaches, less blank lines, comments and docstrings; as `ast.unparse`
    breaks them."""
    return sum(len(_without_docstring(_tree(each)).splitlines()) for each in _reached(function).values())


def _every_method(root: Path) -> list[dict[str, Any]]:
    del root
    return [{"method": method.__name__, "lines": lines(method)} for method in METHODS]


LINES = Findings("implementation", ("method", "lines"), _every_method)
"""They need no training; as all findings, they are kept with the figures of the trainings."""
