"""The claims of Retsinas et al. 2020, each with the rule that decides it; the rules were written before the trainings.

Zeros are percent of the weights of all convolutions, errors percent of the test images, both means over seeds. `shown`
of a claim about ImageNet is, at embedded scale, of the small networks that play its role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.claims import NotRun, Rule, Verdict, alike, more, several
from experiments.measured import Measured
from experiments.retsinas2020 import VARIANTS, formulas, trainings
from experiments.retsinas2020.networks import lists, networks
from experiments.retsinas2020.networks import values as of_cells
from experiments.retsinas2020.trainings import Training, cells_of
from jaxsparse.thresholding import BINS

LOSS = 1.0
"""Points of test error that count as a loss."""
PRUNED = {name: training for name, training in VARIANTS.items() if name != "dense"}


def values(measured: Measured, training: Training, metric: str = "test_error_zeroed") -> np.ndarray:
    """A figure over the seeds.

    Raises:
      NotRun: where it was not trained with every seed.
    """
    found = of_cells(measured, cells_of(measured.scale, training), metric)
    if not len(found):
        raise NotRun(f"{training.network} {training.dataset} {training.method}")
    return found


def courses(measured: Measured, training: Training, metric: str) -> np.ndarray:
    """A list of figures over the seeds, `[seeds, ..]`."""
    values(measured, training)
    return lists(measured, cells_of(measured.scale, training), metric)


def zeros(measured: Measured, training: Training) -> np.ndarray:
    return values(measured, training, "sparsity_weights")


def _mean(measured: Measured, training: Training, metric: str = "test_error_zeroed") -> float:
    return float(np.mean(values(measured, training, metric)))


def _off(measured: Measured, training: Training) -> float:
    """Points between the zeros and their target."""
    return abs(float(np.mean(zeros(measured, training))) - 100 * training.sparsity)


def lobes(histogram: np.ndarray) -> float:
    """How much fuller the side lobe (between 1 and 3 deviations) is than the valley before it; 1 without a lobe."""
    folded = (histogram + histogram[::-1])[len(histogram) // 2 :]
    places = (BINS[1:] + BINS[:-1])[len(histogram) // 2 :] / 2
    outside = np.flatnonzero((places >= 1) & (places <= 3))
    peak = outside[folded[outside].argmax()]
    valley = folded[(places >= 0.4) & (places <= places[peak])]
    return float(folded[peak] / max(valley.min(), 1e-9))


def bell_shape(measured: Measured) -> Verdict:
    with_it, without = (
        np.asarray([lobes(one) for one in courses(measured, training, "histogram")])
        for training in (trainings.GA, trainings.NO_STE)
    )
    text = several([("lobe over valley with STE", with_it), ("without", without)])
    return Verdict(bool(without.min() >= 2 and with_it.max() <= 1.25), text)


def straight_through_hits(measured: Measured) -> Verdict:
    with_it, without = (zeros(measured, training) for training in (trainings.GA, trainings.NO_STE))
    text = several([("zeros with STE", with_it), ("without", without)])
    return Verdict(more(without, with_it, 2) and _off(measured, trainings.GA) <= 2, text)


def bounds_on_their_own(measured: Measured) -> Verdict:
    """The appendix's formulas, and that bounds get smaller where nothing wants them large (lambda 0)."""
    course = courses(measured, trainings.FREE, "zero_course")
    start = 100 * 0.6 * trainings.FREE.sparsity
    if measured.scale.name != "embedded":
        fine, text = True, "formulas: see embedded"
    else:
        fine, text = formulas.straight_through()
    found = [f"zeros at the start {start:g}, at the end " + " ".join(f"{end:.1f}" for end in course[:, -1])]
    return Verdict(bool(fine and np.all(course[:, -1] <= start - 1)), "; ".join([text, *found]))


def budgets(measured: Measured) -> Verdict:
    found = [(f"{100 * one.sparsity:g}", zeros(measured, one)) for one in trainings.BUDGET]
    hinge, stiff = (zeros(measured, one) for one in (trainings.HINGE, trainings.STIFF))
    fine = all(_off(measured, one) <= 1 for one in trainings.BUDGET)
    others = [("one-sided 85", hinge), ("85 with lambda 100 (decides nothing)", stiff)]
    return Verdict(fine and bool(np.mean(hinge) >= 84), several([*found, *others]))


