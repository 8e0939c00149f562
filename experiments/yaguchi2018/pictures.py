"""The figures of Yaguchi et al. 2018, drawn from the records of the trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.measured import Measured
from experiments.studies import place
from experiments.yaguchi2018 import cells as made
from experiments.yaguchi2018.cells import CONSTANTS, L2, Size
from experiments.yaguchi2018.following import (
    FALLS,
    REDUCED,
    STEPS,
    descended,
    dying,
    fallen,
    first_layer,
    history,
    smallest,
)
from jaxsparse.checks import InvalidInput
from jaxsparse.grid import Cell
from jaxsparse.report.figures import in_style

ADAM, SGD = "#D55E00", "#0072B2"
"""As in the figures of a grid."""
SMALLEST = 1e-8
"""Norms below are drawn there."""
SHOWN = 150
"""Curves in a panel at most."""


def _there(root: Path, cells: Sequence[Cell]) -> None:
    for cell in cells:
        if not (root / place(cell) / "history.parquet").exists():
            raise InvalidInput(f"run folder must hold the training {place(cell)}, got {str(root)!r}")


def _logarithmic(axes: Axes, threshold: float) -> None:
    axes.set_yscale("log")
    axes.axhline(threshold, color="0.4", linewidth=0.8, linestyle="--")


@in_style
def trajectories(measured: Measured, root: Path, size: Size) -> Figure:
    """Figures 1 and 2: the norm of each hidden unit's weight vector over the steps, of the first seed.

    Raises:
      InvalidInput: where a training is missing.
    """
    del measured
    figure = Figure(figsize=(8, 3))
    for axes, name, optimizer, color in zip(
        figure.subplots(1, 2, sharey=True), ("Adam", "momentum SGD"), ("adam", "sgd"), (ADAM, SGD), strict=True
    ):
        cell = size.followed(optimizer)[0]
        _there(root, [cell])
        found = history(root, cell, ("steps", "norm"))
        norms = np.maximum(found["norm"], SMALLEST)
        every = -(-norms.shape[1] // SHOWN)
        axes.plot(found["steps"], norms[:, ::every], color=color, linewidth=0.6, alpha=0.4, rasterized=True)
        dead = 100 * np.mean(norms[-1] < cell.run.thresholds.norm)
        axes.set(title=f"{name}: {dead:.0f} % of {norms.shape[1]} units dead", xlabel="step")
        _logarithmic(axes, cell.run.thresholds.norm)
        axes.set_ylim(SMALLEST / 2, 10)
    figure.axes[0].set_ylabel("norm of incoming weights")
    return figure


@in_style
def one_weight() -> Figure:
    """Figure 4: a weight without a loss gradient under Adam and momentum SGD, at first; and its magnitude later."""
    adam, descent = fallen(CONSTANTS["adam"]["b2"], L2), descended(CONSTANTS["sgd"]["momentum"], STEPS)
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    first = slice(0, 2001)
    left.plot(adam.sign[first] * np.exp(adam.log[first]), color=ADAM, label="Adam")
    left.plot(descent[first], color=SGD, label="momentum SGD")
    left.set(xlabel="step", ylabel="weight")
    left.legend()
    steps = np.unique(np.geomspace(1, STEPS, 4000).astype(int))
    right.plot(steps, adam.log[steps] / np.log(10), color=ADAM, linewidth=0.8)
    right.plot(steps, np.log10(np.abs(descent[steps])), color=SGD)
    right.set(xlabel="step", ylabel="$\\log_{10}$ |weight|", xscale="log")
    return figure


@in_style
def by_slope(measured: Measured, root: Path, size: Size) -> Figure:
    """Figure 5: histograms of the norms at the end, a panel a slope of leaky ReLU, all seeds.

    Raises:
      InvalidInput: where a training is missing.
    """
    del measured
    settings = made.slopes(size)
    figure = Figure(figsize=(8, 1.2 + 1.1 * len(settings)))
    panels = figure.subplots(len(settings), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (slope, cells) in zip(panels, settings.items(), strict=True):
        _there(root, cells)
        norms = np.concatenate([history(root, cell, ("norm",))["norm"][-1] for cell in cells])
        weights = np.full(len(norms), 100 / len(norms))
        axes.hist(np.maximum(norms, SMALLEST), np.geomspace(SMALLEST, 1, 65), weights=weights, color=ADAM, alpha=0.85)
        axes.axvline(cells[0].run.thresholds.norm, color="0.4", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.annotate("ReLU" if slope == "0" else f"slope {slope}", (0.3, 0.8), xycoords="axes fraction", fontsize=8)
    panels[-1].set_xlabel("norm of incoming weights at the end (all below 1e-8 at the left edge)")
    figure.supylabel("% of units", fontsize=9)
    return figure


@in_style
def activation_rates(measured: Measured, root: Path, size: Size) -> Figure:
    """Figure 6: activation rate and norm of the first layer's filters that die with Adam, beside momentum SGD.
    Where none dies, those with the smallest norms are drawn.

    Raises:
      InvalidInput: where a training is missing.
    """
    del measured
    settings = made.vggs(size)
    pairs = list(zip(settings["Adam"], settings["mSGD"], strict=True))
    figure = Figure(figsize=(8, 4.4))
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for pair in pairs:
        _there(root, pair)
    count, any_dies = 0, any(len(dying(root, adam)) for adam, _ in pairs)
    for pair in pairs:
        chosen = dying(root, pair[0]) if any_dies else smallest(root, pair[0])
        count += len(chosen)
        for column, cell, color in zip(panels.T, pair, (ADAM, SGD), strict=True):
            epochs = history(root, cell, ("epochs",))["epochs"]
            found, look = first_layer(root, cell), {"color": color, "linewidth": 0.9, "alpha": 0.6}
            column[0].plot(epochs, found["rate"][:, chosen], **look)
            column[1].plot(epochs, np.maximum(found["norm"][:, chosen], SMALLEST), **look)
    for axes, name in zip(panels[0], ("Adam", "momentum SGD"), strict=True):
        axes.set(title=name, ylim=(-0.02, 1.02))
    for axes in panels[1]:
        _logarithmic(axes, pairs[0][0].run.thresholds.norm)
        axes.set_xlabel("epoch")
    panels[0, 0].set_ylabel("activation rate")
    panels[1, 0].set_ylabel("norm of incoming weights")
    units = len(first_layer(root, pairs[0][0])["norm"][0])
    which = "that die with Adam" if any_dies else "whose norm ends smallest with Adam (none dies)"
    text = f"the {count} filters of the first layer ({len(pairs)} networks of {units}) {which}"
    figure.suptitle(text, fontsize=9, x=0.01, ha="left")
    return figure


WITHIN = 0.2
"""Of the measured step, for a prediction to count."""


def predicted_share(rows: Sequence[Mapping[str, float]], since_onset: bool) -> float:
    """Percent of the dying units whose step of death is predicted within `WITHIN`; `since_onset`: whose steps from the
    onset on are."""
    begun = np.asarray([row["onset"] if since_onset else 0 for row in rows], float)
    death, predicted = (np.asarray([row[name] for row in rows], float) - begun for name in ("death", "predicted"))
    return 100 * float(np.mean(np.abs(predicted - death) <= WITHIN * death))


@in_style
def theory_over_norms(measured: Measured, root: Path, size: Size) -> Figure:
    """Measured norms of dying units with the moment at which the theory of one weight has each reach the threshold, and
    all predictions against what was measured. Empty where none died.

    Raises:
      InvalidInput: where a training is missing.
    """
    rows = [row for row in measured.findings.get(FALLS.name, ()) if row["regularize"] == size.regularize]
    cell = size.followed("adam")[0]
    _there(root, [cell])
    if not rows:
        figure = Figure(figsize=(8, 1))
        figure.suptitle("no unit died", fontsize=9, x=0.01, ha="left")
        return figure
    threshold = cell.run.thresholds.norm
    figure = Figure(figsize=(8, 3.4))
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    found = history(root, cell, ("steps", "norm"))
    own = sorted((row for row in rows if row["seed"] == cell.seed), key=lambda row: row["death"])
    chosen = [own[index] for index in np.unique(np.linspace(0, len(own) - 1, 8).astype(int))] if own else []
    for number, row in enumerate(chosen):
        color = f"C{number}"
        left.plot(found["steps"], np.maximum(found["norm"][:, int(row["unit"])], SMALLEST), color=color, linewidth=1)
        begun = int(np.argmin(np.abs(found["steps"] - row["onset"])))
        left.plot(row["onset"], found["norm"][begun, int(row["unit"])], marker="o", color=color, markersize=4)
        if np.isfinite(row["predicted"]):
            left.plot(row["predicted"], threshold, marker="v", color=color, markersize=7, markeredgecolor="white")
    _logarithmic(left, threshold)
    left.set(xlabel="step", ylabel="norm of incoming weights", ylim=(SMALLEST / 2, 3))
    left.set_title("dying units: from ● on, theory has them at ▼", fontsize=9)
    death, predicted = (np.asarray([row[name] for row in rows], float) for name in ("death", "predicted"))
    top = 1.05 * float(death.max())
    right.fill_between([0, top], [0, (1 - WITHIN) * top], [0, (1 + WITHIN) * top], color="0.85", linewidth=0)
    right.plot([0, top], [0, top], color="0.4", linewidth=0.8)
    right.plot(death, np.minimum(predicted, top), ".", color=ADAM, markersize=3, alpha=0.5, rasterized=True)
    right.set(xlim=(0, top), ylim=(0, top), xlabel="measured step of death", ylabel="predicted")
    total, fall = (predicted_share(rows, since_onset) for since_onset in (False, True))
    shares = f"{total:.0f} % within 20 %\n(of the fall alone: {fall:.0f} %)"
    right.set_title(f"{len(rows)} dying units: {shares}", fontsize=9)
    return figure


@in_style
def tradeoff(measured: Measured, root: Path, size: Size) -> Figure:
    """Figure 7: accuracy of the reduced networks against the parameters that are gone; points are seeds, lines go
    through the medians of the strengths.

    Raises:
      InvalidInput: where a reduced network is missing.
    """
    del root
    by_place = {row["place"]: row for row in measured.findings.get(REDUCED.name, ())}
    figure = Figure(figsize=(8, 3.8))
    axes = figure.subplots()
    handles = []
    for method, color, marker in zip(made.METHODS, (ADAM, SGD), "os", strict=True):
        medians = []
        for name, cells in made.traded(size, method).items():
            rows = [by_place.get(place(cell)) for cell in cells]
            if None in rows:
                raise InvalidInput(f"run folder must hold the reduced networks of {name}")
            points = np.asarray([(row["reduced"], 100 - row["test_error_reduced"]) for row in rows if row])
            axes.plot(*points.T, marker, color=color, markersize=4, alpha=0.55, markeredgewidth=0)
            medians.append(np.median(points, axis=0))
        medians.sort(key=lambda point: point[0])
        axes.plot(*np.transpose(medians), color=color, linewidth=1.2)
        handles.append(Line2D([], [], color=color, marker=marker, markersize=5, label=method))
    axes.set(xlabel="parameters gone (%)", ylabel="test accuracy of the reduced network (%)")
    axes.legend(handles=handles, loc="lower left")
    return figure
