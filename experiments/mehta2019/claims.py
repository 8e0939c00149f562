"""The claims of Mehta et al. 2019 and of its workshop summary of 2018, each with the rule that decides it.

The rules were written before the trainings that `measured/` holds, each from the paper's sentence; the paper's own
printed tables pass them, and tables in which nothing differs do not (a test looks). Rules written anew for the scale
with the paper's strengths, and why:

- M19-04 asked for more than Adagrad at one common error; the claim is about each optimizer at its own lowest error.
- M19-05 allowed two points whatever the seeds' spread, and took in networks that had learned nothing.
- M19-09 allowed 0.4 points, which the paper's table 3 of the supplement exceeds (0.7).
- M19-11 wanted every layer below the one before; the paper's C5 is above its C4 in several rows.
- M19-13 wanted *more* than 90 % of the weights gone at two points of error; the paper has 90 %, and 97 % at three.
- M19-18 wanted more selectivity in C6 and C7; the text claims it for C6.
- M19-19 went up to strengths of 1e-1, where the claim says "even for smaller regularizer values": up to 1e-3 now.
- M19-20 wanted all five methods fast; the text says "certain adaptive approaches", and that AMSGrad is dampened.
  RMSProp and Adamax decide; what the others do is told.
- M19-21 and M19-26 let two points pass for no rise, more than there was to fall.
- M19-35 wanted at most one point at 1e-6; the paper's Adamax has 4, a twelfth of what it has at 1e-4.
- Where a premise is missing (nothing is dead, no filter is selective) a claim is undecidable, not refuted.
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
    best,
    falling,
    layers,
    lowest_error,
    more,
    premise,
    sensible,
    several,
    sparsest,
    spread,
    values,
)
from experiments.measured import Measured
from experiments.mehta2019 import BASE, C6, SGD, SINGLE_WEIGHTS, SLIMMING
from experiments.papers import Setting
from experiments.scales import CIFARS, CLUTTERED, PLAIN
from experiments.tables import label, said
from jaxsparse import data

OPTIMIZERS = ("sgd", "adam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta")
"""Of the paper, for its single weights too."""
ANY = 1.0
"""Percent of dead filters from which on there are any."""
SELECTIVE, SOME = 90.0, 10.0
"""A filter is selective if it is active on less than so many percent of the images; there are selective ones if they
are so many percent of the filters."""

EQUAL_ERROR = 1.0
"""Points of test error within which two networks are compared."""


def _classes(measured: Measured) -> Mapping[str, int]:
    return {name: data.describe(ours).classes for name, ours in measured.scale.data.items()}


def _of(measured: Measured, *tables: str) -> list[Setting]:
    """Settings of tables that are not left out at this scale, each once."""
    found = dict.fromkeys(setting for table in tables for setting in papers.settings(f"mehta2019_{table}"))
    return measured.scale.trained(found)


def _learned(measured: Measured, settings: Sequence[Setting]) -> list[Setting]:
    """Those that have learned their task."""
    return [setting for setting in settings if sensible(measured, setting, _classes(measured))]


def _settings(measured: Measured, table: str, **wanted: object) -> list[Setting]:
    found = [one for one in _of(measured, table) if all(getattr(one, name) == value for name, value in wanted.items())]
    if not found:
        raise NotRun(f"{table} with {' '.join(map(str, wanted.values()))} is left out at this scale")
    return found


def _mean(measured: Measured, setting: Setting, metric: str = "sparsity_scale") -> float:
    return float(np.mean(values(measured, setting, metric)))


def _dead(measured: Measured, settings: Sequence[Setting]) -> list[Setting]:
    """Those with dead filters."""
    return [one for one in settings if _mean(measured, one) >= ANY]


def _by_layer(measured: Measured, setting: Setting, metric: str = "layer_dead") -> np.ndarray:
    """A figure of each of C1 to C7, `[seeds, layers]`."""
    found = layers(measured, setting, metric)
    if found.shape[1] < 7:
        raise NotRun("a network of seven convolutions")
    return found


def _share(measured: Measured, settings: Sequence[Setting], fine: Callable[[Setting], bool], least: float) -> Verdict:
    """Whether something holds for at least this share of the settings, in some of which filters are dead."""
    dead = _dead(measured, settings)
    premise(len(dead) > 0, f"nothing is dead in any of {len(settings)} settings")
    wrong = [setting for setting in settings if not fine(setting)]
    text = f"{len(settings) - len(wrong)} of {len(settings)} settings ({len(dead)} with dead filters)"
    return Verdict(len(wrong) <= (1 - least) * len(settings), text + _but([label(one) for one in wrong]))


def no_sparsity_without_regularizer(measured: Measured) -> Verdict:
    found = _settings(measured, "t1", strength=0.0)
    dead = [(f"{one.optimizer} {one.dataset}", values(measured, one)) for one in found]
    regularized = max(_mean(measured, one) for one in _of(measured, "t1"))
    premise(regularized >= ANY, f"nothing is dead with a regularizer either: at most {regularized:.1f} %")
    return Verdict(all(np.mean(each) <= 0.5 for _, each in dead), several(dead))


def grows_with_strength(measured: Measured) -> Verdict:
    """No step to the next strength falls by more than two points, and in every group in which anything is dead the
    strongest has more than the weakest."""
    fallen, flat, steps, groups = [], [], 0, 0

    def kind(one: Setting) -> tuple[str, ...]:
        return one.dataset, one.optimizer, one.regularizer

    ordered = sorted(_of(measured, "t1", "s4"), key=lambda one: (*kind(one), one.strength))
    for name, members in groupby(ordered, kind):
        dead = [(one, values(measured, one)) for one in members]
        for (_, before), (stronger, after) in pairwise(dead):
            steps += 1
            if np.mean(after) < np.mean(before) - max(2, spread(before, after)):
                fallen.append(f"{' '.join(name)} {stronger.strength:g}: {np.mean(before):.0f} to {np.mean(after):.0f}")
        if len(dead) > 1 and max(float(np.mean(each)) for _, each in dead) >= ANY:
            groups += 1
            if not more(dead[-1][1], dead[0][1]):
                flat.append(" ".join(name))
    premise(groups > 0, f"nothing is dead in any of {steps} steps")
    text = f"{steps - len(fallen)} of {steps} steps to the next strength do not fall" + _but(fallen)
    rising = f"{groups - len(flat)} of {groups} groups rise in all" + _but(flat)
    return Verdict(not fallen and not flat, f"{text}; {rising}")


def _but(exceptions: Sequence[str]) -> str:
    return ", not " + "; not ".join(exceptions[:4]) if exceptions else ""


def _at_equal_error(
    measured: Measured, dataset: str, ours: Mapping[str, object], theirs: Mapping[str, object], least: float = 5.0
) -> tuple[bool, str]:
    """Compares the sparsest networks of two kinds within a point of the lower error that the worse kind reaches."""
    kinds = [_settings(measured, "t1", dataset=dataset, **kind) for kind in (ours, theirs)]
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
    """Each optimizer at the strength of its own lowest error, and all at 1e-4."""
    found = []
    for dataset in CIFARS:
        kinds = {
            name: _settings(measured, "t1", dataset=dataset, optimizer=name, regularizer="L2")
            for name in ("Adam", "SGD", "Adadelta", "Adagrad")
        }
        at_best = {name: best(measured, kind) for name, kind in kinds.items()}
        equal = {name: one for name, kind in kinds.items() for one in kind if one.strength == 1e-4}
        for chosen in (at_best, equal):
            adam = values(measured, chosen["Adam"])
            fine = [more(adam, values(measured, one)) for name, one in chosen.items() if name != "Adam"]
            parts = [(f"{one.optimizer} {one.strength:g}", values(measured, one)) for one in chosen.values()]
            found.append((all(fine), f"{dataset}: {several(parts)}"))
    return _all(found)


def l2_is_decay_for_sgd(measured: Measured) -> Verdict:
    """At strengths at which the networks have learned: dead filters, and errors, within two points or their spread."""
    found, largest = [], 0.0
    for dataset in CIFARS:
        kind = {"dataset": dataset, "optimizer": "SGD"}
        decayed = {one.strength: one for one in _settings(measured, "t1", regularizer="WD", **kind)}
        for one in _settings(measured, "t1", regularizer="L2", **kind):
            other = decayed.get(one.strength)
            if other is not None and len(_learned(measured, [one, other])) == 2:
                a, b = values(measured, one), values(measured, other)
                error, other_error = (values(measured, each, "test_error") for each in (one, other))
                text = (
                    f"{dataset} {one.strength:g}: {said(a)} and {said(b)} (error {said(error)} and {said(other_error)})"
                )
                found.append((alike(a, b, 2.0) and alike(error, other_error, 2.0), text))
                largest = max(largest, float(np.mean(a)), float(np.mean(b)))
    premise(largest >= ANY, "SGD has no dead filters where it learns: " + "; ".join(text for _, text in found))
    return _all(found)


def l2_beats_decay_for_adam(measured: Measured) -> Verdict:
    coupled, decay = ({"optimizer": "Adam", "regularizer": form} for form in ("L2", "WD"))
    return _all([_at_equal_error(measured, dataset, coupled, decay) for dataset in CIFARS])


def harder_is_less_sparse(measured: Measured) -> Verdict:
    """Of the settings that learn on both sets and have dead filters on the easier one: 95 % do not have more on the
    harder one, and half have less."""
    both = [(one, replace(one, dataset=CIFARS[1])) for one in _of(measured, "t1", "s4") if one.dataset == CIFARS[0]]
    pairs = [pair for pair in both if len(_learned(measured, pair)) == 2]
    dead = [pair for pair in pairs if len(_dead(measured, pair)) > 0]
    premise(len(dead) > 0, f"nothing is dead in any of {len(pairs)} settings")
    figures = [(values(measured, easier), values(measured, harder)) for easier, harder in dead]
    rising = [
        label(easier)
        for (easier, _), (low, high) in zip(dead, figures, strict=True)
        if np.mean(high) > np.mean(low) + max(2, spread(low, high))
    ]
    fewer = sum(more(low, high, 2) for low, high in figures)
    text = f"{fewer} of {len(dead)} settings with dead filters have fewer on the harder set, {len(rising)} more"
    return Verdict(len(rising) <= 0.05 * len(dead) and fewer >= len(dead) / 2, text + _but(rising))


def criteria_agree(measured: Measured) -> Verdict:
    def fine(setting: Setting) -> bool:
        return alike(values(measured, setting), values(measured, setting, "sparsity_activation"), 2.0)

    return _share(measured, _learned(measured, _of(measured, "t1", "s4")), fine, 0.9)


def pruning_changes_no_error(measured: Measured) -> Verdict:
    """By a point at most in any setting, and by 0.2 on the mean; the paper's largest is 0.7."""
    settings = _learned(measured, _of(measured, "t2", "s1", "s2", "s3"))
    premise(len(_dead(measured, settings)) > 0, f"nothing is dead in any of {len(settings)} settings")
    changes = {
        one: abs(_mean(measured, one, "test_error_silenced") - _mean(measured, one, "test_error")) for one in settings
    }
    largest = max(changes, key=changes.__getitem__)
    mean = float(np.mean(list(changes.values())))
    text = f"{len(changes)} settings, mean {mean:.2f} points, at most {changes[largest]:.2f} ({label(largest)})"
    return Verdict(bool(mean <= 0.2 and changes[largest] <= 1), text)


