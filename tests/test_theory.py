"""Closed forms and approximations for one weight, against a float64 recursion that shares no code with them.

The recursion is that of `tests/oracle.py`; for a few settings the project's own update rules in float64. Settings are
drawn with fixed seeds from the stated range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from jaxsparse import theory
from jaxsparse.regularizers import BatchNormL1, CoupledL2, DecoupledDecay
from jaxsparse.rules import CONVENTIONS, RULES, defaults, functions, optimizer

ADAPTIVE = [name for name in functions.__all__ if RULES[name].adaptive]
CASES = [(name, convention) for name in ADAPTIVE for convention in CONVENTIONS]
PAPER = {
    "sgd": (0.1, {"momentum": 0.9}),
    "adam": (1e-3, {"b2": 0.99}),
    "amsgrad": (1e-3, {}),
    "adamax": (2e-3, {}),
    "rmsprop": (1e-3, {}),
    "adagrad": (1e-2, {}),
    "adadelta": (1.0, {"rho": 0.9}),
}
"""Learning rates and hyperparameters of Mehta et al. 2019, section 2.1 and supplement, Figure 3."""


def simulate(
    name: str, convention: str, learning_rate: Any, strength: Any, init: Any, steps: int, hyper: Mapping[str, Any]
) -> np.ndarray:
    """Weights `[steps + 1, n]` under coupled L2."""
    w, state = np.array(init, np.float64).reshape(-1), {}
    out = np.empty((steps + 1, w.size))
    out[0] = w
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            w = w + oracle.RULES[name](convention, hyper, learning_rate, t, strength * w, state)
            out[t] = w
    return out


def first_steps(
    name: str, convention: str, drawn: Mapping[str, Any], hyper: Mapping[str, Any], steps: int, threshold: float
) -> np.ndarray:
    """First step below the threshold `[n]`, inf where it is not among the first `steps`."""
    w, state = drawn["init"].copy(), {}
    first = np.full(w.size, math.inf)
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            w = w + oracle.RULES[name](convention, hyper, drawn["learning_rate"], t, drawn["strength"] * w, state)
            first[(np.abs(w) < threshold) & np.isinf(first)] = t
            if t % 500 == 0 and np.all(np.isfinite(first)):
                break
    return first


def draw(rng: np.random.Generator, name: str, n: int) -> dict[str, np.ndarray]:
    """Learning rate 1e-4..1e-1 (Adadelta: 1e-3..1), strength 1e-5..1e-1, start 0.05..2, all log-uniform."""
    rates = (1e-3, 1.0) if name == "adadelta" else (1e-4, 1e-1)
    bounds = {"learning_rate": rates, "strength": (1e-5, 1e-1), "init": (0.05, 2.0)}
    return {field: np.exp(rng.uniform(*np.log(bound), n)) for field, bound in bounds.items()}


def memories(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {"b2": rng.choice([0.99, 0.999], n), "decay": rng.choice([0.9, 0.99], n), "rho": rng.choice([0.9, 0.95], n)}


def predicted(name: str, convention: str, drawn: Mapping[str, Any], hyper: Mapping[str, Any], threshold: float) -> Any:
    return np.array(
        [
            theory.steps_to(
                threshold,
                name,
                CoupledL2(float(drawn["strength"][i])),
                learning_rate=float(drawn["learning_rate"][i]),
                init=float(drawn["init"][i]),
                convention=convention,
                **{field: float(value[i]) for field, value in hyper.items()},
            )
            for i in range(len(drawn["init"]))
        ]
    )


# Exact


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_sgd_is_exact(convention: str, nesterov: bool) -> None:
    rng = np.random.default_rng(1)
    n, steps = 60, 3000
    momentum = rng.choice([0.0, 0.5, 0.9, 0.99], n)
    h = np.exp(rng.uniform(math.log(1e-8), math.log(3.0), n))
    h[:4] = [(1 - math.sqrt(0.9)) ** 2, 0.01, 0.01, 0.99]  # a double root, and the best momentum for h = 0.01
    momentum[:4] = [0.9, 0.81, theory.best_momentum(0.1, 0.1), 0.9]
    want = simulate(
        "sgd", convention, 0.5, h / 0.5, np.full(n, 0.7), steps, {"momentum": momentum, "nesterov": nesterov}
    )
    for i in range(n):
        got = theory.predict(
            "sgd",
            CoupledL2(h[i] / 0.5),
            learning_rate=0.5,
            init=0.7,
            steps=steps,
            convention=convention,
            momentum=float(momentum[i]),
            nesterov=nesterov,
        )
        with np.errstate(over="ignore", invalid="ignore"):
            envelope = np.maximum.accumulate(np.abs(want[::-1, i]))[::-1]  # what is still to come: zeros are crossed
        alive = (envelope > 1e-280) & (envelope < 1e250)
        assert np.all(np.abs(got - want[:, i])[alive] <= 1e-10 * envelope[alive]), (h[i], momentum[i])


def test_momentum_sgd_reaches_the_threshold_in_the_same_step() -> None:
    rng = np.random.default_rng(2)
    n = 150
    drawn = draw(rng, "sgd", n)
    drawn["learning_rate"] *= 10
    hyper = {"momentum": rng.choice([0.0, 0.5, 0.9, 0.99], n), "nesterov": False}
    want = first_steps("sgd", "torch", drawn, hyper, 20_000, 1e-3)
    got = predicted("sgd", "torch", drawn, {"momentum": hyper["momentum"]}, 1e-3)
    seen = np.isfinite(want)
    assert seen.sum() > 30
    np.testing.assert_array_equal(got[seen], want[seen])
    assert np.all(got[~seen] > 20_000)


def test_weak_penalties_need_no_simulation() -> None:
    """1.4e10 steps: |w| (1 - h)^t with h = 1e-9."""
    got = theory.steps_to(1e-6, "sgd", CoupledL2(1e-5), learning_rate=1e-4, init=1.0)
    assert got == pytest.approx(math.log(1e6) / 1e-9, rel=1e-8)


@pytest.mark.parametrize("name", functions.__all__)
def test_decoupled_decay_and_none_are_exact(name: str) -> None:
    """With a gradient of zero the project's own rules do not move, and the decay alone is left."""
    with jax.enable_x64(True):
        for decay in (None, DecoupledDecay(0.02), DecoupledDecay(0.3, scale="learning_rate")):
            tx = optimizer(name, 0.1, regularizer=decay)
            want, init = [0.8], jnp.array(0.8)
            state = tx.init(init)
            for _ in range(60):
                update, state = tx.update(jnp.zeros_like(init), state, init)
                init = init + update
                want.append(float(init))
            got = theory.predict(name, decay, learning_rate=0.1, init=0.8, steps=60)
            np.testing.assert_allclose(got, want, rtol=1e-12)
            first = theory.steps_to(0.5, name, decay, learning_rate=0.1, init=0.8)
            assert first == next((t for t, w in enumerate(want) if abs(w) < 0.5), math.inf)


