"""Printed tables of Retsinas et al. 2020 with our figures beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from experiments import papers, tables
from experiments.measured import Measured
from experiments.retsinas2020.networks import values
from jaxsparse.grid import Cell
from jaxsparse.report import table as style

NAMES: Mapping[str, str] = {
    "dense equivalent": "equivalent dense model",
    "unconstrained": "unconstrained (this paper)",
}
"""What the paper's tables call our lines, where it is not the same."""


METRICS = ("sparsity_weights", "sparsity_flops", "test_error_zeroed", "params_left", "filters_dead", "filters")


def _printed(name: str) -> dict[tuple[str, str], str]:
    """Values by method and metric."""
    if not name:
        return {}
    found = {(row["method"], row["metric"]): row["value"] for row in papers.rows(name)}
    reference = {("dense", metric): value for (method, metric), value in found.items() if "reference" in method}
    return {**found, **reference}


def _error(printed: Mapping[tuple[str, str], str], method: str) -> str:
    accuracy = printed.get((method, "accuracy")) or printed.get((method, "top1_accuracy"))
    return f"{100 - float(accuracy):.2f}" if accuracy else ""


def _beside(theirs: str, ours: str) -> str:
    return f"{theirs} | {ours}" if theirs else ours


def _thousands(parameters: np.ndarray) -> str:
    """The mean: seeds differ by little."""
    return f"{parameters.mean() / 1e3:.1f} k" if len(parameters) else "-"


def show(title: str, measured: Measured, lines: Mapping[str, Sequence[Cell]], printed: str) -> None:
    """Prints a table: a row a training, `paper | ours` where the paper prints a figure."""
    theirs, rows = _printed(printed), []
    for name, cells in lines.items():
        method = NAMES.get(name, name)
        found = {metric: values(measured, cells, metric) for metric in METRICS}
        params = theirs.get((method, "params"))
        rows.append(
            [
                name,
                _beside(theirs.get((method, "sparsity"), ""), tables.said(found["sparsity_weights"])),
                tables.said(found["sparsity_flops"]),
                _beside(_error(theirs, method), tables.said(found["test_error_zeroed"])),
                _beside(f"{params} M" if params else "", _thousands(found["params_left"])),
                tables.said(100 * found["filters_dead"] / found["filters"]),
                _thousands(values(measured, cells[:1], "params_shrunk")),
            ]
        )
    header = [
        "",
        "zeros (%)",
        "multiplications saved (%)",
        "error (%)",
        "parameters left",
        "dead filters (%)",
        "shrunk to",
    ]
    caption = f"paper | ours, {tables.OURS}; shrunk to: parameters after js.shrink, of one seed"
    style.console().print(tables.table(f"{title} ({measured.scale.name} scale)", header, rows, caption=caption))
