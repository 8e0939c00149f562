"""What Yaguchi et al. 2018 need: networks without normalisation, dropout, activation rates, and their experiments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from experiments import papers, rows, studies, yaguchi2018
from experiments.claims import NotRun
from experiments.measured import Measured
from experiments.scales import EMBEDDED, SCALES
from experiments.yaguchi2018 import cells as made
from experiments.yaguchi2018 import claims, following
from experiments.yaguchi2018.pictures import predicted_share
from jaxsparse import cli, data, export, models, records, sparsity, trees
from jaxsparse.config import Hyper, InvalidInput, Run
from jaxsparse.layers import RELU, dropout
from jaxsparse.losses import cross_entropy
from jaxsparse.models.block import he
from jaxsparse.train import make_train

SIZE = made.SIZES["embedded"]

# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-16"])
def test_without_normalisation_there_is_a_bias(name: str) -> None:
    def built(batch_norm: bool) -> dict[str, Any]:
        options: dict[str, Any] = {"shape": (16, 16, 1), "classes": 10, "widths": (4, 4), "batch_norm": batch_norm}
        model = nnx.eval_shape(lambda: models.build(name, **options, rngs=nnx.Rngs(0)))
        return trees.flatten(nnx.state(model, nnx.Param))

    with_norm, without = built(True), built(False)
    assert not any("norm" in path for path in without)
    gone = {path.replace("norm/scale", "linear/bias") for path in with_norm if path.endswith("scale")}
    assert {path for path in without if path.endswith("bias")} == gone | {"head/bias"}


def test_a_block_without_normalisation_is_its_formula() -> None:
    model = models.MLP(shape=(3,), widths=(4,), classes=2, batch_norm=False, kernel_init=he, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    first, head = model.hidden[0].linear, model.head
    first.bias[...] = jnp.arange(-2.0, 2.0)
    hidden = np.maximum(x @ np.asarray(first.kernel[...]) + np.arange(-2.0, 2.0), 0)
    np.testing.assert_allclose(model(jnp.asarray(x)), hidden @ np.asarray(head.kernel[...]), rtol=1e-5, atol=1e-6)
    assert js.measure(model, x, only="hidden").dead["scale"] == {}


def test_he_initialisation() -> None:
    drawn = np.asarray(he(jax.random.key(0), (400, 1000)))
    assert drawn.std() == pytest.approx(np.sqrt(2 / 400), rel=0.01)
    assert np.mean(np.abs(drawn) > np.sqrt(6 / 400)) > 0.05, "a uniform one has none so large"


def test_dropout_is_unbiased_and_says_which() -> None:
    x = jnp.ones((200, 500))
    found = np.asarray(dropout(x, 0.4, jax.random.key(0)))
    assert set(np.unique(found)) == {0, np.float32(1 / 0.6)}
    assert np.mean(found == 0) == pytest.approx(0.4, abs=0.01)
    np.testing.assert_array_equal(found, dropout(x, 0.4, jax.random.key(0)))
    assert (found != np.asarray(dropout(x, 0.4, jax.random.key(1)))).any()


def test_dropout_sits_where_zagoruyko_has_it() -> None:
    """Behind every convolution but the last of a group, 0.3 in the first and 0.4 later; 0.5 before dense layers."""
    rates = nnx.eval_shape(lambda: models.VGG(16, dropout=True, rngs=nnx.Rngs(0))).rates
    assert rates == (0.3, 0, 0.4, 0, 0.4, 0.4, 0, 0.4, 0.4, 0, 0.4, 0.4, 0, 0.5, 0.5)
    assert nnx.eval_shape(lambda: models.VGG(16, rngs=nnx.Rngs(0))).rates == ()


def test_dropout_acts_in_training_only_and_by_the_key() -> None:
    """A step of training has the loss of the network with the key of that step; here an epoch is one step."""
    run = Run(model="vgg-11", widths=(2,), head=(), dropout=True, epochs=1, measure_every=1, batch=1437)
    dataset, key, training = data.load(run.data), jax.random.key(0), make_train(run)
    params, stats = training.start(key)
    model = nnx.merge(training.graph, params, stats, copy=True)
    state = training.init(Hyper(1e-3), params, stats)
    _, losses = jax.jit(training.advance)(Hyper(1e-3), key, dataset, state)
    order = data.shuffled(jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32), 1437)
    images, labels = data.preprocess(dataset, dataset.train.images[order]), dataset.train.labels[order]
    step_key = jax.random.fold_in(jax.random.fold_in(key, 3), 0)
    assert float(losses[0]) == pytest.approx(float(cross_entropy(model(images, step_key), labels)), rel=1e-5)
    assert float(losses[0]) != pytest.approx(float(cross_entropy(model(images), labels)), rel=1e-3)


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match=r"^dropout must be left out for mlp"):
        make_train(Run(dropout=True))
    with pytest.raises(InvalidInput, match=r"^initialisation must be one of xavier he"):
        make_train(Run(initialisation="zero"))
    with pytest.raises(InvalidInput, match=r"^initial-beta must be 0 without batch normalisation"):
        Run(batch_norm=False, initial_beta=0.1)
    with pytest.raises(InvalidInput, match=r"^batch-norm must be on"):
        models.WRN(10, 1, batch_norm=False, rngs=nnx.Rngs(0))


def test_activation_rates_against_counting() -> None:
    """Section V-A: nonzero share of the map after ReLU, averaged over all training images."""
    dataset = data.load("digits")
    model = models.BasicNet(shape=(8, 8, 1), widths=(5,), head=(), rngs=nnx.Rngs(0))
    model.eval()
    found = sparsity.observe(model, dataset, "convolutions", RELU)
    (block,) = model.convolutions
    maps = np.asarray(block.norm(block.linear(data.preprocess(dataset, dataset.train.images))))
    rates = [np.mean([(image[..., unit] > 0).mean() for image in maps]) for unit in range(5)]
    np.testing.assert_allclose(found["convolutions/0"].rate, rates, rtol=1e-4)


# --- from the command line to a row ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_without_norm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "plain"
    flags = "--no-batch-norm --initialisation he --regularizer proximal-group-lasso --strength 50 --learning-rate 0.01"
    arguments = f"train --widths 5 4 --epochs 2 --measure-every 1 --batch 700 --optimizer sgd {flags} --out {out}"
    assert cli.main(arguments.split()) == 0
    return out


def test_a_network_without_scales_is_recorded_and_reported(run_without_norm: Path) -> None:
    """The strength kills every group: 0.01 * 50 is more than any norm in a few steps."""
    (record,) = records.results(run_without_norm).to_pylist()
    assert record["status"] == "done"
    assert np.isnan(record["sparsity_scale"])
    assert record["sparsity_norm"] == 100
    assert record["params_alive"] < record["params"]
    page = (run_without_norm / "report.html").read_text(encoding="utf-8")
    assert "dead by norm" in page
    assert "γ| &lt;" not in page.split("How scales")[0].split("<table")[1]
    kernels = [value for name, value in records.weights(export.folder_of(run_without_norm)).items() if "kernel" in name]
    assert all((kernel == 0).all() for kernel in kernels), "exact zeros"


def test_it_loads_and_has_a_row(run_without_norm: Path) -> None:
    folder = export.folder_of(run_without_norm)
    assert models.features_of("mlp") == "hidden"
    assert export.load(folder).hidden[0].norm is None
    row = rows.row(folder, "place")
    assert row["layer_dead_by_norm"] == [100, 100]
    assert row["norm_below"] == [100] * 6
    assert row["norm_deciles"] == [0] * 11
    assert "layer_dead" not in row


# --- the experiments ------------------------------------------------------------------------------------------------


def test_every_claim_has_a_rule_and_every_entry_cells_of_its_own() -> None:
    ids = {claim["id"] for claim in papers.claims() if claim["paper"] == "yaguchi2018"}
    assert set(claims.RULES) == ids
    assert {entry for entry, _ in claims.RULES.values()} <= set(yaguchi2018.ENTRIES)
    for scale in (SCALES[name] for name in made.SIZES):
        by_place: dict[str, Any] = {}
        for entry in yaguchi2018.ENTRIES.values():
            for cell in entry.cells(scale):
                assert by_place.setdefault(studies.place(cell), cell) == cell


def test_the_papers_baseline() -> None:
    """Table I, as far as it is printed."""
    printed = {row["item"]: row["value"] for row in papers.rows("yaguchi2018_t1")}
    run = made.SIZES["paper"].dense
    assert (str(run.epochs), str(run.batch)) == (printed["epochs"], printed["batch size"])
    assert (run.milestones, run.factor) == ((25, 50, 75), 0.5)
    assert run.widths == (int(printed["nodes per layer"]),)


def test_printed_figures_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert yaguchi2018._condition("sparsity", "w/o BN") == "82.10"
    assert yaguchi2018._condition("val_accuracy", "sigmoid") == "-"
    measured = Measured(EMBEDDED, {})
    for name, figure in (("table3", "291"), ("table4", "168-87-73-75-160"), ("table5", "53.23")):
        yaguchi2018.ENTRIES[name].show(measured, Path())
        assert f"{figure} | -" in capsys.readouterr().out


def adam_alone(start: np.ndarray, steps: int, rate: float, strength: float, b1: float, b2: float) -> np.ndarray:
    """Weights under L2 alone with Adam, float64: `[steps + 1, *start.shape]`."""
    w, m, v = start.astype(float), np.zeros_like(start, float), np.zeros_like(start, float)
    path = [w]
    for step in range(1, steps + 1):
        g = strength * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + 1e-8)
        path.append(w)
    return np.asarray(path)


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, np.ndarray]:
    """A training's first cell with few, equal intervals, and kernels of units that fall from the start."""
    monkeypatch.setattr(following, "AHEAD", 400)
    monkeypatch.setattr(following, "STARTS", np.geomspace(1e-3, 0.13, 25))
    following._paths.cache_clear()
    (cell, *_) = SIZE.followed("adam")
    cell = replace(cell, run=replace(cell.run, epochs=30, milestones=(), measure_every=1))
    start = np.random.default_rng(0).uniform(-0.12, 0.12, (6, 3))
    rule = {"rate": 1e-3, "strength": float(cell.hyper.strength), "b1": 0.9, "b2": 0.99}
    dying = adam_alone(start, 22 * 30, **rule)
    living = np.full((*dying.shape[:2], 1), 0.1)
    return cell, np.concatenate([dying, living], axis=-1)