def test_never_and_at_once() -> None:
    zero, l2 = CoupledL2(0.0), CoupledL2(1e-3)
    assert theory.steps_to(0.5, "adam", None, learning_rate=1e-3, init=1.0) == math.inf
    assert theory.steps_to(0.5, "adam", zero, learning_rate=1e-3, init=1.0) == math.inf
    assert theory.steps_to(0.5, "sgd", CoupledL2(30.0), learning_rate=0.1, init=1.0) == math.inf  # 1 - 3: diverges
    assert theory.steps_to(0.5, "adadelta", l2, learning_rate=1.0, init=1.0, eps=0.0) == math.inf
    assert theory.steps_to(0.5, "adam", l2, learning_rate=1e-3, init=-0.1) == 0
    np.testing.assert_array_equal(theory.predict("adam", l2, learning_rate=1e-3, init=0.0, steps=3), 0)
    np.testing.assert_array_equal(
        theory.predict("adadelta", l2, learning_rate=1.0, init=1.0, steps=3, eps=0.0), np.ones(4)
    )


def test_weight_decay_of_one_step() -> None:
    """A share of 1 ends in one step, one above 2 never."""
    one, three = DecoupledDecay(10.0, scale="learning_rate"), DecoupledDecay(30.0, scale="learning_rate")
    assert theory.steps_to(1e-9, "adam", one, learning_rate=0.1, init=1.0) == 1
    assert theory.steps_to(1e-9, "adam", three, learning_rate=0.1, init=1.0) == math.inf
    np.testing.assert_allclose(theory.predict("adam", three, learning_rate=0.1, init=1.0, steps=3), [1, -2, 4, -8])


