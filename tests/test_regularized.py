"""Regularizers around any optax transformation, against the formulas in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse.checks import InvalidInput

STEPS, RATE, STRENGTH = 6, 0.1, 0.3
GENERATOR = np.random.default_rng(0)
WEIGHTS = {"a": GENERATOR.normal(size=3), "b": GENERATOR.normal(size=2)}
GRADIENTS = [{"a": GENERATOR.normal(size=3), "b": GENERATOR.normal(size=2)} for _ in range(STEPS)]


def trained(tx: optax.GradientTransformation, params: Any = WEIGHTS) -> Any:
    """The weights after all gradients, in float64."""
    with jax.enable_x64(True):
        weights = jax.tree.map(jnp.asarray, params)
        state = tx.init(weights)
        for gradients in GRADIENTS:
            updates, state = tx.update(jax.tree.map(jnp.asarray, gradients), state, weights)
            weights = optax.apply_updates(weights, updates)
        return jax.tree.map(np.asarray, weights)


def lion(g: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chen et al. 2023, algorithm 2, without its decay."""
    return -RATE * np.sign(0.9 * m + 0.1 * g), 0.99 * m + 0.01 * g


def momentum(g: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -RATE * (0.9 * m + g), 0.9 * m + g


def expected(name: str, rule: Callable[..., Any], coupled: float, decay: float) -> np.ndarray:
    """By the formula: L2 in the gradient, decay after the step."""
    w, m = WEIGHTS[name].copy(), np.zeros_like(WEIGHTS[name])
    for gradients in GRADIENTS:
        update, m = rule(gradients[name] + coupled * w, m)
        w = w + update - decay * w
    return w


LION, SGD = optax.lion(RATE, weight_decay=0.0), optax.sgd(RATE, momentum=0.9)
BOTH = optax.partition({"lion": LION, "sgd": SGD}, {"a": "lion", "b": "sgd"})
RULES = {"lion": (LION, lion, lion), "sgd": (SGD, momentum, momentum), "partition": (BOTH, lion, momentum)}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("mask", [None, {"a": True, "b": False}, lambda params: {"a": False, "b": True}])
def test_around_any_transformation(name: str, mask: Any) -> None:
    tx, *rules = RULES[name]
    chosen = {"a": True, "b": True} if mask is None else mask(WEIGHTS) if callable(mask) else mask
    coupled = trained(js.regularized(tx, js.CoupledL2(STRENGTH), mask=mask))
    decay = js.DecoupledDecay(STRENGTH, scale="learning_rate")
    decayed = trained(js.regularized(tx, decay, learning_rate=RATE, mask=mask))
    for key, rule in zip(("a", "b"), rules, strict=True):
        strength = STRENGTH * chosen[key]
        np.testing.assert_allclose(coupled[key], expected(key, rule, strength, 0), rtol=1e-12)
        np.testing.assert_allclose(decayed[key], expected(key, rule, 0, RATE * strength), rtol=1e-12)


def test_decay_follows_the_schedule_that_is_given() -> None:
    """`1 - strength * s_t` of what the step has made, with s_t the learning rate over the first one."""
    rates = [0.1 * 0.5**count for count in range(STEPS)]
    schedule = optax.exponential_decay(0.1, 1, 0.5)
    tx = js.regularized(optax.sgd(schedule), js.DecoupledDecay(STRENGTH), learning_rate=schedule)
    w = WEIGHTS["a"].copy()
    for rate, gradients in zip(rates, GRADIENTS, strict=True):
        w = (1 - STRENGTH * rate / 0.1) * (w - rate * gradients["a"])
    np.testing.assert_allclose(trained(tx)["a"], w, rtol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [optax.contrib.muon(0.1), optax.contrib.schedule_free_adamw(0.1, weight_decay=0.0), optax.flatten(optax.adam(0.1))],
    ids=["muon", "schedule-free", "flatten"],
)
def test_wrappers_see_the_penalty_as_gradient(tx: optax.GradientTransformation) -> None:
    """The same as adding it to the gradient by hand."""
    weights = {"w": jnp.asarray(GENERATOR.normal(size=(3, 2)), jnp.float32)}
    around = js.regularized(tx, js.CoupledL2(STRENGTH))
    ours, theirs, state, own = weights, weights, around.init(weights), tx.init(weights)
    for number in range(3):
        gradients = {"w": jnp.full((3, 2), 0.1 * number)}
        updates, state = around.update(gradients, state, ours)
        by_hand = jax.tree.map(lambda g, w: g + STRENGTH * w, gradients, theirs)
        expected, own = tx.update(by_hand, own, theirs)
        ours, theirs = optax.apply_updates(ours, updates), optax.apply_updates(theirs, expected)
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=1e-5)
    assert not np.allclose(ours["w"], weights["w"])


def test_a_mask_over_a_networks_state_fits_every_form_of_it() -> None:
    class Net(nnx.Module):
        def __init__(self) -> None:
            self.first, self.norm = nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.BatchNorm(2, rngs=nnx.Rngs(0))

    state = nnx.state(Net(), nnx.Param)
    mask = jax.tree.map(lambda leaf: leaf.ndim > 1, state)
    tx = js.regularized(optax.identity(), js.CoupledL2(STRENGTH), mask=mask)
    for params in (state, nnx.to_pure_dict(state)):
        updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
        found = nnx.to_pure_dict(updates) if isinstance(updates, nnx.State) else updates
        kernel = nnx.to_pure_dict(state)["first"]["kernel"]
        np.testing.assert_array_equal(found["first"]["kernel"], np.float32(STRENGTH) * kernel)
        assert not any(np.any(leaf) for name, leaf in js.trees.flatten(found).items() if name != "first/kernel")
    with pytest.raises(InvalidInput, match=r"mask must be a tree with a boolean .* got 'norm/bias'"):
        tx.init({"first": nnx.to_pure_dict(state)["first"]})


def test_says_what_is_missing() -> None:
    with pytest.raises(InvalidInput, match="learning_rate must be the one of tx, for DecoupledDecay"):
        js.regularized(LION, js.DecoupledDecay(0.1))
    with pytest.raises(InvalidInput, match="learning_rate must be finite and > 0"):
        js.regularized(LION, js.DecoupledDecay(0.1), learning_rate=-1.0)
    with pytest.raises(InvalidInput, match="regularizer must be None or one of"):
        js.regularized(LION, 0.1)  # pyright: ignore[reportArgumentType]
    assert js.regularized(LION, None) is LION
