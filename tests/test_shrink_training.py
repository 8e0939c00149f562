"""Training goes on after shrinking: the optimizer's state is cut with the same indices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse import rules, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.shrinking import costs
from jaxsparse.trees import flatten

HYPER = {"sgd": {"momentum": 0.9}, "adagrad": {"initial_accumulator_value": 0.1}}
NEVER = np.isin(np.arange(7), (0, 2, 5))
"""Hidden units that are never active again."""


def network() -> js.models.MLP:
    """Three of seven hidden units have a beta so low that ReLU never lets them through."""
    model = js.models.MLP(3, shape=(5,), widths=(7, 4), rngs=nnx.Rngs(0))
    model.hidden[0].norm.bias[...] = jnp.where(NEVER, -50.0, model.hidden[0].norm.bias[...])
    return model


def trained(
    model: Any, tx: optax.GradientTransformation, state: Any, steps: int, start: int
) -> tuple[Any, Any, list[Any]]:
    """Steps of training in training mode; the model, the state and the parameters after every step."""
    graph, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = nnx.as_pure(params), nnx.as_pure(stats)
    rng = np.random.default_rng(start)

    @jax.jit
    def step(params: Any, stats: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, Any]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graph, params, stats, copy=True)
            logits = model(x)
            new = nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        gradients, stats_ = jax.grad(loss, has_aux=True)(params)
        updates, new_state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), stats_, new_state

    history = []
    for _ in range(steps):
        x, y = jnp.asarray(rng.normal(size=(16, 5))), jnp.asarray(rng.integers(0, 3, 16))
        params, stats, state = step(params, stats, state, x, y)
        history.append(params)
    return nnx.merge(graph, params, stats), state, history


def double(model: Any) -> Any:
    graph, state = nnx.split(model)
    wide = jax.tree.map(lambda a: a.astype(np.float64) if jnp.issubdtype(a.dtype, jnp.inexact) else a, state)
    return nnx.merge(graph, wide)


@pytest.fixture(scope="module")
def shrunk() -> tuple[Any, Any, Any]:
    """The network in float64, a smaller one, and the report."""
    with jax.enable_x64(True):
        model = double(network())
        constants = {"hidden/0": np.zeros(7)}
        smaller, report = js.shrink(model, jnp.ones((2, 5)), {"hidden/0": NEVER}, constants=constants)
        assert report.removed == {"hidden/0": 3}
        return model, smaller, report


@pytest.mark.parametrize("name", rules.functions.__all__)
def test_trajectory(name: str, shrunk: tuple[Any, Any, Any]) -> None:
    """After some steps, the smaller network with everything cut goes where the full one's living units go."""
    model, smaller, report = shrunk
    with jax.enable_x64(True):
        tx = js.optimizer(name, 1e-2, regularizer=js.CoupledL2(1e-3), **HYPER.get(name, {}))
        state = tx.init(nnx.as_pure(nnx.state(model, nnx.Param)))
        model, state, _ = trained(model, tx, state, 3, start=1)
        nnx.update(smaller, report.cut.apply(nnx.state(model)))
        full, full_state, history = trained(model, tx, state, 4, start=2)
        small, small_state, short = trained(smaller, tx, report.cut.apply(state), 4, start=2)
        for before, after in zip(history, short, strict=True):
            close(report.cut.apply(before), after)
        close(report.cut.apply(full_state), small_state)
        close(report.cut.apply(nnx.as_pure(nnx.state(full))), nnx.as_pure(nnx.state(small)))


def close(found: Any, expected: Any) -> None:
    """Equal up to rounding."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, expected)


def test_wrapped_states() -> None:
    """Masked and partitioned states, schedules' counters and other trees."""
    model = network()
    smaller, report = js.shrink(model, jnp.ones((2, 5)), {"hidden/0": NEVER}, constants={"hidden/0": np.zeros(7)})
    params, small = (nnx.as_pure(nnx.state(m, nnx.Param)) for m in (model, smaller))
    kernels = trees.of_kind("kernel")
    labels = jax.tree.map(str, trees.kinds(params))
    for tx in (
        optax.chain(optax.masked(optax.adam(1e-3), kernels), optax.trace(0.9), optax.scale_by_schedule(lambda _: 1.0)),
        optax.multi_transform(
            {str(kind): optax.adam(1e-3) if kind == trees.Kind.KERNEL else optax.sgd(1e-2, 0.9) for kind in trees.Kind},
            lambda params: jax.tree.map(str, trees.kinds(params)),
        ),
        optax.inject_hyperparams(optax.rmsprop)(1e-3),
        optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
    ):
        found, expected = report.cut.apply(tx.init(params)), tx.init(small)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.shape(a), np.shape(b)), found, expected)
    assert labels["hidden"][0]["linear"]["kernel"] == "kernel"
    cut = flatten(report.cut.apply(params))
    np.testing.assert_array_equal(
        cut["hidden/1/linear/kernel"], np.asarray(params["hidden"][1]["linear"]["kernel"])[~NEVER]
    )
    wrapped = report.cut.apply(nnx.state(nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)))
    assert flatten(wrapped)["opt_state/0/mu/hidden/1/linear/kernel"].shape == (4, 4)


def test_a_factored_state_is_refused() -> None:
    model = network()
    _, report = js.shrink(model, jnp.ones((2, 5)), {"hidden/0": NEVER}, constants={"hidden/0": np.zeros(7)})
    tree = {"v_row": {"hidden": {0: {"linear": {"kernel": jnp.ones(5)}}}}}
    with pytest.raises(
        InvalidInput, match="v_row/hidden/0/linear/kernel must have the shape of hidden/0/linear/kernel"
    ):
        report.cut.apply(tree)


class Small(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
        self.depthwise = nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(nnx.relu(self.depthwise(self.conv(x))).mean((1, 2)))


def test_cost_by_hand() -> None:
    found = costs.cost(Small(nnx.Rngs(0)), jnp.ones((5, 8, 6, 2)), batches=(1, 2))
    by_layer = {
        "conv": costs.LayerCost(9 * 2 * 4 + 4, 4 * 3 * 4 * 9 * 2),
        "depthwise": costs.LayerCost(9 * 4 + 4, 4 * 3 * 4 * 9),
        "head": costs.LayerCost(4 * 3 + 3, 4 * 3),
    }
    assert dict(found.layers) == by_layer
    assert found.parameters == sum(layer.parameters for layer in by_layer.values())
    assert found.macs == sum(layer.macs for layer in by_layer.values())
    assert found.activation_bytes == 4 * (8 * 6 * 2 + 4 * 3 * 4)  # the image and the first convolution's result
    assert set(found.latency) == {1, 2}
    assert all(seconds > 0 for seconds in found.latency.values())