# Approximate


@pytest.mark.parametrize(("name", "convention"), CASES)
def test_steps_to_within_ten_percent(name: str, convention: str) -> None:
    """For at least 95 % of random settings; one of 24 may miss, as landing near zero is a matter of phase."""
    n, steps = 24, 15_000
    rng = np.random.default_rng([7, *map(ord, name + convention)])
    drawn, drawn_hyper = draw(rng, name, n), memories(rng, n)
    hyper = {
        field: drawn_hyper.get(field, np.full(n, float(value))) for field, value in defaults(name, convention).items()
    }
    want = first_steps(name, convention, drawn, hyper, steps, 1e-6)
    got = predicted(name, convention, drawn, hyper, 1e-6)
    known = ~np.isnan(got)
    assert not np.any(~known & np.isfinite(want))
    reached = np.isfinite(want)
    good = np.where(reached, np.abs(got - np.where(reached, want, 0)) <= 0.1 * want, got > steps / 1.1)
    assert good[known].mean() >= 0.95, np.flatnonzero(known & ~good)
    assert known.sum() >= 18


@pytest.mark.parametrize("name", functions.__all__)
def test_settings_of_the_papers_with_the_own_rules(name: str) -> None:
    """Down to 1e-3, as far as 4,000 steps go, with the project's own update rules in float64."""
    learning_rate, hyper = PAPER[name]
    strength, steps = 1e-3, 4000
    tx = optimizer(name, learning_rate, regularizer=CoupledL2(strength), **hyper)

    def step(carry: Any, _: Any) -> tuple[Any, Any]:
        weight, state = carry
        update, state = tx.update(jnp.zeros_like(weight), state, weight)
        return (weight + update, state), weight + update

    for init in (0.2, 1.0):
        with jax.enable_x64(True):
            weight = jnp.array(init)
            want = np.asarray(jax.lax.scan(step, (weight, tx.init(weight)), length=steps)[1])
        got = theory.predict(name, CoupledL2(strength), learning_rate=learning_rate, init=init, steps=steps, **hyper)
        assert got.shape == (steps + 1,)
        assert got[0] == init
        above = np.logical_and.accumulate(np.abs(want) > 1e-2 * init)
        np.testing.assert_allclose(got[1:][above], want[above], rtol=0.02)


def test_beginning_is_the_recursion() -> None:
    """While the gain drifts by more than its bound in a step, a block is one step and nothing is approximated."""
    for name, convention in CASES:
        hyper = defaults(name, convention)
        want = simulate(name, convention, 0.01, 1e-3, [0.3], 3, hyper)[:, 0]
        got = theory.predict(name, CoupledL2(1e-3), learning_rate=0.01, init=0.3, steps=3, convention=convention)
        np.testing.assert_allclose(got, want, rtol=1e-4, err_msg=f"{name} {convention}")
        np.testing.assert_allclose(got[:2], want[:2], rtol=1e-12, err_msg=f"{name} {convention}")


def test_sign_and_unit_of_the_weight_drop_out() -> None:
    """`dimensionless`: same learning_rate / init and eps / (strength init), same path in units of init."""
    common: dict[str, Any] = {"steps": 3000, "b2": 0.99}
    base = theory.predict("adam", CoupledL2(1e-3), learning_rate=1e-3, init=1.0, eps=1e-8, **common)
    other = theory.predict("adam", CoupledL2(1e-2), learning_rate=5e-4, init=-0.5, eps=5e-8, **common)
    assert theory.dimensionless(1e-3, 1e-3, 1.0, 1e-8) == pytest.approx(theory.dimensionless(5e-4, 1e-2, -0.5, 5e-8))
    seen = np.isfinite(base)
    assert seen.sum() > 2500
    np.testing.assert_allclose(other[seen] / -0.5, base[seen], rtol=1e-6, atol=1e-12)


