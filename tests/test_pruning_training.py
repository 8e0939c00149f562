"""Masks hold while a pruned network is trained on, in weights and in the optimizer's memory; schedules; fine-tuning."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse import data, models, pruning, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.pruning import fine_tuning
from jaxsparse.train import make_train

STEPS = 30
RANDOM = np.random.default_rng(0)
PARAMS = {
    "a": {"kernel": jnp.asarray(RANDOM.normal(size=(3, 4)), jnp.float32), "bias": jnp.ones(4)},
    "norm": {"scale": jnp.asarray(RANDOM.normal(size=4), jnp.float32), "bias": jnp.ones(4)},
}
MASKS = jax.tree.map(lambda leaf: jnp.asarray(RANDOM.random(leaf.shape) < 0.5), PARAMS)
GRADIENTS = jax.tree.map(lambda leaf: jnp.asarray(RANDOM.normal(size=(STEPS, *leaf.shape)), jnp.float32), PARAMS)
REGULARIZERS = [
    None,
    js.CoupledL2(0.1),
    js.DecoupledDecay(0.1),
    js.DecoupledDecay(0.1, scale="learning_rate"),
    js.BatchNormL1(0.1),
    js.GroupLasso(0.1),
]


def trained(tx: optax.GradientTransformation, params):
    """Weights and state after each step, stacked."""

    def step(carry, gradients):
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return jax.lax.scan(step, (params, tx.init(params)), GRADIENTS)[1]


def mirrored(state) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What an optimizer remembers of each parameter, with its mask."""
    masks = {name: np.asarray(mask) for name, mask in trees.flatten(MASKS).items()}
    found = []
    for path, leaf in trees.flatten(state.inner).items():
        name = next((name for name in masks if path.endswith(name)), None)
        if name is not None and leaf.shape[1:] == masks[name].shape:
            found.append((path, np.asarray(leaf), masks[name]))
    return found


def check(tx: optax.GradientTransformation, *, remembers: bool) -> None:
    """Also where the pruned weights are not zero at first."""
    params, state = jax.jit(partial(trained, pruning.enforce(tx, MASKS)))(PARAMS)
    for leaf, mask in zip(jax.tree.leaves(params), jax.tree.leaves(MASKS), strict=True):
        assert (np.asarray(leaf)[:, ~mask] == 0).all()
        assert np.isfinite(leaf).all()
        assert (np.asarray(leaf)[-1][mask] != 0).all()
    seen = mirrored(state)
    assert bool(seen) == remembers
    for path, leaf, mask in seen:
        assert (leaf[:, ~mask] == 0).all(), path
    assert not remembers or any(leaf.any() for _, leaf, _ in seen)


@pytest.mark.parametrize("name", js.rules.functions.__all__)
def test_masks_hold_exactly(name: str) -> None:
    """With every regularizer; a momentum where there may be one."""
    hyper = {"momentum": 0.9} if name == "sgd" else {}
    for regularizer in REGULARIZERS:
        check(js.optimizer(name, 0.01, regularizer=regularizer, **hyper), remembers=True)


@pytest.mark.parametrize(
    ("name", "convention", "hyper"),
    [
        ("adagrad", "keras", {}),  # starts at 0.1
        ("adagrad", "optax", {"eps": 0.0, "initial_accumulator_value": 0.0}),  # 0 / 0
        ("adadelta", "torch", {"eps": 0.0}),
        ("rmsprop", "paper", {}),
        ("sgd", "keras", {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_masks_hold_in_odd_corners(name: str, convention: str, hyper) -> None:
    params, state = trained(pruning.enforce(js.optimizer(name, 0.01, convention=convention, **hyper), MASKS), PARAMS)
    for leaf, mask in zip(jax.tree.leaves(params), jax.tree.leaves(MASKS), strict=True):
        assert (np.asarray(leaf)[:, ~mask] == 0).all()
    for path, leaf, mask in mirrored(state):
        assert (leaf[:, ~mask] == 0).all(), path


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2)),
        optax.partition(
            {kind: optax.adam(1e-2) if kind == "kernel" else optax.sgd(1e-2, 0.9) for kind in trees.Kind}, trees.kinds
        ),
        optax.masked(optax.adam(1e-2), jax.tree.map(lambda leaf: leaf.ndim == 2, PARAMS)),
        optax.inject_hyperparams(optax.adam)(learning_rate=1e-2),
        optax.lion(1e-2),
    ],
    ids=["chain", "partition", "masked", "injected", "lion"],
)
def test_any_optax_optimizer(tx: optax.GradientTransformation) -> None:
    check(tx, remembers=True)


