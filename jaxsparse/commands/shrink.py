"""`jaxsparse shrink`: a smaller network from a trained one, and what that saves.

The folder it writes holds a network like any other run's (`js.load`, `jaxsparse measure`):

    run.json               that of the run, with what was removed under `shrunk`
    weights.safetensors    the smaller arrays, which carry the widths
    figures/widths.*       units of each layer before and after
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from flax import nnx
from rich import box
from rich.table import Table

from jaxsparse import criteria, data, export, models, records, sparsity
from jaxsparse.checks import require, require_choice
from jaxsparse.criteria import Thresholds
from jaxsparse.export.own import Own
from jaxsparse.grid import keep_compiled
from jaxsparse.losses import evaluate
from jaxsparse.report import table
from jaxsparse.shrinking import Borders, Report, shrink
from jaxsparse.shrinking.costs import Cost, cost
from jaxsparse.trees import flatten


@dataclass(frozen=True)
class Shrink:
    """Remove the dead units of a trained network: same outputs, smaller network. Shows and writes what that saves."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
    own: tyro.conf.OmitArgPrefixes[Own] = field(default_factory=Own)
    by: str = "scale"
    """which units are dead: by scale, activation (on the training set; they are taken to put out 0) or norm"""
    threshold: float | None = None
    """a unit is dead below this [scale, norm: 1e-3, activation: 1e-12]"""
    borders: str = "keep"
    """units whose constant zero padding makes differ near the borders: keep them, or map it into a bias by position"""
    round_to: int = 1
    """leave widths that are a multiple of this where they can be: 8 fills most processors' vectors"""
    min_width: int = 1
    """units of a layer that stay at least, unless it died whole"""
    out: Path | None = None
    """folder of the smaller network [the run's, with -shrunk added]"""
    json: bool = False
    """print one JSON object instead of a table"""


def _dead(flags: Shrink, model: nnx.Module, dataset: data.Dataset | data.Stream, run: Any) -> dict[str, Any] | None:
    """The units that the flags ask for; none: what `shrink` takes by default."""
    if flags.by == "scale":
        return None
    given: dict[str, Any] = {} if flags.threshold is None else {flags.by: flags.threshold}
    seen = sparsity.observe(model, dataset, models.features_of(run.model))
    return sparsity.judge(seen, Thresholds(**given)).dead[flags.by]


def command(flags: Shrink, _: str) -> int:
    """The command's action; its exit status."""
    keep_compiled()
    require_choice("by", flags.by, criteria.names_of(Thresholds()))
    require_choice("borders", flags.borders, tuple(Borders))
    for name, value in (("round-to", flags.round_to), ("min-width", flags.min_width)):
        require(value >= 1, name, value, "a whole number >= 1")
    described, model, run = flags.own.open(flags.run)
    out = flags.out or export.beside(flags.run, "-shrunk")
    require(not out.exists() or (out.is_dir() and not any(out.iterdir())), "out", str(out), "a new or empty folder")
    dataset = data.opened(run.data, run.pixels)
    example = data.preprocess(dataset, data.examples(dataset.test, 8))
    dead = _dead(flags, model, dataset, run)
    constants = {name: np.zeros(len(mask)) for name, mask in (dead or {}).items()} if flags.by == "activation" else None
    tolerance = Thresholds.scale if flags.threshold is None else flags.threshold
    smaller, report = shrink(
        model,
        example,
        dead,
        constants=constants,
        tolerance=tolerance,
        borders=Borders(flags.borders),
        round_to=flags.round_to,
        min_width=flags.min_width,
    )
    costs = cost(model, example), cost(smaller, example)
    errors = [float(evaluate(network, dataset, dataset.test, run.loss)[1]) for network in (model, smaller)]
    found = summary(report, *costs, *errors)
    write(out, described, found, smaller, report)
    if flags.json:
        print(json.dumps(found))
        return 0
    console = table.console()
    console.print(terminal(report, *costs, *errors))
    for line in [*_reasons(report), *report.notes]:
        console.print(line, markup=False, highlight=False)
    print(f"network  {out}\nfigure   {out / 'figures' / 'widths.svg'}")
    return 0


def summary(report: Report, before: Cost, after: Cost, error_before: float, error_after: float) -> dict[str, Any]:
    """Everything that the report and the costs say, as JSON."""
    return {
        "widths": report.widths,
        "removed": report.removed,
        "folded": report.folded,
        "kept_dead": report.kept_dead,
        "dead_whole": report.dead_whole,
        "unknown": dict(report.unknown),
        "notes": list(report.notes),
        "difference": report.difference,
        "change": report.change,
        "test_error": [error_before, error_after],
        "cost": [{**asdict(each), "latency": {str(n): s for n, s in each.latency.items()}} for each in (before, after)],
    }


def terminal(report: Report, before: Cost, after: Cost, error_before: float, error_after: float) -> Table:
    """Layer by layer and in total, before and after."""
    shown = Table(box=box.HORIZONTALS, caption="macs: multiplications for one image; memory: activations of one image")
    shown.add_column("layer")
    for name in ("units", "parameters", "macs"):
        shown.add_column(name, justify="right", no_wrap=True)

    def change(old: float, new: float, form: str = ",") -> str:
        return f"{old:{form}} → {new:{form}}" if new != old else f"{old:{form}}"

    for name, (units, left) in report.widths.items():
        holders = [path for path in before.layers if name in (path, path.rpartition("/")[0])]
        if not holders:  # a normalisation by itself
            shown.add_row(name, change(units, left), "", "")
            continue
        one, other = before.layers[holders[0]], after.layers[holders[0]]
        costs = change(one.parameters, other.parameters), change(one.macs, other.macs)
        shown.add_row(name, change(units, left), *costs)
    shown.add_section()
    shown.add_row("all", "", change(before.parameters, after.parameters), change(before.macs, after.macs))
    old, new = (each.activation_bytes / 1024 for each in (before, after))
    shown.add_row("memory", "", "", change(old, new, ",.1f") + " KiB")
    for batch in before.latency:
        old, new = (1e3 * each.latency[batch] for each in (before, after))
        shown.add_row(f"latency, batch {batch}", "", "", change(old, new, ".3f") + " ms")
    shown.add_row("test error", "", "", change(error_before, error_after, ".2f") + " %")
    return shown


def _reasons(report: Report) -> list[str]:
    return [
        f"{name}: {count} dead {'units stay' if count > 1 else 'unit stays'}: {reason}"
        for name, reasons in report.kept_dead.items()
        for reason, count in reasons.items()
    ]


def write(
    folder: Path, described: Mapping[str, Any], found: Mapping[str, Any], model: nnx.Module, report: Report
) -> None:
    """Writes the smaller network and its figure."""
    from jaxsparse.report import figures, widths  # matplotlib, which other commands start without

    records.writable(folder / "figures")
    figure = widths.bars(report.widths)
    records.write_text(folder / "figures" / "widths.svg", figures.svg(figure))
    records.write_bytes(folder / "figures" / "widths.png", figures.png(figure))
    records.write_network(folder, {**described, "shrunk": found}, flatten(nnx.state(model)))
