"""Docstrings are Markdown with Google's sections; Sphinx reads reStructuredText. This turns one into the other.

It comes before napoleon, which understands the sections. What differs: single backticks are code, indented text is a
block of code, and `|` and a trailing `_` mean nothing.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)]+)\)")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples):$")


def _text(markdown: str) -> str:
    """Inline markup of a line or paragraph."""
    markdown = LINK.sub(r"`\1 <\2>`__", markdown)
    pieces: list[str] = []
    for index, piece in enumerate(CODE.split(markdown)):
        if index % 2:
            pieces.append(f"\\ ``{' '.join(piece.split(chr(10)))}``\\ ")
        else:
            pieces.append(re.sub(r"(\w)_(?!\w)", r"\1\\_", piece.replace("|", r"\|")))
    text = "".join(pieces)
    # The escaped spaces are needed beside letters only, and would hide the indentation at the start of a line.
    text = re.sub(r"(^|[\s(\[{'\"/-])\\ ``", r"\1``", text, flags=re.MULTILINE)
    return re.sub(r"``\\ (?=[\s.,;:!?)\]}'\"/-]|$)", "``", text, flags=re.MULTILINE)


def _code(lines: list[str]) -> list[str]:
    try:
        ast.parse(textwrap.dedent("\n".join(lines)))
        language = "python"
    except SyntaxError:
        language = "text"
    return ["", f".. code-block:: {language}", "", *("    " + line for line in lines), ""]


def _table(lines: list[str]) -> list[str]:
    rows = [[_text(cell.strip()) for cell in line.strip().strip("|").split(" | ")] for line in lines]
    rows = [row for row in rows if not set("".join(row)) <= set("-: |\\")]
    listed = [f"{'- ' if index else '* - '}{cell}" for row in rows for index, cell in enumerate(row)]
    indented = [f"     {line}" if line.startswith("-") else f"   {line}" for line in listed]
    return ["", ".. list-table::", "   :header-rows: 1", "", *indented, ""]


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The docstring in runs of lines of one kind: prose, code, table, and the sections as one."""
    section, code = False, False
    kinds = []
    for before, line in zip(["", *lines], lines, strict=False):
        section = section or bool(SECTION.match(line))
        indented = line.startswith("    ") or (line.startswith("  ") and not line.lstrip().startswith(("-", "*")))
        code = (code or not before.strip()) if indented and line.strip() else code and not line.strip()
        kinds.append("section" if section else "code" if code else "table" if line.startswith("|") else "prose")
    numbered = groupby(range(len(lines)), key=kinds.__getitem__)
    yield from ((kind, [lines[index] for index in run]) for kind, run in numbered)


def _sections(lines: list[str]) -> list[str]:
    """Doctests stay as they are."""
    converted: list[str] = []
    for doctest, of_one_kind in groupby(lines, key=_Doctest()):
        run = list(of_one_kind)
        converted += run if doctest else _text("\n".join(run)).split("\n")
    return converted


class _Doctest:
    """Whether a line is of a doctest: from `>>>` to the next empty line."""

    inside = False

    def __call__(self, line: str) -> bool:
        self.inside = line.lstrip().startswith(">>>") or (self.inside and bool(line.strip()))
        return self.inside


def converted(lines: list[str]) -> list[str]:
    """The docstring in reStructuredText, with Google's sections."""
    result: list[str] = []
    for kind, run in _blocks(lines):
        if kind == "code" and not any(line.lstrip().startswith(">>>") for line in run):
            result += _code(run)
        elif kind == "table":
            result += _table(run)
        elif kind == "prose":
            result += _text("\n".join(run)).split("\n")
        else:
            result += _sections(run)
    return result


def setup(app: Any) -> dict[str, bool]:
    def convert(app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
        lines[:] = converted(lines)

    app.connect("autodoc-process-docstring", convert, priority=400)
    return {"parallel_read_safe": True}