def thresholds_hardly_matter(measured: Measured) -> Verdict:
    def fine(setting: Setting) -> bool:
        pairs = [(f"sparsity_{by}", f"sparsity_{by}_loose") for by in ("scale", "activation")]
        return all(alike(values(measured, setting, a), values(measured, setting, b), 2.0) for a, b in pairs)

    return _share(measured, _learned(measured, _of(measured, "t1", "s4")), fine, 0.9)


def _layerwise(measured: Measured, optimizer: str) -> list[Setting]:
    return [one for one in _of(measured, "t2", "s1") if one.optimizer == optimizer]


def _profile(dead: np.ndarray) -> str:
    return " ".join(f"{layer:.0f}" for layer in dead)


def sgd_prunes_early_layers(measured: Measured) -> Verdict:
    """In every row of SGD with dead filters C1 has the largest share, and C6 less than the mean of C1 to C5."""
    rows = _learned(measured, _layerwise(measured, "SGD"))
    sparse = _dead(measured, rows)
    premise(len(sparse) > 0, f"SGD has no dead filters in any of {len(rows)} settings in which it learns")
    found = []
    for one in sparse:
        dead = _by_layer(measured, one).mean(0)
        fine = dead.argmax() == 0 and dead[5] < dead[:5].mean()
        found.append((bool(fine), f"{label(one)}: {_profile(dead)}"))
    return _all(found)