def test_what_is_kept_moves_as_without_masks() -> None:
    """Coordinates of these rules do not see each other."""
    tx = js.adam(0.01, regularizer=js.CoupledL2(0.1))
    with_masks, _ = trained(pruning.enforce(tx, MASKS), PARAMS)
    without, _ = trained(tx, PARAMS)
    for a, b, mask in zip(*map(jax.tree.leaves, (with_masks, without, MASKS)), strict=True):
        np.testing.assert_allclose(np.asarray(a)[:, mask], np.asarray(b)[:, mask], rtol=1e-6)


def test_other_masks_on_the_way() -> None:
    """No momentum is left of what is pruned later."""
    everything = jax.tree.map(jnp.ones_like, MASKS)
    tx = pruning.enforce(js.sgd(0.01, momentum=0.9), everything)
    params, state = PARAMS, tx.init(PARAMS)
    for step in range(4):
        gradients = jax.tree.map(lambda leaf, step=step: leaf[step], GRADIENTS)
        if step == 2:
            state = state._replace(masks=MASKS)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    states = [leaf for path, leaf in trees.flatten(state.inner).items() if path.endswith("a/kernel")]
    (velocity,) = states
    mask = np.asarray(MASKS["a"]["kernel"])
    assert (np.asarray(params["a"]["kernel"])[~mask] == 0).all()
    assert (np.asarray(velocity)[~mask] == 0).all()
    assert (np.asarray(velocity)[mask] != 0).all()


def test_masks_at_the_end_of_each_epoch() -> None:
    """Batra et al. 2024: plain gradient descent in between."""
    kernel, mask = np.asarray(PARAMS["a"]["kernel"]), np.asarray(MASKS["a"]["kernel"])
    params, _ = trained(pruning.enforce(js.sgd(0.01), MASKS, every=3), pruning.apply(PARAMS, MASKS))
    weights = np.where(mask, kernel, 0)
    for step in range(STEPS):
        weights = weights - 0.01 * np.asarray(GRADIENTS["a"]["kernel"][step])
        if (step + 1) % 3 == 0:
            weights = np.where(mask, weights, 0)
            assert (np.asarray(params["a"]["kernel"][step])[~mask] == 0).all()
        else:
            assert (np.asarray(params["a"]["kernel"][step])[~mask] != 0).all()
        np.testing.assert_allclose(params["a"]["kernel"][step], weights, rtol=1e-5, atol=1e-7)


def test_needs_the_parameters() -> None:
    tx = pruning.enforce(optax.sgd(0.1), MASKS)
    with pytest.raises(ValueError, match="params must be passed"):
        tx.update(PARAMS, tx.init(PARAMS))
    with pytest.raises(InvalidInput, match="every must be a whole number >= 1"):
        pruning.enforce(optax.sgd(0.1), MASKS, every=0)


def test_one_compilation_serves_all_masks() -> None:
    tx = pruning.enforce(js.adam(0.01), MASKS)
    update = jax.jit(tx.update)
    state = tx.init(PARAMS)
    for masks in (MASKS, jax.tree.map(jnp.logical_not, MASKS)):
        update(PARAMS, state._replace(masks=masks), PARAMS)
    assert update._cache_size() == 1


@given(
    final=st.floats(0, 1),
    initial=st.floats(0, 1),
    begin=st.integers(0, 5),
    steps=st.integers(1, 6),
    every=st.integers(1, 4),
)
def test_cubic_is_its_formula(final: float, initial: float, begin: int, steps: int, every: int) -> None:
    """Zhu and Gupta 2017, equation 1: t in {t0, t0 + dt, .., t0 + n dt}."""
    schedule = pruning.cubic(final, begin + steps * every, begin=begin, every=every, initial=initial)
    for step in range(steps + 1):
        t = begin + step * every
        expected = final + (initial - final) * (1 - (t - begin) / (steps * every)) ** 3
        for between in range(every):
            assert schedule(t + between) == pytest.approx(expected)
    assert schedule(begin + steps * every) == final
    assert all(schedule(epoch) == 0 for epoch in range(begin))