def easy_data_thin(measured: Measured) -> Verdict:
    parts = [(f"{one.share:g}", values(measured, one)) for one in (trainings.EASY, *trainings.EASY_THIN)]
    return Verdict(alike(parts[0][1], parts[1][1], LOSS), "error by share of the parameters " + several(parts))


def no_loss(measured: Measured) -> Verdict:
    parts = {name: values(measured, training) for name, training in VARIANTS.items()}
    thin, dense = values(measured, trainings.THIN[1]), parts["dense"]
    fine = all(np.mean(parts[name]) <= np.mean(dense) + LOSS for name in PRUNED)
    text = several([*parts.items(), ("dense equivalent", thin)])
    return Verdict(bool(fine and more(thin, dense, LOSS)), text)


def precision(measured: Measured) -> Verdict:
    off = {name: _off(measured, training) for name, training in PRUNED.items()}
    fine = off["fixed-BS"] < off["fixed-GA"] <= 3 and off["budget-wavg"] <= 1
    return Verdict(fine, several([(name, zeros(measured, training)) for name, training in PRUNED.items()]))


def weighting(measured: Measured) -> Verdict:
    parts = [(name, zeros(measured, PRUNED[name])) for name in ("budget-avg", "budget-wavg")]
    return Verdict(_off(measured, trainings.AVG) >= 2 and _off(measured, trainings.WAVG) <= 1, several(parts))


LARGE = 500
"""Weights from which on a layer counts where layers are compared."""


def by_layer(measured: Measured) -> Verdict:
    first = networks(measured, cells_of(measured.scale, trainings.BS))
    if not first:
        raise NotRun("fixed-BS")
    names = np.asarray(str(first[0]["layer_names"]).split())
    large = courses(measured, trainings.BS, "layer_weights")[0] >= LARGE
    zero = {name: courses(measured, training, "layer_zero").mean(0) for name, training in PRUNED.items()}
    spread = {name: float(np.ptp(zero[name][large])) for name in ("fixed-BS", "fixed-GA")}
    blocks = max(int(name.split("/")[1]) for name in names if name.startswith("outer"))
    last = np.asarray([name.startswith((f"outer/{blocks}/", f"inner/{blocks}/")) for name in names])
    shortcuts = np.asarray([name.startswith("shortcuts/") for name in names])
    avg, wavg = zero["budget-avg"], zero["budget-wavg"]
    fine = spread["fixed-BS"] <= 1 and spread["fixed-GA"] <= 10 and avg[last].mean() < avg.mean()
    fine = fine and wavg[last].mean() > wavg.mean() > wavg[shortcuts].mean()
    text = f"spread over layers: BS {spread['fixed-BS']:.1f}, GA {spread['fixed-GA']:.1f}; "
    sides = [
        f"{name}: last group {one[last].mean():.1f}, shortcuts {one[shortcuts].mean():.1f}, all {one.mean():.1f}"
        for name, one in (("avg", avg), ("wavg", wavg))
    ]
    return Verdict(bool(fine), text + "; ".join(sides))


def convergence(measured: Measured) -> Verdict:
    """At the ends of the second and the third cycle; the six measurements are two a cycle."""
    ends = (3, 5)
    found = {name: courses(measured, training, "errors").mean(0)[list(ends)] for name, training in VARIANTS.items()}
    fine = all(np.all(one <= found["dense"] + 3) for one in found.values())
    text = "; ".join(f"{name} {one[0]:.1f} {one[1]:.1f}" for name, one in found.items())
    return Verdict(fine, "error at the end of cycles 2 and 3: " + text)


def _dense_error(measured: Measured, dense: Sequence[Training], left: float) -> float:
    """Of a dense network of so many parameters, on the line through those that were trained, over their logarithm."""
    points = sorted((_mean(measured, one, "params_left"), _mean(measured, one)) for one in dense)
    sizes, errors = zip(*points, strict=True)
    return float(np.interp(np.log(left), np.log(sizes), errors))


