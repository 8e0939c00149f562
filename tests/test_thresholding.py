"""Weights that are zero below a bound, against float64 NumPy written from the formulas of Retsinas et al. 2020."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse import cli, data, grid, models, records, thresholding, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.commands import training
from jaxsparse.config import Hyper, Run, Target
from jaxsparse.losses import cross_entropy, evaluate
from jaxsparse.thresholding import Bounds, density, excess, gaussian, hard_shrink, squared
from jaxsparse.train import State, make_train

SHARES_OF_ZEROS = st.floats(0.02, 0.98)


def weights(seed: int, size: int = 400, scale: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, size).astype(np.float32)


def shrunk(w: np.ndarray, bound: float) -> np.ndarray:
    """Equation 14, in double precision."""
    w = w.astype(np.float64)
    return np.where(np.abs(w) < bound * w.std(), 0, w)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), bound=st.floats(0, 4, width=32))
def test_shrinking_and_its_straight_through_gradients(seed: int, bound: float) -> None:
    """Equations 14 and 16 to 18."""
    w, pull = weights(seed), weights(seed + 1, scale=1.0).astype(np.float64)
    expected = shrunk(w, bound)
    value, (to_w, to_b) = jax.value_and_grad(lambda w, b: jnp.vdot(hard_shrink(w, b), pull), (0, 1))(w, bound)
    np.testing.assert_allclose(hard_shrink(jnp.asarray(w), bound), expected)
    np.testing.assert_allclose(value, expected @ pull, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(to_w, pull, rtol=1e-6)
    np.testing.assert_allclose(to_b, ((expected - w) @ pull / bound) if bound else 0, rtol=1e-4, atol=1e-4)


def test_without_straight_through_the_gradient_is_that_of_finite_differences() -> None:
    """With sigma held, as everywhere here: moving one weight must not move what counts as small."""
    w, pull, bound = weights(0, 30), weights(1, 30), 1.1
    sigma, step = w.astype(np.float64).std(), 1e-6
    found, to_b = jax.grad(lambda w, b: jnp.vdot(hard_shrink(w, b, straight_through=False), pull), (0, 1))(w, bound)

    def total(changed: np.ndarray) -> float:
        return float(np.where(np.abs(changed) < bound * sigma, 0, changed) @ pull.astype(np.float64))

    steps = step * np.eye(len(w))
    expected = [(total(w + one) - total(w - one)) / (2 * step) for one in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert to_b == 0


def test_only_parameters_with_a_bound_are_shrunk() -> None:
    params = {"a": {"kernel": jnp.asarray(weights(0))}, "b": {"kernel": jnp.asarray(weights(1)), "bias": jnp.ones(3)}}
    found = thresholding.apply(params, {"b/kernel": jnp.float32(1.0)})
    np.testing.assert_allclose(found["b"]["kernel"], shrunk(weights(1), 1.0))
    assert found["a"]["kernel"] is params["a"]["kernel"]
    assert found["b"]["bias"] is params["b"]["bias"]
    with pytest.raises(KeyError):
        thresholding.apply(params, {"c/kernel": jnp.float32(1.0)})


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), share=SHARES_OF_ZEROS, scale=st.sampled_from([1e-4, 1.0, 50.0]))
def test_binary_search_reaches_its_margin(seed: int, share: float, scale: float) -> None:
    """Equation 2, on weights of a skewed distribution, which no Gaussian rule fits."""
    w = scale * np.random.default_rng(seed).exponential(1, 2000).astype(np.float32)
    bound = jax.jit(thresholding.binary_search)(w, share)
    assert abs(np.mean(shrunk(w, float(bound)) == 0) - share) < 1e-3 + 1e-6
    assert np.mean(np.asarray(hard_shrink(jnp.asarray(w), bound)) == 0) == pytest.approx(share, abs=1e-3 + 1e-6)


def test_binary_search_ends_where_nothing_fits() -> None:
    assert np.isfinite(thresholding.binary_search(jnp.ones(7), 0.5))
    assert np.isfinite(thresholding.binary_search(jnp.zeros(7), 0.5))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.85, 0.99])
def test_the_gaussian_rule(share: float) -> None:
    """Equation 3: a confidence interval of the normal distribution, and so many zeros of normal samples."""
    n = 200_000
    w = jnp.asarray(weights(5, n, 0.03))
    assert float(gaussian(w, share)) == pytest.approx(NormalDist().inv_cdf((1 + share) / 2), rel=1e-4)
    zeros = float(jnp.mean(hard_shrink(w, gaussian(w, share)) == 0))
    assert zeros == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n))


BOUNDS = {"a": 0.4, "b": 1.3, "c": 2.2}


def test_density_and_its_slope() -> None:
    """Equations 8 and 19, with shares that sum to one."""
    shares = {"a": 0.2, "b": 0.5, "c": 0.3}
    value, slopes = jax.value_and_grad(density)(jax.tree.map(jnp.float32, BOUNDS), shares)
    assert value == pytest.approx(1 - sum(shares[n] * math.erf(b / math.sqrt(2)) for n, b in BOUNDS.items()), rel=1e-5)
    for name, b in BOUNDS.items():
        ends = [1 - shares[name] * math.erf((b + sign * 1e-5) / math.sqrt(2)) for sign in (1, -1)]
        assert slopes[name] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


@settings(max_examples=12, deadline=None)
@given(density=st.floats(0, 1, width=32), budget=st.floats(0.015625, 1, width=32))
def test_budget_losses_are_least_at_the_budget(density: float, budget: float) -> None:
    """Equations 10 and 11."""
    assert squared(jnp.float32(density), budget) == pytest.approx((density - budget) ** 2, abs=1e-6)
    assert squared(jnp.float32(budget), budget) == 0
    assert excess(jnp.float32(density), budget) == pytest.approx(max(density - budget, 0), abs=1e-6)
    assert (jax.grad(excess)(jnp.float32(density), budget) > 0) == (density > budget) or density == budget


def test_shares_by_parameters_and_multiplications() -> None:
    """Two convolutions of 3 -> 4 -> 5 channels, the second behind a pool: on 8x8 images a fourth of the places."""
    model = nnx.eval_shape(lambda: models.BasicNet(10, shape=(8, 8, 3), widths=(4, 5, 6), rngs=nnx.Rngs(0)))
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    names = [name for name in trees.flatten(params) if name.startswith("convolutions") and name.endswith("kernel")]
    sizes = np.asarray([25 * 3 * 4, 9 * 4 * 5, 9 * 5 * 6])
    places = np.asarray([64, 64, 16])
    example = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    for name, expected in (("parameters", sizes), ("flops", sizes * places), ("average", np.ones(3))):
        found = thresholding.shares(name, model, example, tuple(names))
        np.testing.assert_allclose([found[each] for each in names], expected / expected.sum())


MLP = Run(widths=(12,), epochs=1, measure_every=1, batch=200, thresholded="kernels", thresholding="budget")
HYPER = Hyper(1e-2, 0.0, {}, (Target(0.8, 3.0),))


@cache
def digits() -> data.Dataset:
    return data.load("digits")


def stepped(run: Run, hyper: Hyper, steps: int = 1) -> tuple[State, State, Any]:
    """States before and after as many steps on the first images, and the training."""
    training, key = make_train(run), jax.random.key(0)
    start = state = jax.jit(lambda: training.init(hyper, *training.start(key)))()
    images, labels = data.preprocess(digits(), digits().train.images[:50]), digits().train.labels[:50]
    step = jax.jit(training.step)
    for number in range(steps):
        state, _ = step(hyper, key, state, images, labels, number)
    return start, state, training


def test_a_step_of_gradient_descent() -> None:
    """Weights follow the gradient at the shrunk weights; bounds follow equation 18 and that of the budget loss."""
    shares = ("parameters", "average")
    run = replace(MLP, optimizer="sgd", bound_rate=0.5, density=shares)
    start, end, training = stepped(run, replace(HYPER, targets=(Target(0.8, 3.0), Target(0.9, 5.0))))
    images, labels = data.preprocess(digits(), digits().train.images[:50]), digits().train.labels[:50]
    before = {name: np.asarray(leaf) for name, leaf in trees.flatten(start.params).items()}
    bounds = {name: float(bound) for name, bound in start.bounds.items()}
    start_bound = NormalDist().inv_cdf((1 + 0.6 * 0.8) / 2)  # a sixtieth less than the target, as the released code
    assert list(bounds.values()) == pytest.approx([start_bound] * 2, rel=1e-4)
    zeroed = {name: shrunk(before[name], bounds[name]) for name in bounds}

    def loss(params: Any) -> jax.Array:
        model: Any = nnx.merge(training.graph, params, start.stats, copy=True)
        return cross_entropy(model(images), labels)

    structure = jax.tree.structure(start.params)
    effective = jax.tree.unflatten(structure, [jnp.float32(zeroed.get(name, before[name])) for name in before])
    pull = {
        name: np.asarray(leaf, np.float64) for name, leaf in trees.flatten(jax.jit(jax.grad(loss))(effective)).items()
    }
    total = sum(before[name].size for name in bounds)
    c = {"parameters": {name: before[name].size / total for name in bounds}, "average": dict.fromkeys(bounds, 0.5)}
    for name, leaf in trees.flatten(end.params).items():
        np.testing.assert_allclose(leaf, before[name] - 1e-2 * pull[name], rtol=1e-4, atol=1e-6)
    for name, bound in bounds.items():
        task = np.sum((zeroed[name] - before[name]) / bound * pull[name])
        slope = -2 * math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
        left = {share: 1 - sum(c[share][n] * math.erf(b / math.sqrt(2)) for n, b in bounds.items()) for share in shares}
        own = zip(shares, (3.0, 5.0), (0.2, 0.1), strict=True)  # equation 10: each with its lambda and its budget
        budget = sum(pull * 2 * (left[share] - kept) * c[share][name] * slope for share, pull, kept in own)
        assert float(end.bounds[name]) == pytest.approx(bound - 0.5 * 1e-2 * (task + budget), rel=1e-5)


def test_the_tasks_slope_along_bounds(kept: Path) -> None:
    """Equation 18 over all training images, in evaluation mode, and none where bounds are not trained."""
    training, key = make_train(replace(MLP, density=("flops",))), jax.random.key(0)
    params, stats = training.start(key)
    bounds = {name: jnp.float32(1.1) for name in training.thresholding.names}
    row = jax.jit(training.measured)(digits(), params, bounds, stats, jnp.zeros(1))
    flat = trees.flatten(params)
    zeroed = {name: shrunk(np.asarray(flat[name]), 1.1) for name in bounds}
    images, labels = data.preprocess(digits(), digits().train.images), digits().train.labels

    def loss(params: Any) -> jax.Array:
        model: Any = nnx.merge(training.graph, params, stats, copy=True)
        model.eval()
        return cross_entropy(model(images), labels)

    effective = jax.tree.unflatten(jax.tree.structure(params), [jnp.float32(zeroed.get(n, w)) for n, w in flat.items()])
    pull = trees.flatten(jax.jit(jax.grad(loss))(effective))
    wanted = [np.sum((zeroed[name] - np.asarray(flat[name])) / 1.1 * np.asarray(pull[name])) for name in bounds]
    np.testing.assert_allclose(row.thresholded.task_slope, wanted, rtol=1e-3)
    fixed = make_train(replace(MLP, thresholding="gaussian"))
    assert np.isnan(jax.jit(fixed.measured)(digits(), params, bounds, stats, jnp.zeros(1)).thresholded.task_slope).all()
    column = records.history(kept, ["bound_task_slope"]).to_pylist()[-1]["bound_task_slope"]
    assert len(column) == 2
    assert np.isfinite(column).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta"])
def test_every_optimizer_moves_bounds_towards_the_budget(optimizer: str) -> None:
    run = replace(MLP, optimizer=optimizer, bound_rate=1.0)
    start, end, training = stepped(run, replace(HYPER, targets=(Target(0.8, 100.0),)), steps=3)

    def missed(bounds: Bounds) -> float:
        return float(training.thresholding.loss(bounds, (Target(0.8, 1.0),)))

    assert missed(end.bounds) < missed(start.bounds)


def test_fixed_bounds_follow_the_weights() -> None:
    run = replace(MLP, optimizer="adam", thresholding="binary-search")
    start, end, _ = stepped(run, replace(HYPER, learning_rate=0.3), steps=2)
    for name, leaf in trees.flatten(end.params).items():
        if name in end.bounds:
            assert start.bounds[name] != end.bounds[name]
            zeros = np.mean(shrunk(np.asarray(leaf), float(end.bounds[name])) == 0)
            assert zeros == pytest.approx(0.8, abs=max(1e-3, 1 / leaf.size) + 1e-6)


def test_trained_bounds_stay_in_range() -> None:
    run = replace(MLP, optimizer="sgd", bound_rate=1e6, thresholding="unconstrained")
    _, end, _ = stepped(run, HYPER)
    assert all(float(bound) == 5.0 for bound in end.bounds.values())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only cell of a grid."""
    folder = tmp_path_factory.mktemp("thresholded") / "run"
    run = replace(MLP, epochs=4, measure_every=2, restarts=2, density=("flops",))
    declaration = grid.Declaration(run, ("adam",), ("l2",), (1e-3,), (0,), 0.01, {}, (Target(0.7, 10.0),))
    list(grid.run(declaration, folder))
    return next((folder / "cells").iterdir())


