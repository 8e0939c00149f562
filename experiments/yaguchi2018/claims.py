"""The claims of Yaguchi et al. 2018, each with the rule that decides it; see `experiments.claims`.

The rules were written before any figure of the trainings that `measured/` holds was looked at. Dead is by norm, below
1e-3, throughout. Claims of theory (section III) are judged by simulated weights and by what trained units do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.claims import NotRun, Rule, Verdict, alike, more, several
from experiments.measured import Measured
from experiments.mehta2019 import SINGLE_WEIGHTS
from experiments.rows import NORM_THRESHOLDS
from experiments.studies import place
from experiments.tables import said
from experiments.yaguchi2018 import cells as made
from experiments.yaguchi2018.following import FILTERS, REDUCED, WEIGHTS
from jaxsparse.grid import Cell

NONE = 0.5
"""Percent of dead units up to which there are none."""
COMPARABLE = 15.0
"""Points of reduction within which two networks are compared."""


def values(measured: Measured, cells: Sequence[Cell], metric: str = "sparsity_norm") -> np.ndarray:
    """A figure over the seeds, `[seeds]` or `[seeds, ..]`.

    Raises:
      NotRun: where the setting was not trained with every seed.
    """
    found = measured.of(cells)
    if not found:
        raise NotRun(place(cells[0]))
    return np.asarray([run[metric] for run in found], float)


def reduced(measured: Measured, cells: Sequence[Cell], metric: str = "reduced") -> np.ndarray:
    """A figure of the reduced networks over the seeds.

    Raises:
      NotRun: where one is missing.
    """
    by_place = {row["place"]: row for row in measured.findings.get(REDUCED.name, ())}
    missing = [place(cell) for cell in cells if place(cell) not in by_place]
    if missing:
        raise NotRun(f"reduced network of {missing[0]}")
    return np.asarray([by_place[place(cell)][metric] for cell in cells], float)


def _conditions(measured: Measured) -> dict[str, np.ndarray]:
    return {name: values(measured, cells) for name, cells in made.conditions(made.of(measured.scale)).items()}


def _said(found: Mapping[str, np.ndarray], *names: str) -> str:
    return several([(name, found[name]) for name in names])


BASE = "Adam, ReLU (baseline)"


def vectors_vanish(measured: Measured) -> Verdict:
    cells = made.conditions(made.of(measured.scale))[BASE]
    dead, error = values(measured, cells), values(measured, cells, "test_error")
    return Verdict(
        bool(dead.min() > 5 and dead.mean() >= 10 and error.mean() < 10), several([("dead", dead), ("error", error)])
    )


def like_adam_or_not(measured: Measured) -> Verdict:
    dead = _conditions(measured)
    none = all(dead[name].mean() <= NONE for name in ("mSGD", "Adagrad"))
    nearly = dead["RMSprop"].mean() >= 0.8 * dead[BASE].mean() > NONE
    return Verdict(bool(none and nearly), _said(dead, BASE, "mSGD", "Adagrad", "RMSprop"))


def by_activation(measured: Measured) -> Verdict:
    """ELU like ReLU; of the two saturating ones at least one sparse, but less than half as much; another without."""
    dead = _conditions(measured)
    like = alike(dead["ELU"], dead[BASE], 15) and dead["ELU"].mean() >= 10
    little = [name for name in ("tanh", "sigmoid") if NONE < dead[name].mean() < dead[BASE].mean() / 2]
    nothing = [name for name in ("tanh", "sigmoid", "leaky ReLU") if dead[name].mean() <= NONE]
    return Verdict(bool(like and little and nothing), _said(dead, BASE, "ELU", "tanh", "sigmoid", "leaky ReLU"))


def whatever_the_start(measured: Measured) -> Verdict:
    dead = _conditions(measured)
    shown = alike(dead["He init."], dead[BASE], 10) and dead["w/o BN"].mean() >= dead[BASE].mean() - 10
    return Verdict(bool(shown and dead[BASE].mean() > NONE), _said(dead, BASE, "He init.", "w/o BN"))


def regularized_only(measured: Measured) -> Verdict:
    dead = _conditions(measured)
    return Verdict(bool(dead["w/o reg."].mean() <= NONE), _said(dead, "w/o reg."))


def equally_accurate(measured: Measured) -> Verdict:
    """Within two points: the embedded test set has 360 images, and one of them is 0.3 %."""
    settings = made.conditions(made.of(measured.scale))
    means = {name: float(values(measured, cells, "test_error").mean()) for name, cells in settings.items()}
    low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    text = f"error from {means[low]:.1f} ({low}) to {means[high]:.1f} ({high})"
    return Verdict(means[high] - means[low] <= 2, text)


def _alive(measured: Measured, cells: Sequence[Cell]) -> np.ndarray:
    """Units that are left, `[seeds, layers]`."""
    units, dead = (values(measured, cells, name) for name in ("layer_units", "layer_dead_by_norm"))
    return units * (1 - dead / 100)


def saturates(measured: Measured) -> Verdict:
    left = {width: _alive(measured, cells)[:, 0] for width, cells in made.widths(made.of(measured.scale)).items()}
    units = {
        width: values(measured, cells, "layer_units").mean()
        for width, cells in made.widths(made.of(measured.scale)).items()
    }
    narrow = all(left[width].mean() >= 0.98 * units[width] for width in ("10", "50", "100"))
    wide = [left[width].mean() for width in ("500", "1000", "2000")]
    return Verdict(bool(narrow and max(wide) <= 1.25 * min(wide)), several(list(left.items())))


def deeper_layers_keep_fewer(measured: Measured) -> Verdict:
    """From three layers on; up to a tenth more than the layer before counts as no more."""
    shown, parts = [], []
    for depth, cells in made.depths(made.of(measured.scale)).items():
        left = _alive(measured, cells).mean(0)
        parts.append("-".join(f"{layer:.0f}" for layer in left))
        if int(depth) >= 3:
            falls = all(later <= 1.1 * earlier for earlier, later in pairwise(left[:-1])) and left[-2] < left[0]
            shown.append(falls and left[-1] > left[-2])
    return Verdict(bool(all(shown)), "; ".join(parts))


def on_vgg(measured: Measured) -> Verdict:
    """At the epoch with the best accuracy, as in the table."""
    settings = made.vggs(made.of(measured.scale))
    gone = {name: reduced(measured, cells, "best_reduced") for name, cells in settings.items()}
    error = {name: reduced(measured, cells, "best_test_error") for name, cells in settings.items()}
    none = all(gone[name].mean() <= NONE for name in ("AMSGrad", "AdamW"))
    accurate = alike(error["Adam"], error["AMSGrad"], 1) and error["mSGD"].mean() < error["Adam"].mean()
    text = "; ".join(f"{name} {said(gone[name])} gone, error {said(error[name])}" for name in settings)
    return Verdict(bool(none and gone["Adam"].mean() >= 10 and accurate), text)


def why_not_the_others(measured: Measured) -> Verdict:
    """By single weights under low gradients (`jaxsparse decay`): where Adam's falls to 1e-3, AMSGrad's takes five times
    as long or never does, and AdamW's takes no less than SGD's."""
    rows = measured.findings.get(SINGLE_WEIGHTS.name, ())
    if not rows:
        raise NotRun("jaxsparse decay")

    def steps(optimizer: str, regularizer: str) -> dict[float, float]:
        found: dict[float, list[float]] = {}
        for row in rows:
            if (row["optimizer"], row["regularizer"]) == (optimizer, regularizer):
                reached = row["steps_to_0.001"]
                found.setdefault(row["strength"], []).append(np.inf if reached is None else float(reached))
        return {strength: float(np.median(each)) for strength, each in found.items()}

    adam, amsgrad = steps("adam", "l2"), steps("amsgrad", "l2")
    adamw, sgd = steps("adam", "wd-lr"), steps("sgd", "l2")
    dying = [strength for strength in adam if np.isfinite(adam[strength])]
    slower = all(amsgrad[one] >= 5 * adam[one] for one in dying) and all(adamw[one] >= sgd[one] for one in dying)
    each = {"Adam": adam, "AMSGrad": amsgrad, "AdamW": adamw, "SGD": sgd}
    texts = [f"{one:g}: " + ", ".join(f"{name} {found[one]:g}" for name, found in each.items()) for one in dying]
    return Verdict(bool(dying and slower), "steps to 1e-3 with " + "; ".join(texts))


def _share(measured: Measured, cells: Sequence[Cell], threshold: float) -> np.ndarray:
    """Percent of the norms below a threshold."""
    return values(measured, cells, "norm_below")[:, NORM_THRESHOLDS.index(threshold)]


def lower_mode_rises(measured: Measured) -> Verdict:
    """Two modes: at least a tenth of the norms below 1e-3 and above 1e-1 each, at most a tenth between. The lower one
    is told by the lowest tenth of the norms: its bound rises from slope to slope, at least tenfold in all."""
    settings = made.slopes(made.of(measured.scale))
    below, above = (_share(measured, settings["0"], threshold) for threshold in (1e-3, 1e-1))
    bimodal = below.mean() >= 10 and above.mean() <= 90 and (above - below).mean() <= 10
    lowest = {slope: values(measured, cells, "norm_deciles")[:, 1] for slope, cells in settings.items()}
    means = [float(each.mean()) for each in lowest.values()]
    rises = all(later > earlier for earlier, later in pairwise(means)) and means[-1] >= 10 * means[0]
    bounds = ", ".join(f"{slope}: {mean:.2g}" for slope, mean in zip(lowest, means, strict=True))
    return Verdict(
        bool(bimodal and rises), several([("below 1e-3", below), ("below 1e-1", above)]) + f"; lowest tenth {bounds}"
    )


def fall_together(measured: Measured) -> Verdict:
    """Of at least five filters, four in five: with Adam the activation rate ends at a tenth of its start or less, and
    correlates with the norm; with mSGD the same filter keeps a norm of 1e-2 and a rate of 0.01."""
    rows = measured.findings.get(FILTERS.name, ())
    if not rows:
        raise NotRun("activation rates of the first layer's filters")
    chosen = [row for row in rows if not np.isnan(row["adam_norm"])]
    together = [row["adam_rate"] <= 0.1 * row["adam_rate_start"] and row["correlation"] > 0.5 for row in chosen]
    kept = [row["sgd_norm"] >= 1e-2 and row["sgd_rate"] >= 0.01 for row in chosen]
    shown = len(chosen) >= 5 and np.mean(together) >= 0.8 and np.mean(kept) >= 0.8
    text = f"of {len(chosen)} filters {sum(together)} fall together with Adam, {sum(kept)} stay with mSGD"
    return Verdict(bool(shown), text)


def beside_wen(measured: Measured) -> Verdict:
    """Beside the strength of group lasso whose reduction is nearest, and within 15 points of it."""
    settings = made.against_wen(made.of(measured.scale))
    gone = {name: reduced(measured, cells) for name, cells in settings.items()}
    error = {name: reduced(measured, cells, "test_error_reduced") for name, cells in settings.items()}
    ours, *others = settings
    nearest = min(others, key=lambda name: abs(float(gone[name].mean() - gone[ours].mean())))
    shown = alike(gone[ours], gone[nearest], COMPARABLE) and error[ours].mean() <= error[nearest].mean()
    text = "; ".join(f"{name}: {said(gone[name])} gone, error {said(error[name])}" for name in (ours, nearest))
    return Verdict(bool(shown and gone[ours].mean() > NONE), text)


def trades_better(measured: Measured) -> Verdict:
    """At the reductions of group lasso that lie between Adam's, Adam's accuracy (mean over seeds, interpolated) is no
    less at more than half, and at two at least; and accuracies of the seeds differ less."""
    size = made.of(measured.scale)

    def found(method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cells = list(made.traded(size, method).values())
        accuracy = [100 - reduced(measured, one, "test_error_reduced") for one in cells]
        gone = [reduced(measured, one).mean() for one in cells]
        return (
            np.asarray(gone),
            np.asarray([each.mean() for each in accuracy]),
            np.asarray([each.std(ddof=1) for each in accuracy]),
        )

    ours, *others = made.METHODS
    gone, accuracy, scatter = found(ours)
    order, wins, spreads = np.argsort(gone), [], []
    for method in others:
        theirs = found(method)
        inside = (theirs[0] >= gone.min()) & (theirs[0] <= gone.max())
        wins += list(np.interp(theirs[0], gone[order], accuracy[order])[inside] >= theirs[1][inside])
        spreads.append(theirs[2].mean())
    shown = len(wins) >= 2 and np.mean(wins) > 0.5 and scatter.mean() < np.mean(spreads)
    text = f"Adam at least as accurate at {sum(wins)} of {len(wins)} reductions; deviation over seeds "
    return Verdict(bool(shown), text + f"{scatter.mean():.2f}, group lasso {np.mean(spreads):.2f}")


def _weights(measured: Measured) -> dict[str, dict[str, Any]]:
    rows = measured.findings.get(WEIGHTS.name, ())
    if not rows:
        raise NotRun("single weights")
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["case"], {})[row["quantity"]] = row["value"]
    return found


def geometric(measured: Measured) -> Verdict:
    plain = _weights(measured)["sgd"]
    shown = abs(plain["rate"] - plain["predicted"]) <= 0.001 * (1 - plain["predicted"])
    return Verdict(bool(shown), f"factor a step {plain['rate']:.8f}, predicted {plain['predicted']:.8f}")


def momentum_accelerates(measured: Measured) -> Verdict:
    """The rates are the spectral radii (at the best momentum, a double root, within 15 %), and the best momentum needs
    fewest steps."""
    found = _weights(measured)
    plain, heavy, best = (found[name] for name in ("sgd", "msgd 0.9", "msgd best"))
    fits = all(
        abs(one["rate"] - one["predicted"]) <= slack * (1 - one["predicted"])
        for one, slack in ((heavy, 0.01), (best, 0.15))
    )
    steps = [one["steps"] for one in (best, heavy, plain)]
    return Verdict(
        bool(fits and steps[0] < steps[1] < steps[2]), "steps to 1e-6: " + ", ".join(f"{one:g}" for one in steps)
    )


def doubly_exponential(measured: Measured) -> Verdict:
    """At Adam's default constants: log(-log w) is straight before the first change of sign, and the weight needs a
    tenth of the steps of SGD and of mSGD."""
    found = _weights(measured)
    adam, others = found["adam 0.999 0.0005"], [found["sgd"]["steps"], found["msgd 0.9"]["steps"]]
    shown = adam["straight"] >= 0.95 and all(10 * adam["steps"] <= other for other in others)
    text = f"R^2 {adam['straight']:.3f} ({found['adam 0.99 0.0005']['straight']:.3f} with b2 0.99); steps to 1e-6: "
    return Verdict(bool(shown), text + f"Adam {adam['steps']:g}, SGD and mSGD {others[0]:g} and {others[1]:g}")


def limits(measured: Measured) -> Verdict:
    """Every weight either still changes its sign in the last tenth of 200,000 steps, or is below 1e-6 there."""
    adams = {name: one for name, one in _weights(measured).items() if name.startswith("adam")}
    fine = {name: one["sign_changes"] > 0 or one["level"] <= 1e-6 for name, one in adams.items()}
    text = ", ".join(f"{name}: {one['level']:.1g}" for name, one in adams.items())
    return Verdict(all(fine.values()), f"largest at the end: {text}")


def oscillates(measured: Measured) -> Verdict:
    """Near the origin: below a tenth of the start."""
    found = _weights(measured)
    adam, heavy = found["adam 0.999 0.0005"], found["msgd 0.9"]
    shown = adam["sign_changes"] > 0 and adam["level"] <= 0.02 and heavy["sign_changes"] == 0
    text = f"changes of sign in the last tenth: {adam['sign_changes']:g}, up to {adam['level']:.1g}; mSGD in all "
    return Verdict(bool(shown), text + f"{heavy['sign_changes']:g}")


def some_reach_the_origin(measured: Measured) -> Verdict:
    dead = _conditions(measured)
    return Verdict(bool(dead[BASE].min() > 0 and dead["mSGD"].max() == 0), _said(dead, BASE, "mSGD"))


def any_threshold(measured: Measured) -> Verdict:
    """Sparsity changes by two points at most from 1e-4 to 1e-2, and reduction without fine-tuning the error of none of
    figure 7's settings with Adam by more than half a point."""
    size = made.of(measured.scale)
    base = made.conditions(size)[BASE]
    shares = [_share(measured, base, threshold) for threshold in (1e-4, 1e-3, 1e-2)]
    constant = all(alike(share, shares[1], 2) for share in shares)
    changes = [
        float(np.mean(reduced(measured, cells, "test_error_reduced") - values(measured, cells, "test_error")))
        for cells in made.traded(size, "Adam, L2").values()
    ]
    text = ", ".join(said(share) for share in shares) + " below 1e-4, 1e-3, 1e-2; error changes by up to "
    return Verdict(
        bool(constant and max(changes) <= 0.5 and more(shares[1], np.zeros(3), NONE)), text + f"{max(changes):.2f}"
    )


RULES: dict[str, tuple[str, Rule]] = {
    "Y-01": ("table2", vectors_vanish),
    "Y-02": ("table2", like_adam_or_not),
    "Y-03": ("table2", by_activation),
    "Y-04": ("table2", whatever_the_start),
    "Y-05": ("table2", regularized_only),
    "Y-06": ("table2", equally_accurate),
    "Y-07": ("table3", saturates),
    "Y-08": ("table4", deeper_layers_keep_fewer),
    "Y-09": ("table5", on_vgg),
    "Y-10": ("figure4", why_not_the_others),
    "Y-11": ("figure5", lower_mode_rises),
    "Y-12": ("figure6", fall_together),
    "Y-13": ("table6", beside_wen),
    "Y-14": ("figure7", trades_better),
    "Y-15": ("figure4", geometric),
    "Y-16": ("figure4", momentum_accelerates),
    "Y-17": ("figure4", doubly_exponential),
    "Y-18": ("figure4", limits),
    "Y-19": ("figure4", oscillates),
    "Y-20": ("figure1", some_reach_the_origin),
    "Y-21": ("sensitivity", any_threshold),
}
