"""Retsinas et al. 2020 run again: what is trained, what is found of networks, and what the rules decide."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from experiments import papers
from experiments.claims import judge
from experiments.measured import Measured, from_csv, to_csv
from experiments.retsinas2020 import ENTRIES, claims, formulas, networks, tables, trainings
from experiments.retsinas2020.networks import COLUMNS, NETWORKS, numbers
from experiments.retsinas2020.trainings import Training, cells_of
from experiments.scales import EMBEDDED, PAPER
from experiments.studies import place
from jaxsparse.config import InvalidInput


def measured(found: Mapping[Training, Mapping[str, Any]]) -> Measured:
    """Findings of made-up networks; numbers are the same for every seed, but for a tenth."""
    rows = []
    for training, figures in found.items():
        for seed, cell in enumerate(cells_of(EMBEDDED, training)):
            values = {
                name: value + 0.1 * seed if isinstance(value, float) else value for name, value in figures.items()
            }
            rows.append({"place": place(cell), **values})
    return Measured(EMBEDDED, {}, {NETWORKS.name: rows})


def test_every_claim_has_a_rule_and_an_entry() -> None:
    ids = [claim["id"] for claim in papers.claims() if claim["paper"] == "retsinas2020"]
    assert sorted(claims.RULES) == sorted(ids)
    assert {entry for entry, _ in claims.RULES.values()} <= set(ENTRIES)


@pytest.mark.parametrize("claim", sorted(formulas.RULES))
def test_formulas_hold_and_have_no_scale(claim: str) -> None:
    rule = formulas.RULES[claim][1]
    assert judge(rule, Measured(EMBEDDED, {}))[0] == "shown"
    assert judge(rule, Measured(PAPER, {}))[0] == "not run"


def test_the_papers_own_settings() -> None:
    """Section 5.1: WRN-16-8 on CIFAR-100, SGD, 120 epochs, restarts every 40, three quarters and more of zeros."""
    runs = [cell.run for cell in cells_of(PAPER, trainings.WAVG)]
    assert {(run.model, run.data, run.epochs, run.restarts, run.optimizer) for run in runs} == {
        ("wrn-16-8", "cifar100", 120, 40, "sgd")
    }
    assert cells_of(PAPER, trainings.WAVG)[0].hyper.sparsity == 0.85
    thin = cells_of(PAPER, trainings.THIN[1])[0].run
    assert thin.widths == tuple(
        math.floor(math.sqrt(0.15) * width) for width in (16, *[128] * 4, *[256] * 4, *[512] * 4)
    )
    assert thin.thresholding == "none"


@pytest.mark.parametrize("scale", [EMBEDDED, PAPER], ids=["embedded", "paper"])
def test_every_entry_has_trainings_with_places_of_their_own(scale: Any) -> None:
    for entry in ENTRIES.values():
        cells = entry.cells(scale)
        assert len({place(cell) for cell in cells}) == len(cells) > 0
    with pytest.raises(InvalidInput, match="data"):
        cells_of(scale, Training(dataset="MNIST"))


def test_lobes_beside_a_valley() -> None:
    """A bell has none; a third of the weights at 2 deviations on either side, and few between, has."""
    middles = (networks.BINS[1:] + networks.BINS[:-1]) / 2
    bell = np.exp(-(middles**2) / 2)
    valley = np.exp(-(middles**2) / 0.02) + np.exp(-((np.abs(middles) - 2) ** 2) / 0.1)
    assert claims.lobes(bell) == pytest.approx(1)
    assert claims.lobes(valley) > 10


def test_shape_of_a_layers_weights() -> None:
    """Normal weights are fullest at zero and near the normal distribution; uniform ones are not."""
    draws = np.random.default_rng(0)
    mode, distance = networks._shape(draws.normal(0, 0.3, (5, 4000)))
    assert abs(mode) < 0.3
    assert distance < 1.36 / math.sqrt(20_000)
    _, uniform = networks._shape(draws.uniform(-1, 1, 20_000))
    assert uniform == pytest.approx(0.0575, abs=0.01)  # sup of |Phi(x) - (x / sqrt 3 + 1) / 2|


BUDGETS = dict(zip(trainings.BUDGET, (70.2, 85.1, 94.6), strict=True))


@pytest.mark.parametrize(("changed", "status"), [({}, "shown"), ({trainings.BUDGET[1]: 83.0}, "not shown")])
def test_budgets_are_met_or_not(changed: Mapping[Training, float], status: str) -> None:
    zeros = {**BUDGETS, trainings.HINGE: 88.0, trainings.STIFF: 85.0, **changed}
    found = measured({training: {"sparsity_weights": value} for training, value in zeros.items()})
    assert judge(claims.RULES["R-08"][1], found)[0] == status


@pytest.mark.parametrize(("budget", "status"), [(20.0, "shown"), (24.5, "not shown")])
def test_the_trade_off_compares_with_dense_networks(budget: float, status: str) -> None:
    """Dense networks: 20, 24, 28 and 32 % at 100, 30, 15 and 5 thousand parameters."""
    dense = zip((trainings.DENSE, *trainings.THIN), (1e5, 3e4, 1.5e4, 5e3), (20.0, 24.0, 28.0, 32.0), strict=True)
    found = {one: {"params_left": left, "test_error_zeroed": error} for one, left, error in dense}
    for one in trainings.FIXED:
        found[one] = {"params_left": 1e4, "test_error_zeroed": 21.0, "sparsity_weights": 90.0}
    for one in trainings.BUDGET:
        found[one] = {"params_left": 1e4, "test_error_zeroed": budget, "sparsity_weights": 90.0}
    for one in trainings.UNCONSTRAINED:
        found[one] = {"params_left": 2e4, "test_error_zeroed": 22.0, "sparsity_weights": 80.0}
    assert judge(claims.RULES["R-16"][1], measured(found))[0] == status
    between = claims._dense_error(measured(found), (trainings.DENSE, *trainings.THIN), math.sqrt(1e5 * 3e4))
    assert between == pytest.approx(22.1, abs=0.11)  # half way over the logarithm


def test_findings_survive_a_csv_file(tmp_path: Any) -> None:
    figures = {"sparsity_weights": 85.0, "errors": [20.5, 10.0], "layer_names": "a/kernel b/kernel", "histogram": [1.5]}
    found = measured({trainings.GA: figures})
    to_csv(found, tmp_path, [NETWORKS])
    again = from_csv(EMBEDDED, tmp_path, [NETWORKS])
    cells = cells_of(EMBEDDED, trainings.GA)
    for one in (found, again):
        np.testing.assert_allclose(networks.lists(one, cells, "errors"), [[20.5, 10.0]] * 3)
        np.testing.assert_allclose(networks.lists(one, cells, "histogram"), [[1.5]] * 3)
    assert networks.networks(again, cells)[0]["layer_names"] == "a/kernel b/kernel"
    assert set(figures) <= set(COLUMNS)
    np.testing.assert_allclose(numbers(None), [])


def test_a_table_shows_the_papers_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        "sparsity_weights": 84.0,
        "test_error_zeroed": 20.0,
        "params_left": 1e4,
        "filters": 9.0,
        "filters_dead": 3.0,
    }
    found = measured({trainings.GA: {**figures, "params_shrunk": 9e3}})
    tables.show("t", found, {"fixed-GA": cells_of(EMBEDDED, trainings.GA)}, "retsinas2020_t2")
    printed = capsys.readouterr().out
    assert "86.09 | 84.1" in printed
    assert "21.55 | 20.1" in printed
    assert "1.588 M | 10.0 k" in printed