def test_strength_drops_out_for_adam_and_not_for_sgd() -> None:
    adam = [theory.steps_to(1e-3, "adam", CoupledL2(s), learning_rate=1e-3, init=1.0) for s in (1e-4, 1e-2)]
    sgd = [theory.steps_to(1e-3, "sgd", CoupledL2(s), learning_rate=1e-3, init=1.0) for s in (1e-4, 1e-2)]
    assert adam[0] == pytest.approx(adam[1], rel=0.05)
    assert sgd[0] == pytest.approx(100 * sgd[1], rel=0.01)


def test_weights_that_vanish_end_in_zeros_and_cycles_in_nan() -> None:
    gone = theory.predict("amsgrad", CoupledL2(1e-3), learning_rate=1e-3, init=1.0, steps=200_000)
    assert gone[-1] == 0
    assert not np.any(np.isnan(gone))
    cycle = theory.predict("rmsprop", CoupledL2(1e-3), learning_rate=1e-3, init=1.0, steps=5_000)
    begins = int(np.flatnonzero(np.isnan(cycle))[0])
    assert begins > 1500
    assert np.all(np.isnan(cycle[begins:]))
    assert np.nanmin(np.abs(cycle)) < 1e-100
    stable = theory.predict("rmsprop", CoupledL2(1e-5), learning_rate=1e-3, init=1.0, steps=5_000)
    assert stable[-1] == 0  # the gain ends at learning_rate strength / eps = 1 < 2


# nan outside the range


@pytest.mark.parametrize(
    ("name", "strength", "change"),
    [
        ("adam", 1e-3, {"learning_rate": 10.0}),
        ("adam", 1e-3, {"learning_rate": 1e-6}),
        ("adam", 1e-8, {}),
        ("adam", 2.0, {}),
        ("adam", 1e-3, {"b1": 0.99}),
        ("amsgrad", 1e-3, {"b2": 0.5}),
        ("rmsprop", 1e-3, {"decay": 0.9999}),
        ("adadelta", 1e-3, {"rho": 0.5}),
        ("adadelta", 1e-3, {"learning_rate": 3.0}),
    ],
)
def test_nan_outside_the_range(name: str, strength: float, change: dict[str, Any]) -> None:
    setting: dict[str, Any] = {"learning_rate": 1e-2, "init": 1.0} | change
    assert math.isnan(theory.steps_to(1e-3, name, CoupledL2(strength), **setting))
    path = theory.predict(name, CoupledL2(strength), steps=5, **setting)
    assert path[0] == 1
    assert np.all(np.isnan(path[1:]))
    if name != "sgd":
        assert math.isnan(theory.crossing(name, strength, **setting))


def test_nan_for_thresholds_that_are_not_reached_before_a_cycle() -> None:
    """RMSProp with decay 0.9 falls by exp(-47) to exp(-50) before it is thrown back; below 1e-12 nothing is said."""
    rule: dict[str, Any] = {"learning_rate": 2e-2, "init": 1.0, "decay": 0.8, "eps": 0.0}
    assert theory.steps_to(1e-6, "rmsprop", CoupledL2(1e-3), **rule) < 200
    assert math.isnan(theory.steps_to(2e-12, "rmsprop", CoupledL2(1e-3), **rule))
    assert math.isnan(theory.steps_to(1e-13, "adam", CoupledL2(1e-3), learning_rate=1e-3, init=1.0))


# Propositions and named results


