"""The table of claims: what of the papers the trainings show, as CSV and as a page of the documentation."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

from experiments import claims, papers
from experiments.claims import Rule
from experiments.measured import Measured

COLUMNS = ("id", "paper", "claim", "entry", "scale", "status", "measured")
STATUS = ("shown", "not shown", "not run")


def judged(
    rules: Mapping[str, tuple[str, Rule]], found: Sequence[Measured], paper: str | None = None
) -> list[dict[str, str]]:
    """The table's rows, of `COLUMNS`: one for each claim and scale at which it was looked at, one `not run` where at
    none.

    Args:
      rules: by claim, with the entry that trains for it.
      found: what was measured, by scale.
      paper: one paper's only.
    """
    rows: list[dict[str, str]] = []
    for claim in papers.claims():
        if paper in (None, claim["paper"]):
            entry, rule = rules.get(claim["id"], ("", None))
            common = {"id": claim["id"], "paper": claim["paper"], "claim": claim["claim"], "entry": entry}
            looked = [(one.scale.name, *claims.judge(rule, one)) for one in found]
            for scale, status, text in [one for one in looked if one[1] != "not run"] or looked[-1:]:
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
- *not shown*: it does not, at this scale. The scale `embedded` is small networks on small data, see
  `experiments/scales.py`; what it does not show may be so at the scale of the paper.
- *not run*: a training that the rule needs is missing.

This page is written by `python -m experiments claims --markdown` from the figures in `experiments/measured`.
"""


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([_line(header), _line(["---"] * len(header)), *map(_line, rows)]) + "\n"


def page(rows: Sequence[Mapping[str, str]]) -> str:
    """The table as a page in Markdown: in short, then paper by paper."""
    counts = Counter((row["paper"], row["status"]) for row in rows)
    names = list(dict.fromkeys(row["paper"] for row in rows))
    parts = [HEAD, _markdown(["paper", *STATUS], [[name, *(counts[name, one] for one in STATUS)] for name in names])]
    header = ("id", "claim", "status", "scale", "entry", "measured")
    for name in names:
        own = [[row[column] for column in header] for row in rows if row["paper"] == name]
        parts += [f"## {name}\n", _markdown(header, own)]
    return "\n".join(parts)
