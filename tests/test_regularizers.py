"""Regularizers: gradients of the penalties that they claim, kinds, masks, pytrees and messages."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsparse import regularizers, schedules
from jaxsparse.regularizers import (
    BatchNormL1,
    CoupledL2,
    DecoupledDecay,
    GroupLasso,
    ProximalGroupLasso,
    regularizer,
)
from jaxsparse.rules.sgd import sgd
from jaxsparse.trees import of_kind

PARAMS = {
    "conv": {"kernel": jnp.arange(-6.0, 12.0).reshape(1, 3, 2, 3), "bias": jnp.array([1.0, -1.0, 2.0])},
    "norm": {"scale": jnp.array([0.5, -0.5, 0.0]), "bias": jnp.array([1.0, 0.0, -1.0])},
}
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)


def added(penalty: Any, params: Any = PARAMS, mask: Any = None) -> Any:
    """What a coupled penalty adds to the gradient."""
    tx = penalty.transformation(mask)
    return tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)[0]


def only(**kinds: Any) -> Any:
    """A tree like PARAMS that is zero but for the leaves given."""
    return {"conv": {**ZERO["conv"], **kinds.get("conv", {})}, "norm": {**ZERO["norm"], **kinds.get("norm", {})}}


def assert_equal(got: Any, want: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)


def test_l2_is_the_gradient_of_its_penalty() -> None:
    def penalty(params: Any) -> Any:
        return 0.3 / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    assert_equal(added(CoupledL2(0.3)), jax.grad(penalty)(PARAMS))


def test_batch_norm_l1_acts_on_scales_only() -> None:
    assert_equal(added(BatchNormL1(0.3)), only(norm={"scale": jnp.array([0.3, -0.3, 0.0])}))


@pytest.mark.parametrize(("weighted", "factor"), [(True, np.sqrt(6)), (False, 1.0)])
def test_group_lasso_is_the_gradient_of_its_penalty(weighted: bool, factor: float) -> None:
    """Groups are all that comes into one output unit of a convolution, here 1 x 3 x 2 weights; central differences of
    the penalty in float64."""
    kernel = np.asarray(PARAMS["conv"]["kernel"], np.float64)

    def penalty(w: np.ndarray) -> float:
        return 0.3 * factor * sum(np.sqrt(np.sum(w[..., unit] ** 2)) for unit in range(w.shape[-1]))

    step, slope = 1e-5, np.zeros_like(kernel)
    for place in np.ndindex(kernel.shape):
        ends = [kernel.copy() for _ in range(2)]
        for end, sign in zip(ends, (1, -1), strict=True):
            end[place] += sign * step
        slope[place] = (penalty(ends[0]) - penalty(ends[1])) / (2 * step)
    got = added(GroupLasso(0.3, weighted))
    np.testing.assert_allclose(got["conv"]["kernel"], slope, rtol=1e-5, atol=1e-7)
    assert_equal({**got, "conv": {**got["conv"], "kernel": jnp.zeros(1)}}, only(conv={"kernel": jnp.zeros(1)}))


def test_one_strength_pulls_alike_in_layers_of_any_size() -> None:
    for shape in ((2, 3), (3, 3, 16, 3)):
        np.testing.assert_allclose(added(GroupLasso(0.3), {"kernel": jnp.ones(shape)})["kernel"], 0.3, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_group_lasso_survives_zero_tiny_and_huge_groups(size: float) -> None:
    kernel = jnp.full((3, 3, 2, 3), size).at[..., 0].set(0)
    gradient = added(GroupLasso(0.3), {"kernel": kernel})["kernel"]
    assert jnp.all(gradient[..., 0] == 0)
    np.testing.assert_allclose(np.sum(np.asarray(gradient[..., 1]) ** 2), 18 * 0.3**2, rtol=1e-5)


def test_a_proximal_step_with_nothing_to_act_on_says_so() -> None:
    with pytest.raises(ValueError, match="must be at least one kernel"):
        ProximalGroupLasso(0.3).transformation(0.1).init({"bias": jnp.ones(3)})


@pytest.mark.parametrize("penalty", [BatchNormL1(0.3), GroupLasso(0.3)])
def test_a_penalty_with_nothing_to_act_on_says_so(penalty: Any) -> None:
    with pytest.raises(ValueError, match=r"must be at least one (scale|kernel)"):
        penalty.transformation().init({"bias": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"must be at least one (scale|kernel)"):
        penalty.transformation(of_kind("bias")).init(PARAMS)


def test_masks_choose_among_the_kinds() -> None:
    assert_equal(added(CoupledL2(0.3), mask=of_kind("scale")), only(norm={"scale": 0.3 * PARAMS["norm"]["scale"]}))
    two = {"a": {"scale": jnp.ones(2)}, "b": {"scale": jnp.ones(2)}}
    chosen = added(BatchNormL1(0.3), two, mask={"a": {"scale": False}, "b": {"scale": True}})
    assert_equal(chosen, {"a": {"scale": jnp.zeros(2)}, "b": {"scale": jnp.full(2, 0.3)}})


def test_acts_on_flax_networks() -> None:
    class Network(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.linear = nnx.Linear(2, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)

    params = nnx.state(Network(nnx.Rngs(0)), nnx.Param)
    change = added(BatchNormL1(0.3), params)
    assert jax.tree.structure(change) == jax.tree.structure(params)
    np.testing.assert_allclose(change["norm"]["scale"][...], 0.3)
    assert jnp.all(change["linear"]["kernel"][...] == 0)
    assert jnp.all(jnp.isfinite(added(GroupLasso(0.3), params)["linear"]["kernel"][...]))


def proximal(kernel: np.ndarray, bound: float) -> np.ndarray:
    """The closed form, float64: each unit's group of a kernel `[..., units]`."""
    groups = kernel.reshape(-1, kernel.shape[-1]).astype(float)
    norms = np.sqrt((groups**2).sum(0))
    return (groups * np.maximum(0, 1 - bound / np.where(norms > 0, norms, 1))).reshape(kernel.shape)