def adam_prunes_early_and_late(measured: Measured) -> Verdict:
    found = []
    for dataset in CIFARS:
        setting = replace(BASE, dataset=dataset)
        dead = _by_layer(measured, setting).mean(0)
        lowest = int(dead.argmin())
        dips = 0 < lowest < len(dead) - 1 and dead[0] > dead[lowest] + 2 and dead[lowest + 1 :].max() > dead[lowest] + 2
        found.append((bool(dips), _mean(measured, setting), f"{dataset}: {_profile(dead)}"))
    text = "; ".join(each for _, _, each in found)
    premise(any(dead >= ANY for _, dead, _ in found), f"nothing is dead: {text}")
    return Verdict(all(dips for dips, _, _ in found), text)


def parameters_beyond_filters(measured: Measured) -> Verdict:
    """In every row with dead filters; and somewhere nine tenths of the weights are gone at an error within three
    points, or half again, of the lowest on that set."""
    rows = _dead(measured, [*_layerwise(measured, "Adam"), *_layerwise(measured, "SGD")])
    premise(len(rows) > 0, "nothing is dead")
    beyond, most, largest = [], 0.0, "none at a good error"
    for one in rows:
        filters, params = values(measured, one), values(measured, one, "conv_params_pruned")
        beyond.append(bool(np.mean(params) >= np.mean(filters)))
        lowest = lowest_error(measured, _settings(measured, "t1", dataset=one.dataset))
        well = _mean(measured, one, "test_error_silenced") <= max(lowest + 3, 1.5 * lowest)
        if well and np.mean(params) > most:
            most = float(np.mean(params))
            largest = f"{label(one)}: {said(filters)} of the filters, {said(params)} of the weights"
    return Verdict(all(beyond) and most >= 90, f"{sum(beyond)} of {len(beyond)} settings; most: {largest}")


