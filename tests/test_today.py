"""Rules of today against their originals: optax's own functions and PyTorch's, over 1,000 steps in float64, alone and
under both forms of decay. A rule that is added needs a line in `ORIGINALS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optax import contrib

import jaxsparse as js
from experiments import studies, today
from experiments.measured import Measured, from_csv
from experiments.scales import EMBEDDED
from experiments.tables import said
from experiments.today import cells, deaths, transformers, verdicts, weight
from jaxsparse import data, decay, dynamics, grid, records, regularizers, rules, train
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell
from jaxsparse.trees import Tree, flatten

ROOT = Path(__file__).parents[1]
STEPS, STRENGTH, RATE = 1000, 0.01, 3e-3
DECAYS = ("none", "l2", "wd-lr")


class Original(NamedTuple):
    """The function of a learning rate whose steps a rule's are to be, and how it spells a decay of the strength."""

    make: Callable[..., optax.GradientTransformation]
    decay: tuple[str, ...] = ("weight_decay",)
    """its own arguments for decoupled decay; none: the decay is put after it"""
    fixed: Mapping[str, Any] = {}


def dimension_numbers(params: Tree) -> Tree:
    return jax.tree.map(lambda a: contrib.MuonDimensionNumbers((0, 1, 2), 3) if a.ndim == 4 else None, params)


ORIGINALS = {
    "adamw": Original(optax.adamw),
    "nadam": Original(optax.nadamw, fixed={"weight_decay": 0.0}),
    "radam": Original(optax.radam, ()),
    "lion": Original(optax.lion, fixed={"weight_decay": 0.0}),
    "muon": Original(
        contrib.muon,
        ("weight_decay", "adam_weight_decay"),
        {"muon_weight_dimension_numbers": dimension_numbers, "consistent_rms": 0.2},
    ),
    "ademamix": Original(contrib.ademamix),
    "adan": Original(optax.adan),
    "adafactor": Original(optax.adafactor, ()),
    "prodigy": Original(contrib.prodigy, ()),
    "schedule_free_adamw": Original(contrib.schedule_free_adamw),
    "schedule_free_sgd": Original(contrib.schedule_free_sgd),
}


def test_every_rule_has_an_original() -> None:
    assert set(ORIGINALS) == set(rules.NAMES) - set(rules.functions.__all__)