def trade_off(measured: Measured) -> Verdict:
    trios = list(zip(trainings.FIXED, trainings.BUDGET, trainings.THIN, strict=True))
    alike_ones = all(alike(values(measured, a), values(measured, b), 2) for a, b, _ in trios)
    below = all(max(_mean(measured, a), _mean(measured, b)) < _mean(measured, thin) for a, b, thin in trios)
    clearly = any(
        more(values(measured, thin), values(measured, a)) and more(values(measured, thin), values(measured, b))
        for a, b, thin in trios
    )
    free = {
        f"lambda {one.strength:g} ({np.mean(zeros(measured, one)):.0f} % zeros)": (
            _mean(measured, one),
            _dense_error(measured, (trainings.DENSE, *trainings.THIN), _mean(measured, one, "params_left")),
        )
        for one in trainings.UNCONSTRAINED
    }
    fine = alike_ones and below and clearly and all(ours < theirs for ours, theirs in free.values())
    parts = [
        f"{100 * a.sparsity:g} %: GA {_mean(measured, a):.1f}, budget {_mean(measured, b):.1f}, "
        f"dense {_mean(measured, thin):.1f}"
        for a, b, thin in trios
    ]
    parts += [f"{name} {ours:.1f}, dense {theirs:.1f}" for name, (ours, theirs) in free.items()]
    return Verdict(fine, "; ".join(parts))


def alexnet(measured: Measured) -> Verdict:
    dense, pruned = trainings.ALEXNET
    left = values(measured, pruned, "params_left") / values(measured, pruned, "params")
    fine = np.mean(left) <= 0.1 and _mean(measured, pruned) <= _mean(measured, dense) + LOSS
    parts = [
        ("% of parameters left", 100 * left),
        ("error", values(measured, pruned)),
        ("dense", values(measured, dense)),
    ]
    return Verdict(bool(fine), several(parts))


def adaptive_wins_when_sparse(measured: Measured) -> Verdict:
    fixed, budget = (values(measured, lines[-1]) for lines in (trainings.RESNET_FIXED, trainings.RESNET_BUDGET))
    thin = values(measured, trainings.RESNET_THIN[0])
    return Verdict(more(fixed, budget, LOSS), several([("95 %: GA", fixed), ("budget", budget), ("dense", thin)]))


def seventy_percent(measured: Measured) -> Verdict:
    parts = [("dense", values(measured, trainings.RESNET)), ("70 %", values(measured, trainings.RESNET_BUDGET[0]))]
    return Verdict(bool(np.mean(parts[1][1]) <= np.mean(parts[0][1]) + LOSS), several(parts))


def nearly_gaussian(measured: Measured) -> Verdict:
    modes, distances = (courses(measured, trainings.DENSE, f"layer_{name}") for name in ("mode", "distance"))
    sizes = courses(measured, trainings.DENSE, "layer_weights")
    central, exceeding = np.mean(np.abs(modes) < 0.3), np.mean(distances > 1.36 / np.sqrt(sizes))
    fine = central >= 0.8 and np.mean(distances) <= 0.1 and exceeding > 0.5
    text = f"{100 * central:.0f} % of layers are fullest at zero, mean distance to the normal {np.mean(distances):.3f}"
    return Verdict(bool(fine), text + f", significant (5 %) in {100 * exceeding:.0f} % of layers")


RULES: Mapping[str, tuple[str, Rule]] = {
    **formulas.RULES,
    "R-02": ("figure3", bell_shape),
    "R-03": ("figure3", straight_through_hits),
    "R-05": ("bounds", bounds_on_their_own),
    "R-08": ("figure7", budgets),
    "R-10": ("figure4", easy_data_thin),
    "R-11": ("table2", no_loss),
    "R-12": ("table2", precision),
    "R-13": ("table2", weighting),
    "R-14": ("figure5", by_layer),
    "R-15": ("figure6", convergence),
    "R-16": ("figure7", trade_off),
    "R-17": ("table3", alexnet),
    "R-18": ("figure8", adaptive_wins_when_sparse),
    "R-19": ("figure8", seventy_percent),
    "R-20": ("figure1", nearly_gaussian),
}