@given(final=st.floats(0, 1), rounds=st.integers(1, 6), every=st.integers(1, 4))
def test_iterative_prunes_the_same_share_each_time(final: float, rounds: int, every: int) -> None:
    schedule = pruning.iterative(final, rounds, every)
    left = [1 - schedule(round * every) for round in range(rounds)]
    share = (1 - final) ** (1 / rounds)
    assert left == pytest.approx(list(itertools.accumulate([share] * rounds, lambda a, b: a * b)))
    assert schedule(every * rounds + 7) == final
    assert schedule(every - 1) == schedule(0)


def test_plans() -> None:
    assert pruning.plan(pruning.one_shot(0.9), 20) == ((0, 0.9),)
    assert pruning.plan(pruning.one_shot(pruning.Below(0.1)), 0) == ((0, pruning.Below(0.1)),)
    (first, second) = pruning.plan(pruning.iterative(0.9, 2, 10), 20)
    assert (first[0], second) == (0, (10, 0.9))
    assert first[1] == pytest.approx(1 - 0.1**0.5)
    assert pruning.plan(pruning.cubic(0.8, 4, every=2), 20) == ((0, 0.0), (2, pytest.approx(0.7)), (4, 0.8))
    for schedule in (pruning.iterative, lambda sparsity, *rest: pruning.cubic(sparsity, 5)):
        with pytest.raises(InvalidInput, match="sparsity must be a fraction"):
            schedule(1.5, 2, 2)
    with pytest.raises(InvalidInput, match="rounds must be"):
        pruning.iterative(0.5, 0, 1)
    with pytest.raises(InvalidInput, match=r"end must be at least begin \(3\)"):
        pruning.cubic(0.5, 2, begin=3)


RUN = Run(model="mlp", widths=(12,), epochs=2, batch=40, measure_every=1, optimizer="adam", regularizer="l2")


@pytest.fixture(scope="module")
def model() -> nnx.Module:
    return models.MLP(10, widths=(12,), rngs=nnx.Rngs(0))


def params_of(model: nnx.Module):
    return nnx.as_pure(nnx.state(model, nnx.Param))


def nonzero(params):
    return jax.tree.map(lambda w: w != 0, params)


def test_training_with_masks_from_its_first_step(model: nnx.Module) -> None:
    """What is put around the rule is used by a training as a whole."""
    masks = pruning.magnitude(params_of(model), 0.5)
    training = replace(make_train(RUN), wrap=partial(pruning.enforce, masks=masks))
    state, _ = jax.jit(training)(Hyper(1e-3, 1e-4), jax.random.key(0), data.load("digits"))
    for kept, mask in zip(jax.tree.leaves(nonzero(state.params)), jax.tree.leaves(masks), strict=True):
        assert not kept[~mask].any()
    assert pruning.share_pruned(nonzero(state.params), pruning.kernels) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("every_step", [True, False])
def test_fine_tuning_follows_its_plan(model: nnx.Module, every_step: bool) -> None:
    tuning = pruning.FineTuning("sgd", 0.01, epochs=4, constants={"momentum": 0.9}, mask_every_step=every_step)
    asked, zeros = [], []

    def method(params, sparsity):
        asked.append(sparsity)
        zeros.append(pruning.share_pruned(nonzero(params), pruning.kernels))
        return pruning.magnitude(params, sparsity)

    before = jax.device_get(nnx.state(model))
    dataset, plan = data.load("digits"), ((0, 0.25), (2, 0.5), (3, 0.75))
    tuned, masks = pruning.fine_tune(model, RUN, dataset, jax.random.key(0), method, plan, tuning)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(nnx.state(model)))
    assert asked == [0.25, 0.5, 0.75]
    assert zeros == pytest.approx([0, 0.25, 0.5])  # what was pruned earlier is at zero
    assert pruning.share_pruned(masks, pruning.kernels) == pytest.approx(0.75)
    for w, old, mask in zip(*map(jax.tree.leaves, (params_of(tuned), params_of(model), masks)), strict=True):
        assert not w[~mask].any()
        assert (w != old).any()