def test_proposition_iii_1_momentum_sgd_decays_geometrically() -> None:
    """The spectral radius against the eigenvalues of the recursion's matrix, and against the decay of paths."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        mu, h = float(rng.uniform(0, 0.99)), float(np.exp(rng.uniform(math.log(1e-6), math.log(3.9))))
        heavy = max(abs(np.linalg.eigvals(np.array([[1 + mu - h, -mu], [1.0, 0.0]]))))
        ahead = max(abs(np.linalg.eigvals(np.array([[(1 + mu) * (1 - h), -mu * (1 - h)], [1.0, 0.0]]))))
        assert theory.spectral_radius(h, 1.0, mu) == pytest.approx(heavy, rel=1e-6)
        assert theory.spectral_radius(h, 1.0, mu, nesterov=True) == pytest.approx(ahead, rel=1e-6)
        assert (heavy < 1) == (h < 2 * (1 + mu))
    want = simulate("sgd", "torch", 0.1, 1e-3, [1.0], 20_000, {"momentum": 0.9, "nesterov": False})[:, 0]
    assert (want[20_000] / want[10_000]) ** 1e-4 == pytest.approx(theory.spectral_radius(0.1, 1e-3, 0.9), rel=1e-9)


@pytest.mark.parametrize("h", [1e-6, 1e-3, 0.1, 0.5])
@pytest.mark.parametrize("nesterov", [False, True])
def test_best_momentum(h: float, nesterov: bool) -> None:
    best = theory.best_momentum(h, 1.0, nesterov)
    assert theory.spectral_radius(h, 1.0, best, nesterov) == pytest.approx(1 - math.sqrt(h), rel=1e-6)
    for other in np.linspace(0, 0.9999, 101):
        assert theory.spectral_radius(h, 1.0, float(other), nesterov) >= 1 - math.sqrt(h) - 1e-9


def test_momentum_may_slow_sgd_down() -> None:
    """Heavy ball beats SGD where sqrt(momentum) < 1 - h, and only there (0 < h < 1, 0 < momentum)."""
    rng = np.random.default_rng(6)
    for mu, h in zip(rng.uniform(1e-3, 0.999, 500), np.exp(rng.uniform(-7, -0.01, 500)), strict=True):
        assert (theory.spectral_radius(h, 1.0, mu) < 1 - h) == (math.sqrt(mu) < 1 - h)


def test_theorem_iii_2_bounds_adam_before_it_changes_sign() -> None:
    """The derived bound, and its premises: the weight falls monotonically, the second moment does not grow."""
    rng = np.random.default_rng(5)
    n, steps = 600, 3000
    hyper = {
        "b1": rng.choice([0.0, 0.5, 0.9, 0.95], n),
        "b2": 1 - 10 ** rng.uniform(-4, -0.5, n),
        "eps": rng.choice([0.0, 1e-8], n),
    }
    init, strength = 10 ** rng.uniform(-2, 1, n), 10 ** rng.uniform(-6, 0, n)
    rate = init * 10 ** rng.uniform(-4, 0, n)
    path = simulate("adam", "torch", rate, strength, init, steps, hyper)
    tested = 0
    for i in range(n):
        positive = np.logical_and.accumulate(path[:, i] > 1e-140)
        assert np.all(np.diff(path[positive, i]) <= 1e-12 * init[i])
        bound = theory.doubly_exponential_bound(
            steps,
            learning_rate=rate[i],
            init=init[i],
            b2=hyper["b2"][i],
            eps_over_strength=hyper["eps"][i] / strength[i],
        )
        if not np.isnan(bound[-1]):
            tested += 1
            assert np.all(path[positive, i] <= bound[positive] * (1 + 1e-9))
    assert 250 < tested < 550


def test_theorem_iii_2_needs_conditions() -> None:
    """From a large weight the fall is linear first; the bound says nothing, and the strength of b2 decides where."""
    nothing = theory.doubly_exponential_bound(5, learning_rate=1e-3, init=1.0, b2=0.99)
    assert np.all(np.isnan(nothing))
    assert not np.any(np.isnan(theory.doubly_exponential_bound(5, learning_rate=1e-3, init=1.0, b2=0.999)))
    halfway = theory.steps_to(0.5, "adam", CoupledL2(1e-3), learning_rate=1e-3, init=1.0, b2=0.99)
    assert 450 < halfway < 600  # linear, by about the learning rate a step


def test_doubly_exponential_fall_ends_where_it_oscillates() -> None:
    """The last positive weights lie by about the predicted factor below learning_rate / (1 - b2)."""
    for b2, low, high in [(0.99, 1e-6, 1e-3), (0.999, 1e-40, 1e-24)]:
        path = simulate("adam", "torch", 1e-3, 1e-3, [1.0], 7000, {"b1": 0.9, "b2": b2, "eps": 0.0})[:, 0]
        turn = int(np.argmax(path < 0))
        assert theory.crossing("adam", 1e-3, learning_rate=1e-3, init=1.0, b2=b2, eps=0.0) == pytest.approx(
            turn, rel=0.01
        )
        predicted_level = 1e-3 / (1 - b2) * math.exp(theory.fall_before_oscillation(b2, 0.9))
        assert low < predicted_level < high
        assert low < path[turn - 30] < high


@pytest.mark.parametrize("ratio", [1e-3, 3e-4])
def test_crossing_of_adam(ratio: float) -> None:
    """init/lr + (t2 - t1) ln(init / (lr t2)) + about 3 t2."""
    got = theory.crossing("adam", 1e-3, learning_rate=ratio, init=1.0, b2=0.99, eps=0.0)
    assert got == pytest.approx(1 / ratio + 90 * math.log(0.01 / ratio) + 290, rel=0.01)


def test_proposition_iii_3_nothing_but_zero_is_a_limit() -> None:
    """After 20,000 steps a weight is near zero, moves on, or cycles: it never rests elsewhere."""
    for name, convention in CASES:
        hyper = defaults(name, convention)
        rate = PAPER[name][0]
        path = simulate(name, convention, rate, np.array([1e-2, 1e-1]), [0.5, 0.1], 20_000, hyper)[-2:]
        assert np.all((np.abs(path[1]) < 1e-6) | (np.abs(path[1] - path[0]) > 1e-9)), (name, convention)


@pytest.mark.parametrize("decay", [0.9, 0.97, 0.99])
def test_rmsprop_dives_and_settles_in_its_cycle(decay: float) -> None:
    for strength, eps in [(1e-3, 0.0), (1e-3, 1e-7), (1.0, 1e-8)]:
        path = simulate("rmsprop", "torch", 1e-3, strength, [1.0], 6000, {"decay": decay, "eps": eps})[:, 0]
        amplitude = theory.cycle_amplitude(1e-3, strength, eps=eps)
        np.testing.assert_allclose(np.abs(path[-100:]), amplitude, rtol=1e-4)
        if eps == 0:
            depth = math.log(np.min(np.abs(path)))
            assert depth == pytest.approx(theory.dive_depth(decay), abs=4)


def test_cycle_of_adam() -> None:
    """Its root mean square is near the amplitude of the period of two; below the limit of the gain it dies."""
    rule = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}
    strengths = np.array([1e-4, 3e-4, 1e-3, 1e-2])
    tail = simulate("adam", "torch", 1e-3, strengths, np.ones(4), 25_000, rule)[-4000:]
    amplitudes = [theory.cycle_amplitude(1e-3, s, eps=1e-8, b1=0.9) for s in strengths]
    assert amplitudes[:2] == [0, 0]  # gains 10 and 30, the limit is 38
    assert np.all(np.abs(tail[:, :2]) < 1e-100)
    np.testing.assert_allclose(np.sqrt(np.mean(tail[:, 2:] ** 2, axis=0)), amplitudes[2:], rtol=0.15)


@pytest.mark.parametrize(("b1", "b2"), [(0.0, 0.99), (0.5, 0.99), (0.9, 0.99)])
def test_dive_depth_of_adam(b1: float, b2: float) -> None:
    path = simulate("adam", "torch", 1e-3, 1.0, [1.0], 4000, {"b1": b1, "b2": b2, "eps": 0.0})
    assert math.log(np.min(np.abs(path))) == pytest.approx(theory.dive_depth(b2, b1), abs=5)


def test_dive_of_adamax_is_that_of_adam_with_the_square_of_b2() -> None:
    path = simulate("adamax", "paper", 1e-3, 1.0, [1.0], 3000, {"b1": 0.9, "b2": 0.99, "eps": 0.0})
    assert math.log(np.min(np.abs(path))) == pytest.approx(theory.dive_depth(0.99**2, 0.9), abs=4)


def test_amsgrad_of_optax_is_momentum_sgd() -> None:
    """Its maximum is the first gradient's square, from the first step on: the gain stays learning_rate / init."""
    got = theory.steps_to(1e-6, "amsgrad", CoupledL2(1e-2), learning_rate=1e-3, init=1.0, convention="optax")
    assert got == pytest.approx(math.log(1e6) / -math.log(theory.spectral_radius(1e-3 * (1 - 0.9), 1.0, 0.9)), rel=1e-3)