def like_network_slimming(measured: Measured) -> Verdict:
    ours = _by_layer(measured, BASE).mean(0)
    total = _mean(measured, BASE)
    nearest = min(SLIMMING, key=lambda one: abs(_mean(measured, one) - total))
    theirs = _by_layer(measured, nearest).mean(0)
    text = f"Adam L2 {_profile(ours)}, slimming {nearest.strength:g} {_profile(theirs)}"
    premise(min(total, _mean(measured, nearest)) >= ANY, f"nothing is dead: {text}")
    correlation = float(np.corrcoef(ours, theirs)[0, 1]) if ours.std() > 0 < theirs.std() else float("nan")
    return Verdict(correlation > 0.8, f"correlation {correlation:.2f}; {text}")


WEAK = replace(BASE, strength=1e-5)


def signs_of_gamma_and_beta(measured: Measured) -> Verdict:
    """Among the live filters of C6."""
    adam, sgd = (_by_layer(measured, one, "layer_beta_positive")[:, C6] for one in (WEAK, SGD))
    negative = [_by_layer(measured, one, "layer_gamma_negative")[:, C6] for one in (WEAK, BASE, SGD)]
    shown = np.mean(adam) <= 10 and more(sgd, adam, 10) and all(np.mean(share) == 0 for share in negative)
    found = [("beta > 0 with Adam L2 1e-5", adam), ("with SGD L2 5e-4", sgd)]
    return Verdict(bool(shown), several([*found, ("gamma < 0", np.concatenate(negative))]))


def active_on_half(measured: Measured) -> Verdict:
    adam, sgd = (_by_layer(measured, one, "layer_active_over_half")[:, C6] for one in (WEAK, SGD))
    return Verdict(
        bool(np.mean(adam) <= 5 and more(sgd, adam, 10)), several([("Adam L2 1e-5", adam), ("SGD L2 5e-4", sgd)])
    )


