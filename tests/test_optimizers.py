"""Update rules: every convention against an independent oracle and against recordings of torch and keras."""

from __future__ import annotations

import functools
import json
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

from jaxsparse import regularizers, schedules
from jaxsparse.regularizers import BatchNormL1, CoupledL2, DecoupledDecay, GroupLasso
from jaxsparse.rules import RULES, defaults, functions, optimizer

STEPS = 1000
STRENGTH = 0.01
LEARNING_RATE = {"sgd": 0.01, "adagrad": 0.01, "adadelta": 1.0, "amsgrad": 3e-4}  # of the others 1e-3
RECORDED = Path(__file__).parent / "recorded"

NAMES = functions.__all__
FORMS = [(name, convention) for name in NAMES for convention in RULES[name].forms]
ALL_FORMS = [(*form, False) for form in FORMS] + [("sgd", convention, True) for convention in RULES["sgd"].forms]


def run(tx: optax.GradientTransformation, init: Any, gradients: Any) -> Any:
    """Parameters after each step, from a tree of gradients with a leading axis of steps."""

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (init, tx.init(init)), gradients)[1]


def weights_and_gradients(steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """A kernel [4, 3] of both signs, and its gradients [steps, 4, 3]: large, then small, and for one weight none."""
    rng = np.random.default_rng(0)
    init = rng.uniform(0.5, 1.5, (4, 3)) * rng.choice([-1, 1], (4, 3))
    gradients = rng.normal(size=(steps, 4, 3)) * np.where(np.arange(steps) < steps // 2, 1, 0.1)[:, None, None]
    gradients[:, 0, 0] = 0
    return init, gradients


def relative_error(got: Any, want: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(got, np.float64) - want)) / np.max(np.abs(want)))


