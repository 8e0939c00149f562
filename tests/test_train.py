"""Training against a float64 NumPy network written from the formulas, and what must hold of any training."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest

from jaxsparse import data, export, grid, records, regularizers, rules, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.commands.export import with_moments
from jaxsparse.config import Hyper, Run
from jaxsparse.criteria import Thresholds
from jaxsparse.losses import evaluate
from jaxsparse.sparsity import observation
from jaxsparse.train import State, make_train, steps_per_epoch

RUN = Run(
    widths=(7, 5), optimizer="adam", regularizer="l2", epochs=2, batch=200, milestones=(1,), factor=0.1, measure_every=1
)
HYPER = Hyper(1e-2, 1e-2, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})


@cache
def digits() -> data.Dataset:
    return data.load("digits")


@cache
def trained(run: Run = RUN, seed: int = 3) -> tuple[State, object]:
    return jax.device_get(jax.jit(make_train(run))(HYPER, jax.random.key(seed), digits()))


class NumpyMLP:
    """Dense, batch normalisation, ReLU layers and a classifier; Adam with coupled L2."""

    def __init__(self, params: dict[str, np.ndarray]):
        self.params = {name: value.astype(np.float64) for name, value in params.items()}
        self.first = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.second = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.running = {i: [0.0, 1.0] for i in range(2)}
        self.count = 0

    def step(self, x: np.ndarray, labels: np.ndarray, rate: float, strength: float, b1: float, b2: float) -> float:
        gradient: dict[str, np.ndarray] = {}
        kept = []
        for i in range(2):
            kernel, gamma, beta = (self.params[f"hidden/{i}/{n}"] for n in ("linear/kernel", "norm/scale", "norm/bias"))
            y = x @ kernel
            mean, variance = y.mean(0), y.var(0)
            self.running[i] = [0.9 * self.running[i][0] + 0.1 * mean, 0.9 * self.running[i][1] + 0.1 * y.var(0, ddof=1)]
            normal = (y - mean) / np.sqrt(variance + 1e-5)
            out = np.maximum(gamma * normal + beta, 0)
            kept.append((x, normal, variance, out))
            x = out
        logits = x @ self.params["head/kernel"] + self.params["head/bias"]
        logits -= logits.max(1, keepdims=True)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(labels)), labels]).mean()
        p[np.arange(len(labels)), labels] -= 1
        g = p / len(labels)
        gradient["head/kernel"], gradient["head/bias"] = x.T @ g, g.sum(0)
        g = g @ self.params["head/kernel"].T
        for i in (1, 0):
            x, normal, variance, out = kept[i]
            g = g * (out > 0)
            gradient[f"hidden/{i}/norm/scale"], gradient[f"hidden/{i}/norm/bias"] = (g * normal).sum(0), g.sum(0)
            g = g * self.params[f"hidden/{i}/norm/scale"]
            g = (g - g.mean(0) - normal * (g * normal).mean(0)) / np.sqrt(variance + 1e-5)
            gradient[f"hidden/{i}/linear/kernel"] = x.T @ g
            g = g @ self.params[f"hidden/{i}/linear/kernel"].T
        self.count += 1
        for name, weight in self.params.items():
            total = gradient[name] + strength * weight
            self.first[name] = b1 * self.first[name] + (1 - b1) * total
            self.second[name] = b2 * self.second[name] + (1 - b2) * total**2
            corrected = self.first[name] / (1 - b1**self.count)
            self.params[name] = weight - rate * corrected / (np.sqrt(self.second[name] / (1 - b2**self.count)) + 1e-8)
        return loss


def test_two_epochs_equal_numpys() -> None:
    training = make_train(RUN)
    key = jax.random.key(3)
    numpy = NumpyMLP({name: np.asarray(leaf) for name, leaf in trees.flatten(training.start(key)[0]).items()})
    images = np.asarray(data.preprocess(digits(), digits().train.images), np.float64).reshape(-1, 64)
    labels = np.asarray(digits().train.labels)
    losses = []
    for epoch, rate in ((0, 1e-2), (1, 1e-3)):
        order = np.asarray(data.shuffled(jax.random.fold_in(key, 1), jnp.asarray(epoch), len(labels)))
        batches = [order[start : start + 200] for start in range(0, 1400, 200)]
        losses.append(np.mean([numpy.step(images[b], labels[b], rate, 1e-2, 0.9, 0.99) for b in batches]))
    state, rows = trained()
    np.testing.assert_allclose(np.ravel(rows.train_loss), losses, rtol=1e-5)
    for name, leaf in trees.flatten(state.params).items():
        np.testing.assert_allclose(leaf, numpy.params[name], rtol=2e-3, atol=2e-5, err_msg=name)
    for name, leaf in trees.flatten(state.stats).items():
        _, layer, _, statistic = name.split("/")
        expected = numpy.running[int(layer)][("mean", "var").index(statistic)]
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=name)

    x = np.asarray(data.preprocess(digits(), digits().test.images), np.float64).reshape(-1, 64)
    for i in range(2):
        normal = (x @ numpy.params[f"hidden/{i}/linear/kernel"] - numpy.running[i][0]) / np.sqrt(
            numpy.running[i][1] + 1e-5
        )
        x = np.maximum(numpy.params[f"hidden/{i}/norm/scale"] * normal + numpy.params[f"hidden/{i}/norm/bias"], 0)
    logits = x @ numpy.params["head/kernel"] + numpy.params["head/bias"]
    error = 100 * (logits.argmax(1) != np.asarray(digits().test.labels)).mean()
    assert float(rows.test_error[-1]) == pytest.approx(error, abs=0.3)  # one image may change sides


def test_same_seed_same_bits_other_seed_others() -> None:
    again = jax.device_get(jax.jit(make_train(RUN))(HYPER, jax.random.key(3), digits()))
    for one, other in zip(jax.tree.leaves(trained()), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    other = trained(seed=4)[0]
    assert not np.array_equal(trained()[0].params["head"]["kernel"], other.params["head"]["kernel"])


def test_interval_by_interval_equals_the_whole() -> None:
    training = make_train(RUN)
    key = jax.random.key(3)
    state = training.init(HYPER, *training.start(key))
    advance = jax.jit(training.advance)
    for _ in range(RUN.points):
        state, _ = advance(HYPER, key, digits(), state)
    for one, other in zip(jax.tree.leaves(trained()[0]), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_hyperparameters_are_traced() -> None:
    """One compilation serves every strength, learning rate, constant and seed, and each matters."""
    count = 0

    def once(hyper: Hyper, seed: jax.Array) -> jax.Array:
        nonlocal count
        count += 1
        state, _ = make_train(replace(RUN, epochs=1, milestones=()))(hyper, jax.random.key(seed), digits())
        return optax.tree.norm(state.params)

    compiled = jax.jit(once)
    hypers = [HYPER, replace(HYPER, learning_rate=2e-2), replace(HYPER, strength=0.1)]
    hypers += [
        replace(HYPER, constants={**HYPER.constants, name: value}) for name, value in (("b2", 0.9), ("eps", 1e-2))
    ]
    hypers = [jax.tree.map(np.float32, hyper) for hyper in hypers]
    found = {float(compiled(hyper, np.uint32(seed))) for hyper in hypers for seed in (0, 1)}
    assert count == 1
    assert len(found) == 10


class NumpyGroup:
    """Adam on one parameter, with a multiple of the learning rate and one of four regularizers."""

    def __init__(self, weight: np.ndarray, multiple: float, regularizer: str, strength: float, scale: bool):
        self.weight, self.multiple, self.strength = weight, multiple, strength
        self.regularizer = regularizer if scale or regularizer != "bn-l1" else "none"
        self.first, self.second, self.count = np.zeros_like(weight), np.zeros_like(weight), 0

    def step(self, gradient: np.ndarray, rate: float, first_rate: float) -> None:
        if self.regularizer == "l2":
            gradient = gradient + self.strength * self.weight
        if self.regularizer == "bn-l1":
            gradient = gradient + self.strength * np.sign(self.weight)
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.99 * self.second + 0.01 * gradient**2
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.99**self.count)
        stepped = self.weight - self.multiple * rate * mean / (np.sqrt(square) + 1e-8)
        if self.regularizer == "wd":
            stepped = (1 - self.strength * rate / first_rate) * stepped
        if self.regularizer == "wd-lr":
            stepped = stepped - self.multiple * rate * self.strength * self.weight
        self.weight = stepped


@pytest.mark.parametrize("regularizer", ["none", "l2", "wd", "wd-lr", "bn-l1"])
def test_gamma_and_beta_at_rates_of_their_own(regularizer: str) -> None:
    run = replace(RUN, regularizer=regularizer, epochs=6, milestones=(3,), batch=1437, gamma_rate=0.1, beta_rate=3.0)
    multiples = {"linear/kernel": 1.0, "norm/scale": 0.1, "norm/bias": 3.0, "head/bias": 1.0}
    random = np.random.default_rng(0)
    groups = {
        name: NumpyGroup(random.normal(size=4), multiple, regularizer, 0.02, name == "norm/scale")
        for name, multiple in multiples.items()
    }

    def nested(leaves: dict[str, np.ndarray]) -> dict[str, dict[str, jax.Array]]:
        tree: dict[str, dict[str, jax.Array]] = {}
        for name, leaf in leaves.items():
            module, parameter = name.split("/")
            tree.setdefault(module, {})[parameter] = jnp.asarray(leaf)
        return tree

    with jax.enable_x64(True):
        rule = make_train(run).transformation(replace(HYPER, strength=0.02))
        params = nested({name: group.weight for name, group in groups.items()})
        state = rule.init(params)
        for step in range(6):
            gradients = {name: random.normal(size=4) for name in groups}
            updates, state = rule.update(nested(gradients), state, params)
            params = optax.apply_updates(params, updates)
            for name, group in groups.items():
                group.step(gradients[name], 1e-2 * 0.1 ** (step >= 3), 1e-2)
        for name, leaf in trees.flatten(params).items():
            np.testing.assert_allclose(leaf, groups[name].weight, rtol=1e-12, err_msg=name)


OWN_RATES = {"gamma_rate": 0.5, "beta_rate": 2.0}
ACTING = [
    *[(rule, form, "kernels", {}) for rule in rules.functions.__all__ for form in ("l2", "wd", "wd-lr")],
    *[(rule, form, "kernels", OWN_RATES) for rule in ("sgd", "adam") for form in ("l2", "wd", "wd-lr")],
    *[("adam", form, "kernels", {}) for form in ("group-lasso", "proximal-group-lasso")],
    *[("adam", form, "kernels+scales", OWN_RATES) for form in regularizers.NAMES[1:]],
    *[("adam", form, "all", rates) for form in ("l2", "wd", "bn-l1") for rates in ({}, OWN_RATES)],
]


@pytest.mark.parametrize(("rule", "regularizer", "regularize", "rates"), ACTING)
def test_regularizers_act_on_the_chosen_parameters_alone(
    rule: str, regularizer: str, regularize: str, rates: dict[str, float]
) -> None:
    """Every parameter of a network as the oracle has it that knows no others, with the regularizer or without."""
    run = replace(RUN, optimizer=rule, regularizer=regularizer, regularize=regularize, batch=1437, **rates)
    every = {"kernel", "scale", "shift", "bias"}
    chosen = {"all": every, "kernels": {"kernel"}, "kernels+scales": {"kernel", "scale"}}
    constants = rules.RULES[rule].constants("torch")
    known = {**oracle.DEFAULTS[rule, "torch"], **constants}
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        training = make_train(run)
        params = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), training.start(jax.random.key(0))[0])
        tx = training.transformation(Hyper(1e-2, 0.05, constants))
        kinds = dict(zip(trees.flatten(params), map(str, jax.tree.leaves(trees.kinds(params))), strict=True))
        steps = [jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), params) for _ in range(4)]
        begun, state, update = params, tx.init(params), jax.jit(tx.update)
        for gradients in steps:
            updates, state = update(gradients, state, params)
            params = optax.apply_updates(params, updates)
    ends, starts = trees.flatten(params), trees.flatten(begun)
    assert set(kinds.values()) == every
    for name, kind in kinds.items():
        multiple = rates.get({"scale": "gamma_rate", "shift": "beta_rate"}.get(kind, ""), 1.0)
        expected = oracle.trajectory(
            rule,
            "torch",
            known,
            [multiple * rate for rate in (1e-2, 1e-3, 1e-3, 1e-3)],
            starts[name],
            np.stack([trees.flatten(gradients)[name] for gradients in steps]),
            regularizer=regularizer if kind in chosen[regularize] else "none",
            strength=0.05,
            kind=kind,
        )
        np.testing.assert_allclose(ends[name], expected[-1], rtol=1e-9, atol=1e-12, err_msg=name)


def test_networks_are_trained_and_measured_on_the_pixels_of_the_setting(tmp_path: Path) -> None:
    """What a grid wrote is what NumPy has of the same weights on pixels / 16, and not on standardised ones."""
    known = {"optimizers": ("adam",), "regularizers": ("l2",), "strengths": (1e-3,), "seeds": (0,)}
    run = replace(RUN, pixels="unit", epochs=8, batch=50, milestones=())
    list(grid.run(grid.Declaration(run, **known), tmp_path))
    folder = tmp_path / "cells" / "adam-l2-0.001-seed0"
    assert records.run_of(records.describe(folder)).pixels == "unit"
    weights = records.weights(folder)
    losses = {}
    for pixels in data.PIXELS:
        dataset = data.load("digits", pixels)
        x = np.asarray(data.preprocess(dataset, dataset.test.images), np.float64).reshape(-1, 64)
        for i in range(2):
            norm = {name: weights[f"hidden/{i}/norm/{name}"] for name in ("mean", "var", "scale", "bias")}
            y = x @ weights[f"hidden/{i}/linear/kernel"]
            x = np.maximum(norm["scale"] * (y - norm["mean"]) / np.sqrt(norm["var"] + 1e-5) + norm["bias"], 0)
        logits = x @ weights["head/kernel"] + weights["head/bias"]
        right = logits[np.arange(len(logits)), np.asarray(dataset.test.labels)]
        losses[pixels] = (np.log(np.exp(logits).sum(1)) - right).mean()
    history = records.history(tmp_path / "cells", ("test_loss",)).to_pylist()
    assert history[-1]["test_loss"] == pytest.approx(losses["unit"], rel=1e-4)
    assert abs(losses["standardised"] / losses["unit"] - 1) > 0.1
    (row,) = records.results(tmp_path / "cells").to_pylist()
    network, card = export.loading.read(folder)
    assert float(evaluate(network, data.load("digits", "unit"), data.load("digits").test).error) == row["test_error"]
    assert with_moments(card).deviation == (16.0,)


def test_slimming_without_scales_is_refused() -> None:
    known = {"run": replace(RUN, regularize="kernels"), "optimizers": ("adam",), "strengths": (0.1,), "seeds": (0,)}
    grid.Declaration(**known, regularizers=("l2", "group-lasso"))
    with pytest.raises(InvalidInput, match=r"^regularize must be something with scales, all that bn-l1 acts on"):
        grid.Declaration(**known, regularizers=("l2", "bn-l1"))


def test_measure_sees_the_network_in_evaluation_mode() -> None:
    def measure(model, dataset):
        one = data.preprocess(dataset, dataset.test.images[:1])
        several = data.preprocess(dataset, dataset.test.images[:9])
        return abs(model(one) - model(several)[:1]).max()

    _, rows = jax.jit(make_train(RUN, measure))(HYPER, jax.random.key(0), digits())
    assert rows.measured.shape == (2,)
    np.testing.assert_allclose(rows.measured, 0, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adadelta"])
def test_basicnet_learns(optimizer: str) -> None:
    run = Run(
        model="basicnet", widths=(4, 6), optimizer=optimizer, regularizer="wd", epochs=4, batch=50, measure_every=2
    )
    rate = {"sgd": 0.05, "adadelta": 1.0}[optimizer]
    training = make_train(run, observation(Thresholds(), "convolutions"))
    _, rows = jax.jit(training)(Hyper(rate, 1e-4), jax.random.key(0), digits())
    assert rows.train_loss.shape == (2, 2)
    assert float(rows.train_loss[-1, -1]) < 0.7 < 2.3
    assert float(rows.test_error[-1]) < 20
    assert [layer.gamma.shape for layer in rows.measured.units.values()] == [(2, 4), (2, 6)]


def test_steps() -> None:
    assert steps_per_epoch(Run(batch=64), data.describe("digits")) == 22
    assert steps_per_epoch(Run(batch=1437), data.describe("digits")) == 1
    with pytest.raises(InvalidInput, match="batch must be at most the 1437 training images of digits, got 1438"):
        make_train(Run(batch=1438))
