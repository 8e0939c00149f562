"""What Yaguchi et al. 2018 need: networks without normalisation, dropout, activation rates, and their experiments."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from experiments import papers, rows, studies, yaguchi2018
from experiments.claims import NOT_SHOWN, SHOWN, UNDECIDABLE, NotRun, judge
from experiments.measured import Measured
from experiments.scales import EMBEDDED, SCALES
from experiments.yaguchi2018 import cells as made
from experiments.yaguchi2018 import claims, following, scalefree
from experiments.yaguchi2018.pictures import predicted_share
from jaxsparse import cli, data, export, models, records, rules, sparsity, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.layers import dropout
from jaxsparse.losses import cross_entropy
from jaxsparse.models.block import he
from jaxsparse.train import make_train

SIZE = made.SIZES["embedded"]
OWN_SCALES = [SCALES[name] for name in made.SIZES]

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
    found = sparsity.observe(model, dataset, "convolutions")
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
    assert {entry for entries, _ in claims.RULES.values() for entry in entries.split()} <= set(yaguchi2018.ENTRIES)
    for scale in OWN_SCALES:
        by_place: dict[str, Any] = {}
        for entry in yaguchi2018.ENTRIES.values():
            for cell in entry.cells(scale):
                assert by_place.setdefault(studies.place(cell), cell) == cell


def test_the_papers_baseline() -> None:
    """Table I, as far as it is printed, at both scales; but for data, network and how long the VGG is trained, nothing
    differs between them."""
    printed = {row["item"]: row["value"] for row in papers.rows("yaguchi2018_t1")}
    paper, small = made.SIZES["paper"], made.SIZES["embedded"]
    assert (str(paper.dense.epochs), str(paper.dense.batch)) == (printed["epochs"], printed["batch size"])
    assert (paper.dense.milestones, paper.dense.factor) == ((25, 50, 75), 0.5)
    assert paper.dense.widths == (int(printed["nodes per layer"]),)
    assert (printed["preprocess"], paper.dense.pixels) == ("pixel value / 255", "unit")
    assert (paper.dense.activation, paper.dense.batch_norm, paper.dense.initialisation) == ("relu", True, "xavier")
    assert (paper.vgg.pixels, paper.vgg.initialisation, paper.vgg.dropout) == ("standardised", "he", True)
    assert paper.vgg.milestones == tuple(range(25, 400, 25))
    for one, other in ((paper.dense, small.dense), (paper.vgg, small.vgg)):
        data_and_network = {"data", "model", "widths", "head", "epochs", "milestones", "measure_every"}
        differing = {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}
        assert differing <= data_and_network
        shares = [[epoch / run.epochs for epoch in run.milestones] for run in (one, other)]
        assert shares[0] == pytest.approx(shares[1])
    assert made.share_of_steps(small.dense)[1] == pytest.approx(1, abs=0.001)
    assert made.share_of_steps(paper.dense)[1] == pytest.approx(1, abs=0.001)
    assert made.share_of_steps(small.vgg)[0] >= 50_000
    assert made.regime(small.dense) == "93,744 steps, all of the paper's"
    halving = 0.1 * 50_080 * (2 - 2**-15) / 16  # the rate times the steps under SGD
    assert f"Adam can take a weight from 1 to 0 {halving * 5e-3:.1f} times" in made.regime(small.vgg)
    assert f"shrinks it by e^-{halving * 5e-4 * 10:.1f} (" in made.regime(small.vgg)


def test_no_default_of_the_package_or_of_another_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Mehta et al. take is out of reach, and what is not said by a cell is said by no one."""
    for name, rule in rules.RULES.items():
        for table in (rules.RULES, rules.rule.KNOWN):
            monkeypatch.setitem(table, name, replace(rule, learning_rate=1e9, papers={"b2": 0.99}))
    for scale in OWN_SCALES:
        for entry in yaguchi2018.ENTRIES.values():
            for cell in entry.cells(scale):
                known = rules.RULES[cell.run.optimizer].defaults()
                assert cell.hyper.learning_rate < 1e9
                assert set(cell.hyper.constants) == set(known) - {"nesterov"}
                assert cell.hyper.constants.get("b2", 0.999) == 0.999
                assert cell.hyper.strength in (
                    0.0,
                    *(factor * made.L2 for factor in (*made.FACTORS, *made.TRADED)),
                ) or (cell.regularizer == "group-lasso")


def test_every_entry_comes_in_both_readings() -> None:
    for scale in OWN_SCALES:
        for name, entry in yaguchi2018.ENTRIES.items():
            acting = [cell for cell in entry.cells(scale) if cell.regularizer in ("l2", "wd-lr")]
            if name != "figure4":
                kinds = {reading: [c for c in acting if c.run.regularize == reading] for reading in made.READINGS}
                assert len(kinds["all"]) == len(kinds["kernels"]) > 0
            assert len({studies.place(cell) for cell in entry.cells(scale)}) == len(set(map(str, entry.cells(scale))))


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
    run = replace(cell.run, data="digits", epochs=30, milestones=(), measure_every=1)
    constants = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}
    cell = replace(cell, run=run, hyper=Hyper(1e-3, 2e-3, constants))
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


