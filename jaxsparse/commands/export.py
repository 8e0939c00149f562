"""`jaxsparse export`: a trained network as a file for other programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxsparse import data, records
from jaxsparse.checks import require, require_choice
from jaxsparse.export.card import Card
from jaxsparse.export.loading import folder_of, read
from jaxsparse.export.own import Own
from jaxsparse.export.saving import FORMATS, save
from jaxsparse.grid import keep_compiled


@dataclass(frozen=True)
class Export:
    """Write a trained network as a file for other programs: its weights by name, or the network as a whole."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run, or a .safetensors file of an export"""
    format: str = "safetensors"
    """safetensors (`jaxsparse.load` reads it back), onnx or stablehlo (both need `pip install 'jaxsparse[export]'`)"""
    model: str | None = None
    """package.module:function that made the network, where it is your own"""
    out: Path | None = None
    """file, or folder of the file [the run's, with .FORMAT added]"""


def with_moments(card: Card) -> Card:
    """The card with the moments of the pixels, if the data of its run are here."""
    if card.mean or not card.run:
        return card
    run = records.run_of(card.run)
    if not data.is_ready(run.data):
        return card
    dataset = data.opened(run.data, run.pixels)
    return replace(card, mean=tuple(dataset.mean.tolist()), deviation=tuple(dataset.deviation.tolist()))


def _own(model: str, folder: Path) -> tuple[Any, Card]:
    """A person's own network, and the card of its run."""
    return Own(model).network(folder), Card.of_run(records.describe(folder))


def command(flags: Export, _: str) -> int:
    """The command's action; its exit status."""
    keep_compiled()
    require_choice("format", flags.format, FORMATS)
    source = folder_of(flags.run)
    model, card = read(source) if flags.model is None else _own(flags.model, source)
    whole = source.resolve()  # the run may be `.`
    name = f"{whole.stem if whole.is_file() else whole.name}.{flags.format}"
    out = flags.out or whole.with_name(name)
    ending = out.suffix.removeprefix(".")
    require(ending not in FORMATS or ending == flags.format, "out", str(out), f"a .{flags.format} file or a folder")
    for file in save(out if ending == flags.format else out / name, model, with_moments(card)):
        print(file)
    return 0