def weights_and_gradients() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A kernel of a convolution, and a scale with a unit that has no gradient in the second half."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (2, 2, 3, 4), "scale": (5,)}
    sizes = np.where(np.arange(STEPS) < STEPS // 2, 1, 0.01)
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    noise = {name: rng.normal(size=(STEPS, *shape)) for name, shape in shapes.items()}
    gradients = {name: g * sizes.reshape(-1, *[1] * (g.ndim - 1)) for name, g in noise.items()}
    gradients["scale"][STEPS // 2 :, 0] = 0
    return weights, gradients


def path(tx: optax.GradientTransformation, coupled: float = 0.0, decoupled: float = 0.0) -> Tree:
    """Weights after each step, of a rule that is fed with a penalty's gradient, or followed by decay."""
    weights, gradients = jax.tree.map(jnp.asarray, weights_and_gradients())

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        gradient = jax.tree.map(lambda g, w: g + coupled * w, gradient, params)
        updates, state = tx.update(gradient, state, params)
        updates = jax.tree.map(lambda u, w: u - RATE * decoupled * w, updates, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda: jax.lax.scan(step, (weights, tx.init(weights)), gradients)[1])()


def assert_close(got: Tree, want: Tree, tolerance: float = 1e-10) -> None:
    for name, theirs in want.items():
        assert np.isfinite(theirs).all()
        error = np.max(np.abs(np.asarray(got[name]) - np.asarray(theirs))) / np.max(np.abs(np.asarray(theirs)))
        assert error <= tolerance, (name, error)


@pytest.mark.parametrize("form", DECAYS)
@pytest.mark.parametrize("name", ORIGINALS)
def test_follows_optax(name: str, form: str) -> None:
    original = ORIGINALS[name]
    with jax.enable_x64(True):
        own = dict.fromkeys(original.decay, STRENGTH if form == "wd-lr" else 0.0)
        theirs = original.make(RATE, **{**original.fixed, **own})
        after = STRENGTH if form == "wd-lr" and not original.decay else 0.0
        want = path(theirs, STRENGTH if form == "l2" else 0.0, after)
        regularizer = regularizers.regularizer(form, STRENGTH)
        got = path(rules.RULES[name](RATE, regularizer=regularizer, convention="optax"))
        assert_close(got, want)


@pytest.mark.parametrize("form", DECAYS)
@pytest.mark.parametrize("name", ["NAdam", "RAdam"])
def test_follows_torch(name: str, form: str) -> None:
    torch = pytest.importorskip("torch")
    weights, gradients = weights_and_gradients()
    theirs = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in weights.items()}
    decays = {"weight_decay": 0.0 if form == "none" else STRENGTH, "decoupled_weight_decay": form == "wd-lr"}
    tx = getattr(torch.optim, name)(theirs.values(), lr=RATE, **decays)
    want: dict[str, list[Any]] = {key: [] for key in theirs}
    for step in range(STEPS):
        for key, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[key][step])
        tx.step()
        for key, parameter in theirs.items():
            want[key].append(parameter.detach().numpy().copy())
    with jax.enable_x64(True):
        got = path(js.optimizer(name.lower(), RATE, regularizer=regularizers.regularizer(form, STRENGTH)))
    assert_close(got, {key: np.stack(values) for key, values in want.items()})


def first_below(rule: str, form: str, steps: int, rate: float = 1e-3) -> Any:
    """Of one weight from 1 without a loss gradient, at strength 1e-3, as `jaxsparse decay` has it."""
    plan = decay.Plan((rule,), (form,), (1e-3,), "zero-gradient", 1.0, steps, learning_rate=rate)
    (row,) = decay.follow(plan).outcomes.to_pylist()
    return row["steps_to_0.001"], row["final"]


def test_one_weight_under_schedule_free() -> None:
    """At the average x, with L2 through the preconditioner; and with decay at y (known from elsewhere)."""
    assert first_below("schedule_free_adamw", "l2", 3000)[0] == 2874
    assert first_below("adamw", "l2", 3000)[0] == 2722
    fell, last = first_below("schedule_free_adamw", "wd-lr", 200_000)
    assert fell is None
    assert last == pytest.approx(0.9036, abs=1e-4)


def test_weights_that_a_network_is_evaluated_with() -> None:
    """optax's own formula; also with cells in front, and where only a part of the weights is averaged."""
    params: Any = {"kernel": jnp.array([1.0, -2.0]), "scale": jnp.array([0.5])}
    whole, part = (rules.RULES["schedule_free_adamw"](0.1, b1=0.8) for _ in range(2))
    grouped = optax.partition({"a": part, "b": optax.sgd(0.1)}, {"kernel": "a", "scale": "b"})
    for tx in (whole, grouped):
        state = tx.init(params)
        for _ in range(3):
            updates, state = tx.update(params, state, params)
            params = cast(Any, optax.apply_updates(params, updates))
        found = rules.evaluated(state, params)
        inner: Any = state if tx is whole else cast(Any, state).inner_states["a"].inner_state
        want = contrib.schedule_free_eval_params(
            inner._replace(z={"kernel": inner.z["kernel"]}), {"kernel": params["kernel"]}
        )
        np.testing.assert_allclose(found["kernel"], want["kernel"], rtol=1e-6)
        assert not np.allclose(found["kernel"], params["kernel"])
        assert (tx is whole) != np.array_equal(found["scale"], params["scale"])
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), (whole.init(params), params))
    np.testing.assert_allclose(rules.evaluated(*stacked)["kernel"][1], params["kernel"], rtol=1e-6)
    assert rules.evaluated(optax.adam(0.1).init(params), params) is params