def scaled_adam(start: float, steps: int, strength: float, b1: float, b2: float, eps: float) -> list[tuple[float, int]]:
    """Adam with L2 alone in float64 with an exponent beside each number, `x 2^n`: `(x, n)` of the weight."""

    def normal(x: float, n: int) -> tuple[float, int]:
        mantissa, exponent = math.frexp(x)
        return mantissa, n + exponent if x else 0

    def plus(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
        (x, n), (y, m) = (a, b) if a[0] and (a[1] >= b[1] or not b[0]) else (b, a)
        return normal(x + math.ldexp(y, max(m - n, -2000)), n) if y else (x, n)

    def times(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
        return normal(a[0] * b[0], a[1] + b[1])

    def over(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
        return normal(a[0] / b[0], a[1] - b[1])

    def root(a: tuple[float, int]) -> tuple[float, int]:
        odd = a[1] % 2
        return normal(math.sqrt(math.ldexp(a[0], odd)), (a[1] - odd) // 2)

    def number(x: float) -> tuple[float, int]:
        return normal(x, 0)

    w, m, v = number(start), number(0.0), number(0.0)
    path = [w]
    for step in range(1, steps + 1):
        g = times(number(strength), w)
        m = plus(times(number(b1), m), times(number(1 - b1), g))
        v = plus(times(number(b2), v), times(number(1 - b2), times(g, g)))
        bottom = plus(root(over(v, number(1 - b2**step))), number(eps))
        w = plus(w, times(number(-1e-3), over(over(m, number(1 - b1**step)), bottom)))
        path.append(w)
    return path


def test_a_weight_beyond_floats_against_exponents_by_hand() -> None:
    """Past where float64 ends: through the dive, as long as rounding, which the swings magnify, is small."""
    steps, rule = 16_000, {"strength": 5e-4, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    found = scalefree.adam(steps, init=0.2, learning_rate=1e-3, **rule)
    expected = scaled_adam(0.2, steps, **rule)
    logs = [math.log(abs(x)) + n * math.log(2) for x, n in expected]
    signs = [math.copysign(1.0, x) for x, _ in expected]
    calm = np.abs(np.diff(found.log, append=found.log[-1])) < 0.5  # not where it passes zero
    np.testing.assert_allclose(found.log[calm], np.asarray(logs)[calm], atol=1e-6)
    assert np.mean(found.sign == signs) > 0.999
    assert found.log.min() < math.log(1e-300) < found.log.max()
    plain = adam_alone(np.asarray([0.2]), 1000, 1e-3, 5e-4, 0.9, 0.999)[:, 0]
    np.testing.assert_allclose(found.sign[:1001] * np.exp(found.log[:1001]), plain, rtol=1e-9)


def test_strength_counts_in_units_of_epsilon_at_any_scale() -> None:
    """With g = strength w the step is unchanged if both are multiplied by the same number, here 1e-900."""
    tiny = Decimal(10) ** -900
    rule = {"init": 0.2, "learning_rate": 1e-3, "b1": 0.9, "b2": 0.99}
    plain = scalefree.adam(3000, **rule, strength=5e-4, eps=1e-8)
    scaled = scalefree.adam(3000, **rule, strength=Decimal("5e-4") * tiny, eps=Decimal("1e-8") * tiny)
    np.testing.assert_allclose(plain.log[:2000], scaled.log[:2000], atol=1e-9)
    assert plain.log[:2000].min() < math.log(1e-30)


# --- rules ----------------------------------------------------------------------------------------------------------


def fabricated(studies_of: dict[str, list[Any]], figures: dict[str, dict[str, Any]], gone: Any = ()) -> Measured:
    """Measured trainings whose figures are given by setting; each seed has the same."""
    known = {
        studies.place(cell): {"status": "done", **figures[name]}
        for name, cells in studies_of.items()
        if name in figures
        for cell in cells
    }
    return Measured(EMBEDDED, known, dict(gone))


def both(study: Any) -> list[made.Study]:
    return [study(made.of(EMBEDDED, reading)) for reading in made.READINGS]


def joined(*found: Measured) -> Measured:
    rows = {place: row for one in found for place, row in one.rows.items()}
    findings: dict[str, list[Any]] = {}
    for one in found:
        for name, some in one.findings.items():
            findings.setdefault(name, []).extend(some)
    return Measured(EMBEDDED, rows, findings)


def printed(table: str, metric: str, **wanted: str) -> list[float]:
    rows = [row for row in papers.rows(table) if row["metric"] == metric and row["method"] != "figure taken from [31]"]
    return [float(row["value"]) for row in rows if all(row[key] == value for key, value in wanted.items())]


def table_2(same: float | None = None) -> Measured:
    """The paper's table 2, sigmoid as the column whose name is lost; `same`: with one share of dead units."""
    names = {**yaguchi2018.PRINTED, "sigmoid": yaguchi2018.PRINTED["leaky ReLU"]}
    figures = {}
    for name, (optimizer, block) in names.items():
        found = {
            m: printed("yaguchi2018_t2", m, optimizer=optimizer, setting=block) for m in ("sparsity", "val_accuracy")
        }
        dead = found["sparsity"][0] if same is None else same
        figures[name] = {"sparsity_norm": dead, "test_error": 100 - found["val_accuracy"][0]}
    return joined(*(fabricated(study, figures) for study in both(made.conditions)))


def table_3(same: bool = False) -> Measured:
    figures = {}
    for width in made.WIDTHS:
        (left,) = printed("yaguchi2018_t3", "remaining_weight_vectors", network=yaguchi2018._one_layer(str(width)))
        dead = 30.0 if same else 100 * (1 - left / width)
        figures[str(width)] = {"layer_units": [width], "layer_dead_by_norm": [dead]}
    return joined(*(fabricated(study, figures) for study in both(made.widths)))


def table_4(same: bool = False) -> Measured:
    figures = {}
    for depth in map(str, made.DEPTHS):
        left = printed("yaguchi2018_t4", "remaining_weight_vectors", network=yaguchi2018._layers(depth))
        dead = [30.0 if same else 100 * (1 - one / 1000) for one in left]
        figures[depth] = {"layer_units": [1000] * len(left), "layer_dead_by_norm": dead}
    return joined(*(fabricated(study, figures) for study in both(made.depths)))


def table_5(same: bool = False) -> Measured:
    found = []
    for study in both(made.vggs):
        rows = []
        for name, cells in study.items():
            optimizer = yaguchi2018.VGG_PRINTED[name]
            (gone,) = [30.0] if same else printed("yaguchi2018_t5", "params_reduced", optimizer=optimizer)[-1:]
            (accuracy,) = [92.0] if same else printed("yaguchi2018_t5", "max_val_accuracy", optimizer=optimizer)[-1:]
            for cell in cells:
                figures = {"best_reduced": gone, "best_test_error": 100 - accuracy}
                rows.append({"place": studies.place(cell), **figures})
        found.append(Measured(EMBEDDED, {}, {"reduced": rows}))
    return joined(*found)


BY_TABLE_2 = ("Y-01", "Y-02", "Y-03", "Y-04", "Y-05", "Y-06", "Y-20")


@pytest.mark.parametrize("name", BY_TABLE_2)
def test_the_papers_table_2_shows_its_claims(name: str) -> None:
    status, text = judge(claims.RULES[name][1], table_2())
    assert status == SHOWN
    assert "L2 on every parameter, shown: " in text


@pytest.mark.parametrize("name", BY_TABLE_2)
@pytest.mark.parametrize("same", [0.0, 1.0, 70.0])
def test_a_table_in_which_nothing_differs_shows_nothing(name: str, same: float) -> None:
    if (name, same) != ("Y-01", 70.0):  # whose claim is about one setting
        assert judge(claims.RULES[name][1], table_2(same))[0] in (NOT_SHOWN, UNDECIDABLE)


@pytest.mark.parametrize(
    ("name", "setting", "figures"),
    [
        ("Y-01", "Adam, ReLU (baseline)", {"test_error": 12.0}),
        ("Y-02", "RMSprop", {"sparsity_norm": 50.0}),
        ("Y-02", "Adagrad", {"sparsity_norm": 5.0}),
        ("Y-03", "ELU", {"sparsity_norm": 40.0}),
        ("Y-03", "tanh", {"sparsity_norm": 40.0}),
        ("Y-04", "He init.", {"sparsity_norm": 40.0}),
        ("Y-04", "w/o BN", {"sparsity_norm": 40.0}),
        ("Y-05", "w/o reg.", {"sparsity_norm": 5.0}),
        ("Y-06", "tanh", {"test_error": 3.0}),
        ("Y-20", "mSGD", {"sparsity_norm": 0.4}),
    ],
)
def test_one_other_figure_in_the_papers_table_2_undoes_a_claim(name: str, setting: str, figures: dict) -> None:
    found = table_2()
    for study in both(made.conditions):
        for cell in study[setting]:
            found.rows[studies.place(cell)].update(figures)
    assert judge(claims.RULES[name][1], found)[0] == NOT_SHOWN


@pytest.mark.parametrize(("name", "made_of"), [("Y-07", table_3), ("Y-08", table_4), ("Y-09", table_5)])
def test_the_papers_other_tables_show_their_claims(name: str, made_of: Any) -> None:
    rule = claims.RULES[name][1]
    assert judge(rule, made_of())[0] == SHOWN
    assert judge(rule, made_of(same=True))[0] == NOT_SHOWN


def test_what_is_dead_in_no_baseline_is_undecidable() -> None:
    for name in ("Y-02", "Y-03", "Y-04", "Y-05", "Y-06"):
        status, text = judge(claims.RULES[name][1], table_2(0.0))
        assert status == UNDECIDABLE
        assert "L2 on every parameter, undecidable: " in text
    assert judge(claims.RULES["Y-01"][1], table_2(0.0))[0] == NOT_SHOWN


def test_the_reading_of_the_paper_decides() -> None:
    """Where units die under L2 on every parameter only, the claim is not shown, and its figures say so."""
    study = both(made.conditions)
    figures = {claims.BASE: {"sparsity_norm": 40.0, "test_error": 4.0}}
    none = {claims.BASE: {"sparsity_norm": 0.0, "test_error": 4.0}}
    verdict = claims.RULES["Y-01"][1](joined(fabricated(study[0], none), fabricated(study[1], figures)))
    assert not verdict.shown
    assert "L2 on every parameter, shown: dead 40.0" in verdict.measured


def modes(*shares: float, lowest: tuple[float, ...] = (1e-7, 1e-5, 1e-3, 1e-2)) -> Measured:
    figures = {
        slope: {"norm_below": list(shares), "norm_deciles": [0, value, *[1.0] * 9]}
        for slope, value in zip(made.slopes(SIZE), lowest, strict=True)
    }
    return fabricated(made.slopes(SIZE), figures)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (modes(20, 30, 40, 40, 41, 45), SHOWN),
        (modes(20, 30, 40, 50, 60, 70), NOT_SHOWN),
        (modes(0, 0, 0, 0, 0, 30), NOT_SHOWN),
        (modes(0, 0, 0, 0, 0, 0), UNDECIDABLE),
        (modes(20, 30, 40, 40, 41, 45, lowest=(1e-7, 1e-5, 1e-6, 1e-2)), NOT_SHOWN),
        (modes(20, 30, 40, 40, 41, 45, lowest=(1e-7,) * 4), NOT_SHOWN),
    ],
)
def test_two_modes(found: Measured, status: str) -> None:
    assert judge(claims.RULES["Y-11"][1], found)[0] == status


@pytest.mark.parametrize(("wen", "trade", "shown"), [(1.0, 1.0, True), (0.0, 0.0, False)])
def test_beside_group_lasso(wen: float, trade: float, shown: bool) -> None:
    """Adam better by some points at the same reductions; where nothing differs, neither is better."""

    def rows(study: made.Study, better: float, reductions: list[float]) -> list[dict[str, Any]]:
        return [
            {
                "place": studies.place(cell),
                "reduced": gone,
                "test_error_reduced": 10
                - better * name.startswith("Adam")
                + (1 + better * (not name.startswith("Adam"))) * (seed - (len(cells) - 1) / 2),
            }
            for (name, cells), gone in zip(study.items(), reductions, strict=True)
            for seed, cell in enumerate(cells)
        ]

    table = Measured(EMBEDDED, {}, {"reduced": rows(made.against_wen(SIZE), wen, [50, 20, 45, 80])})
    assert claims.RULES["Y-13"][1](table).shown is shown
    traded = {**made.traded(SIZE, "Adam, L2"), **made.traded(SIZE, "group lasso")}
    found = rows(traded, 10 * trade, [10, 50, 90, 20, 40, 80])
    assert claims.RULES["Y-14"][1](Measured(EMBEDDED, {}, {"reduced": found})).shown is shown
    found = rows(traded, 10 * trade, [0, 0, 0, 20, 40, 80])
    assert judge(claims.RULES["Y-14"][1], Measured(EMBEDDED, {}, {"reduced": found}))[0] == UNDECIDABLE


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
    wrong = [{**row, "value": 1.01 * row["value"]} if row["quantity"] == "share" else row for row in rows]
    assert not claims.geometric(measured(wrong)).shown
    assert not claims.momentum_accelerates(measured(wrong)).shown
    for rule in (claims.doubly_exponential, claims.limits, claims.oscillates):
        assert rule(measured(rows)).shown
    stuck = [
        {**row, "value": {"log10_level": -304.0, "sign_changes": 0.0}.get(row["quantity"], row["value"])}
        for row in rows
    ]
    assert not claims.oscillates(measured(stuck)).shown, "as float64 has it"
    assert not claims.limits(measured(stuck)).shown


def test_nothing_trained_is_not_run() -> None:
    for _, rule in claims.RULES.values():
        with pytest.raises(NotRun):
            rule(Measured(EMBEDDED, {}))
