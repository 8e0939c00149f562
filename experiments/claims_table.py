"""The table of claims: what of the papers the trainings show, as CSV and as a page of the documentation."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from experiments import claims, papers
from experiments.claims import NOT_RUN, STATUS, Rule
from experiments.measured import Measured

COLUMNS = ("id", "paper", "claim", "entry", "scale", "status", "measured")


def judged(
    rules: Mapping[str, tuple[str, Rule]],
    found: Callable[[str], Sequence[Measured]],
    paper: str | None = None,
) -> list[dict[str, str]]:
    """The table's rows, of `COLUMNS`: one for each claim and scale at which it was looked at, one `not run` where at
    none.

    Args:
      rules: by claim, with the entry that trains for it.
      found: what was measured, at each scale that a paper has.
      paper: one paper's only.
    """
    rows: list[dict[str, str]] = []
    for claim in papers.claims():
        if paper in (None, claim["paper"]):
            entry, rule = rules.get(claim["id"], ("", None))
            common = {"id": claim["id"], "paper": claim["paper"], "claim": claim["claim"], "entry": entry}
            looked = [(one.scale.name, *claims.judge(rule, one)) for one in found(claim["paper"])]
            for scale, status, text in [one for one in looked if one[1] != NOT_RUN] or looked[-1:]:
                rows.append({**common, "scale": scale, "status": status, "measured": text})
    return rows


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The table for programs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list[str](COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


HEAD = """# The claims of the papers

What five papers claim, and whether trainings with this package show it. Each claim has a rule, in
`experiments/*/claims.py` and its neighbours, that was written before the trainings which it judges: an effect has to be
of a stated size and larger than twice its standard error over the seeds.

- *shown*: the rule holds.
- *not shown*: it does not, at this scale.
- *undecidable here*: what the claim takes for granted is not so at this scale, such as that anything is dead at all.
- *not run*: a training that the rule needs is missing.

The scale `embedded` is small networks on small data, `mlp` an MLP; both have the paper's strengths, learning rates,
batches and schedules, see `experiments/scales.py` (Batra et al. and Retsinas et al. have scales of their own, in their
folders). What they do not show may be so at the scale of the paper. Of the paper's steps they have

{regimes}

This page is written by `python -m experiments claims --markdown` from the figures in `experiments/measured`.
"""


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([_line(header), _line(["---"] * len(header)), *map(_line, rows)]) + "\n"


def _once(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Each claim once, at the scale that comes first of those at which it was judged."""
    return list({row["id"]: row for row in reversed(rows)}.values())[::-1]


def summary(rows: Sequence[Mapping[str, str]]) -> str:
    """How many claims of each paper have which status, as a table in Markdown."""
    counts = Counter((row["paper"], row["status"]) for row in _once(rows))
    names = dict.fromkeys(row["paper"] for row in rows)
    return _markdown(["paper", *STATUS], [[name, *(counts[name, one] for one in STATUS)] for name in names])


def page(rows: Sequence[Mapping[str, str]], regimes: Sequence[str]) -> str:
    """The table as a page in Markdown: in short, then paper by paper.

    Args:
      rows: of `judged`.
      regimes: what the scales have of the paper's steps.
    """
    parts = [HEAD.format(regimes="\n".join(f"- {one}" for one in regimes)), summary(rows)]
    header = ("id", "claim", "status", "scale", "entry", "measured")
    for name in dict.fromkeys(row["paper"] for row in rows):
        own = [[row[column] for column in header] for row in rows if row["paper"] == name]
        parts += [f"## {name}\n", _markdown(header, own)]
    return "\n".join(parts)