@pytest.mark.parametrize(("weighted", "factor"), [(True, np.sqrt(18)), (False, 1.0)])
def test_proximal_step_is_its_closed_form_and_the_minimum(weighted: bool, factor: float) -> None:
    rng = np.random.default_rng(0)
    kernel, slope = rng.normal(size=(3, 3, 2, 6)), rng.normal(size=(3, 3, 2, 6))
    kernel[..., 2] *= 1e-3
    slope[..., 2:4] = 0
    kernel[..., 3] = 0
    with jax.enable_x64(True):
        params = {"conv": {"kernel": jnp.asarray(kernel), "bias": jnp.ones(6)}}
        tx = sgd(0.1, regularizer=ProximalGroupLasso(3.0 / factor, weighted))
        gradients = {"conv": {"kernel": jnp.asarray(slope), "bias": jnp.ones(6)}}
        updates, _ = tx.update(gradients, tx.init(params), params)
        got = np.asarray(params["conv"]["kernel"] + updates["conv"]["kernel"])
        np.testing.assert_allclose(updates["conv"]["bias"], -0.1)
    after = kernel - 0.1 * slope
    np.testing.assert_allclose(got, proximal(after, 0.3), rtol=1e-12, atol=1e-15)
    assert (got[..., 2:4] == 0).all(), "exact zeros"

    def objective(w: np.ndarray) -> float:
        return 0.3 * np.sqrt((w**2).sum((0, 1, 2))).sum() + ((w - after) ** 2).sum() / 2

    nearby = [got + 1e-3 * rng.normal(size=got.shape) for _ in range(50)]
    assert all(objective(other) > objective(got) for other in nearby)