def test_predicted_norms_are_those_of_weights_on_their_own(falling: tuple[Any, np.ndarray]) -> None:
    cell, path = falling
    found = following.predicted_norms(cell, path[0, :, 0], 1e-3)
    norms = np.sqrt((path[..., 0] ** 2).sum(1))
    threshold = cell.run.thresholds.norm
    assert np.argmax(found < threshold) == pytest.approx(np.argmax(norms < threshold), rel=0.1)
    np.testing.assert_allclose(found[:50], norms[:50], rtol=0.05)


def test_units_without_a_gradient_fall_as_predicted(falling: tuple[Any, np.ndarray]) -> None:
    cell, path = falling
    each = 22
    falls = following.falls_of(cell, path[::each])
    assert [fall.unit for fall in falls] == [0, 1, 2]
    for fall in falls:
        norms = np.sqrt((path[..., fall.unit] ** 2).sum(1))
        first = np.argmax(norms < cell.run.thresholds.norm)
        assert fall.death == pytest.approx(first, abs=each), "between two measurements"
        assert norms[fall.onset] >= 0.1 * 6**0.5 / 2 > norms[fall.onset + each]
        assert fall.predicted >= fall.onset
    share = predicted_share([fall._asdict() for fall in falls], since_onset=False)
    assert share == 100, "but for Adam's memory of the steps before"


