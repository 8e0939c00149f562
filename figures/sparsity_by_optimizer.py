"""Sparsity over training under L2 and under weight decay of the same strength, and what it costs in test error."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from jaxsparse.checks import InvalidInput
from jaxsparse.report import figures, histories, table


def _columns(layout: table.Layout) -> list[table.Column]:
    """The strongest of each form of regularizer, at most two, the forms in their declared order."""
    strongest: dict[str, table.Column] = {}
    for column in sorted(layout.columns, key=lambda column: column.strength):
        strongest[column.regularizer] = column
    forms = [form for form in dict.fromkeys(column.regularizer for column in layout.columns) if form != "none"]
    return [strongest[form] for form in (forms or ["none"])[:2]]


def _title(column: table.Column) -> str:
    names = {"l2": "L2", "wd": "weight decay (WD)"}
    return (
        f"{names[column.regularizer]} {table.number(column.strength)}" if column.regularizer in names else column.label
    )


@figures.in_style
def draw(folder: Path) -> Figure:
    """Draws a grid.

    Raises:
      InvalidInput: where no network was trained to its end.
    """
    summary, courses = table.summarize(folder), histories.courses(folder)
    if not courses:
        raise InvalidInput(f"run folder must hold a network that was trained to its end, got {str(folder)!r}")
    columns, top = _columns(summary.layout), figures.top_of(courses)
    figure = Figure(figsize=(8, 3.4))
    panels = figure.subplots(1, len(columns) + 1, width_ratios=[*(1.0 for _ in columns), 1.25])
    for axes, column in zip(panels, columns, strict=False):
        figures.draw_course(axes, courses, column, summary.layout, top, gap=top / 17)
        axes.set(title=_title(column), xlabel="epoch")
    panels[0].set_ylabel("dead units by scale (%)")
    figures.draw_tradeoff(panels[-1], summary)
    panels[-1].set_title("at the end")
    panels[-1].legend(handles=figures.key_of_forms(summary.layout), title="larger: stronger", loc="lower right")
    lines = figures.key_of_lines(summary.layout)
    figure.legend(handles=lines, loc="outside upper left", ncols=len(lines), columnspacing=1.0, handlelength=1.6)
    return figure