def test_proximal_bound_follows_the_learning_rate() -> None:
    tx = ProximalGroupLasso(1.0).transformation(schedules.step_decay(0.2, (1,), 0.5))
    params = {"kernel": jnp.array([[3.0], [4.0]])}
    none = jax.tree.map(jnp.zeros_like, params)
    state, norms = tx.init(params), []
    for _ in range(2):
        updates, state = tx.update(none, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        norms.append(float(jnp.linalg.norm(params["kernel"])))
    first = 5 - 0.2 * np.sqrt(2)
    assert norms == pytest.approx([first, first - 0.1 * np.sqrt(2)])


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_proximal_group_lasso_survives_zero_tiny_and_huge_groups(size: float) -> None:
    kernel = jnp.full((3, 3, 2, 3), size).at[..., 0].set(0)
    tx = sgd(1.0, regularizer=ProximalGroupLasso(size / np.sqrt(18)))
    updates, _ = tx.update({"kernel": jnp.zeros_like(kernel)}, tx.init({"kernel": kernel}), {"kernel": kernel})
    after = np.asarray(kernel + updates["kernel"]) / size
    np.testing.assert_allclose(after, proximal(np.asarray(kernel) / size, 1.0), rtol=1e-5)


def shrunk(decay: DecoupledDecay, learning_rate: Any, steps: int) -> Any:
    """A weight 1 under updates of -0.1, after each step."""
    tx = decay.transformation(learning_rate)
    weight, path = jnp.float32(1), []
    state = tx.init(weight)
    for _ in range(steps):
        update, state = tx.update(jnp.float32(-0.1), state, weight)
        weight = weight + update
        path.append(float(weight))
    return path


def test_decay_follows_the_schedule() -> None:
    halved = schedules.step_decay(0.2, (1,), 0.5)
    first = 0.7 * (1 - 0.1)
    assert shrunk(DecoupledDecay(0.3), 0.2, 2) == pytest.approx([first, 0.7 * (first - 0.1)])
    assert shrunk(DecoupledDecay(0.3), halved, 2) == pytest.approx([first, 0.85 * (first - 0.1)])
    first = 1 - 0.1 - 0.2 * 0.3
    learning_rate_scaled = DecoupledDecay(0.3, scale="learning_rate")
    assert shrunk(learning_rate_scaled, 0.2, 2) == pytest.approx([first, first - 0.1 - 0.06 * first])
    assert shrunk(learning_rate_scaled, halved, 2) == pytest.approx([first, first - 0.1 - 0.03 * first])


@pytest.mark.parametrize("name", regularizers.NAMES[1:])
def test_names_and_trees_give_the_same_back(name: str) -> None:
    chosen = regularizer(name, 0.25)
    assert chosen is not None
    assert chosen.name == name
    leaves, structure = jax.tree.flatten(chosen)
    assert leaves == [0.25]
    assert jax.tree.unflatten(structure, leaves) == chosen
    assert jax.tree.unflatten(structure, [None]).strength is None, "placeholders pass unchecked"
    assert hash(chosen) == hash(regularizer(name, 0.25))
    swept = jax.vmap(lambda r: r.strength * 2)(regularizer(name, jnp.array([0.1, 0.2])))
    np.testing.assert_allclose(swept, [0.2, 0.4])
    assert jax.jit(lambda r: r)(chosen).name == name


def test_none_is_none() -> None:
    assert regularizer("none", 0.1) is None


@pytest.mark.parametrize("name", regularizers.NAMES[1:])
@pytest.mark.parametrize("strength", [-1e-4, float("nan"), float("inf"), jnp.float32(-1), np.array([0.1, -0.1])])
def test_refuses_a_strength_out_of_range(name: str, strength: Any) -> None:
    with pytest.raises(ValueError, match=r"^strength must be (finite and >= 0|in \[0, 1\)), got "):
        regularizer(name, strength)


def test_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^strength must be in \[0, 1\), got 1.0$"):
        DecoupledDecay(1.0)
    DecoupledDecay(1.0, scale="learning_rate")
    with pytest.raises(ValueError, match=r"^scale must be one of schedule learning_rate, got 'lr'$"):
        DecoupledDecay(0.1, scale="lr")  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ValueError, match=r"^regularizer must be one of none l2 .* proximal-group-lasso-unweighted, got 'L2'$"
    ):
        regularizer("L2", 0.1)
