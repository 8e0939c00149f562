"""One weight whose loss gradient is noise: the moments of the theory against simulated weights and other formulas.

Simulations are of the package's update rules in float64, of many weights with one seed. A mean of n weights is off by
`deviation / sqrt(n)`, a deviation by a share of `1 / sqrt(2 n)`: tolerances are four of these, and what the
approximation itself misses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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
from jaxsparse import noise, theory
from jaxsparse.checks import InvalidInput
from jaxsparse.dynamics import simulate
from jaxsparse.dynamics.protocols import LowGradient

Settings = Mapping[str, Any]
ROOT = Path(__file__).parents[1]
MEMORIES = {
    "sgd": {"momentum": (0.0, 0.9)},
    "adam": {"b1": (0.0, 0.9), "b2": (0.99, 0.999)},
    "amsgrad": {"b1": (0.0, 0.9), "b2": (0.99, 0.999)},
    "rmsprop": {"decay": (0.9, 0.99)},
    "adagrad": {},
}
RATES = {"sgd": 100.0, "adagrad": 10.0}
"""Their learning rates are so many times those of the others."""


def simulated(name: str, settings: Settings, draws: int, at: Any, regularizer: Any = js.CoupledL2) -> np.ndarray:
    """Weights `[len(at), cases, draws]`; settings hold arrays `[cases]`, hyperparameters among them."""
    cases = len(settings["init"])
    own = {field: np.repeat(np.asarray(values, np.float64), draws) for field, values in settings.items()}
    hyper = settings.keys() - {"init", "noise", "gradient", "learning_rate", "strength"}

    def tx(s: Any) -> optax.GradientTransformation:
        penalty = regularizer(s["strength"])
        return js.optimizer(name, s["learning_rate"], regularizer=penalty, **{field: s[field] for field in hyper})

    def gradients(key: jax.Array, step: jax.Array) -> jax.Array:
        del step
        return own.get("gradient", 0.0) + own["noise"] * jax.random.normal(key, (cases * draws,))

    with jax.enable_x64(True):
        path = simulate(tx, own["init"], gradients, settings=own, steps=int(at[-1]), key=jax.random.key(0), at=at)
    return np.asarray(path).reshape(len(at), cases, draws)


def predicted(name: str, settings: Settings, at: Any, regularizer: Any = js.CoupledL2) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation `[len(at), cases]`."""
    paths = []
    for case in range(len(settings["init"])):
        own = {field: float(values[case]) for field, values in settings.items()}
        penalty = regularizer(own.pop("strength"))
        path = noise.predict(name, penalty, steps=int(at[-1]), **own)  # pyright: ignore[reportArgumentType]
        paths.append((path.mean[at], path.deviation[at]))
    mean, deviation = np.swapaxes(np.array(paths), 0, 1)
    return mean.T, deviation.T


def compare(weights: np.ndarray, mean: np.ndarray, deviation: np.ndarray, missed: float, scale: Any) -> None:
    """Within four standard errors and a share that the approximation misses, of the first weight or the deviation."""
    draws = weights.shape[-1]
    error = np.abs(weights.mean(-1) - mean) - 4 * weights.std(-1) / math.sqrt(draws)
    assert np.all(error <= missed * np.asarray(scale)), error
    ratio = np.abs(weights.std(-1) / deviation - 1)
    assert np.all(ratio <= missed + 4 / math.sqrt(2 * draws)), ratio


# Exact


def lyapunov(h: float, kick: float, momentum: float) -> float:
    """Stationary variance of w of `u <- momentum u + h w + kick x`, `w <- w - u`, by solving `P = A P A^T + b b^T`."""
    a = np.array([[1 - h, -momentum], [h, momentum]])
    b = np.array([-kick, kick])
    return float(np.linalg.solve(np.eye(4) - np.kron(a, a), np.outer(b, b).reshape(-1))[0])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("h", [1e-5, 1e-2, 0.5, 1.9])
