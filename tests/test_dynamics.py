"""The one-weight simulator: against the oracle and PyTorch's recording, and its ways of running against each other."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest

import jaxsparse as js
from jaxsparse import regularizers, rules, schedules
from jaxsparse.checks import InvalidInput
from jaxsparse.dynamics import outcome, protocols, simulate

STEPS = 600
STRENGTHS = np.array([1e-4, 1e-2, 0.1])
RATES = {"sgd": 0.01, "adagrad": 0.01, "adadelta": 1.0}  # of the others 1e-3
KEY = 7
RECORDED = np.load(Path(__file__).parent / "recorded" / "torch.npz")


def drawn(name: str, n: int, steps: int = STEPS) -> np.ndarray:
    """A protocol's gradients [steps, n], as the simulator draws them: each step has a key of its own."""
    draw = protocols.protocol(name).gradients(n)
    key = jax.random.key(KEY)
    return np.asarray(jax.vmap(lambda step: draw(jax.random.fold_in(key, step), step))(jnp.arange(steps)))


def relative_error(got: Any, want: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(got, np.float64) - want)) / np.max(np.abs(want)))


ORACLE = [*(("float64", name) for name in ("none", "l2", "wd", "wd-lr", "bn-l1")), ("float32", "l2"), ("float32", "wd")]


@pytest.mark.parametrize(("dtype", "regularizer"), ORACLE)
@pytest.mark.parametrize("name", rules.functions.__all__)
def test_follows_oracle(name: str, regularizer: str, dtype: str) -> None:
    """Every protocol at every strength: a column each."""
    rate, count = RATES.get(name, 1e-3), len(STRENGTHS)
    with jax.enable_x64(dtype == "float64"):
        gradients = np.concatenate([drawn(protocol, count) for protocol in protocols.NAMES], axis=1)
        init = np.repeat([protocols.protocol(protocol).initial for protocol in protocols.NAMES], count)
        strengths = np.tile(STRENGTHS, len(protocols.NAMES))
        got = simulate(
            lambda s: rules.optimizer(name, rate, regularizer=regularizers.regularizer(regularizer, s)),
            init.astype(dtype),
            gradients,
            settings=strengths,
        )
        assert got.dtype == dtype
    assert got.shape == (STEPS + 1, len(init))
    assert np.array_equal(got[0], init.astype(dtype))
    arguments: Any = {"regularizer": regularizer, "strength": strengths, "kind": "scale"}
    hyper = oracle.DEFAULTS[name, "torch"]
    want = oracle.trajectory(name, "torch", hyper, [rate] * STEPS, init.astype(dtype), gradients, **arguments)
    for path, truth in zip(np.asarray(got)[1:].T, want.T, strict=True):
        assert relative_error(path, truth) <= {"float64": 1e-11, "float32": 2e-4}[dtype]


