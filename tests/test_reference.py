"""The reference has every public name, each with an example, and every example is run."""

import doctest
import inspect
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import jaxsparse as js

DOCS = Path(__file__).parents[1] / "docs"
PAGES, NOTEBOOKS = (DOCS / "reference").glob("*.md"), DOCS / "notebooks"
DIRECTIVE = re.compile(r"^\.\. auto(?:function|class|exception):: jaxsparse\.(\S+)$", re.MULTILINE)
NAMES = [name for page in sorted(PAGES) for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]


def test_every_public_name_is_there_once() -> None:
    public = {name for name in js.__all__ if not inspect.ismodule(getattr(js, name))}
    assert public <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    documented: Any = attrgetter(name)(js)
    text = inspect.getdoc(documented)
    assert text, "no docstring"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    assert example.examples, "no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    """They are run when the site is built; what a cell gave once is no evidence."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