def test_heavy_ball_in_the_long_run(h: float, momentum: float) -> None:
    strength, sd = 1e-2, 3e-3
    rate = h / strength
    found = noise.stationary_deviation("sgd", js.CoupledL2(strength), learning_rate=rate, noise=sd, momentum=momentum)
    assert found**2 == pytest.approx(lyapunov(h, rate * sd, momentum), rel=1e-6 if h < 1e-3 else 1e-10)
    closed = rate * sd**2 * (1 + momentum) / ((1 - momentum) * strength * (2 * (1 + momentum) - h))
    assert found**2 == pytest.approx(closed, rel=1e-12)


def test_sgd_that_is_unstable_has_no_deviation() -> None:
    given: Any = {"learning_rate": 2.0, "noise": 1.0, "momentum": 0.5}
    assert noise.stationary_deviation("sgd", js.CoupledL2(1.5), **given) == math.inf
    assert noise.stationary_deviation("sgd", None, **given) == math.inf
    assert noise.time_constant("sgd", None, **given) == math.inf
    path = noise.predict("sgd", js.CoupledL2(3.0), init=1.0, steps=2000, **given)
    assert 1.0 < abs(path.mean[10]) < math.inf
    assert path.mean[-1] == path.deviation[-1] == math.inf


@pytest.mark.parametrize(
    "decay", [js.CoupledL2(0.02), js.DecoupledDecay(0.02), js.DecoupledDecay(0.1, "learning_rate")]
)
def test_sgd_is_exact(decay: Any) -> None:
    """Mean: the path without noise. Variance: squares of the response to a single gradient, summed."""
    rate, momentum, sd, steps = 0.3, 0.9, 1e-2, 400
    given: Any = {"learning_rate": rate, "momentum": momentum, "steps": steps}
    found = noise.predict("sgd", decay, init=0.7, noise=sd, **given)
    alone = theory.predict("sgd", decay, init=0.7, **given)
    np.testing.assert_allclose(found.mean, alone, rtol=0, atol=1e-12)
    impulse = np.zeros((steps, 1))
    impulse[0] = 1.0
    with jax.enable_x64(True):
        tx = js.sgd(rate, momentum=momentum, regularizer=decay)
        response = np.asarray(simulate(tx, np.zeros(1), impulse))[1:, 0]
    np.testing.assert_allclose(found.deviation[1:] ** 2, sd**2 * np.cumsum(response**2), rtol=1e-10)
    settled = noise.stationary_deviation("sgd", decay, learning_rate=rate, momentum=momentum, noise=sd)
    assert found.deviation[-1] == pytest.approx(settled, rel=1e-3)


# Without noise, it is the rule itself


@pytest.mark.parametrize(
    ("name", "convention"),
    [
        (name, convention)
        for name in noise.OPTIMIZERS
        for convention in ("torch", "keras", "optax", "paper")
        if (name, convention) != ("amsgrad", "optax")
    ],
)
def test_without_noise_it_is_the_recursion(name: str, convention: str) -> None:
    rate, strength, init, steps = RATES.get(name, 1.0) * 1e-3, 1e-3, 0.4, 800
    hyper = oracle.DEFAULTS[name, convention] | ({"momentum": 0.9} if name == "sgd" else {})
    found = noise.predict(
        name,
        js.CoupledL2(strength),
        learning_rate=rate,
        init=init,
        noise=0.0,
        steps=steps,
        convention=convention,
        **hyper,
    )
    w, state, path = np.array([init]), {}, [init]
    for t in range(1, steps + 1):
        w = w + oracle.RULES[name](convention, hyper, rate, t, strength * w, state)
        path.append(float(w[0]))
    alive = np.maximum.accumulate(np.abs(path[::-1]))[::-1] > 1e-6
    np.testing.assert_allclose(found.mean[alive], np.array(path)[alive], rtol=0, atol=1e-9)
    assert np.all(found.deviation == 0)