def test_records_have_bounds_zeros_and_the_shrunk_network(kept: Path) -> None:
    """Zeros in the weights are those that the history tells, and the network read back is the one that was tested."""
    described = json.loads((kept / "run.json").read_text())
    assert (described["thresholding"], described["sparsity"], described["sparsity_strength"]) == ("budget", 0.7, 10.0)
    assert described["targets"] == {"flops": {"sparsity": 0.7, "strength": 10.0}}
    columns = ["bound", "weights_zero", "sparsity_weights", "sparsity_flops", "thresholded", "test_error"]
    history = records.history(kept, columns)
    rows = history.to_pylist()
    assert [row["epochs"] for row in rows] == [2, 4]
    found = records.weights(kept)
    assert rows[-1]["thresholded"] == ["head/kernel", "hidden/0/linear/kernel"]
    zeros = [100 * np.mean(found[name] == 0) for name in rows[-1]["thresholded"]]
    np.testing.assert_allclose(rows[-1]["weights_zero"], zeros, atol=0.2)
    sizes = [found[name].size for name in rows[-1]["thresholded"]]
    assert rows[-1]["sparsity_weights"] == pytest.approx(np.average(zeros, weights=sizes), abs=0.2)
    assert rows[-1]["sparsity_flops"] == pytest.approx(rows[-1]["sparsity_weights"]), "an MLP multiplies by each once"
    assert rows[0]["bound"] != rows[1]["bound"]
    model = js.load(kept)
    assert rows[-1]["test_error"] == pytest.approx(float(evaluate(model, digits(), digits().test)[1]), abs=0.5)
    table = records.results(kept).to_pylist()[0]
    assert (table["thresholding"], table["sparsity"]) == ("budget", 0.7)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--sparsity 0.85 --sparsity-strength 10", (Target(0.85, 10.0),) * 2),
        ("--sparsity 0.85 0.7 --sparsity-strength 10", (Target(0.85, 10.0), Target(0.7, 10.0))),
        ("--sparsity 0.85 0.7 --sparsity-strength 10 5", (Target(0.85, 10.0), Target(0.7, 5.0))),
    ],
)
def test_flags_give_each_density_its_target(
    flags: str, wanted: tuple[Target, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[grid.Declaration] = []

    def run(declaration: grid.Declaration, *_: Any, **__: Any) -> int:
        seen.append(declaration)
        return 0

    monkeypatch.setattr(training, "train", run)
    command = "train --thresholding budget --thresholded kernels --density parameters flops --epochs 4"
    assert cli.main([*command.split(), *flags.split(), "--out", str(tmp_path)]) == 0
    assert [cell.hyper.targets for cell in seen[0].cells()] == [wanted]


def test_the_histogram_is_of_weights_before_they_become_zero() -> None:
    w = weights(3, 5000)
    seen = thresholding.observe({"a": {"kernel": jnp.asarray(w)}}, {"a/kernel": jnp.float32(1.0)})
    expected = 100 * np.histogram(w / w.std(), thresholding.BINS)[0] / len(w)
    np.testing.assert_allclose(seen.histogram[0], expected, atol=0.05)
    assert float(seen.zero[0]) == pytest.approx(100 * np.mean(shrunk(w, 1.0) == 0), abs=0.05)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--thresholding soft", "thresholding must be one of none binary-search gaussian unconstrained budget hinge"),
        ("--thresholding gaussian", "sparsity must be one number in (0, 1), got []"),
        ("--thresholding gaussian --sparsity 0", "sparsity must be in (0, 1), got 0.0"),
        ("--sparsity-strength 10", "sparsity-strength must be left out without sparsity"),
        (
            "--thresholding budget --thresholded kernels --density flops parameters --sparsity 0.5 0.6 0.7 "
            "--sparsity-strength 1",
            "sparsity must be one number in (0, 1), or one for each density (2), got [0.5, 0.6, 0.7]",
        ),
        (
            "--thresholding budget --thresholded kernels --sparsity 0.5 0.6 --sparsity-strength 1 2 3",
            "sparsity must be one number, or one for each density",
        ),
        (
            "--thresholding gaussian --thresholded kernels --sparsity 0.5 --density flops",
            "density must be left out for gaussian, whose bounds are fixed",
        ),
        ("--sparsity 0.5", "sparsity must be left out without thresholding"),
        ("--thresholding budget --sparsity 0.5", "sparsity-strength must be > 0 for budget"),
        ("--thresholding gaussian --sparsity 0.5 --sparsity-strength 1", "sparsity-strength must be 0 for gaussian"),
        ("--thresholding gaussian --sparsity 0.5", "thresholded must be what mlp has"),
        ("--thresholding gaussian --sparsity 0.95", "sparsity must be below 0.91 for gaussian where kernels start"),
        (
            "--thresholding budget --thresholded kernels --sparsity 0.5 --sparsity-strength 1 --no-straight-through",
            "straight-through must be on for budget",
        ),
        (
            "--thresholding budget --thresholded kernels --sparsity 0.5 --sparsity-strength 1 --density size",
            "density must be one of average parameters flops",
        ),
        ("--restarts 4 --milestones 2", "restarts must be a whole number >= 0, and 0 beside milestones"),
    ],
)
def test_bad_input_is_one_line(flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--epochs", "4", *flags.split(), "--out", str(tmp_path / "run")]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"jaxsparse: {message}")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_does_not_go_together() -> None:
    with pytest.raises(InvalidInput, match="thresholding must be none where shrink-every"):
        Run(thresholding="gaussian", shrink_every=40)
    with pytest.raises(InvalidInput, match="density must be at least one name"):
        Run(density=())
    with pytest.raises(InvalidInput, match="bound-rate"):
        Run(bound_rate=0.0)


def test_cells_of_different_targets_have_different_names() -> None:
    run = Run(model="mlp", thresholding="gaussian")
    each = (), (Target(0.5),), (Target(0.85),), (Target(0.85, 10.0), Target(0.7, 5.0))
    cells = [grid.Cell(run, Hyper(0.1, 0.1, {}, targets), 0, "l2") for targets in each]
    assert [cell.name for cell in cells] == [
        "adam-l2-0.1-seed0",
        "adam-l2-0.1-sparsity0.5-seed0",
        "adam-l2-0.1-sparsity0.85-seed0",
        "adam-l2-0.1-sparsity0.85-0.7-lambda10-5-seed0",
    ]


def test_the_learning_rate_restarts() -> None:
    training = make_train(replace(MLP, epochs=6, restarts=2, thresholding="none"))
    steps = len(digits().train) // 200
    schedule = training.schedule(Hyper(0.1))
    expected = [0.05 * (1 + math.cos(math.pi * (step % (2 * steps)) / (2 * steps))) for step in range(5 * steps)]
    np.testing.assert_allclose([float(schedule(step)) for step in range(5 * steps)], expected, rtol=1e-5, atol=1e-9)
