"""`python -m figures RUN_FOLDER --out figures/images`: draws the README's pictures from the records of a grid."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from figures import sparsity_by_optimizer
from jaxsparse import records
from jaxsparse.config import InvalidInput
from jaxsparse.report.figures import png, svg

PICTURES = {"sparsity-by-optimizer": sparsity_by_optimizer.draw}


def main(arguments: list[str] | None = None) -> int:
    """Draws every picture; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m figures", description="Draw the pictures of the README.")
    parser.add_argument("run_folder", type=Path, help="folder of a grid with finished runs")
    parser.add_argument("--out", type=Path, default=Path("figures/images"), help="where to (default: %(default)s)")
    flags = parser.parse_args(arguments)
    try:
        drawn = {name: draw(flags.run_folder) for name, draw in PICTURES.items()}
        records.writable(flags.out)
    except InvalidInput as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    for name, figure in drawn.items():
        records.write_bytes(flags.out / f"{name}.png", png(figure))
        records.write_text(flags.out / f"{name}.svg", svg(figure))
        print(flags.out / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
