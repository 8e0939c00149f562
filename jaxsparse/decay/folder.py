"""The folder of `jaxsparse decay`: what is missing in it is simulated and drawn, what is there is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from jaxsparse import records
from jaxsparse.decay.following import Found, follow
from jaxsparse.decay.plan import CONVENTIONS, ZERO_GRADIENT, Plan
from jaxsparse.decay.steps_map import steps_map
from jaxsparse.dynamics import protocols


def _declaration(plan: Plan) -> dict[str, Any]:
    """What decides the results, as it is in `decay.json`."""
    declaration = asdict(plan.complete())
    if plan.protocol not in protocols.NAMES:
        declaration["checksum"] = hashlib.sha256(Path(plan.protocol).read_bytes()).hexdigest()
    return declaration


def _keep(folder: Path, names: tuple[str, ...], make: Callable[[], Iterable[pa.Table]]) -> None:
    """Makes tables and puts them into a folder, unless they are there."""
    paths = [folder / f"{name}.parquet" for name in names]
    if all(path.exists() for path in paths):
        return
    for path, table in zip(paths, make(), strict=True):
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink, compression="zstd")
        records.write_bytes(path, sink.getvalue().to_pybytes())


def _draw(folder: Path) -> None:
    """Draws what is not drawn yet."""
    from jaxsparse.report import decay, figures  # matplotlib, which other commands start without

    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    for name in decay.FIGURES:
        svg, png = (pictures / f"{name}.{suffix}" for suffix in ("svg", "png"))
        if not (svg.exists() and png.exists()):
            figure = decay.draw(name, folder)
            records.write_text(svg, figures.svg(figure))
            records.write_bytes(png, figures.png(figure))


def write(plan: Plan, folder: Path) -> Found:
    """Makes a folder of a plan, with the other experiments and all figures; one of the same plan is completed.

    Raises:
      InvalidInput: where the folder holds anything else, or can't be written to.
    """
    records.declare(folder / "decay.json", "settings", _declaration(plan))
    if not (folder / "versions.json").exists():
        records.write_text(folder / "versions.json", json.dumps(records.versions(), indent=1))

    def curves(name: str) -> tuple[str, ...]:
        return tuple(f"{name}-{kind}" for kind in Found._fields)

    _keep(folder, curves("decay"), lambda: follow(plan))
    _keep(folder, curves("zero-gradient"), lambda: follow(ZERO_GRADIENT))
    _keep(folder, curves("conventions"), lambda: follow(*CONVENTIONS))
    _keep(folder, ("map",), lambda: [steps_map(plan.optimizers)])
    _draw(folder)
    return Found(*(pyarrow.parquet.read_table(folder / f"{name}.parquet") for name in curves("decay")))
