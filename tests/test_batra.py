"""Batra et al. 2024, run again: prunings on disk, figures, controls, competitors and claims."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from experiments import batra2024, measured, papers, prunings, tables
from experiments.batra2024 import claims as rules
from experiments.batra2024 import implementation, trainings
from experiments.findings import read_rows, write_rows
from experiments.measured import Measured
from experiments.prunings import PRUNINGS
from experiments.scales import EMBEDDED, PAPER, Scale
from experiments.studies import place
from jaxsparse import models, pruning, records, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell
from jaxsparse.shrinking import costs
from jaxsparse.train import network

# --- prunings on disk -----------------------------------------------------------------------------------------------


def written(root: Path, seed: int) -> Cell:
    """A cell whose network was never trained, on disk."""
    run = Run(model="mlp", widths=(6, 5), batch=200, epochs=1, measure_every=1)
    cell = Cell(run, Hyper(1e-2, 0.0, {"b1": 0.9, "b2": 0.99, "eps": 1e-8}), seed, "none")
    weights = trees.flatten(nnx.state(network(run, jax.random.key(seed))))
    settings = {"regularizer": "none", "strength": 0.0, "seed": seed, "learning_rate": 1e-2}
    constants = {"constants": dict(cell.hyper.constants)}
    arrays = {name: np.asarray(leaf) for name, leaf in weights.items()}
    record = records.Record(cell.name, run, settings | constants, "done", "", 1.0, {"epochs": [1]}, arrays)
    records.write(record, (root / place(cell)).parent)
    return cell


def test_prunings_are_made_once_and_survive_a_kill(tmp_path: Path) -> None:
    cells = [written(tmp_path, seed) for seed in range(2)]
    kinds = (("magnitude", 0.5, "own"), ("random-filters", 0.5, "own"), ("implicit", 1e9, "none"))
    wanted = [one for kind in kinds for one in trainings.pruned(cells, kind[0], [kind[1]], kind[2])]
    prunings.make(wanted, tmp_path)
    files = [tmp_path / place(cell) / prunings.FILE for cell in cells]
    rows = {path: read_rows(path) for path in files}
    assert [len(found) for found in rows.values()] == [3, 3]
    before = [path.stat().st_mtime_ns for path in files]
    prunings.make(wanted, tmp_path)
    assert before == [path.stat().st_mtime_ns for path in files], "nothing was left to prune"
    write_rows(files[0], rows[files[0]][:1])  # as if killed
    prunings.make(wanted, tmp_path)
    again = {prunings.name_of(row): row for row in read_rows(files[0])}
    np.testing.assert_equal(again, {prunings.name_of(row): row for row in rows[files[0]]})
    found = Measured(EMBEDDED, {}, {PRUNINGS.name: PRUNINGS.read(tmp_path)})
    measured.to_csv(found, tmp_path, [PRUNINGS])
    kept = measured.from_csv(EMBEDDED, tmp_path, [PRUNINGS])
    for one in wanted:
        kind = ([one.cell], one.method, one.amount, one.tuning)
        np.testing.assert_allclose(*(prunings.values(each, *kind) for each in (found, kept)), rtol=1e-3)
    (dead,) = prunings.found(kept, cells[:1], "implicit", 1e9, "none")
    assert (dead["widths_left"], dead["accuracy"]) == ("0-0", dead["accuracy_at_once"])
    (half,) = prunings.found(kept, cells[:1], "random-filters", 0.5, "own")
    assert half["widths_left"] == "3-3"
    assert half["accuracy"] > half["accuracy_at_once"], "it was trained on"


def test_removal_is_what_was_counted() -> None:
    """Counting a network of the widths that are left gives what `js.shrink` makes."""
    run = Run(model="basicnet", widths=(4, 6), head=(3,))
    model = network(run, jax.random.key(0))
    model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    masks = pruning.filters(params, 0.5)
    left = prunings.left_of(run, model, masks)
    assert left["widths_left"] == "2-3"
    pruned = nnx.merge(graph, pruning.apply(params, masks), rest, copy=True)
    image = np.ones((1, 8, 8, 1), np.float32)
    smaller, _ = js.shrink(pruned, image, pruning.dead_units(masks))
    cost = costs.cost(smaller, image, batches=())
    assert (left["parameters_left"], left["macs_left"]) == (cost.parameters, cost.macs)
    assert left["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))


# --- controls and competitors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [EMBEDDED, PAPER], ids=lambda scale: scale.name)
def test_controls_take_equal_epochs_or_equal_compute(scale: Scale) -> None:
    (dense, *_) = trainings.cells_of(scale, trainings.DENSE)
    for share in trainings.SHARES:
        found = {kind: cells[0].run for kind, cells in trainings.controls(scale, share).items()}
        short, long = found["equal epochs"], found.get("equal compute")
        whole = models.widths_of(dense.run.model, dense.run.width, dense.run.widths)
        assert short.widths == tuple(width - round(share * width) for width in whole)
        assert (short.epochs, short.milestones) == (dense.run.epochs, dense.run.milestones)
        if share > 0.5:  # a quarter of each layer leaves a sixteenth of the multiplications
            assert long is None
            continue
        assert long is not None
        compute = [run.epochs * prunings.size_of(run)[1] for run in (dense.run, long)]
        assert compute[0] == pytest.approx(compute[1], rel=0.02)
        assert long.milestones[0] / long.epochs == pytest.approx(dense.run.milestones[0] / dense.run.epochs, abs=0.01)


def test_handcrafted_pruning_is_the_table_s() -> None:
    """Mehta et al. 2019, table 7: which layers Li et al. halve."""
    printed = {one.layer: float(one.value) for one in papers.quoted("mehta2019_t7") if one.metric == "sparsity"}
    run = Run(model="vgg-16", width=1 / 16)
    shapes = nnx.as_pure(nnx.state(nnx.eval_shape(lambda: network(run, jax.random.key(0))), nnx.Param))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    dead = pruning.dead_units(prunings.methods(run, jax.random.key(0))["handcrafted"](params, 0.5))
    shares = {f"C{layer + 1}": 100 * np.mean(dead.get(f"convolutions/{layer}", 0)) for layer in range(13)}
    assert shares == {name: value for name, value in printed.items() if name != "all conv"}


def test_quoted_rows_stand_beside_ours() -> None:
    header, lines = tables.rows(Measured(EMBEDDED, {}), ("mehta2019_t10",))
    quoted = {line[0]: line for line in lines}["VGG-19, CIFAR10, Liu et al. (2017)"]
    assert quoted[header.index("dead by scale (%)")] == "70 | -"
    cells = EMBEDDED.cells(replace(trainings.SLIMMED, network="VGG-19", batch=64))
    rows = [row(cell, "slimming", 0.7, "own", 90.0, widths_left="-".join(["1"] * 16)) for cell in cells]
    header, lines = tables.rows(Measured(EMBEDDED, {}, {PRUNINGS.name: rows}), ("mehta2019_t10",))
    quoted = {line[0]: line for line in lines}["VGG-19, CIFAR10, Liu et al. (2017)"]
    assert quoted[header.index("error once pruned (%)")] == "6.3 | 10.0 ± 0.0"
    widths = models.widths_of("vgg-19", 1 / 8)
    expected = 100 * (1 - len(widths) / sum(widths))
    assert quoted[header.index("dead by scale (%)")] == f"70 | {expected:.1f} ± 0.0"


# --- claims ---------------------------------------------------------------------------------------------------------


def row(cell: Cell, method: str, amount: float, tuning: str, accuracy: float, **more: object) -> dict[str, object]:
    known = {"accuracy_before": 95.0, "accuracy_at_once": accuracy, "accuracy": accuracy, "sparsity": 100 * amount}
    return {"place": place(cell), "method": method, "amount": amount, "tuning": tuning, **known, **more}


def accuracies(found: dict[tuple[str, float, int], float], **more: object) -> Measured:
    """Accuracies by method, share and how many times as many filters; each network a tenth of a point off the next."""
    rows = [
        row(cell, method, share, tuning, accuracy + 0.1 * cell.seed, **more)
        for (method, share, wider), accuracy in found.items()
        for cell in trainings.small(EMBEDDED, wider)
        for tuning in trainings.PROTOCOLS
    ]
    return Measured(EMBEDDED, {}, {PRUNINGS.name: rows})


@pytest.mark.parametrize(("at_half", "late", "shown"), [(94.5, 50, True), (80, 50, False), (94.5, 89, False)])
def test_magnitude_s_rule(at_half: float, late: float, shown: bool) -> None:
    found = accuracies({("magnitude", 0.5, 1): at_half, ("magnitude", 0.6, 1): 92, ("magnitude", 0.9, 1): late})
    assert rules.magnitude_holds_to_60(found).shown is shown


@pytest.mark.parametrize(
    ("one", "half", "sparsity", "shown"), [(43, 19, 0.9, True), (90, 19, 0.9, False), (43, 19, 2, False)]
)
def test_filters_rule(one: float, half: float, sparsity: float, shown: bool) -> None:
    accuracy = {1 / 12: one, 0.25: 30, 0.5: half}
    found = accuracies({("filters-globally", share, 1): value for share, value in accuracy.items()}, sparsity=sparsity)
    assert rules.filters_collapse(found).shown is shown


@pytest.mark.parametrize(("wide", "shown"), [(94, True), (70, False)])
def test_the_gap_s_rule(wide: float, shown: bool) -> None:
    kinds = {("magnitude", 0.1): (94.5, 94.5), ("filters-globally", 1 / 6): (60, wide), ("slimming", 0.1): (60, wide)}
    found = {(*kind, wider): value for kind, pair in kinds.items() for wider, value in zip((1, 8), pair, strict=True)}
    assert rules.wider_closes_the_gap(accuracies(found)).shown is shown


def test_a_figure_and_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = trainings.CURVES["figure2"]
    found = accuracies({("filters-globally", share, 1): 90 * (1 - share) for share in curve.shares})
    batra2024.ENTRIES["figure2"].show(found, tmp_path)
    assert "82.7 ± 0.2" in capsys.readouterr().out
    assert (tmp_path / "figures/batra2024/figure2.png").stat().st_size > 10_000
    with pytest.raises(InvalidInput, match="out must hold all prunings by magnitude"):
        batra2024.ENTRIES["figure1"].show(found, tmp_path)


def _counted(x):
    """Not counted."""
    # nor this
    return _called(x)


def _called(x):
    return x


def test_lines_of_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with what it calls in its package, less docstrings and comments."""
    monkeypatch.setattr(implementation.pruning, "__name__", __name__)
    assert implementation.lines(_called) == 2
    assert implementation.lines(_counted) == 4