def _require_selective(measured: Measured, *settings: Setting, layer: int | None = None) -> None:
    """Raises `Undecidable` where hardly any live filter (of a layer) is active on part of the images only."""
    shares = []
    for setting in settings:
        values(measured, setting, "unit_universality")
        for run in measured.runs(setting):
            universality, dead = np.asarray(run["unit_universality"]), np.asarray(run["unit_dead"], bool)
            ends = np.cumsum(np.asarray(run["layer_units"], int))[:-1]
            if layer is not None:
                _by_layer(measured, setting)
                universality, dead = (np.split(each, ends)[layer] for each in (universality, dead))
            shares.append(100 * float(np.mean((universality < SELECTIVE) & ~dead)))
    text = f"{np.mean(shares):.0f} % of the filters are active on less than {SELECTIVE:g} % of the images"
    premise(float(np.mean(shares)) >= SOME, text)


def selective_filters_die(measured: Measured) -> Verdict:
    """The chance that a filter which dies under L2 1e-4 was, under 1e-5 and with the same seed, more selective than one
    that lives (the area under the curve), over all layers."""
    premise(_mean(measured, BASE) >= ANY, "nothing is dead under L2 1e-4")
    _require_selective(measured, WEAK)
    chances = []
    for weak, strong in zip(measured.runs(WEAK), measured.runs(BASE), strict=True):
        universality, dead = np.asarray(weak["unit_universality"]), np.asarray(strong["unit_dead"], bool)
        if dead.any() and not dead.all():
            pairs = universality[dead][:, None] - universality[~dead][None]
            chances.append(float(np.mean(pairs < 0) + np.mean(pairs == 0) / 2))
    found = np.asarray(chances)
    return Verdict(len(found) > 1 and more(found, np.full(len(found), 0.5), 0.1), f"chance {said(found)}")


def adam_is_more_selective(measured: Measured) -> Verdict:
    """In C6: under weak L2 Adam's filters are active on fewer images, and more of them are lost under the stronger."""
    weak = [_by_layer(measured, replace(one, strength=1e-5), "layer_universality")[:, C6] for one in (BASE, SGD)]
    _require_selective(measured, *(replace(one, strength=1e-5) for one in (BASE, SGD)), layer=C6)
    lost = {}
    for one in (BASE, SGD):
        before, after = (
            _by_layer(measured, replace(one, strength=strength), "layer_universality_zero")[:, C6]
            for strength in (1e-5, one.strength)
        )
        lost[one.optimizer] = after - before
    found = [("universality with Adam", weak[0]), ("with SGD", weak[1])]
    text = several([*found, ("lost with Adam", lost["Adam"]), ("with SGD", lost["SGD"])])
    return Verdict(more(weak[1], weak[0], 1) and more(lost["Adam"], lost["SGD"], 5), text)


def harder_tasks(measured: Measured) -> Verdict:
    basic = [values(measured, replace(BASE, dataset=name)) for name in CIFARS]
    basic.append(values(measured, Setting("BasicNet", "ImageNet", "Adam", "L2", 1e-4, 64)))
    names = (*CIFARS, "TinyImageNet", "ImageNet")
    vgg = [values(measured, Setting("VGG-16", name, "Adam", "L2", 1e-4, 40)) for name in names]
    text = "BasicNet: " + ", ".join(map(said, basic)) + "; VGG-16: " + ", ".join(map(said, vgg))
    premise(all(np.mean(each[0]) >= ANY for each in (basic, vgg)), f"nothing is dead on the easiest set: {text}")
    return Verdict(falling(basic) and float(np.mean(basic[-1])) <= 1 and falling(vgg), text)


def clutter_lowers_sparsity(measured: Measured) -> Verdict:
    plain, cluttered = (values(measured, replace(BASE, dataset=name)) for name in (PLAIN, CLUTTERED))
    text = several([("plain", plain), ("cluttered", cluttered)])
    premise(float(np.mean(plain)) >= ANY, f"nothing is dead on the clean set: {text}")
    return Verdict(more(plain, cluttered), text)


def _few_images(measured: Measured, setting: Setting) -> np.ndarray:
    """Share of the filters that live and are active on less than a tenth of the images."""
    values(measured, setting, "unit_universality")
    return np.asarray(
        [
            100 * np.mean((np.asarray(run["unit_dead"]) == 0) & (np.asarray(run["unit_universality"]) < 10))
            for run in measured.runs(setting)
        ]
    )


