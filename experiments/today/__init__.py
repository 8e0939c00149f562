"""Which of today's optimizers kill units: the question of the papers, asked of what people train with now.

    python -m experiments today rules      # every rule x {none, L2, weight decay}, on an MLP and on four convolutions
    python -m experiments today decayed    # decay of every parameter, of kernels, of scales
    python -m experiments today methods    # L2 in Adam, slimming, factors
    python -m experiments today weight     # one weight whose loss gradient has vanished, under every rule
    python -m experiments today deaths     # when the units of a network die, beside the theory of a weight in noise
    python -m experiments today transformers   # a small GPT and ViT: what dies, and what can be removed

What is trained: `today.cells`. What may be said of it, written before it was trained: `today.verdicts`. It is no
paper's, so there is no scale but the embedded one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from experiments.entries import Entry, save
from experiments.measured import Measured
from experiments.prunings import size_of
from experiments.scales import EMBEDDED, Scale
from experiments.tables import OURS, said, table
from experiments.today import cells as made
from experiments.today import deaths, pictures, transformers, weight
from experiments.today.verdicts import Outcome, best, kills
from jaxsparse.grid import Cell
from jaxsparse.report import table as style
from jaxsparse.report.table import optimizer_label

TITLES = {"mlp": "300 units on digits", "cnn": "four convolutions on digits among fragments"}
Show = Callable[[Measured, Path], None]
Settings = dict[str, dict[str, Outcome]]
"""By rule, then by regularizer: `L2 1e-3`."""


def _outcome(measured: Measured, cells: list[Cell]) -> Outcome | None:
    runs = measured.of(cells)
    if not runs:
        return None
    return Outcome(*(np.asarray([run[name] for run in runs], float) for name in ("sparsity_scale", "test_error")))


def _named(form: str, strength: float) -> str:
    return style.REGULARIZERS[form] + ("" if form == "none" else f" {style.number(strength)}")


def compared(measured: Measured, network: str) -> Settings:
    """What came out on a network; rules whose trainings are not all there are left out."""
    found: Settings = {}
    for rule in made.trained(network):
        forms = {_named(*form): _outcome(measured, made.cells(network, rule, *form)) for form in made.FORMS[network]}
        if all(forms.values()):
            found[rule] = {name: one for name, one in forms.items() if one is not None}
    return found


def _told(one: Outcome) -> str:
    return f"{said(one.dead)} ({said(one.error)})"


def show_rules(measured: Measured, root: Path) -> None:
    """A table and a figure for each network, and what may be said of it."""
    for network in made.FORMS:
        found = compared(measured, network)
        if not found:
            continue
        top = best([one for forms in found.values() for one in forms.values()])
        columns = [_named(*form) for form in made.FORMS[network]]
        lines = [
            [optimizer_label(rule), *(_told(forms[name]) for name in columns), kills(forms, top) or "-"]
            for rule, forms in found.items()
        ]
        caption = f"percent of the units dead by scale, in brackets the test error; {OURS}"
        header = ["rule", *columns, "kills, near the best error, under"]
        style.console().print(table(f"today rules: {network}", header, lines, caption=caption))
        title = f"{network}: {TITLES[network]}, mean and sample deviation of three seeds"
        save(pictures.by_rule(found, title), root, "today", f"rules-{network}", "dead units and errors")


def show_decayed(measured: Measured, root: Path) -> None:
    """A row for each rule and form of decay."""
    del root
    lines = []
    for rule in made.CHOOSING:
        for form in ("l2", "wd"):
            settings = [made.cells("mlp", rule, form, made.CHOSEN, choice) for choice in made.CHOICES]
            told = ["-" if (one := _outcome(measured, cells)) is None else _told(one) for cells in settings]
            lines.append([f"{optimizer_label(rule)}, {_named(form, made.CHOSEN)}", *told])
    caption = f"percent of the units dead by scale, in brackets the test error; {OURS}"
    style.console().print(table("today decayed: mlp", ["rule", *made.CHOICES.values()], lines, caption=caption))


def show_methods(measured: Measured, root: Path) -> None:
    """A row for each method: what is left, and at what error."""
    del root
    lines = []
    for rule, form, strength, regularize in made.METHODS:
        trained = made.cells("mlp", rule, form, strength, regularize)
        runs = measured.of(trained)
        if runs:
            dead, error = (np.asarray([run[name] for run in runs], float) for name in ("sparsity_scale", "test_error"))
            (run,) = {cell.run for cell in trained}
            left = np.asarray([size_of(run, (round(300 * (1 - float(share) / 100)),)) for share in dead], float)
            lines.append(
                [
                    f"{optimizer_label(rule)}, {_named(form, strength)}",
                    *(said(values) for values in (error, dead, *left.T)),
                ]
            )
    header = ["method", "error (%)", "dead (%)", "parameters", "multiplications"]
    style.console().print(table("today methods: mlp", header, lines, caption=f"of what is left; {OURS}"))


def show_weight(measured: Measured, root: Path) -> None:
    """A row for each rule, at one rate and at its own."""
    del root
    by_setting = {
        (row["optimizer"], row["regularizer"], row["learning_rate"]): row
        for row in measured.findings.get(weight.FOUND.name, ())
    }
    lines = []
    for rule, own in made.RATES.items():
        for rate in dict.fromkeys((weight.RATE, own)):
            rows = [by_setting.get((rule, form, rate)) for form in ("l2", "wd-lr")]
            if None not in rows:
                told = [text for row in rows if row for text in (_steps(row["first"]), f"{row['last']:.1e}")]
                lines.append([optimizer_label(rule), style.number(rate), *told])
    header = ["rule", "rate", "L2 1e-3: below 1e-3 after", "at the end", "AdamW's WD 1e-3: below", "at the end"]
    caption = (
        f"steps of {weight.STEPS:,}; at the end: the largest magnitude in the last tenth; from 1, no loss gradient"
    )
    style.console().print(table("today weight", header, lines, caption=caption))


def _steps(first: int | None) -> str:
    return "never" if first is None else f"{first:,}"


def show_deaths(measured: Measured, root: Path) -> None:
    """How near the predictions are to the deaths, for each seed."""
    del root
    rows, lines = measured.findings.get(deaths.FOUND.name, ()), []
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed]
        died = np.asarray([row["died"] for row in own], float)
        for name in ("predicted", "predicted_without_noise"):
            said_at = np.asarray([np.inf if row[name] is None else row[name] for row in own], float)
            ratio = said_at / died
            lines.append(
                [
                    f"seed {seed}, {name.replace('_', ' ')}",
                    str(len(own)),
                    f"{np.median(died):,.0f}",
                    f"{np.median(said_at):,.0f}",
                    *(f"{100 * np.mean(np.abs(np.log(ratio)) < np.log(1 + near)):.0f}" for near in (0.02, 0.2, 1.0)),
                ]
            )
    header = ["", "died", "median step", "median of predictions", "within 2 % (%)", "within 20 % (%)", "within 2x (%)"]
    style.console().print(table("today deaths: mlp, Adam, L2 1e-3", header, lines, caption="units of three networks"))


def show_transformers(measured: Measured, root: Path) -> None:
    """A row for each network, rule and form of decay."""
    del root
    rows = measured.findings.get(transformers.FOUND.name, ())
    lines = []
    for network in transformers.TASKS:
        for rule, form, strength in transformers.SETTINGS:
            wanted = (network, rule, form, strength)
            found = [row for row in rows if tuple(row[name] for name in transformers.SETTING) == wanted]
            if found:
                dead = [100 * row["dead"] / row["units"] for row in found]
                left = [100 * row["parameters_left"] / row["parameters"] for row in found]
                times = [[row[name] for row in found] for name in ("milliseconds", "milliseconds_left")]
                error, heads = ([row[name] for row in found] for name in ("error", "heads_gone"))
                lines.append(
                    [
                        f"{network}, {optimizer_label(rule)}, {_named(form, strength)}",
                        *(said(np.asarray(values, float)) for values in (error, dead, heads, left)),
                        " → ".join(f"{np.mean(values):.2f}" for values in times),
                        f"{max(row['difference'] for row in found):.1e}",
                    ]
                )
    header = ["network and rule", "error (%)", "dead (%)", "heads gone", "parameters left (%)", "ms", "difference"]
    style.console().print(table("today transformers", header, lines, caption=f"{OURS}, of which there may be one"))


def _trained(name: str, title: str, show: Show, cells: Callable[[], list[Cell]]) -> Entry:
    """An entry of the figures that trainings end with."""
    return Entry(name, title, show, lambda scale: cells() if scale is EMBEDDED else (), figures_only=True)


def _found(name: str, title: str, show: Show, made_by: ModuleType) -> Entry:
    """An entry of figures that are not those of one training, which a module follows up."""

    def follow(scale: Scale, root: Path) -> None:
        if scale is EMBEDDED:
            made_by.follow(root)

    return Entry(name, title, show, follow=follow, findings=(made_by.FOUND,))


ENTRIES = {
    entry.name: entry
    for entry in (
        _trained("rules", "Which rules kill units", show_rules, made.compared),
        _trained("decayed", "Decay of every parameter, of kernels, of scales", show_decayed, made.chosen),
        _trained("methods", "Ways to make units die, side by side", show_methods, made.killing),
        _found("weight", "One weight without a loss gradient", show_weight, weight),
        _found("deaths", "When units die, beside the theory of a weight in noise", show_deaths, deaths),
        _found("transformers", "A small GPT and a small vision transformer", show_transformers, transformers),
    )
}
"""Of `python -m experiments today`."""