@pytest.mark.parametrize(("name", "b1"), [("adam", 0.9), ("rmsprop", 0.0)])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-6])
def test_hardly_any_noise_ends_in_the_cycle(name: str, b1: float, eps: float) -> None:
    given: Any = {"learning_rate": 1e-3, "noise": 1e-14, "eps": eps}
    found = noise.stationary_deviation(name, js.CoupledL2(1e-3), **given)
    assert found == pytest.approx(theory.cycle_amplitude(1e-3, 1e-3, eps=eps, b1=b1), rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("name", noise.FORGETTING)
@pytest.mark.parametrize("size", [0.03, 1.0, 10.0])
def test_the_path_ends_where_it_is_stationary(name: str, size: float) -> None:
    """Also where the weight's own variance is most of the second moment."""
    given: Any = {"learning_rate": 1e-2, "noise": size * 1e-3, "convention": "keras"}
    path = noise.predict(name, js.CoupledL2(0.1), init=0.0, steps=3000, **given)
    settled = noise.stationary_deviation(name, js.CoupledL2(0.1), **given)
    assert path.deviation[-1] == pytest.approx(settled, rel=2e-3)
    assert path.mean[-1] == 0


# Against simulated weights


def drawn(name: str, cases: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Learning rate 1e-4..1e-2 (times `RATES`), strength 1e-4..1e-2, start 0.1..1, noise 1e-4..10 times strength."""
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(math.log(low), math.log(high), cases))

    settings = {"learning_rate": between(1e-4, 1e-2) * RATES.get(name, 1.0), "strength": between(1e-4, 1e-2)}
    settings |= {"init": between(0.1, 1.0), "noise": settings["strength"] * between(1e-4, 10.0)}
    return settings | {field: rng.choice(values, cases) for field, values in MEMORIES[name].items()}


def measured(name: str, cases: int, draws: int, at: np.ndarray) -> np.ndarray:
    """Errors `[3, len(at) * cases]`: of the mean over the root mean square, of deviation and root mean square."""
    settings = drawn(name, cases)
    weights, (mean, deviation) = simulated(name, settings, draws, at), predicted(name, settings, at)
    rms = np.sqrt((weights**2).mean(-1))
    errors = (mean - weights.mean(-1)) / rms, deviation / weights.std(-1) - 1, np.hypot(mean, deviation) / rms - 1
    return np.abs(np.array(errors)).reshape(3, -1)


@pytest.mark.parametrize("name", noise.OPTIMIZERS)
def test_random_settings(name: str) -> None:
    """A few; the table of docs/theory.md has more."""
    draws = 400
    mean, deviation, rms = measured(name, 8, draws, np.array([20, 100, 800]))
    error = 1 / math.sqrt(2 * draws)
    assert max(np.median(deviation), np.median(rms)) < error
    assert np.all(mean < 4 / math.sqrt(draws) + 0.02)
    assert np.all(deviation < 4 * error + 0.2)
    assert np.quantile(deviation, 0.9) < 2 * error + 0.05


@pytest.mark.slow
def test_table_of_the_documentation() -> None:
    """`pytest tests/test_noise.py -m slow -s -n 0` prints the rows of "With noise" in docs/theory.md."""
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    for name in noise.OPTIMIZERS:
        errors = measured(name, 24, 4000, np.array([20, 100, 500, 2000]))
        figures = [f(kind) for kind in errors for f in (np.median, _most, np.max)]
        row = f"| {name} | " + " | ".join(f"{100 * figure:.1f} %" for figure in figures) + " |"
        print(row)
        (told,) = re.findall(rf"^\| {name} (\|(?: \d+\.\d % \|){{9}})$", page, re.MULTILINE)
        shown = [float(number) for number in re.findall(r"(\d+\.\d) %", told)]
        np.testing.assert_allclose(shown, 100 * np.array(figures), rtol=0.05, atol=0.11)


def _most(errors: np.ndarray) -> float:
    return float(np.quantile(errors, 0.95))


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_in_the_long_run(name: str) -> None:
    """From noise far below the cycle to far above it: within 3 %, where deviations are told to 1 %."""
    sizes = np.array([0.1, 1.0, 10.0, 100.0])  # of the noise over learning rate times strength
    rate, strength, draws = 1e-3, 1e-3, 1000
    hyper = {"b1": 0.9, "b2": 0.99} if name == "adam" else {"decay": 0.99}
    deviation = np.array(
        [
            noise.stationary_deviation(
                name, js.CoupledL2(strength), learning_rate=rate, noise=size * rate * strength, **hyper
            )
            for size in sizes
        ]
    )
    settings: dict[str, Any] = {field: np.full(4, value) for field, value in hyper.items()}
    settings |= {"learning_rate": np.full(4, rate), "strength": np.full(4, strength)}
    settings |= {"init": deviation, "noise": sizes * rate * strength}
    at = np.linspace(600, 1800, 7).astype(int)
    found = np.sqrt((simulated(name, settings, draws, at) ** 2).mean((0, 2)))
    np.testing.assert_allclose(deviation, found, rtol=0.03)


def test_decoupled_decay_holds_adam_at_a_level_without_noise_in_it() -> None:
    """Rotational equilibrium of a single number: `sqrt(lr / (2 strength))`."""
    settings = {
        "learning_rate": np.array([2e-3, 2e-3]),
        "strength": np.array([2.0, 2.0]),
        "init": np.array([0.1, 0.1]),
        "noise": np.array([1e-6, 1.0]),
        "b2": np.array([0.99, 0.99]),
    }
    at = np.array([200, 2000])

    def decay(strength: Any) -> Any:
        return js.DecoupledDecay(strength, "learning_rate")

    mean, deviation = predicted("adam", settings, at, decay)
    compare(simulated("adam", settings, 1000, at, decay), mean, deviation, 0.02, 0.1)
    for sd, last in zip((1e-6, 1.0), deviation[-1], strict=True):
        given: Any = {"learning_rate": 2e-3, "noise": sd, "b2": 0.99}
        settled = noise.stationary_deviation("adam", decay(2.0), **given)
        assert settled == pytest.approx(math.sqrt(2e-3 / (2 * 2.0)), rel=0.04)
        assert last == pytest.approx(settled, rel=2e-3)
        assert noise.time_constant("adam", decay(2.0), **given) == pytest.approx(1 / (2e-3 * 2.0), rel=0.01)


def test_low_gradient_protocol() -> None:
    """Noise of 1e-3 for 100 steps, then of 1e-5: Mehta et al., Figure 4."""
    protocol, draws, steps, strength, rate, b2 = LowGradient(), 500, 1500, 1e-3, 1e-3, 0.99
    at = np.array([100, 300, 700, 1500])
    with jax.enable_x64(True):
        tx = js.adam(rate, regularizer=js.CoupledL2(strength), b2=b2)
        draw = protocol.gradients(draws)
        init = np.full(draws, protocol.initial)
        weights = np.asarray(simulate(tx, init, draw, steps=steps, key=jax.random.key(1), at=at))
    noises = np.where(np.arange(steps) < protocol.first_steps, protocol.first_deviation, protocol.deviation)
    found = noise.predict(
        "adam", js.CoupledL2(strength), learning_rate=rate, init=protocol.initial, noise=noises, steps=steps, b2=b2
    )
    compare(weights, found.mean[at], found.deviation[at], 0.06, 0.01)


def test_amsgrad_slows_down_as_its_maximum_grows() -> None:
    """At b2 0.9 the maximum is twice the mean by then, and the mean weight a third larger than with Adam."""
    names = {"learning_rate": 2e-3, "strength": 1e-3, "init": 0.1, "noise": 1e-3, "b1": 0.0, "b2": 0.9}
    settings = {field: np.full(1, value) for field, value in names.items()}
    at = np.array([300, 600])
    mean, deviation = predicted("amsgrad", settings, at)
    compare(simulated("amsgrad", settings, 2000, at), mean, deviation, 0.04, 0.1)
    assert mean[-1] > 1.3 * predicted("adam", settings, at)[0][-1]


def test_first_step_below_a_threshold() -> None:
    """The root mean square of many weights is below it in that step, but for 3 %."""
    draws, threshold = 2000, 0.1
    given: dict[str, Any] = {"learning_rate": 4e-3, "noise": 1e-3, "b2": 0.99, "init": 0.5}
    settings = {field: np.full(1, value) for field, value in (given | {"strength": 1e-3}).items()}
    at = np.arange(301, 700)
    rms = np.sqrt((simulated("adam", settings, draws, at) ** 2).mean((1, 2)))
    l2 = js.CoupledL2(1e-3)
    step = noise.steps_to(threshold, "adam", l2, **given)
    assert step == pytest.approx(at[np.flatnonzero(rms < threshold)[0]], rel=0.03)
    assert noise.steps_to(2.0, "adam", l2, **given) == 0
    assert noise.steps_to(0.04, "adam", l2, within=2000, **given) == math.inf
    assert math.isnan(noise.steps_to(0.05, "adam", l2, within=100, **given))
    path = noise.predict("adam", l2, steps=int(step), **given)
    assert path.rms[-1] < threshold <= path.rms[-2]


def test_adagrad_falls_as_the_root_of_time() -> None:
    """`exp(-2 lr strength sqrt(t) / noise)`, and a deviation of `sqrt(lr noise / (2 strength)) t^(-1/4)`."""
    rate, strength, sd, init, steps = 1e-2, 0.1, 2e-2, 0.01, 10_000
    path = noise.predict("adagrad", js.CoupledL2(strength), learning_rate=rate, init=init, noise=sd, steps=steps)
    at = np.array([100, 400, 1600])
    np.testing.assert_allclose(path.mean[at], init * np.exp(-2 * rate * strength * np.sqrt(at) / sd), rtol=0.15)
    settled = math.sqrt(rate * sd / (2 * strength)) * steps**-0.25
    assert path.deviation[-1] == pytest.approx(settled, rel=0.04)


def test_a_constant_gradient_is_held() -> None:
    """At `-gradient / strength`, by every rule."""
    strength, mean = 1e-2, -2e-3
    (held,) = noise.equilibria(lambda w: mean, strength, -1.0, 1.0)
    assert held.weight == pytest.approx(0.2)
    assert held.stable
    at = np.array([500, 2000])
    settings = {
        "learning_rate": np.array([1e-3]),
        "strength": np.array([strength]),
        "init": np.array([0.1]),
        "noise": np.array([1e-3]),
        "gradient": np.array([mean]),
    }
    middle, deviation = predicted("adam", settings, at)
    compare(simulated("adam", settings, 1000, at), middle, deviation, 0.04, 0.1)
    given: Any = {"init": 0.1, "noise": 1e-3, "gradient": mean, "steps": 3000}
    for name, rate in (("adam", 1e-3), ("sgd", 0.5), ("rmsprop", 1e-3), ("amsgrad", 1e-3)):
        path = noise.predict(name, js.CoupledL2(strength), learning_rate=rate, **given)
        assert path.mean[-1] == pytest.approx(held.weight, rel=0.02)


# When a unit starts to fall


def pull_of_a_unit(w: Any) -> Any:
    """Mean gradient of the loss that grows with the weight and then saturates: a small unit does nothing."""
    return -4e-3 * w**2 / (w**2 + 0.1**2)


def test_a_weight_below_the_unstable_equilibrium_falls() -> None:
    """`strength w^2 - 4e-3 w + strength 0.1^2 = 0` by hand; the loss gradient is simulated as a transformation."""
    strength = 1e-2
    by_hand = np.sort(np.roots([strength, -4e-3, strength * 0.1**2]).real)
    found = noise.equilibria(pull_of_a_unit, strength, 1e-6, 1.0)
    np.testing.assert_allclose([point.weight for point in found], by_hand, rtol=1e-9)
    assert [point.stable for point in found] == [False, True]
    assert noise.equilibria(pull_of_a_unit, 0.021, 1e-6, 1.0) == []  # from 4e-3 / (2 * 0.1) on nothing holds
    assert len(noise.equilibria(pull_of_a_unit, 0.019, 1e-6, 1.0)) == 2

    loss = optax.stateless(lambda g, w: jax.tree.map(lambda g, w: g + pull_of_a_unit(w), g, w))
    draws, steps, sd, starts = 1000, 1500, 1e-3, np.array([0.015, 0.06])
    at = np.array([100, 500, steps])
    with jax.enable_x64(True):
        tx = optax.chain(loss, js.sgd(0.2, regularizer=js.CoupledL2(strength)))
        weights = simulate(
            tx,
            np.repeat(starts, draws),
            lambda key, step: sd * jax.random.normal(key, (2 * draws,)),
            steps=steps,
            key=jax.random.key(2),
            at=at,
        )
    penalty = js.CoupledL2(strength)
    for start, found in zip(starts, np.moveaxis(np.asarray(weights).reshape(3, 2, draws), 1, 0), strict=True):
        path = noise.predict(
            "sgd", penalty, learning_rate=0.2, init=start, noise=sd, steps=steps, gradient=pull_of_a_unit
        )
        compare(found, path.mean[at], path.deviation[at], 0.15, start)
        assert (path.mean[-1] > by_hand[0]) == (start > by_hand[0])


@pytest.mark.parametrize("ratio", [1.0, 3.0, 100.0])
@pytest.mark.parametrize("b2", [0.99, 0.999])
def test_lag_is_the_sum(ratio: float, b2: float) -> None:
    v = 1 + (ratio**2 - 1) * b2 ** np.arange(40_000)
    assert noise.lag(ratio, 1.0, b2) == pytest.approx(np.sum(1 - 1 / np.sqrt(v)), abs=0.6)


def test_weights_fall_later_than_the_noise() -> None:
    """By the lag, of 339 steps: 3,000 weights tell the mean to 0.4 %, which is 8 steps."""
    strength, rate, before, after, b2 = 2e-3, 2.5e-4, 1e-2, 1e-3, 0.99
    changed, steps, draws = 500, 2500, 3000
    at = np.array([changed, steps])
    with jax.enable_x64(True):
        deviations = jnp.where(jnp.arange(steps) < changed, before, after)
        weights = np.asarray(
            simulate(
                js.adam(rate, b2=b2, regularizer=js.CoupledL2(strength)),
                np.full(draws, 0.05),
                lambda key, step: deviations[step] * jax.random.normal(key, (draws,)),
                steps=steps,
                key=jax.random.key(4),
                at=at,
            )
        )
    there, end = weights.mean(1)
    tau = noise.time_constant("adam", js.CoupledL2(strength), learning_rate=rate, noise=after, b2=b2)
    lag = steps - changed - tau * math.log(there / end)
    assert lag == pytest.approx(noise.lag(before, after, b2), abs=40)


@pytest.mark.parametrize("b2", [0.9, 0.99])
def test_largest_second_moment(b2: float) -> None:
    """Within 5 % from 10 relaxation times on, and 2 % from 100 on; the mean of 400 is told to 0.5 %."""
    rng = np.random.default_rng(0)
    second = highest = np.zeros(400)
    found = {}
    for t in range(1, 10_001):
        second = b2 * second + (1 - b2) * rng.standard_normal(400) ** 2
        highest = np.maximum(highest, second)
        found[t] = highest.mean()
    for times, allowed in ((10, 0.14 if b2 == 0.9 else 0.05), (100, 0.06 if b2 == 0.9 else 0.02)):
        steps = round(times / (1 - b2))
        assert float(noise.largest_second_moment(steps, b2)) == pytest.approx(found[steps], rel=allowed)


# The corrections


def quasi_static(b1: float, b2: float, ratio: float) -> tuple[float, float]:
    """The mean step `m / sqrt(v)` over that with the mean of v, and the deviation's factor, for a weight that does not
    move: exactly, by `v^(-1/2) = int u^(-1/2) exp(-u v) du / sqrt(pi)` and independent gradients of mean `ratio`."""
    j = np.arange(int(math.log(1e-13) / math.log(b2)))
    alpha, beta = (1 - b1) * (b1**j if b1 else (j == 0)), (1 - b2) * b2**j
    width = 0.1
    mean = spread = 0.0
    for root in np.exp(np.arange(-22, 8, width)):
        u = root**2
        over = 1 / (1 + 2 * u * beta)
        chance = np.exp(0.5 * np.log(over).sum() - ratio**2 * u * np.sum(beta * over)) * np.sum(alpha * over)
        mean += 2 / math.sqrt(math.pi) * chance * root * width
        spread += 2 * u * chance * width
    return mean * math.sqrt(1 + ratio**2), spread


@pytest.mark.parametrize(("b1", "b2"), [(0.0, 0.9), (0.0, 0.99), (0.9, 0.99), (0.9, 0.999), (0.5, 0.95)])
def test_corrections_are_those_of_an_integral(b1: float, b2: float) -> None:
    """To second order in 1 - b2."""
    corrections = noise._Corrections((1 - b2) / (1 + b2), (1 - b1) * (1 - b2) / (1 - b1 * b2))
    for ratio in (0.0, 0.5, 2.0):
        drift, spread = quasi_static(b1, b2, ratio)
        assert corrections.drift(1 / (1 + ratio**2)) == pytest.approx(drift, abs=3 * (1 - b2) ** 2)
        if ratio == 0:
            assert corrections.spread(1.0) == pytest.approx(spread, abs=3 * (1 - b2) ** 2)


# For any input

POWERS = st.floats(-3, 3).map(lambda x: 10.0**x)
CASES = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-4, 1e-1),
        "strength": st.floats(1e-4, 1e-1),
        "noise": st.floats(1e-6, 1.0),
        "init": st.floats(0.01, 2.0),
        "eps": st.sampled_from([0.0, 1e-8, 1e-4]),
    }
)


@hypothesis.given(CASES, POWERS, POWERS, st.sampled_from(["adam", "rmsprop", "amsgrad"]))
@hypothesis.settings(deadline=None, max_examples=25)
def test_units(case: dict[str, float], gradients: float, weights: float, name: str) -> None:
    """Gradients in another unit change nothing; weights in another unit change the unit of what is found."""

    def path(a: float, b: float) -> noise.Moments:
        return noise.predict(
            name,
            js.CoupledL2(case["strength"] * a / b),
            learning_rate=case["learning_rate"] * b,
            init=case["init"] * b,
            noise=case["noise"] * a,
            eps=case["eps"] * a,
            steps=60,
        )

    one, other = path(1.0, 1.0), path(gradients, weights)
    size = weights * one.rms.max()
    np.testing.assert_allclose(other.mean, weights * one.mean, rtol=1e-5, atol=1e-6 * size)
    np.testing.assert_allclose(other.deviation, weights * one.deviation, rtol=1e-4, atol=1e-6 * size)


@hypothesis.given(CASES, st.floats(1.01, 100.0), st.sampled_from(["adam", "rmsprop"]))
@hypothesis.settings(deadline=None, max_examples=40)
def test_more_noise_never_ends_nearer_to_zero(case: dict[str, float], more: float, name: str) -> None:
    penalty = js.CoupledL2(case["strength"])

    def ends(amount: float) -> float:
        given: Any = {"learning_rate": case["learning_rate"], "eps": case["eps"]}
        return noise.stationary_deviation(name, penalty, noise=amount, **given)

    assert ends(case["noise"]) <= ends(case["noise"] * more) * (1 + 1e-9)


@hypothesis.given(CASES, st.sampled_from(noise.FORGETTING))
@hypothesis.settings(deadline=None, max_examples=20)
def test_with_the_largest_noise_the_threshold_is_met(case: dict[str, float], name: str) -> None:
    given: Any = {"learning_rate": case["learning_rate"]}
    penalty, threshold = js.CoupledL2(case["strength"]), case["init"]
    sd = noise.largest_noise(threshold, name, penalty, **given)
    if sd == 0:
        assert noise.stationary_deviation(name, penalty, noise=1e-30, **given) >= threshold
    else:
        assert noise.stationary_deviation(name, penalty, noise=sd, **given) == pytest.approx(threshold, rel=1e-6)


def test_how_much_noise_a_dead_unit_may_have() -> None:
    """The figures of docs/theory.md."""
    mehta: Any = {"learning_rate": 1e-3, "b2": 0.99}
    assert noise.largest_noise(1e-3, "adam", js.CoupledL2(1e-4), **mehta) == pytest.approx(2.3e-7, rel=0.02)
    assert noise.largest_noise(1e-3, "adam", js.CoupledL2(1e-3), **mehta) == pytest.approx(2.2e-6, rel=0.02)
    sgd: Any = {"learning_rate": 0.1, "momentum": 0.9}
    assert noise.largest_noise(1e-3, "sgd", js.CoupledL2(1e-4), **sgd) == pytest.approx(1.4e-5, rel=0.02)
    assert noise.largest_noise(1e-3, "rmsprop", js.CoupledL2(1e-4), learning_rate=1e-2) == 0
    assert noise.largest_noise(1e-3, "adam", js.DecoupledDecay(1e-4), **mehta) < 1e-8


# Bad input


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"noise": -1.0}, "noise must be finite and >= 0"),
        ({"noise": [1.0, 2.0]}, r"noise must be a number or \[5\] numbers"),
        ({"noise": math.nan}, "noise must be finite"),
        ({"gradient": "much"}, r"gradient must be a number or \[5\] numbers"),
        ({"steps": -1}, "steps must be an integer >= 0"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"init": math.inf}, "init must be a finite number"),
        ({"optimizer": "adamax"}, "optimizer must be one of sgd adam amsgrad rmsprop adagrad with noise"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov must be False with noise"),
        ({"optimizer": "amsgrad", "convention": "optax"}, "convention must be one of torch keras paper for amsgrad"),
        ({"b2": 1.5}, r"b2 must be in \[0, 1\)"),
        ({"regularizer": "l2"}, "regularizer must be None, or named one of l2 wd wd-lr"),
    ],
)
def test_bad_input_of_a_path(change: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"optimizer": "adam", "regularizer": js.CoupledL2(1e-3), "learning_rate": 1e-3}
    with pytest.raises(InvalidInput, match=told) as error:
        noise.predict(**(given | {"init": 1.0, "noise": 1e-3, "steps": 5} | change))
    assert len(str(error.value).splitlines()) == 1


def test_bad_input_of_the_rest() -> None:
    l2, given = js.CoupledL2(1e-3), {"learning_rate": 1e-3}
    for call, told in (
        (lambda: noise.steps_to(0.0, "adam", l2, init=1.0, noise=1e-3, **given), "threshold must be"),
        (lambda: noise.steps_to(0.1, "adam", l2, init=1.0, noise=1e-3, within=0, **given), "within must be"),
        (
            lambda: noise.stationary_deviation("adagrad", l2, noise=1.0, **given),
            "optimizer must be one of sgd adam rms",
        ),
        (lambda: noise.stationary_deviation("adam", l2, noise=-1.0, **given), "noise must be a finite number >= 0"),
        (lambda: noise.time_constant("adam", l2, noise=0.0, **given), "noise must be a finite number > 0"),
        (lambda: noise.largest_noise(-1.0, "adam", l2, **given), "threshold must be"),
        (lambda: noise.equilibria(abs, 0.0, 0.0, 1.0), "strength must be"),
        (lambda: noise.equilibria(abs, 1.0, 1.0, 0.0), "low must be"),
        (lambda: noise.lag(0.0, 1.0, 0.9), "before must be"),
        (lambda: noise.lag(1.0, 1.0, 1.0), "b2 must be in"),
        (lambda: noise.largest_second_moment(-1, 0.9), "steps must be"),
        (lambda: noise.largest_second_moment(1, 1.0), "b2 must be in"),
    ):
        with pytest.raises(InvalidInput, match=told):
            call()