def test_networks_are_reduced(run_without_norm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export.folder_of(run_without_norm)
    described = records.describe(folder)
    (cell, *_) = SIZE.followed("adam")
    cell = replace(cell, run=records.run_of(described))
    root = folder.parents[1]
    monkeypatch.setattr(following, "place", lambda cell: str(folder.relative_to(root)))
    found = following._reduced(root, cell)
    before = sum(value.size for value in records.weights(folder).values())
    assert before == 64 * 5 + 5 + 5 * 4 + 4 + 4 * 10 + 10
    assert found["reduced"] > 90
    assert found["test_error_reduced"] == pytest.approx(records.results(folder.parent).to_pylist()[0]["test_error"])


def fabricated(study: made.Study, figures: dict[str, dict[str, Any]]) -> Measured:
    """Measured trainings whose figures are given by setting; each seed has the same."""
    known = {
        studies.place(cell): {"status": "done", **figures[name]}
        for name, cells in study.items()
        if name in figures
        for cell in cells
    }
    return Measured(EMBEDDED, known)


def test_rules_decide_both_ways() -> None:
    study = made.conditions(SIZE)
    for rmsprop, shown in ((60.0, True), (20.0, False)):
        dead = dict.fromkeys(study, 0.0) | {"Adam, ReLU (baseline)": 70.0, "RMSprop": rmsprop}
        found = fabricated(study, {name: {"sparsity_norm": value} for name, value in dead.items()})
        assert claims.like_adam_or_not(found).shown is shown
    study = made.widths(SIZE)
    for wide, shown in ({"1000": 50.0, "2000": 75.0}, True), ({}, False):
        dead = dict.fromkeys(study, 0.0) | wide
        figures = {
            name: {"layer_units": [units], "layer_dead_by_norm": [dead[name]]}
            for name, units in zip(study, SIZE.widths, strict=True)
        }
        assert claims.saturates(fabricated(study, figures)).shown is shown


def test_rules_of_single_weights_decide_both_ways() -> None:
    rows = [
        {"case": case, "quantity": quantity, "value": value}
        for case, found in following._weights().items()
        for quantity, value in found.items()
    ]

    def measured(rows: list[dict[str, Any]]) -> Measured:
        return Measured(EMBEDDED, {}, {"weights": rows})

    assert claims.geometric(measured(rows)).shown
    assert claims.momentum_accelerates(measured(rows)).shown, "theory.spectral_radius is tested elsewhere"
    wrong = [{**row, "value": 0.9} if row["quantity"] == "rate" else row for row in rows]
    assert not claims.geometric(measured(wrong)).shown
    assert not claims.momentum_accelerates(measured(wrong)).shown


def test_nothing_trained_is_not_run() -> None:
    for _, rule in claims.RULES.values():
        with pytest.raises(NotRun):
            rule(Measured(EMBEDDED, {}))
