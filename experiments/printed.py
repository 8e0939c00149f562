"""What a paper prints, as if it had been measured: its rules can be tried on its own tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from experiments import papers
from experiments.measured import Measured
from experiments.papers import Printed, Setting
from experiments.scales import PAPER
from experiments.studies import place
from experiments.tables import CRITERIA, METRICS

SCALE = replace(PAPER, seeds=lambda setting: 2)
"""The paper's, with two trainings of everything, whose figures are the same: what is printed has no spread."""


def _metric(figure: Printed) -> str | None:
    if figure.metric == "sparsity":
        return CRITERIA.get(figure.criterion)
    if figure.metric == "conv_features_pruned":
        return "dead_units" if figure.unit == "count" else "sparsity_scale"
    return METRICS.get((figure.metric, figure.phase))


def as_measured(
    tables: Iterable[str], value: Callable[[Setting, str, float], float] = lambda setting, metric, printed: printed
) -> Measured:
    """The printed figures of the paper's own networks, at the paper's scale.

    Args:
      tables: names of files in `papers/`; of two that print the same, the later one counts.
      value: what takes the place of a printed figure, from setting and metric, such as to make all of them the same.
    """
    rows: dict[str, dict[str, Any]] = {}
    for table in tables:
        for figure in papers.printed(table):
            if not figure.value:
                continue
            for cell in SCALE.cells(figure.setting):
                row = rows.setdefault(place(cell), {"status": "done"})
                if figure.metric == "sparsity" and figure.layer.startswith("C"):
                    dead = value(figure.setting, "layer_dead", float(figure.value))
                    row.setdefault("layers", {})[figure.layer] = dead
                    row["layer_dead"] = [row["layers"][name] for name in sorted(row["layers"])]
                elif (metric := _metric(figure)) is not None:
                    row[metric] = value(figure.setting, metric, float(figure.value))
    for row in rows.values():
        if "dead_units" in row and "sparsity_scale" not in row:
            row["sparsity_scale"] = 100 * row["dead_units"] / VGG_FILTERS
    return Measured(SCALE, rows)


VGG_FILTERS = 4224
"""Of VGG-16, for which ImageNet's table prints a number in place of a share."""
