"""What Mehta et al. 2018 has beside the larger paper: the open question of its section 4, and its diagram."""

from typing import Any

import numpy as np
import pytest

from experiments import mehta2018, papers, tables
from experiments.claims import NotRun
from experiments.measured import Measured
from experiments.mehta2018 import universal
from experiments.scales import EMBEDDED, PAPER
from experiments.studies import place


def test_what_goes() -> None:
    """The highest of the live ones, ties by the second score."""
    live = np.asarray([True, False, True, True, True, True])
    universality = np.asarray([100.0, 100.0, 40.0, 100.0, 99.0, 100.0])
    active = np.asarray([10.0, 99.0, 90.0, 30.0, 95.0, 20.0])
    order = [3, 5, 0, 4, 2]
    for share, count in ((0.0, 0), (0.2, 1), (0.5, 2), (0.7, 4), (1.0, 5)):
        gone = universal.chosen(live, [universality, active], share)
        assert set(np.flatnonzero(gone)) == set(order[:count])


def found(pruned: float, tuned: float, seeds: int = 3) -> Measured:
    def row(kind: str, seed: int) -> dict[str, Any]:
        errors = {"error": 10.0 + 0.1 * seed, "error_pruned": pruned + seed, "error_tuned": tuned}
        return {"filters": kind, "seed": seed, "pruned": 5, **errors}

    rows = [row(kind, seed) for kind in universal.KINDS for seed in range(seeds)]
    return Measured(EMBEDDED, {}, {universal.FINDINGS.name: rows})


def test_the_open_question() -> None:
    assert universal.rule(found(pruned=50, tuned=10.5)).shown
    assert not universal.rule(found(pruned=50, tuned=12)).shown, "not recouped"
    assert not universal.rule(found(pruned=9, tuned=9)).shown, "nothing to recoup"
    with pytest.raises(NotRun):
        universal.rule(found(pruned=50, tuned=10, seeds=2))


def test_the_diagram() -> None:
    """64 x 3 x 25 + 9 x (64 x 128 + 128 x 128 + 128 x 256 + 256 x 256 + 256 x 512 + 512 x 512)."""
    _, rule = mehta2018.RULES["M18-10"]
    verdict = rule(Measured(PAPER, {}))
    assert verdict.shown
    assert "4,649,664" in verdict.measured
    with pytest.raises(NotRun):
        rule(Measured(EMBEDDED, {}))


def test_top5_errors_are_beside_the_papers() -> None:
    setting = papers.settings("mehta2018_t5")[-1]
    run = {"status": "done", "test_error_top5": 8.0, "test_error_top5_silenced": 9.0, "test_error": 20.0}
    measured = Measured(EMBEDDED, {place(cell): run for cell in EMBEDDED.cells(setting)})
    header, lines = tables.rows(measured, ["mehta2018_t5"])
    (line,) = [line for line in lines if line[0] == tables.label(setting)]
    assert line[header.index("top-5 error (%)")].endswith("| 8.0 ± 0.0")
    assert line[header.index("top-5 error once pruned (%)")].endswith("| 9.0 ± 0.0")
    assert line[header.index("error once pruned (%)")].endswith("| -"), "an older version's figures lack it"