def universality_of_survivors(measured: Measured) -> Verdict:
    rising = [
        _by_layer(measured, replace(BASE, dataset=name), "layer_universality_alive")[:, C6:].mean(1)
        for name in (*CIFARS, "TinyImageNet")
    ]
    _require_selective(measured, *(replace(BASE, dataset=name) for name in (*CIFARS, "TinyImageNet")))
    small, large = (_few_images(measured, replace(BASE, batch=batch)) for batch in (40, 160))
    shown = falling(list(reversed(rising)), least=0.5) and more(large, small)
    text = "universality: " + ", ".join(map(said, rising))
    return Verdict(shown, f"{text}; selective survivors at batch 40 {said(small)}, at 160 {said(large)}")


def larger_batches_are_less_sparse(measured: Measured) -> Verdict:
    """No group rises from one batch to the next by more than two points, and most fall in all."""
    settings = [one for one in _of(measured, "t3", "t4", "t5", "t7", "t8", "t9", "t10") if one.optimizer == "Adam"]
    groups: dict[Setting, list[Setting]] = {}
    for one in settings:
        groups.setdefault(replace(one, batch=0), []).append(one)
    found = []
    for members in groups.values():
        ordered = sorted(members, key=lambda one: one.batch)
        dead = [values(measured, one) for one in ordered]
        if len(dead) > 1 and max(float(np.mean(each)) for each in dead) >= ANY:
            never = all(np.mean(b) <= np.mean(a) + max(2, spread(a, b)) for a, b in pairwise(dead))
            batches = " ".join(f"{one.batch}" for one in ordered)
            same = f"{ordered[0].network} {ordered[0].dataset} {ordered[0].strength:g} ({batches})"
            found.append((never, more(dead[0], dead[-1]), f"{same}: {', '.join(map(said, dead))}"))
    premise(len(found) > 0, f"nothing is dead in any of {len(groups)} groups")
    shown = all(never for never, _, _ in found) and sum(falls for _, falls, _ in found) > len(found) / 2
    return Verdict(shown, "; ".join(text for _, _, text in found))


def batch_trades_capacity(measured: Measured) -> Verdict:
    batches = [replace(BASE, batch=batch) for batch in (20, 40, 80, 160)]
    train, test = ([values(measured, one, name) for one in batches] for name in ("train_loss", "test_loss"))
    shown = more(train[0], train[-1], 0) and more(test[-1], test[0], 0)
    return Verdict(shown, f"train loss {', '.join(map(said, train))}; test loss {', '.join(map(said, test))}")


def narrower_is_less_sparse(measured: Measured) -> Verdict:
    found, widest = [], []
    for dataset in CIFARS:
        dead = [values(measured, one) for one in _settings(measured, "t6", dataset=dataset)]
        widest.append(float(np.mean(dead[0])))
        found.append((falling(dead), f"{dataset}: {', '.join(map(said, dead))}"))
    premise(max(widest) >= ANY, "nothing is dead in the widest: " + "; ".join(text for _, text in found))
    return _all(found)


def leaky_relu_keeps_it(measured: Measured) -> Verdict:
    found, most = [], 0.0
    for one in _of(measured, "s2"):
        if one.activation != "ReLU":
            with_relu, with_leak = values(measured, replace(one, activation="ReLU")), values(measured, one)
            most = max(most, float(np.mean(with_relu)))
            fine = np.mean(with_leak) >= 0.7 * np.mean(with_relu) > 0
            found.append((bool(fine), f"{one.activation} {one.strength:g}: {said(with_leak)} (ReLU {said(with_relu)})"))
    premise(most >= ANY, "nothing is dead with ReLU: " + "; ".join(text for _, text in found))
    return _all(found)


def _variant(name: str) -> Setting:
    return replace(BASE, setting=name)


def _base(measured: Measured) -> np.ndarray:
    base = values(measured, BASE)
    premise(float(np.mean(base)) >= ANY, f"nothing is dead in the baseline: {said(base)}")
    return base


def slow_gamma(measured: Measured) -> Verdict:
    base, slow = _base(measured), values(measured, _variant("LR scale for gamma: 0.1"))
    other = values(measured, _variant("LR scale for beta: 0.1"))
    shown = more(base, slow) and np.mean(slow) < np.mean(other)
    return Verdict(bool(shown), several([("base", base), ("gamma at 0.1", slow), ("beta at 0.1", other)]))