@pytest.mark.parametrize(("index", "case"), list(enumerate(json.loads(str(RECORDED["cases"])))))
def test_follows_recording_of_torch(index: int, case: dict[str, Any]) -> None:
    penalty = regularizers.regularizer(case.get("regularizer", "none"), case.get("strength", 0.0))
    rate = schedules.step_decay(case["learning_rate"], (500,), 0.5)
    tx = rules.optimizer(case["name"], rate, regularizer=penalty, **case.get("hyper", {}))
    want = RECORDED[str(index)]
    with jax.enable_x64(True):
        got = simulate(tx, RECORDED["init"], RECORDED["gradients"], every=len(RECORDED["gradients"]) // len(want))
    for path, truth in zip(np.asarray(got)[1:].T, want.T, strict=True):
        assert relative_error(path, truth) <= 1e-12


@cache
def inputs(n: int = 37, steps: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [n], gradients [steps, n] and strengths [n]."""
    rng = np.random.default_rng(1)
    init = rng.uniform(0.1, 1, n) * rng.choice([-1, 1], n)
    return init.astype("f"), rng.normal(0, 1e-2, (steps, n)).astype("f"), rng.uniform(0, 0.1, n).astype("f")


def swept(strength: jax.Array) -> optax.GradientTransformation:
    return js.adam(1e-2, b2=0.99, regularizer=js.CoupledL2(strength))


@cache
def plain() -> np.ndarray:
    init, gradients, strengths = inputs()
    return np.asarray(simulate(swept, init, gradients, settings=strengths))


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("chunk", [1, 5, 18, 36, 37, 100])
def test_chunks_and_devices_change_nothing(chunk: int, places: int) -> None:
    init, gradients, strengths = inputs()
    devices = jax.devices()[:places]
    got = simulate(swept, init, gradients, settings=strengths, chunk=chunk, devices=devices)
    assert got.shape == plain().shape
    np.testing.assert_allclose(got, plain(), rtol=0, atol=2e-6)


def test_a_rule_that_holds_arrays_is_not_cut() -> None:
    init, gradients, strengths = inputs()
    got = simulate(swept(jnp.asarray(strengths)), init, gradients, chunk=5)
    np.testing.assert_allclose(got, plain(), rtol=0, atol=2e-6)


def test_by_vmap() -> None:
    init, gradients, strengths = inputs()

    def one(strength: Any, init: Any, gradients: Any) -> Any:
        return simulate(swept(strength), init[None], gradients[:, None])[:, 0]

    got = jax.jit(jax.vmap(one, (0, 0, 1), 1))(strengths, init, gradients)
    np.testing.assert_allclose(got, plain(), rtol=0, atol=2e-6)


def test_every_and_at() -> None:
    init, gradients, strengths = inputs()
    some: Any = {"tx": swept, "init": init, "gradients": gradients, "settings": strengths}
    np.testing.assert_allclose(simulate(**some, every=7), plain()[::7], rtol=0, atol=2e-6)
    np.testing.assert_allclose(simulate(**some, every=50), plain()[::50], rtol=0, atol=2e-6)
    assert simulate(**some, every=51).shape == (1, 37)
    for at in ([0], [50], [0, 1, 2], [3, 4, 40]):
        np.testing.assert_allclose(simulate(**some, at=at), plain()[at], rtol=0, atol=2e-6)


def test_gradients_as_a_function_or_shared() -> None:
    init, gradients, strengths = inputs()
    table = jnp.asarray(gradients)
    got = simulate(
        swept, init, lambda key, step: table[step], settings=strengths, steps=50, key=jax.random.key(0), chunk=5
    )
    np.testing.assert_allclose(got, plain(), rtol=0, atol=2e-6)
    one = simulate(swept, init, gradients[:, :1], settings=strengths)
    same = simulate(swept, init, np.repeat(gradients[:, :1], 37, 1), settings=strengths)
    np.testing.assert_allclose(one, same, rtol=0, atol=2e-6)


def test_each_step_draws_from_a_key_of_its_own() -> None:
    """By SGD at learning rate 1, the steps are the gradients."""
    draw = protocols.LowGradient().gradients(3)
    path = simulate(js.sgd(1.0), np.zeros(3, "f"), draw, steps=300, key=jax.random.key(KEY))
    np.testing.assert_allclose(-np.diff(path, axis=0), drawn("low-gradient", 3, 300), rtol=0, atol=1e-8)


@pytest.mark.parametrize("parts", [1, 4, 50])
@pytest.mark.parametrize("chunk", [None, 10])
def test_outcome_is_what_the_path_shows(parts: int, chunk: int | None) -> None:
    init, gradients, strengths = inputs()
    thresholds = (2.0, 0.5, 0.1, 1e-3, 1e-9)
    found = outcome(swept, init, gradients, settings=strengths, thresholds=thresholds, parts=parts, chunk=chunk)
    path = np.asarray(simulate(swept, init, gradients, settings=strengths, chunk=chunk, at=np.arange(51)))
    for threshold, first in zip(thresholds, np.asarray(found.first_below), strict=True):
        below = np.abs(path) < threshold
        assert np.array_equal(first, np.where(below.any(0), below.argmax(0), -1))
    ends = np.arange(parts + 1) * 50 // parts
    pieces = [path[begin + 1 : end + 1] for begin, end in itertools.pairwise(ends)]
    for got, want in (
        (found.low, [piece.min(0) for piece in pieces]),
        (found.high, [piece.max(0) for piece in pieces]),
        (found.last, path[ends[1:]]),
    ):
        np.testing.assert_allclose(got, np.stack(want), rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.level, np.abs(pieces[-1]).max(0), rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.amplitude, np.ptp(pieces[-1], 0) / 2, rtol=0, atol=2e-6)


def test_outcome_joined() -> None:
    init, gradients, strengths = inputs()
    fine, coarse = (
        outcome(swept, init, gradients, settings=strengths, thresholds=(0.1,), parts=parts)
        for parts in (np.arange(1, 51), [10, 25, 50])
    )
    for got, want in zip(fine.joined(np.array([0, 10, 25])), coarse, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


def test_oscillation_is_told_from_decay() -> None:
    """theta <- (1 - learning_rate * strength) * theta: decays, alternates with shrinking, and with constant size."""
    rates = np.array([0.5, 1.9, 2.0], "f")
    tx = lambda rate: js.sgd(rate, regularizer=js.CoupledL2(1.0))  # noqa: E731
    found = outcome(tx, np.ones(3, "f"), np.zeros((100, 1), "f"), settings=rates)
    assert found.oscillates.tolist() == [False, False, True]
    assert found.amplitude[2] == 1


@hypothesis.settings(max_examples=20, deadline=None, database=None)
@hypothesis.given(st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), st.permutations(range(4)))
def test_weights_do_not_know_of_each_other(init: list[float], order: list[int]) -> None:
    gradients, weights = inputs()[1][:20, :4], np.asarray(init, "f")
    path = simulate(FIXED, weights, gradients)
    np.testing.assert_allclose(simulate(FIXED, weights[order], gradients[:, order]), path[:, order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(simulate(FIXED, -weights, -gradients), -path, rtol=0, atol=1e-6)


FIXED = js.amsgrad(1e-2, regularizer=js.CoupledL2(0.01))


def test_a_sweep_compiles_once() -> None:
    compiled = 0

    def tx(strength: jax.Array) -> optax.GradientTransformation:
        nonlocal compiled
        compiled += 1
        return swept(strength)

    init, gradients, strengths = inputs()
    for factor in (1, 2, 3):
        simulate(tx, factor * init, gradients, settings=factor * strengths)
    assert compiled == 1


BAD = {
    "init of two axes": ({"init": np.ones((2, 2), "f")}, "init"),
    "whole numbers": ({"init": np.ones(37, int)}, "init"),
    "nothing": ({"init": np.ones(0, "f")}, "init"),
    "gradients of others": ({"gradients": np.ones((5, 36), "f")}, "gradients"),
    "gradients of one axis": ({"gradients": np.ones(37, "f")}, "gradients"),
    "no steps": ({"gradients": lambda key, step: jnp.ones(37), "key": 0}, "steps"),
    "no key": ({"gradients": lambda key, step: jnp.ones(37), "steps": 3}, "key"),
    "other steps": ({"steps": 3}, "steps"),
    "settings of others": ({"settings": np.ones(36, "f")}, "settings"),
    "every": ({"every": 0}, "every"),
    "at that falls": ({"at": [3, 2]}, "at"),
    "at too far": ({"at": [51]}, "at"),
    "at nothing": ({"at": []}, "at"),
    "chunk": ({"chunk": 0}, "chunk"),
}


@pytest.mark.parametrize(("change", "name"), BAD.values(), ids=BAD.keys())
def test_bad_input(change: dict[str, Any], name: str) -> None:
    init, gradients, strengths = inputs()
    good: Any = {"tx": swept, "init": init, "gradients": gradients, "settings": strengths}
    with pytest.raises(InvalidInput, match=f"^{name} must be") as raised:
        simulate(**{**good, **change})
    assert "\n" not in str(raised.value)


def test_bad_parts_and_thresholds() -> None:
    init, gradients, strengths = inputs()
    good: Any = {"tx": swept, "init": init, "gradients": gradients, "settings": strengths}
    for change in ({"parts": 0}, {"parts": 51}, {"parts": [0, 3]}, {"thresholds": (0.0,)}):
        with pytest.raises(InvalidInput, match=f"^{next(iter(change))} must be"):
            outcome(**good, **change)


def test_a_function_of_gradients_of_another_size() -> None:
    with pytest.raises(InvalidInput, match=r"^gradients must be"):
        simulate(FIXED, np.ones(3, "f"), lambda key, step: jnp.ones(2), steps=3, key=jax.random.key(0))


def test_group_lasso_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one kernel"):
        simulate(js.sgd(0.1, regularizer=js.GroupLasso(0.1)), np.ones(3, "f"), np.ones((2, 3), "f"))


# Protocols


def test_low_gradient_has_the_papers_deviations() -> None:
    gradients = drawn("low-gradient", 1000, 300)
    assert gradients[:100].std() == pytest.approx(1e-3, rel=0.02)
    assert gradients[100:].std() == pytest.approx(1e-5, rel=0.02)
    assert abs(gradients[:100].mean()) < 1e-5
    as_variances = drawn("low-gradient-variance", 1000, 300)
    assert as_variances[:100].var() == pytest.approx(1e-3, rel=0.02)
    assert as_variances[100:].var() == pytest.approx(1e-5, rel=0.02)


def test_sparse_gradient() -> None:
    gradients = drawn("sparse-gradient", 1000, 300)
    assert np.mean(gradients != 0) == pytest.approx(0.01, rel=0.1)
    assert gradients[gradients != 0].std() == pytest.approx(1e-3, rel=0.05)
    with pytest.raises(InvalidInput, match=r"^probability must be"):
        protocols.SparseGradient(probability=1.5)


def test_zero_gradient() -> None:
    assert not drawn("zero-gradient", 3).any()
    assert protocols.ZeroGradient().init(2).tolist() == pytest.approx([0.2, 0.2])


def test_traces_are_read(tmp_path: Path) -> None:
    values = np.array([[1, 2], [3, 4], [5, 6]], "f")
    np.save(tmp_path / "trace.npy", values)
    np.save(tmp_path / "column.npy", values[:, 0])
    (tmp_path / "trace.csv").write_text("1,2\n3,4\n5,6\n")
    (tmp_path / "heading.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    for name in ("trace.npy", "trace.csv", "heading.csv"):
        assert np.array_equal(drawn(str(tmp_path / name), 3, 3), values[:, [0, 1, 0]])
    assert np.array_equal(drawn(str(tmp_path / "column.npy"), 2, 3), values[:, [0, 0]])


class Trap:
    """Unpickling it raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


def test_bad_traces_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([Trap()], object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.array([np.nan]))
    np.save(tmp_path / "empty.npy", np.zeros(0))
    np.save(tmp_path / "axes.npy", np.zeros((2, 2, 2)))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "text.csv").write_text("a\nb\n")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for path in [*tmp_path.iterdir(), tmp_path / "missing.npy", tmp_path / "missing.csv"]:
        with pytest.raises(InvalidInput, match=r"^protocol must be"):
            protocols.protocol(str(path))


def test_unknown_protocol() -> None:
    with pytest.raises(InvalidInput, match=r"^protocol must be one of low-gradient"):
        protocols.protocol("low")
