"""What a grid shows, in words: every sentence is computed from the table and says no more than it does."""

from __future__ import annotations

from collections.abc import Iterable

from jaxsparse.report.table import Column, Entry, Summary, optimizer_label

NOTICEABLE = 1.0
"""Percent of dead units from which on an entry counts as sparse in the text."""

OTHER_FORM = {"l2": "wd", "wd": "l2"}
"""Of pulling weights towards zero by the same strength: coupled and decoupled."""


def sentences(summary: Summary) -> list[str]:
    """What the table shows, the most important first."""
    if not any(entry.done for entry in summary.flat):
        return ["No network was trained to its end, so nothing can be said.", _ended(summary)]
    by = summary.criterion
    measured = [(entry, entry.dead) for entry in summary.flat if entry.dead is not None]
    if not measured:
        return ["Nothing was measured of the networks' units.", _ended(summary)]
    entry, dead = max(measured, key=lambda pair: pair[1].mean)
    if dead.mean == 0:
        none = f"No hidden unit is dead by {by} in any of the networks: this grid shows no sparsity."
        return [none, _ended(summary)]
    most = f"The most dead units are found with {_named(entry)}: {dead} % of the hidden units are dead by {by}"
    count = sum(found.mean >= NOTICEABLE for _, found in measured)
    combinations = f"{len(measured)} combinations of optimizer and regularizer"
    many = f"{count} of {combinations} have at least {NOTICEABLE:g} % dead units."
    return [f"{most}{_error_of(entry, summary)}.", *_contrasts(entry, summary), many, _ended(summary)]


def _named(entry: Entry) -> str:
    name = optimizer_label(entry.optimizer)
    return f"{name} and {'no regularizer' if entry.column.regularizer == 'none' else entry.column.label}"


def _error_of(entry: Entry, summary: Summary) -> str:
    """`, at a test error of 2.6 ± 0.2 % (2.1 ± 0.2 % without a regularizer)`"""
    if entry.test_error is None:
        return ""
    text = f", at a test error of {entry.test_error} %"
    plain = summary.find(entry.optimizer, Column("none", 0.0))
    if plain is None or plain is entry or plain.test_error is None:
        return text
    return f"{text} ({plain.test_error} % without a regularizer)"


def _contrasts(entry: Entry, summary: Summary) -> list[str]:
    """What the same regularizer does under other optimizers, and its other form under the same optimizer."""
    same = [other for other in summary.flat if other.column == entry.column and other is not entry]
    found = sorted(((other, other.dead) for other in same if other.dead is not None), key=lambda pair: -pair[1].mean)
    ends = _joined(f"{dead} % with {optimizer_label(other.optimizer)}" for other, dead in found)
    told = [f"Under the same regularizer it is {ends}."] if found else []
    name = optimizer_label(entry.optimizer)
    form = Column(OTHER_FORM.get(entry.column.regularizer, ""), entry.column.strength)
    other = summary.find(entry.optimizer, form)
    if other is not None and other.dead is not None:
        told.append(f"With {form.label} in place of {entry.column.label} it is {other.dead} % with {name}.")
    return told


def _ended(summary: Summary) -> str:
    """How many networks were trained to the end, and what became of the others."""
    expected, done, failed, diverged = (
        sum(getattr(entry, name) for entry in summary.flat) for name in ("expected", "done", "failed", "diverged")
    )
    others = {"failed": failed, "diverged": diverged, "not trained yet": expected - done - failed - diverged}
    told = [f"{count} {what}" for what, count in others.items() if count]
    if not told:
        return f"All {done} networks were trained to the end."
    return (
        f"{done} of {expected} networks were trained to the end; {_joined(told)}: these are in no mean and no figure."
    )


def _joined(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`"""
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} and {last}" if first else last
