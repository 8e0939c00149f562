"""bfloat16 products with float32 weights, and batch normalisation in parts."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsparse import data
from jaxsparse.bench import precision
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.layers import RELU, BatchNorm
from jaxsparse.train import make_train

HYPER = Hyper(1e-3, 1e-3, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})
RUN = Run(widths=(6,), batch=400, epochs=2, measure_every=2, regularizer="l2", precision="bfloat16")


PRODUCT = re.compile(r":(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)\[")
"""In a traced function's text, with the type of what comes out."""


@pytest.mark.parametrize("model", ["mlp", "basicnet"])
@pytest.mark.parametrize(
    ("kind", "products", "kept"),
    [("bfloat16", "bf16", "float32"), ("float32", "f32", "float32"), ("float64", "f64", "float64")],
)
def test_products_are_narrow_and_what_is_kept_is_not(model: str, kind: str, products: str, kept: str) -> None:
    with jax.enable_x64(kind == "float64"):
        check_types(model, kind, products, kept)


def check_types(model: str, kind: str, products: str, kept: str) -> None:
    training = make_train(replace(RUN, model=model, precision=kind))
    state = jax.eval_shape(lambda key: training.init(HYPER, *training.start(key)), jax.random.key(0))
    images = jax.ShapeDtypeStruct((400, 8, 8, 1), "float32")
    labels, number = jax.ShapeDtypeStruct((400,), "int32"), jax.ShapeDtypeStruct((), "int32")
    traced = jax.make_jaxpr(training.step, return_shape=True)(HYPER, jax.random.key(0), state, images, labels, number)
    assert set(PRODUCT.findall(str(traced[0]))) == {products}
    after, loss = traced[1]
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, state)
    floats = [leaf for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in (*floats, loss)} == {jnp.dtype(kept)}


def test_float64_is_for_those_who_enable_it() -> None:
    with pytest.raises(InvalidInput, match="precision must be one of float32 bfloat16, got 'float64'"):
        replace(RUN, precision="float64")


def test_trains_nearly_as_in_float32() -> None:
    losses = {}
    for kind in ("float32", "bfloat16"):
        training = make_train(replace(RUN, precision=kind, batch=100, epochs=6, measure_every=6))
        dataset = data.load("digits")
        state = jax.jit(lambda key, own=training: own.init(HYPER, *own.start(key)))(jax.random.key(0))
        losses[kind] = np.asarray(jax.jit(training.advance)(HYPER, jax.random.key(0), dataset, state)[1])
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)
    assert not np.array_equal(losses["bfloat16"], losses["float32"])


@given(parts=st.sampled_from([1, 2, 3]), seed=st.integers(0, 99), pool=st.booleans())
@settings(deadline=None, max_examples=8)
def test_parts_are_normalised_each_on_its_own(parts: int, seed: int, pool: bool) -> None:
    """Against float64 NumPy: ReLU of what is normalised with the part's mean and biased variance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 2.0, (6, 4, 4, 3))
    norm = BatchNorm(3, parts=parts, rngs=nnx.Rngs(0))
    scale, bias = rng.normal(size=3), rng.normal(size=3)
    norm.scale[...], norm.bias[...] = jnp.asarray(scale, jnp.float32), jnp.asarray(bias, jnp.float32)
    y = norm.activated(jnp.asarray(x, jnp.float32), RELU, pool=pool)
    pieces = x.reshape(parts, -1, 3)
    mean, variance = pieces.mean(1), pieces.var(1)
    z = (pieces - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5) * scale + bias
    expected = np.maximum(z, 0).reshape(x.shape)
    if pool:
        expected = expected.reshape(6, 2, 2, 2, 2, 3).max((2, 4))
    np.testing.assert_allclose(y, expected, atol=2e-5)
    count = pieces.shape[1]
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean.mean(0), atol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * variance.mean(0) * count / (count - 1), atol=1e-5)


def test_gradients_of_parts_are_those_of_batches() -> None:
    x = jax.random.normal(jax.random.key(0), (6, 3))
    weights = jax.random.normal(jax.random.key(1), (6, 3))

    def gradient(x: jax.Array, weights: jax.Array, parts: int) -> jax.Array:
        def value(x: jax.Array) -> jax.Array:
            return (BatchNorm(3, parts=parts, rngs=nnx.Rngs(0)).activated(x, RELU) * weights).sum()

        return jax.grad(value)(x)

    halves = jnp.concatenate([gradient(x[:3], weights[:3], 1), gradient(x[3:], weights[3:], 1)])
    np.testing.assert_allclose(gradient(x, weights, 2), halves, atol=1e-6)


def test_study_compares_the_same_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bfloat16 kills other units than chance does, it says so."""
    asked: list[tuple[str, int, int]] = []

    def trainer(run: Run) -> Callable[[int, int], tuple[np.ndarray, float]]:
        def train(weights: int, order: int) -> tuple[np.ndarray, float]:
            asked.append((run.precision, weights, order))
            narrow = run.precision == "bfloat16"
            return np.array([narrow, not narrow, order == weights, False]), 1.0

        return train

    monkeypatch.setattr(sys.modules[precision.__module__], "_trainer", trainer)
    found = precision("mlp", epochs=1, networks=2)
    trained = {"float32": [(0, 0), (1, 1), (0, 2), (1, 3)], "bfloat16": [(0, 0), (1, 1)]}
    assert asked == [(kind, *seeds) for kind, pairs in trained.items() for seeds in pairs]
    assert found["alike_other_order"] == [50.0, 50.0]
    assert found["alike_bfloat16"] == pytest.approx([100 / 3, 100 / 3])
    assert found["bfloat16_within_chance"] is False
    assert found["dead_float32"] == 50.0


def test_bad_input() -> None:
    with pytest.raises(InvalidInput, match="precision must be one of float32 bfloat16"):
        Run(precision="float16")
    with pytest.raises(InvalidInput, match=r"batch-norm-parts must be a divisor of the batch \(64\)"):
        Run(batch_norm_parts=3)