def test_one_compilation_serves_every_fine_tuning(model: nnx.Module) -> None:
    """Of one network with one kind of update rule: methods, sparsities, seeds, learning rates, numbers of epochs."""
    dataset, tuning = data.load("digits"), pruning.FineTuning("adam", 0.01, "l2", 1e-4, epochs=1)
    compiled, filters = fine_tuning._epoch, partial(pruning.filters, prunable=pruning.kernels)

    def tuned(method, sparsity: float, seed: int, tuning: pruning.FineTuning):
        return pruning.fine_tune(model, RUN, dataset, jax.random.key(seed), method, ((0, sparsity),), tuning)

    first, _ = tuned(pruning.magnitude, 0.5, 0, tuning)
    count = compiled._cache_size()
    other, _ = tuned(filters, 0.25, 1, replace(tuning, learning_rate=0.1, strength=0.0, epochs=2))
    again, _ = tuned(pruning.magnitude, 0.5, 0, tuning)
    assert compiled._cache_size() == count
    jax.tree.map(np.testing.assert_array_equal, params_of(first), params_of(again))
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (params_of(first), params_of(other))), strict=True))


def test_one_compilation_where_the_data_are_put_on_a_device(model: nnx.Module) -> None:
    """The first epoch has weights that lay anywhere, the second those of the first."""
    dataset = jax.device_put(data.load("digits"), jax.devices()[0])
    tuning = pruning.FineTuning("sgd", 0.01, epochs=2)
    fine_tuning._epoch.clear_cache()
    pruning.fine_tune(model, RUN, dataset, jax.random.key(0), pruning.magnitude, ((0, 0.5),), tuning)
    assert fine_tuning._epoch._cache_size() == 1


def test_the_device_does_not_matter(model: nnx.Module) -> None:
    tuning = pruning.FineTuning("adam", 0.01, epochs=1)
    params = []
    for device in (jax.devices()[0], jax.devices()[-1]):
        dataset = jax.device_put(data.load("digits"), device)
        tuned, _ = pruning.fine_tune(model, RUN, dataset, jax.random.key(0), pruning.magnitude, ((0, 0.5),), tuning)
        assert jax.tree.leaves(params_of(tuned))[0].devices() == {device}
        params.append(jax.device_get(params_of(tuned)))
    jax.tree.map(np.testing.assert_array_equal, *params)


def test_masks_of_another_model(model: nnx.Module) -> None:
    """One line, whoever is given them."""
    other = models.MLP(10, widths=(13,), rngs=nnx.Rngs(0))
    deeper = models.MLP(10, widths=(12, 3), rngs=nnx.Rngs(0))
    own = params_of(model)
    numbers = jax.tree.map(lambda mask: mask.astype(float), pruning.magnitude(own, 0.5))
    for masks, message in [
        (pruning.magnitude(params_of(other), 0.5), r"masks\['head/kernel'\] must be booleans of shape \(12, 10\)"),
        (pruning.magnitude(params_of(deeper), 0.5), "masks must be booleans for each parameter of the network"),
        (numbers, r"masks\['head/bias'\] must be booleans"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            pruning.enforce(js.sgd(0.1), masks).init(own)
        given = partial(pruning.fine_tune, model, RUN, data.load("digits"), jax.random.key(0))
        with pytest.raises(InvalidInput, match=message):
            given(lambda params, sparsity, masks=masks: masks, ((0, 0.5),), pruning.BATRA_2024)


def test_no_fine_tuning_is_pruning_alone(model: nnx.Module) -> None:
    tuning, key = replace(pruning.BATRA_2024, epochs=0), jax.random.key(0)
    pruned, masks = pruning.fine_tune(model, RUN, data.load("digits"), key, pruning.magnitude, ((0, 0.5),), tuning)
    expected = pruning.apply(params_of(model), masks)
    jax.tree.map(np.testing.assert_array_equal, params_of(pruned), expected)


def test_published_protocol() -> None:
    """Batra et al. 2024, implementation details."""
    found = pruning.BATRA_2024
    assert (found.optimizer, found.learning_rate, found.strength, found.epochs) == ("sgd", 1e-6, 1e-8, 20)
    assert found.constants == {}
    assert not found.mask_every_step
    assert found.run(RUN).milestones == ()