def test_a_training_is_measured_and_kept_at_the_average(tmp_path: Path) -> None:
    """With so large a rate that y is elsewhere."""
    run = Run(widths=(8,), epochs=2, batch=200, measure_every=2, optimizer="schedule_free_sgd", regularizer="l2")
    training = train.make_train(run)
    dataset = data.load(run.data)
    hyper = Hyper(1.0, 1e-3, {"b1": 0.5})
    state, rows = jax.jit(training)(hyper, jax.random.key(0), dataset)
    x = rules.evaluated(state.optimizer, state.params)
    for weights, same in ((x, True), (state.params, False)):
        row = training.measured(dataset, weights, state.bounds, state.stats, rows.train_loss)
        assert np.allclose(row.test_loss, rows.test_loss[-1], rtol=1e-4) == same
    assert all(
        step.ended is not None
        for step in grid.run(
            grid.Declaration(
                run, ("schedule_free_sgd",), ("l2",), (1e-3,), (0,), learning_rate=1.0, constants={"b1": 0.5}
            ),
            tmp_path,
        )
    )
    kept = records.weights(tmp_path / "cells" / "schedule_free_sgd-l2-0.001-seed0")
    name, want = next((name, leaf) for name, leaf in flatten(x).items() if name.endswith("scale"))
    np.testing.assert_allclose(kept[name], want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", ["prodigy", "optax.contrib:prodigy", "optax.contrib:schedule_free_sgd", "lion"])
def test_maps_of_steps_have_every_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strengths and rates of many weights at a time, in a rule that has one estimate for all too."""
    steps_map = importlib.import_module("jaxsparse.decay.steps_map")
    monkeypatch.setattr(steps_map, "PLAN", replace(steps_map.PLAN, steps=50))
    strength, rate = np.array([1e-3, 1e-1, 1e-1]), np.array([0.5, 0.5, 1e-3])
    name = rules.resolve(rule).name
    found = steps_map._simulated(name, strength, rate)
    each = [steps_map._simulated(name, strength[i : i + 1], rate[i : i + 1])[0] for i in range(3)]
    assert found.tolist() == each


def test_rules_of_whole_arrays_see_one_weight_at_a_time() -> None:
    """Two strengths of Adafactor do not know of each other in `jaxsparse decay`."""
    plan = decay.Plan(("adafactor",), ("l2",), (1e-3, 1e-1), "low-gradient", 1.0, 300)
    both = [row["final"] for row in decay.follow(plan).outcomes.to_pylist()]
    for strength, final in zip(plan.strengths, (both[:3], both[3:]), strict=True):
        alone = decay.follow(decay.Plan(("adafactor",), ("l2",), (strength,), "low-gradient", 1.0, 300))
        assert [row["final"] for row in alone.outcomes.to_pylist()] == pytest.approx(final, rel=1e-12)
    with jax.enable_x64(True):
        rates = jnp.array([1e-3, 1e-2])
        rule = dynamics.alone(lambda rate: js.optimizer("adam", rate))
        gradients = np.random.default_rng(0).normal(size=(20, 2))
        got = js.simulate(rule, jnp.ones(2), gradients, settings=rates)
        want = js.simulate(lambda rate: js.optimizer("adam", rate), jnp.ones(2), gradients, settings=rates)
        np.testing.assert_allclose(got, want, rtol=1e-12)


@given(target=st.floats(-3, 3), strength=st.floats(0.05, 1.5))
@settings(max_examples=25, deadline=None)
def test_factors_find_the_lasso(target: float, strength: float) -> None:
    """Of (w - target)^2 / 2 with an L1 norm: the target moved towards zero by the strength (theorem 1 of spred)."""
    assume(abs(abs(target) - strength) > 0.05)
    with jax.enable_x64(True):
        tx = js.regularized(optax.sgd(0.05), js.regularizers.Factorized(strength))
        w = {"scale": jnp.array([1.0 if target > 0 else -1.0])}

        def step(carry: Any, _: None) -> Any:
            w, state = carry
            updates, state = tx.update({"scale": w["scale"] - target}, state, w)
            return (optax.apply_updates(w, updates), state), None

        (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), length=20_000)
    want = np.sign(target) * max(abs(target) - strength, 0)
    assert float(w["scale"][0]) == pytest.approx(want, abs=1e-6)


def test_three_factors_and_what_is_no_product() -> None:
    """A step by hand; the mask leaves the kernel to the optimizer alone."""
    tx = js.regularized(optax.sgd(0.1), js.regularizers.Factorized(0.2, 3), mask=js.trees.of_kind(js.trees.Kind.SCALE))
    w = {"kernel": jnp.array([[2.0]]), "scale": jnp.array([-8.0])}
    updates: Any = tx.update({"kernel": jnp.array([[0.5]]), "scale": jnp.array([0.3])}, tx.init(w), w)[0]
    u = np.array([-2.0, 2.0, 2.0])
    pulls = 0.3 * np.array([4.0, -4.0, -4.0]) + 0.2 * u
    np.testing.assert_allclose(updates["scale"], [np.prod(u - 0.1 * pulls) + 8.0], rtol=1e-5)
    np.testing.assert_allclose(updates["kernel"], [[-0.05]], rtol=1e-6)
    with pytest.raises(js.InvalidInput, match=r"^depth must be a whole number >= 2, got 1$"):
        js.regularizers.Factorized(0.1, depth=1)


def outcome(dead: list[float], error: list[float]) -> verdicts.Outcome:
    return verdicts.Outcome(np.asarray(dead), np.asarray(error))


def test_what_is_said_of_a_rule() -> None:
    """It kills where units die surely, at the error of the best; a table in which nothing dies says nothing."""
    top = outcome([0, 0, 0], [2.0, 2.1, 2.2])
    forms = {
        "none": outcome([0, 0, 0], [2.0, 2.1, 2.2]),
        "L2 1e-4": outcome([20, 21, 22], [2.5, 2.6, 2.4]),
        "L2 1e-3": outcome([50, 51, 52], [9.0, 9.1, 9.2]),  # more, but worse
    }
    assert verdicts.kills(forms, top) == "L2 1e-4"
    assert verdicts.kills({"none": forms["none"]}, top) is None
    assert verdicts.kills({"L2 1e-4": outcome([0, 0, 20], [2, 2, 2])}, top) is None  # one of three
    assert verdicts.kills({"L2 1e-3": forms["L2 1e-3"]}, top) is None
    assert verdicts.best([*forms.values()]) is forms["none"]


def test_what_is_trained() -> None:
    """Each setting once, at the rates that the rules come with."""
    assert set(cells.RATES) == set(rules.NAMES)
    assert all(rules.RULES[name].learning_rate == rate for name, rate in cells.RATES.items())
    places = [studies.place(cell) for cell in cells.compared()]
    assert len(set(places)) == len(places) == (18 * 5 + 13 * 3) * 3
    assert len({studies.place(cell) for cell in cells.killing()}) == 10 * 3
    assert len({studies.place(cell) for cell in [*cells.compared(), *cells.chosen()]}) == len(places) + 4 * 2 * 3 * 3


def test_the_page_has_the_figures_that_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure of docs/today.md that the entries show, from the CSV files that come with the experiments."""
    page = " ".join((ROOT / "docs" / "today.md").read_text(encoding="utf-8").split())
    kept = from_csv(EMBEDDED, ROOT / "experiments" / "measured", [weight.FOUND, deaths.FOUND])
    outcomes = [one for forms in today.compared(kept, "mlp").values() for one in forms.values()]
    chosen = cells.chosen()
    outcomes += [today._outcome(kept, chosen[i : i + 3]) for i in range(0, len(chosen), 3)]
    assert len(outcomes) == 18 * 5 + 4 * 2 * 4
    for one in outcomes:
        assert one is not None
        dead = "0" if not one.dead.any() else said(one.dead)
        assert f"{dead} ({said(one.error)})" in page
    for rule in rules.NAMES:
        assert f"| {rules.RULES[rule].label} |" in page
    for row in kept.findings[weight.FOUND.name]:
        assert row["first"] is None or f"{row['first']:,}" in page
    medians = {seed: [row for row in kept.findings[deaths.FOUND.name] if row["seed"] == seed] for seed in range(3)}
    for rows in medians.values():
        for name in ("died", "predicted", "predicted_without_noise"):
            assert f" {np.median([row[name] for row in rows]):,.0f} " in page
    for show in (today.show_rules, today.show_decayed, today.show_methods, today.show_weight, today.show_deaths):
        show(kept, tmp_path)
    told = capsys.readouterr().out
    assert all(f"today {name}" in told for name in ("rules: mlp", "decayed: mlp", "methods: mlp", "weight", "deaths"))
    assert (tmp_path / "figures" / "today" / "rules-mlp.png").stat().st_size > 10_000


def test_what_has_no_place_in_the_update_is_no_regularizer() -> None:
    class Placeless(js.regularizers.Regularizer):
        def __init__(self, strength: float):
            pass

    with pytest.raises(js.InvalidInput, match=r"^regularizer must be None or one of jaxsparse\.regularizers, got "):
        js.regularized(optax.sgd(0.1), Placeless(0.1))
    with pytest.raises(js.InvalidInput, match=r"^regularizers must be .*, got 'Placeless'$"):
        js.regularizers.form(Placeless)


def test_deaths_are_watched_and_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small network under so much L2 that all of its units die at once: the theory has them die then."""
    run = Run(widths=(6,), epochs=100, batch=64, measure_every=10, milestones=(60,), optimizer="adam", regularizer="l2")
    small = [Cell(run, Hyper(1e-2, 1.0, {"b1": 0.9, "b2": 0.99, "eps": 1e-8}), seed, "l2") for seed in range(3)]
    monkeypatch.setattr(deaths, "cells", lambda *_: small)
    deaths.follow(tmp_path)
    rows = deaths.read(tmp_path)
    assert len(rows) == 3 * 6
    for row in rows:
        assert 0 < row["died"] < 60 * 22
        assert row["predicted"] == pytest.approx(row["died"], rel=0.3)  # looked at every 88 steps only
    assert {row["seed"] for row in rows} == {0, 1, 2}
    (tmp_path / deaths.FILE).rename(tmp_path / "kept")
    monkeypatch.setattr(deaths, "cells", lambda *_: [])
    with pytest.raises(IndexError):  # nothing is watched again where it was kept
        deaths.follow(tmp_path)
    (tmp_path / "kept").rename(tmp_path / deaths.FILE)
    deaths.follow(tmp_path)


@pytest.mark.slow
def test_transformers_are_trained_and_shrunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps of each; under L2 alone of an absurd strength all wide units die and are removed."""
    monkeypatch.setattr(transformers, "STEPS", 300)
    monkeypatch.setattr(transformers, "SEEDS", (0,))
    monkeypatch.setattr(transformers, "SETTINGS", (("sgd", "l2", 1.0),))
    with jax.numpy_rank_promotion("allow"):  # the networks are written as their authors write them
        transformers.follow(tmp_path)
    rows = transformers.read(tmp_path)
    assert [row["network"] for row in rows] == ["gpt", "vit"]
    for row in rows:
        assert row["dead"] > 0.5 * row["units"]
        assert row["parameters_left"] < row["parameters"]
        assert row["difference"] < 1e-5
    today.show_transformers(Measured(EMBEDDED, {}, {transformers.FOUND.name: rows}), tmp_path)
    told = capsys.readouterr().out
    assert "gpt, SGD, L2 1" in told
    assert "vit, SGD, L2 1" in told
