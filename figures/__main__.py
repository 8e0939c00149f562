"""`python -m figures FOLDER --out figures/images`: draws the pictures of the README and of docs/ from records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from figures import sparsity_by_optimizer
from jaxsparse import records
from jaxsparse.checks import InvalidInput, require
from jaxsparse.report import decay
from jaxsparse.report.figures import png, svg

PICTURES: Mapping[str, Mapping[str, Callable[[Path], Figure]]] = {
    "grid.json": {"sparsity-by-optimizer": sparsity_by_optimizer.draw},
    "decay.json": {name: partial(decay.draw, name) for name in decay.FIGURES},
}
"""By the file that tells what a folder is, what can be drawn of it."""


def drawn(folder: Path) -> dict[str, Figure]:
    """Every picture of a folder, by name.

    Raises:
      InvalidInput: where there is nothing to draw from.
    """
    found = [pictures for file, pictures in PICTURES.items() if (folder / file).exists()]
    require(bool(found), "folder", str(folder), "one with finished runs of a grid, or of `jaxsparse decay`")
    return {name: draw(folder) for pictures in found for name, draw in pictures.items()}


def main(arguments: list[str] | None = None) -> int:
    """Draws every picture; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m figures", description="Draw the pictures of README and docs.")
    parser.add_argument("folder", type=Path, help="of a grid with finished runs, or of `jaxsparse decay`")
    parser.add_argument("--out", type=Path, default=Path("figures/images"), help="where to (default: %(default)s)")
    flags = parser.parse_args(arguments)
    try:
        figures = drawn(flags.folder)
        records.writable(flags.out)
    except InvalidInput as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    for name, figure in figures.items():
        records.write_bytes(flags.out / f"{name}.png", png(figure))
        records.write_text(flags.out / f"{name}.svg", svg(figure))
        print(flags.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