@pytest.mark.parametrize(("convention", "accumulator"), [("paper", 0.0), ("torch", 0.0), ("optax", 0.1)])
def test_closed_form_of_adagrad(convention: str, accumulator: float) -> None:
    """Within 10 % up to learning_rate / init = 0.03, within 1 % at 1e-3; twice that on the first half of the way."""
    for rate, init, strength, error in [(3e-3, 0.1, 1e-1, 0.1), (1e-2, 1.0, 1.0, 0.04), (1e-3, 1.0, 1.0, 0.01)]:
        setting: dict[str, Any] = {"learning_rate": rate, "init": init}
        for level, factor in ((init / 2, 2), (1e-3, 1)):
            got = theory.steps_to(level, "adagrad", CoupledL2(strength), convention=convention, **setting)
            closed = theory.adagrad_time(level, accumulator=accumulator / strength**2, **setting)
            assert closed == pytest.approx(got, rel=factor * error)


# Input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"optimizer": "adamz"},
            f"optimizer must be one of {' '.join(RULES)}, got 'adamz'",
        ),
        ({"convention": "jax"}, "convention must be one of torch keras optax paper, got 'jax'"),
        ({"momentum": 0.9}, "hyperparameter of adam must be one of b1 b2 eps, got 'momentum'"),
        ({"b1": 1.0}, r"b1 must be in \[0, 1\), got 1.0"),
        ({"eps": -1.0}, "eps must be finite and >= 0, got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be a constant, finite and > 0, got 0.0"),
        ({"learning_rate": math.sin}, "learning_rate must be a constant, finite and > 0, got <built-in"),
        ({"init": math.nan}, "init must be a finite number, got nan"),
        ({"steps": 1.5}, "steps must be an integer >= 0, got 1.5"),
        ({"regularizer": BatchNormL1(1e-3)}, "regularizer must be None, or named one of l2 wd wd-lr, got BatchNormL1"),
        ({"regularizer": type("Wrong", (), {"name": "l2", "strength": -1.0})()}, "strength must be finite and >= 0"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    setting: dict[str, Any] = {
        "optimizer": "adam",
        "regularizer": CoupledL2(1e-3),
        "learning_rate": 1e-3,
        "init": 1.0,
        "steps": 2,
    }
    with pytest.raises(ValueError, match="^" + message) as caught:
        theory.predict(**(setting | change))
    assert "\n" not in str(caught.value)


def test_bad_threshold_and_nesterov() -> None:
    with pytest.raises(ValueError, match=r"^threshold must be a finite number > 0, got 0$"):
        theory.steps_to(0, "adam", None, learning_rate=1e-3, init=1.0)
    with pytest.raises(ValueError, match=r"^nesterov must be True or False, got 1$"):
        theory.steps_to(1.0, "sgd", None, learning_rate=1e-3, init=1.0, nesterov=1)
    with pytest.raises(ValueError, match=r"^optimizer must be one of adam "):
        theory.crossing("sgd", 1e-3, learning_rate=1e-3, init=1.0)