def settings(name: str, convention: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two settings: the defaults at a constant learning rate, and other hyperparameters with one that halves."""
    numbers = {field: value for field, value in oracle.DEFAULTS[name, convention].items() if field != "nesterov"}
    other = {"momentum": 0.9}
    hyper = {field: np.array([value, other.get(field, 0.97 * value)]) for field, value in numbers.items()}
    return hyper, np.array([1.0, 0.5])


@functools.cache
def ours(name: str, convention: str, nesterov: bool, dtype: str) -> dict[str, np.ndarray]:
    """Trajectories [2 settings, steps, 4, 3] by the name of the regularizer, all of them in one compiled scan."""

    def trajectories(hyper: Any, factor: Any, strength: Any, init: Any, gradients: Any) -> Any:
        learning_rate = schedules.step_decay(LEARNING_RATE.get(name, 1e-3), (300, 700), factor)
        static = {"nesterov": nesterov} if name == "sgd" else {}
        chains = {
            regularizer: optimizer(
                name,
                learning_rate,
                regularizer=regularizers.regularizer(regularizer, strength),
                convention=convention,
                **hyper,
                **static,
            )
            for regularizer in regularizers.NAMES
        }
        params = {key: {"scale" if key == "bn-l1" else "kernel": init} for key in chains}

        def init_fn(params: Any) -> Any:
            return {key: tx.init(params[key]) for key, tx in chains.items()}

        def update_fn(updates: Any, state: Any, params: Any = None) -> Any:
            new = {
                key: tx.update(jax.tree.map(lambda _: updates, params[key]), state[key], params[key])
                for key, tx in chains.items()
            }
            return {key: step for key, (step, _) in new.items()}, {key: state for key, (_, state) in new.items()}

        paths = run(optax.GradientTransformation(init_fn, update_fn), params, gradients)
        return {key: jax.tree.leaves(path)[0] for key, path in paths.items()}

    with jax.enable_x64(dtype == "float64"):
        arguments = (*settings(name, convention), STRENGTH, *weights_and_gradients())
        arguments = jax.tree.map(lambda x: jnp.asarray(x, dtype), arguments)
        return jax.device_get(jax.jit(jax.vmap(trajectories, in_axes=(0, 0, None, None, None)))(*arguments))


@functools.cache
def theirs(name: str, convention: str, nesterov: bool, regularizer: str) -> np.ndarray:
    hyper, factor = jax.tree.map(lambda x: x[:, None, None], settings(name, convention))
    init, gradients = weights_and_gradients()
    base = LEARNING_RATE.get(name, 1e-3)
    rates = [base * factor ** ((step >= 300) + (step >= 700)) for step in range(STEPS)]
    both = np.broadcast_to(init, (2, 4, 3)), np.broadcast_to(gradients[:, None], (STEPS, 2, 4, 3))
    kind = "scale" if regularizer == "bn-l1" else "kernel"
    numbers = {**hyper, "nesterov": nesterov}
    path = oracle.trajectory(
        name, convention, numbers, rates, *both, regularizer=regularizer, strength=STRENGTH, kind=kind
    )
    return path.swapaxes(0, 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize(("name", "convention", "nesterov"), ALL_FORMS)
def test_follows_oracle(name: str, convention: str, nesterov: bool, dtype: str, tolerance: float) -> None:
    got = ours(name, convention, nesterov, dtype)
    assert set(got) == set(regularizers.NAMES)
    for regularizer, path in got.items():
        assert path.dtype == dtype
        assert relative_error(path, theirs(name, convention, nesterov, regularizer)) <= tolerance, regularizer


def recorded_cases() -> list[Any]:
    cases = []
    for framework in ("torch", "keras"):
        with np.load(RECORDED / f"{framework}.npz") as file:
            for index, case in enumerate(json.loads(str(file["cases"]))):
                label = f"{framework}-{case['name']}-{case.get('regularizer', 'none')}-{index}"
                cases.append(pytest.param(framework, index, case, id=label))
    return cases


@pytest.mark.parametrize(("framework", "index", "case"), recorded_cases())
def test_follows_recording(framework: str, index: int, case: dict[str, Any]) -> None:
    with np.load(RECORDED / f"{framework}.npz") as file, jax.enable_x64(True):
        tx = optimizer(
            case["name"],
            schedules.step_decay(case["learning_rate"], (500,), 0.5),
            regularizer=regularizers.regularizer(case.get("regularizer", "none"), case.get("strength", 0.0)),
            convention=framework,
            **case.get("hyper", {}),
        )
        path = run(tx, jnp.asarray(file["init"]), jnp.asarray(file["gradients"]))
        every = len(path) // len(file[str(index)])
        for weight, want in zip(path[every - 1 :: every].T, file[str(index)].T, strict=True):
            assert relative_error(weight, want) <= 1e-12


@pytest.mark.parametrize(("name", "convention"), FORMS)
def test_none_means_default(name: str, convention: str) -> None:
    numbers: dict[str, Any] = defaults(name, convention)
    assert numbers == oracle.DEFAULTS[name, convention]
    gradient = jnp.array([0.3, -1e-7, 0.0])
    implicit = optimizer(name, 0.1, convention=convention)
    explicit = optimizer(name, 0.1, convention=convention, **numbers)
    first: Any = implicit.update(gradient, implicit.init(gradient))[0]
    second: Any = explicit.update(gradient, explicit.init(gradient))[0]
    assert jnp.array_equal(first, second)
    assert jnp.all(jnp.isfinite(first)), "also where the gradient is zero"


@pytest.mark.parametrize("regularizer", ["group-lasso", "wd"])
@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_compiles_once(name: str, regularizer: str) -> None:
    compiled = 0

    @jax.jit
    def steps(learning_rate: Any, factor: Any, strength: Any, hyper: Any) -> Any:
        nonlocal compiled
        compiled += 1
        tx = optimizer(
            name,
            schedules.step_decay(learning_rate, (1,), factor),
            regularizer=regularizers.regularizer(regularizer, strength),
            **hyper,
        )
        params = {"kernel": jnp.ones((2, 1)), "scale": jnp.ones(2)}
        return run(tx, params, jax.tree.map(lambda w: jnp.ones((2, *w.shape)), params))

    hyper = {field: value for field, value in defaults(name).items() if field != "nesterov"}
    fast = steps(0.1, 0.5, 0.1, hyper)
    for change in (1.0, 0.9, 0.8):
        slow = steps(0.1 * change, 0.5 * change, 0.1 * change, {f: change * value for f, value in hyper.items()})
    assert compiled == 1
    assert not jnp.array_equal(fast["kernel"], slow["kernel"])


@pytest.mark.parametrize("name", NAMES)
def test_keeps_types(name: str) -> None:
    """Numbers of a wider type change neither updates nor state, so that a scan accepts the state."""
    hyper = {field: jnp.float32(value) for field, value in defaults(name).items() if field != "nesterov"}
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16), "scale": jnp.ones(2, jnp.float32)}
    for regularizer in regularizers.NAMES:
        chosen = regularizers.regularizer(regularizer, jnp.float32(0.1))
        tx = optimizer(name, jnp.float32(0.1), regularizer=chosen, **hyper)
        state = tx.init(params)
        updates, new_state = tx.update(params, state, params)
        assert [leaf.dtype for leaf in jax.tree.leaves((updates, new_state))] == [
            leaf.dtype for leaf in jax.tree.leaves((params, state))
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "adamz"}, f"optimizer must be one of {' '.join(RULES)}, got 'adamz'"),
        ({"convention": "jax"}, "convention must be one of torch keras optax paper, got 'jax'"),
        ({"rho": 0.9}, "hyperparameter of adam must be one of b1 b2 eps, got 'rho'"),
        ({"b1": 1.0}, r"b1 must be in \[0, 1\), got 1.0"),
        ({"b2": -0.1}, r"b2 must be in \[0, 1\), got -0.1"),
        ({"eps": -1e-8}, "eps must be finite and >= 0, got -1e-08"),
        ({"eps": float("nan")}, "eps must be finite and >= 0, got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0, got 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite and > 0, got inf"),
        ({"name": "sgd", "momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"name": "sgd", "nesterov": 1.0}, "nesterov must be True or False, got 1.0"),
        ({"name": "rmsprop", "decay": 1.5}, r"decay must be in \[0, 1\), got 1.5"),
        ({"name": "adadelta", "rho": 1.0}, r"rho must be in \[0, 1\), got 1.0"),
        (
            {"name": "adagrad", "initial_accumulator_value": -1.0},
            "initial_accumulator_value must be finite and >= 0, got -1.0",
        ),
        ({"regularizer": 1e-4}, "regularizer must be None or one of jaxsparse.regularizers, got 0.0001"),
    ],
)
def test_says_what_is_wrong(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        optimizer(**{"name": "adam", "learning_rate": 0.1, **arguments})


def test_needs_params_to_regularize() -> None:
    for regularizer in (BatchNormL1(0.1), GroupLasso(0.1), DecoupledDecay(0.1)):
        tx = optimizer("sgd", 0.1, regularizer=regularizer)
        params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
        with pytest.raises(ValueError, match="params must be passed"):
            tx.update(params, tx.init(params))


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_no_regularizer(name: str) -> None:
    """Bit for bit; outside of jit, which fuses multiplications and additions as it likes. But factors are others."""
    weights = jnp.asarray(weights_and_gradients()[0], jnp.float32)
    params, gradient = {"kernel": weights, "scale": weights[0]}, {"kernel": weights[::-1] / 7, "scale": weights[1] / 3}

    def three_steps(tx: optax.GradientTransformation) -> Any:
        weights, state = params, tx.init(params)
        for _ in range(3):
            updates, state = tx.update(gradient, state, weights)
            weights = optax.apply_updates(weights, updates)
        return weights

    plain = three_steps(optimizer(name, 0.1))
    for regularizer in set(regularizers.NAMES[1:]) - {"spred"}:
        weights = three_steps(optimizer(name, 0.1, regularizer=regularizers.regularizer(regularizer, jnp.float32(0))))
        assert jax.tree.all(jax.tree.map(jnp.array_equal, weights, plain)), regularizer


def test_mask_chooses_what_is_regularized() -> None:
    init, gradients = jax.tree.map(jnp.float32, weights_and_gradients(50))
    params, gradients = {"a": init, "b": init}, {"a": gradients, "b": gradients}
    for regularizer in (CoupledL2(0.1), DecoupledDecay(0.1), DecoupledDecay(0.1, scale="learning_rate")):
        whole = run(optimizer("adam", 0.1, regularizer=regularizer), params, gradients)
        none = run(optimizer("adam", 0.1), params, gradients)
        for mask in ({"a": True, "b": False}, lambda params: {key: key == "a" for key in params}):
            path = run(optimizer("adam", 0.1, regularizer=regularizer, mask=mask), params, gradients)
            assert jnp.array_equal(path["a"], whole["a"])
            assert jnp.array_equal(path["b"], none["b"])
            assert not jnp.array_equal(path["a"], path["b"])


@jax.jit
def _sgd_with(l2: Any, decay: Any, learning_rate: Any, init: Any, gradients: Any) -> tuple[Any, Any]:
    coupled = optimizer("sgd", learning_rate, regularizer=CoupledL2(l2))
    decoupled = optimizer("sgd", learning_rate, regularizer=DecoupledDecay(decay, scale="learning_rate"))
    return run(coupled, init, gradients), run(decoupled, init, gradients)


@hypothesis.given(strength=st.floats(0, 1), learning_rate=st.floats(1e-4, 0.5))
@hypothesis.settings(max_examples=30, deadline=None)
def test_for_plain_sgd_l2_is_decay(strength: float, learning_rate: float) -> None:
    init, gradients = weights_and_gradients(50)
    with jax.enable_x64(True):
        coupled, decoupled = _sgd_with(strength, strength, learning_rate, init, gradients)
    assert relative_error(coupled, np.asarray(decoupled)) < 1e-13


@functools.cache
def _jitted_run(name: str, convention: str) -> Any:
    return jax.jit(functools.partial(run, optimizer(name, 0.01, convention=convention, regularizer=CoupledL2(0.1))))


@hypothesis.given(
    form=st.sampled_from([form for form in FORMS if form[1] in ("torch", "paper")]),
    order=st.permutations(range(12)),
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_weights_do_not_influence_each_other(form: tuple[str, str], order: list[int]) -> None:
    init, gradients = weights_and_gradients(20)
    init, gradients = init.ravel().astype(np.float32), gradients.reshape(20, 12).astype(np.float32)
    path = _jitted_run(*form)(init, gradients)
    permuted = _jitted_run(*form)(init[order], gradients[:, order])
    np.testing.assert_allclose(permuted, path[:, np.array(order)], rtol=1e-6, atol=1e-7)


def test_adam_is_optax_adam() -> None:
    """The form with one division is the usual one, up to rounding."""
    init, gradients = weights_and_gradients()
    with jax.enable_x64(True):
        init, gradients = jnp.asarray(init), jnp.asarray(gradients)
        assert (
            relative_error(
                run(optimizer("adam", 1e-3), init, gradients), np.asarray(run(optax.adam(1e-3), init, gradients))
            )
            < 1e-13
        )


@pytest.mark.parametrize("convention", ["torch", "keras"])
@pytest.mark.parametrize("name", NAMES)
def test_state_can_be_donated(name: str, convention: str) -> None:
    tx = optimizer(name, 0.1, convention=convention)
    params = jnp.ones(3)
    update = jax.jit(tx.update, donate_argnums=1)
    updates, _ = update(params, tx.init(params), params)
    assert jnp.all(updates < 0)


def test_adadelta_descends() -> None:
    """`optax.adadelta()` without a learning rate walks uphill; ours has no such default."""
    weight, uphill, downhill = jnp.ones(()), optax.adadelta(), optimizer("adadelta", 1.0)
    assert jnp.all(jnp.asarray(uphill.update(weight, uphill.init(weight), weight)[0]) > 0)
    assert jnp.all(jnp.asarray(downhill.update(weight, downhill.init(weight), weight)[0]) < 0)


@pytest.mark.parametrize(("momentum", "eta", "strength"), [(0.9, 0.1, 1e-3), (0.5, 0.05, 1e-2)])
def test_momentum_amplifies_l2(momentum: float, eta: float, strength: float) -> None:
    """Without a loss gradient a weight shrinks by about eta * lambda / (1 - mu) a step."""
    tx = optimizer("sgd", eta, momentum=momentum, regularizer=CoupledL2(strength))
    path = run(tx, jnp.ones(()), jnp.zeros(500))
    rate = -jnp.log(path[-1] / path[-101]) / 100
    assert float(rate) == pytest.approx(eta * strength / (1 - momentum), rel=0.02)
