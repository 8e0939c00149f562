"""The claims of Mehta et al. 2019 and of its workshop summary of 2018, each with the rule that decides it.

The rules were written before the trainings that `measured/` holds. Where a claim speaks of layers by number they are
counted from the end (C6 is the last but one), as the embedded network has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np

from experiments import papers
from experiments.claims import (
    NotRun,
    Rule,
    Verdict,
    alike,
    falling,
    layers,
    lowest_error,
    more,
    sensible,
    several,
    sparsest,
    values,
)
from experiments.measured import Measured
from experiments.mehta2019 import BASE, LATE, SGD, SINGLE_WEIGHTS, SLIMMING
from experiments.papers import Setting
from experiments.scales import CLUTTERED, PLAIN
from experiments.tables import label, said
from jaxsparse import data

CIFARS = ("CIFAR10", "CIFAR100")


EQUAL_ERROR = 1.0
"""Points of test error within which two networks are compared."""


def _classes(measured: Measured) -> Mapping[str, int]:
    return {name: data.describe(ours).classes for name, ours in measured.scale.data.items()}


def _trained(measured: Measured, tables: Sequence[str]) -> list[Setting]:
    """Settings of tables that have learned their task."""
    found = dict.fromkeys(setting for table in tables for setting in papers.settings(table))
    return [setting for setting in found if sensible(measured, setting, _classes(measured))]


def _settings(table: str, **wanted: object) -> list[Setting]:
    found = papers.settings(table)
    return [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]


def _share(measured: Measured, tables: Sequence[str], fine: Callable[[Setting], bool], least: float) -> Verdict:
    """Whether something holds for at least this share of the networks that have learned their task."""
    trained = _trained(measured, tables)
    wrong = [setting for setting in trained if not fine(setting)]
    text = f"{len(trained) - len(wrong)} of {len(trained)} settings"
    return Verdict(
        len(wrong) <= (1 - least) * len(trained),
        text + (", not " + "; not ".join(map(label, wrong[:4])) if wrong else ""),
    )


def no_sparsity_without_regularizer(measured: Measured) -> Verdict:
    found = [one for one in papers.settings("mehta2019_t1") if one.strength == 0]
    dead = [(f"{one.optimizer} {one.dataset}", values(measured, one)) for one in found]
    return Verdict(all(np.mean(each) <= 0.5 for _, each in dead), several(dead))


def grows_with_strength(measured: Measured) -> Verdict:
    settings = papers.settings("mehta2019_t1") + papers.settings("mehta2019_s4")
    fallen, steps = [], 0

    def kind(one: Setting) -> tuple[str, ...]:
        return one.dataset, one.optimizer, one.regularizer

    for name, members in groupby(sorted(settings, key=lambda one: (*kind(one), one.strength)), kind):
        for weaker, stronger in pairwise(members):
            before, after = values(measured, weaker), values(measured, stronger)
            steps += 1
            if np.mean(after) < np.mean(before) - 2:
                fallen.append(f"{' '.join(name)} {stronger.strength:g}: {np.mean(before):.0f} to {np.mean(after):.0f}")
    return Verdict(not fallen, f"{steps - len(fallen)} of {steps} steps to the next strength" + _but(fallen))


def _but(exceptions: Sequence[str]) -> str:
    return ", not " + "; not ".join(exceptions[:4]) if exceptions else ""


def _at_equal_error(
    measured: Measured, dataset: str, ours: Mapping[str, object], theirs: Mapping[str, object], least: float = 5.0
) -> tuple[bool, str]:
    """Compares the sparsest networks of two kinds within a point of the lower error that the worse kind reaches."""
    kinds = [_settings("mehta2019_t1", dataset=dataset, **kind) for kind in (ours, theirs)]
    error = max(lowest_error(measured, kind) for kind in kinds) + EQUAL_ERROR
    a, b = (sparsest(measured, kind, error) for kind in kinds)
    assert a is not None
    assert b is not None
    text = f"{dataset}, error <= {error:.1f}: " + several(
        [(f"{one.optimizer} {one.regularizer} {one.strength:g}", values(measured, one)) for one in (a, b)]
    )
    return more(values(measured, a), values(measured, b), least), text


def _all(found: Sequence[tuple[bool, str]]) -> Verdict:
    return Verdict(all(shown for shown, _ in found), "; ".join(text for _, text in found))


def adaptive_is_sparser(measured: Measured) -> Verdict:
    return _all(
        [
            _at_equal_error(
                measured,
                dataset,
                {"optimizer": "Adam", "regularizer": regularizer},
                {"optimizer": "SGD", "regularizer": regularizer},
            )
            for dataset in CIFARS
            for regularizer in ("L2", "WD")
        ]
    )


def adam_is_sparsest(measured: Measured) -> Verdict:
    return _all(
        [
            _at_equal_error(
                measured,
                dataset,
                {"optimizer": "Adam", "regularizer": "L2"},
                {"optimizer": other, "regularizer": "L2"},
                least=0.0,
            )
            for dataset in CIFARS
            for other in ("SGD", "Adadelta", "Adagrad")
        ]
    )


def l2_is_decay_for_sgd(measured: Measured) -> Verdict:
    found = []
    for dataset in CIFARS:
        decayed = {
            one.strength: one for one in _settings("mehta2019_t1", dataset=dataset, optimizer="SGD", regularizer="WD")
        }
        for one in _settings("mehta2019_t1", dataset=dataset, optimizer="SGD", regularizer="L2"):
            if one.strength in decayed:
                a, b = values(measured, one), values(measured, decayed[one.strength])
                found.append((alike(a, b, 2.0), f"{dataset} {one.strength:g}: {said(a)} and {said(b)}"))
    return _all(found)


def l2_beats_decay_for_adam(measured: Measured) -> Verdict:
    coupled, decay = ({"optimizer": "Adam", "regularizer": form} for form in ("L2", "WD"))
    return _all([_at_equal_error(measured, dataset, coupled, decay) for dataset in CIFARS])


def harder_is_less_sparse(measured: Measured) -> Verdict:
    def fine(setting: Setting) -> bool:
        easier, harder = (values(measured, replace(setting, dataset=name)) for name in CIFARS)
        return bool(np.mean(harder) <= np.mean(easier) + 2)

    return _share(measured, ("mehta2019_t1", "mehta2019_s4"), fine, 0.95)


def criteria_agree(measured: Measured) -> Verdict:
    def fine(setting: Setting) -> bool:
        return alike(values(measured, setting), values(measured, setting, "sparsity_activation"), 2.0)

    return _share(measured, ("mehta2019_t1", "mehta2019_s4"), fine, 0.9)


def pruning_changes_no_error(measured: Measured) -> Verdict:
    tables = tuple(f"mehta2019_{table}" for table in ("t2", "s1", "s2", "s3"))

    def fine(setting: Setting) -> bool:
        return alike(values(measured, setting, "test_error"), values(measured, setting, "test_error_silenced"), 0.4)

    return _share(measured, tables, fine, 1.0)


def thresholds_hardly_matter(measured: Measured) -> Verdict:
    def fine(setting: Setting) -> bool:
        pairs = [(f"sparsity_{by}", f"sparsity_{by}_loose") for by in ("scale", "activation")]
        return all(alike(values(measured, setting, a), values(measured, setting, b), 2.0) for a, b in pairs)

    return _share(measured, ("mehta2019_t1", "mehta2019_s4"), fine, 0.9)


def _layerwise(optimizer: str) -> list[Setting]:
    found = papers.settings("mehta2019_t2") + papers.settings("mehta2019_s1")
    return [one for one in found if one.optimizer == optimizer]


def _profile(dead: np.ndarray) -> str:
    return " ".join(f"{layer:.0f}" for layer in dead)


def sgd_prunes_early_layers(measured: Measured) -> Verdict:
    found = []
    for one in _layerwise("SGD"):
        dead = layers(measured, one, "layer_dead").mean(0)
        if dead.max() >= 1:
            descends = all(later <= earlier + 2 for earlier, later in pairwise(dead[:-1]))
            found.append((bool(dead.argmax() == 0) and descends, f"{label(one)}: {_profile(dead)}"))
    return Verdict(
        bool(found) and all(shown for shown, _ in found), "; ".join(text for _, text in found) or "none is sparse"
    )


def adam_prunes_early_and_late(measured: Measured) -> Verdict:
    found = []
    for dataset in CIFARS:
        dead = layers(measured, replace(BASE, dataset=dataset), "layer_dead").mean(0)
        lowest = int(dead.argmin())
        dips = 0 < lowest < len(dead) - 1 and dead[0] > dead[lowest] + 2 and dead[lowest + 1 :].max() > dead[lowest] + 2
        found.append((bool(dips), f"{dataset}: {_profile(dead)}"))
    return _all(found)


def parameters_beyond_filters(measured: Measured) -> Verdict:
    found, largest = [], ""
    most = 0.0
    for one in [*_layerwise("Adam"), *_layerwise("SGD")]:
        filters, params = values(measured, one), values(measured, one, "conv_params_pruned")
        found.append(bool(np.mean(params) >= np.mean(filters)))
        best = lowest_error(measured, [other for other in _layerwise("Adam") if other.dataset == one.dataset])
        well = np.mean(values(measured, one, "test_error_silenced")) <= best + 2
        if well and np.mean(params) > most:
            most, largest = (
                float(np.mean(params)),
                f"{label(one)}: {said(filters)} of the filters, {said(params)} of the weights",
            )
    return Verdict(all(found) and most > 90, f"{sum(found)} of {len(found)} settings; most at good error: {largest}")


def like_network_slimming(measured: Measured) -> Verdict:
    ours = layers(measured, BASE, "layer_dead").mean(0)
    slimmed = list(SLIMMING)
    total = np.mean(values(measured, BASE))
    nearest = min(slimmed, key=lambda one: abs(float(np.mean(values(measured, one))) - total))
    theirs = layers(measured, nearest, "layer_dead").mean(0)
    spread = ours.std() > 0 and theirs.std() > 0
    correlation = float(np.corrcoef(ours, theirs)[0, 1]) if spread else float("nan")
    return Verdict(
        correlation > 0.8,
        f"correlation {correlation:.2f}; Adam L2 {_profile(ours)}, slimming {nearest.strength:g} {_profile(theirs)}",
    )


WEAK = replace(BASE, strength=1e-5)


def signs_of_gamma_and_beta(measured: Measured) -> Verdict:
    adam, sgd = (layers(measured, one, "layer_beta_positive")[:, LATE] for one in (WEAK, SGD))
    negative = [layers(measured, one, "layer_gamma_negative")[:, LATE] for one in (WEAK, BASE, SGD)]
    shown = np.mean(adam) <= 10 and more(sgd, adam, 10) and all(np.mean(share) == 0 for share in negative)
    found = [("beta > 0 with Adam L2 1e-5", adam), ("with SGD L2 5e-4", sgd)]
    return Verdict(bool(shown), several([*found, ("gamma < 0", np.concatenate(negative))]))


def active_on_half(measured: Measured) -> Verdict:
    adam, sgd = (layers(measured, one, "layer_active_over_half")[:, LATE] for one in (WEAK, SGD))
    return Verdict(
        bool(np.mean(adam) <= 5 and more(sgd, adam, 10)), several([("Adam L2 1e-5", adam), ("SGD L2 5e-4", sgd)])
    )


def selective_filters_die(measured: Measured) -> Verdict:
    """The chance that a filter which dies under L2 1e-4 was, under 1e-5 and with the same seed, more selective than one
    that lives (the area under the curve), over all layers."""
    values(measured, BASE)
    values(measured, WEAK)
    chances = []
    for weak, strong in zip(measured.runs(WEAK), measured.runs(BASE), strict=True):
        universality, dead = np.asarray(weak["unit_universality"]), np.asarray(strong["unit_dead"], bool)
        if dead.any() and not dead.all():
            pairs = universality[dead][:, None] - universality[~dead][None]
            chances.append(float(np.mean(pairs < 0) + np.mean(pairs == 0) / 2))
    found = np.asarray(chances)
    return Verdict(len(found) > 1 and more(found, np.full(len(found), 0.5), 0.1), f"chance {said(found)}")


def adam_is_more_selective(measured: Measured) -> Verdict:
    weak = [layers(measured, replace(one, strength=1e-5), "layer_universality")[:, LATE:] for one in (BASE, SGD)]
    lower = all(more(weak[1][:, place], weak[0][:, place], 1) for place in range(2))
    zero = {}
    for one in (BASE, SGD):
        before, after = (
            layers(measured, replace(one, strength=strength), "layer_universality_zero")[:, LATE]
            for strength in (1e-5, one.strength)
        )
        zero[one.optimizer] = after - before
    found = [("Adam universality", weak[0].mean(1)), ("SGD", weak[1].mean(1))]
    text = several([*found, ("C6 lost with Adam", zero["Adam"]), ("with SGD", zero["SGD"])])
    return Verdict(lower and more(zero["Adam"], zero["SGD"], 5), text)


def harder_tasks(measured: Measured) -> Verdict:
    basic = [values(measured, replace(BASE, dataset=name)) for name in CIFARS]
    basic.append(values(measured, Setting("BasicNet", "ImageNet", "Adam", "L2", 1e-4, 64)))
    names = (*CIFARS, "TinyImageNet", "ImageNet")
    vgg = [values(measured, Setting("VGG-16", name, "Adam", "L2", 1e-4, 40)) for name in names]
    text = "BasicNet: " + ", ".join(map(said, basic)) + "; VGG-16: " + ", ".join(map(said, vgg))
    return Verdict(falling(basic) and float(np.mean(basic[-1])) <= 1 and falling(vgg), text)


def clutter_lowers_sparsity(measured: Measured) -> Verdict:
    plain, cluttered = (values(measured, replace(BASE, dataset=name)) for name in (PLAIN, CLUTTERED))
    return Verdict(more(plain, cluttered), several([("plain", plain), ("cluttered", cluttered)]))


def _few_images(measured: Measured, setting: Setting) -> np.ndarray:
    """Share of the filters that live and are active on less than a tenth of the images."""
    values(measured, setting)
    return np.asarray(
        [
            100 * np.mean((np.asarray(run["unit_dead"]) == 0) & (np.asarray(run["unit_universality"]) < 10))
            for run in measured.runs(setting)
        ]
    )


def universality_of_survivors(measured: Measured) -> Verdict:
    rising = [
        layers(measured, replace(BASE, dataset=name), "layer_universality_alive")[:, LATE:].mean(1)
        for name in (*CIFARS, "TinyImageNet")
    ]
    small, large = (_few_images(measured, replace(BASE, batch=batch)) for batch in (40, 160))
    shown = falling(list(reversed(rising)), slack=0.5) and more(large, small)
    text = "universality: " + ", ".join(map(said, rising))
    return Verdict(shown, f"{text}; selective survivors at batch 40 {said(small)}, at 160 {said(large)}")


def larger_batches_are_less_sparse(measured: Measured) -> Verdict:
    tables = ("t3", "t4", "t5", "t7", "t8", "t9", "t10")
    settings = dict.fromkeys(
        one for name in tables for one in papers.settings(f"mehta2019_{name}") if one.optimizer == "Adam"
    )
    groups: dict[Setting, list[Setting]] = {}
    for one in settings:
        groups.setdefault(replace(one, batch=0), []).append(one)
    found = []
    for members in groups.values():
        ordered = sorted(members, key=lambda one: one.batch)
        dead = [values(measured, one) for one in ordered]
        if len(dead) > 1:
            rises = all(later <= earlier + 2 for earlier, later in pairwise([float(np.mean(one)) for one in dead]))
            same = f"{ordered[0].network} {ordered[0].dataset} {ordered[0].strength:g}"
            found.append((rises, more(dead[0], dead[-1]), f"{same}: {', '.join(map(said, dead))}"))
    shown = all(never for never, _, _ in found) and sum(falls for _, falls, _ in found) > len(found) / 2
    return Verdict(shown, "; ".join(text for _, _, text in found))


def batch_trades_capacity(measured: Measured) -> Verdict:
    batches = [replace(BASE, batch=batch) for batch in (20, 40, 80, 160)]
    train, test = ([values(measured, one, name) for one in batches] for name in ("train_loss", "test_loss"))
    shown = more(train[0], train[-1], 0) and more(test[-1], test[0], 0)
    return Verdict(shown, f"train loss {', '.join(map(said, train))}; test loss {', '.join(map(said, test))}")


def narrower_is_less_sparse(measured: Measured) -> Verdict:
    found = []
    for dataset in CIFARS:
        widths = _settings("mehta2019_t6", dataset=dataset)
        dead = [values(measured, one) for one in widths]
        found.append((falling(dead), f"{dataset}: {', '.join(map(said, dead))}"))
    return _all(found)


def leaky_relu_keeps_it(measured: Measured) -> Verdict:
    leaky = [one for one in papers.settings("mehta2019_s2") if one.activation != "ReLU"]
    found = []
    for one in leaky:
        with_relu, with_leak = values(measured, replace(one, activation="ReLU")), values(measured, one)
        fine = np.mean(with_leak) >= 0.7 * np.mean(with_relu) > 0
        found.append((bool(fine), f"{one.activation} {one.strength:g}: {said(with_leak)} (ReLU {said(with_relu)})"))
    return _all(found)


def _variant(name: str) -> Setting:
    return replace(BASE, setting=name)


def slow_gamma(measured: Measured) -> Verdict:
    base, slow = values(measured, BASE), values(measured, _variant("LR scale for gamma: 0.1"))
    other = values(measured, _variant("LR scale for beta: 0.1"))
    shown = more(base, slow) and np.mean(slow) < np.mean(other)
    return Verdict(bool(shown), several([("base", base), ("gamma at 0.1", slow), ("beta at 0.1", other)]))


def slow_beta(measured: Measured) -> Verdict:
    base, slow = values(measured, BASE), values(measured, _variant("LR scale for beta: 0.1"))
    return Verdict(more(slow, base, 0.0), several([("base", base), ("beta at 0.1", slow)]))


def where_beta_starts(measured: Measured) -> Verdict:
    base, below, above = (
        values(measured, one)
        for one in (BASE, _variant("gamma_init=1, beta_init=-0.1"), _variant("gamma_init=1, beta_init=1.0"))
    )
    return Verdict(alike(base, below, 3) and more(above, base), several([("0", base), ("-0.1", below), ("1.0", above)]))


AMSGRAD = replace(BASE, optimizer="AMSGrad")


def amsgrad_is_less_sparse(measured: Measured) -> Verdict:
    adam, amsgrad = values(measured, BASE), values(measured, AMSGRAD)
    dead = layers(measured, AMSGRAD, "layer_dead").mean(0)
    early = dead[: len(dead) // 2]
    shown = more(adam, amsgrad) and np.mean(amsgrad) < np.mean(adam) / 2 and early.max() <= 1 and dead.max() > 1
    text = several([("Adam", adam), ("AMSGrad", amsgrad)])
    return Verdict(bool(shown), f"{text}; its layers {_profile(dead)}")


def other_adaptive_methods(measured: Measured) -> Verdict:
    base = replace(BASE, dataset="CIFAR10")
    methods = [replace(base, optimizer=name) for name in ("AMSGrad", "Adamax", "RMSProp")]
    strong = [(f"{one.optimizer} 1e-4", values(measured, one)) for one in methods]
    weak = [(f"{one.optimizer} 1e-6", values(measured, replace(one, strength=1e-6))) for one in methods]
    shown = all(np.mean(dead) >= 1 for _, dead in strong) and all(np.mean(dead) <= 1 for _, dead in weak[:2])
    return Verdict(bool(shown), several([*strong, *weak]))


def sgd_is_dense_and_best(measured: Measured) -> Verdict:
    sgd, *adams = papers.settings("mehta2019_t4")
    errors = [values(measured, one, "test_error") for one in (sgd, *adams)]
    shown = np.mean(values(measured, sgd)) <= 0.5 and all(np.mean(errors[0]) < np.mean(other) for other in errors[1:])
    text = f"dead {said(values(measured, sgd))}; error {said(errors[0])}, Adam {', '.join(map(said, errors[1:]))}"
    return Verdict(bool(shown), text)


def two_disparities(measured: Measured) -> Verdict:
    decay, coupled = ({"optimizer": "Adam", "regularizer": form} for form in ("WD", "L2"))
    sgd = {"optimizer": "SGD", "regularizer": "WD"}
    return _all(
        [_at_equal_error(measured, "CIFAR10", decay, sgd), _at_equal_error(measured, "CIFAR10", coupled, decay)]
    )


def _steps(measured: Measured, optimizer: str, regularizer: str, strength: float) -> float:
    """Mean over the seeds of the steps until a single weight is below 1e-3; infinite where one never was."""
    found = [
        one["steps_to_0.001"]
        for one in measured.findings.get(SINGLE_WEIGHTS.name, ())
        if (one["optimizer"], one["regularizer"], one["strength"]) == (optimizer, regularizer, strength)
    ]
    if not found:
        raise NotRun(f"single weights with {optimizer} {regularizer} {strength:g}")
    return float("inf") if None in found else float(np.mean(found))


def l2_inside_adam_decays_fastest(measured: Measured) -> Verdict:
    found = []
    for strength in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
        coupled, decayed, sgd = (
            _steps(measured, *pair, strength) for pair in (("adam", "l2"), ("adam", "wd"), ("sgd", "l2"))
        )
        text = f"{strength:g}: {coupled:.0f} steps, Adam WD {decayed:.0f}, SGD L2 {sgd:.0f}"
        found.append((coupled < min(decayed, sgd), text))
    return _all(found)


def adaptive_methods_decay_fast(measured: Measured) -> Verdict:
    sgd = _steps(measured, "sgd", "l2", 1e-4)
    others = {
        name: _steps(measured, name, "l2", 1e-4) for name in ("amsgrad", "adagrad", "adadelta", "rmsprop", "adamax")
    }
    text = ", ".join(f"{name} {steps:.0f}" for name, steps in others.items())
    return Verdict(all(steps < sgd / 2 for steps in others.values()), f"steps under L2 1e-4: SGD {sgd:.0f}, {text}")


def _only_at_paper_scale(rule: Rule) -> Rule:
    """A comparison with printed figures of other papers, which mean nothing at another scale."""

    def at_paper_scale(measured: Measured) -> Verdict:
        if measured.scale.name != "paper":
            raise NotRun("compares with figures of other papers: at paper scale only")
        return rule(measured)

    return at_paper_scale


@_only_at_paper_scale
def beats_handcrafted_pruning(measured: Measured) -> Verdict:
    setting = Setting("VGG-16", "CIFAR10", "Adam", "L2", 1e-4, 160)
    dead, error = values(measured, setting), values(measured, setting, "test_error")
    return Verdict(
        bool(np.mean(dead) > 37 and np.mean(error) < 6.6), f"{said(dead)} dead at {said(error)}, by hand 37 at 6.6"
    )


@_only_at_paper_scale
def batch_tunes_vgg11(measured: Measured) -> Verdict:
    large, small = papers.settings("mehta2019_t9")
    dead = [values(measured, one, "dead_units") for one in (large, small)]
    errors = [values(measured, one, "test_error") for one in (large, small)]
    shown = np.mean(dead[1]) >= 1.5 * np.mean(dead[0]) and alike(errors[0], errors[1], 1.5)
    return Verdict(
        bool(shown), f"{said(dead[0])} and {said(dead[1])} filters at {said(errors[0])} and {said(errors[1])}"
    )


@_only_at_paper_scale
def sparser_than_slimming(measured: Measured) -> Verdict:
    slimmed = {"CIFAR10": (70, 6.3), "CIFAR100": (50, 26.7)}
    found = []
    for one in papers.settings("mehta2019_t10"):
        dead, error = values(measured, one), values(measured, one, "test_error")
        printed = slimmed[one.dataset]
        found.append(
            (bool(np.mean(dead) > printed[0] and np.mean(error) < printed[1] + 4), f"{said(dead)} at {said(error)}")
        )
    return _all(found)


RULES: dict[str, tuple[str, Rule]] = {
    "M19-01": ("table1", no_sparsity_without_regularizer),
    "M19-02": ("table1 supplement-table4", grows_with_strength),
    "M19-03": ("table1", adaptive_is_sparser),
    "M19-04": ("table1", adam_is_sparsest),
    "M19-05": ("table1", l2_is_decay_for_sgd),
    "M19-06": ("table1", l2_beats_decay_for_adam),
    "M19-07": ("table1 supplement-table4", harder_is_less_sparse),
    "M19-08": ("table1 supplement-table4", criteria_agree),
    "M19-09": ("table2 supplement-table1", pruning_changes_no_error),
    "M19-10": ("table1 supplement-table4", thresholds_hardly_matter),
    "M19-11": ("table2 supplement-table1", sgd_prunes_early_layers),
    "M19-12": ("table2 supplement-table1", adam_prunes_early_and_late),
    "M19-13": ("table2 supplement-table1", parameters_beyond_filters),
    "M19-14": ("slimming", like_network_slimming),
    "M19-15": ("figure2", signs_of_gamma_and_beta),
    "M19-16": ("figure2", active_on_half),
    "M19-17": ("figure3", selective_filters_die),
    "M19-18": ("figure3", adam_is_more_selective),
    "M19-19": ("figure4", l2_inside_adam_decays_fastest),
    "M19-20": ("supplement-figure3", adaptive_methods_decay_fast),
    "M19-21": ("table5 table7 table8", harder_tasks),
    "M19-22": ("clutter", clutter_lowers_sparsity),
    "M19-23": ("figure5", universality_of_survivors),
    "M19-24": ("table3 table4 table5 table7 table8 table9 table10", larger_batches_are_less_sparse),
    "M19-25": ("table3", batch_trades_capacity),
    "M19-26": ("table6", narrower_is_less_sparse),
    "M19-27": ("table7", beats_handcrafted_pruning),
    "M19-28": ("table9", batch_tunes_vgg11),
    "M19-29": ("table10", sparser_than_slimming),
    "M19-30": ("supplement-table2", leaky_relu_keeps_it),
    "M19-31": ("supplement-table3", slow_gamma),
    "M19-32": ("supplement-table3", slow_beta),
    "M19-33": ("supplement-table3", where_beta_starts),
    "M19-34": ("supplement-table2", amsgrad_is_less_sparse),
    "M19-35": ("supplement-table4", other_adaptive_methods),
    "M19-36": ("table4", sgd_is_dense_and_best),
    "M19-37": ("table1", two_disparities),
}
"""The entry that trains what a claim speaks of, and its rule."""