def slow_beta(measured: Measured) -> Verdict:
    base, slow = _base(measured), values(measured, _variant("LR scale for beta: 0.1"))
    return Verdict(more(slow, base, 0.0), several([("base", base), ("beta at 0.1", slow)]))


def where_beta_starts(measured: Measured) -> Verdict:
    below, above = (values(measured, _variant(f"gamma_init=1, beta_init={beta}")) for beta in ("-0.1", "1.0"))
    base = _base(measured)
    return Verdict(alike(base, below, 3) and more(above, base), several([("0", base), ("-0.1", below), ("1.0", above)]))


AMSGRAD = replace(BASE, optimizer="AMSGrad")


def amsgrad_is_less_sparse(measured: Measured) -> Verdict:
    """Less than half of Adam's, and none in the first three layers."""
    adam, amsgrad = _base(measured), values(measured, AMSGRAD)
    text = several([("Adam", adam), ("AMSGrad", amsgrad)])
    dead = _by_layer(measured, AMSGRAD).mean(0)
    less = more(adam, amsgrad) and np.mean(amsgrad) < np.mean(adam) / 2
    premise(not less or dead.max() > 0, f"no layer of AMSGrad to look at: {text}")
    return Verdict(bool(less and dead[:3].max() <= 1), f"{text}; its layers {_profile(dead)}")


def other_adaptive_methods(measured: Measured) -> Verdict:
    """All three at 1e-4; at 1e-6 AMSGrad and Adamax have less than a tenth of that."""
    base = replace(BASE, dataset="CIFAR10")
    methods = [replace(base, optimizer=name) for name in ("AMSGrad", "Adamax", "RMSProp")]
    strong = [(f"{one.optimizer} 1e-4", values(measured, one)) for one in methods]
    weak = [(f"{one.optimizer} 1e-6", values(measured, replace(one, strength=1e-6))) for one in methods]
    little = [np.mean(b) < np.mean(a) / 10 for (_, a), (_, b) in zip(strong[:2], weak[:2], strict=True)]
    return Verdict(bool(all(np.mean(dead) >= ANY for _, dead in strong) and all(little)), several([*strong, *weak]))


def sgd_is_dense_and_best(measured: Measured) -> Verdict:
    sgd, *adams = _settings(measured, "t4")
    errors = [values(measured, one, "test_error") for one in (sgd, *adams)]
    premise(len(_dead(measured, adams)) > 0, "nothing is dead with Adam either")
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


SMALLER = (1e-5, 1e-4, 1e-3)
"""Strengths: "even for smaller regularizer values". Under larger ones Adam can't be faster than a step of the learning
rate at a time allows, which SGD can."""


def l2_inside_adam_decays_fastest(measured: Measured) -> Verdict:
    found = []
    for strength in SMALLER:
        coupled, decayed, sgd = (
            _steps(measured, *pair, strength) for pair in (("adam", "l2"), ("adam", "wd"), ("sgd", "l2"))
        )
        text = f"{strength:g}: {coupled:.0f} steps, Adam WD {decayed:.0f}, SGD L2 {sgd:.0f}"
        found.append((coupled < min(decayed, sgd), text))
    return _all(found)


def adaptive_methods_decay_fast(measured: Measured) -> Verdict:
    """RMSProp and Adamax in less than half of SGD's steps; AMSGrad, Adagrad and Adadelta are told, not judged."""
    found = []
    for strength in SMALLER:
        sgd = _steps(measured, "sgd", "l2", strength)
        steps = {
            name: _steps(measured, name, "l2", strength)
            for name in ("rmsprop", "adamax", "amsgrad", "adagrad", "adadelta")
        }
        text = ", ".join(f"{name} {one:.0f}" for name, one in steps.items())
        fast = all(steps[name] < sgd / 2 for name in ("rmsprop", "adamax"))
        found.append((fast, f"{strength:g}: SGD {sgd:.0f} steps, {text}"))
    return _all(found)


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
    large, small = _settings(measured, "t9")
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
    for one in _settings(measured, "t10"):
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
