"""Layers against formulas in float64, finite differences, and the compiled program itself."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from jaxsparse import layers
from jaxsparse.checks import InvalidInput
from jaxsparse.layers import products
from jaxsparse.layers.direct import Geometry

LAYOUT = ("NHWC", "HWIO", "NHWC")

# images, rows, columns, channels in, channels out, kernel, stride, padding, dilation
GEOMETRIES = {
    "3x3, whole tiles": (2, 8, 8, 5, 4, 3, 1, "SAME", 1),
    "3x3, odd rows, odd batch, several chunks": (7, 27, 32, 5, 6, 3, 1, "SAME", 1),
    "3x3, one tile wide": (3, 6, 4, 5, 4, 3, 1, "SAME", 1),
    "3x3, odd columns": (2, 7, 5, 6, 3, 3, 1, "SAME", 1),
    "3x3, one pixel": (2, 1, 1, 6, 3, 3, 1, "SAME", 1),
    "3x3, four pixels": (3, 2, 2, 6, 3, 3, 1, "SAME", 1),
    "3x3, four pixels in a row": (3, 1, 4, 6, 3, 3, 1, "SAME", 1),
    "3x3, four pixels, stride 2": (3, 2, 2, 6, 3, 3, 2, ((1, 1), (1, 1)), 1),
    "2x2, four pixels to one": (3, 2, 2, 6, 3, 2, 1, "VALID", 1),
    "3x3, VALID": (2, 9, 8, 9, 4, 3, 1, "VALID", 1),
    "3x3, one channel, one image": (1, 8, 8, 1, 3, 3, 1, "SAME", 1),
    "5x5, three channels": (4, 8, 8, 3, 6, 5, 1, "SAME", 1),
    "5x5, many channels": (2, 9, 8, 7, 4, 5, 1, "SAME", 1),
    "3x3, stride 2": (2, 9, 8, 6, 4, 3, 2, "SAME", 1),
    "3x3, stride 2, padding of PyTorch": (2, 9, 8, 6, 4, 3, 2, ((1, 1), (1, 1)), 1),
    "3x3, stride 2, three channels": (2, 9, 8, 3, 4, 3, 2, "SAME", 1),
    "1x1": (2, 9, 8, 9, 4, 1, 1, "SAME", 1),
    "1x1, stride 2": (2, 9, 8, 9, 4, 1, 2, "VALID", 1),
    "dilated": (2, 9, 9, 9, 4, 3, 1, "SAME", 2),
}


def draw(seed: int, *shape: int) -> jax.Array:
    """Normal numbers, float64 if enabled."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def example(geometry: str) -> tuple[jax.Array, jax.Array, Callable[..., jax.Array], Callable[..., jax.Array]]:
    """Images, kernel, our convolution, and `jax.lax`'s."""
    images, rows, columns, inputs, outputs, size, stride, padding, dilation = GEOMETRIES[geometry]
    options: dict[str, Any] = {"rhs_dilation": (dilation,) * 2, "dimension_numbers": LAYOUT}

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return layers.convolution(x, kernel, (stride,) * 2, padding, **options)

    def reference(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, **options)

    return draw(1, images, rows, columns, inputs), draw(2, size, size, inputs, outputs), ours, reference


def with_gradients(function: Callable[..., jax.Array], *arguments: jax.Array) -> tuple[jax.Array, ...]:
    """Value, and gradients of its product with fixed weights."""

    def weighted(*arguments: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = function(*arguments)
        return (y * draw(3, *y.shape).astype(y.dtype)).sum(), y

    gradients, y = jax.jit(jax.grad(weighted, tuple(range(len(arguments))), has_aux=True))(*arguments)
    return (y, *gradients)


def assert_close(actual: Any, desired: Any, relative: float) -> None:
    """Leaf by leaf, relative to the largest number of the leaf."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * max(np.abs(b).max(), 1e-30))


# ---------------------------------------------------------------------------------------------------------- product


@pytest.mark.parametrize("shape", [(6, 9, 4), (6, 4, 9), (5, 7, 7), (1, 3, 1)])
def test_product_and_gradients_equal_those_of_numpy(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    with jax.enable_x64(True):
        x, kernel, weight = draw(1, rows, inputs), draw(2, inputs, outputs), np.asarray(draw(3, rows, outputs))
        expected = (x @ kernel, weight @ np.asarray(kernel).T, np.asarray(x).T @ weight)
        assert_close(with_gradients(layers.product, x, kernel), expected, 1e-14)


def test_kernel_gradient_of_few_outputs_has_them_as_rows() -> None:
    """XLA would turn the product round again, into one with ten columns, which takes twice as long."""
    x, kernel = jax.ShapeDtypeStruct((64, 300), jnp.float32), jax.ShapeDtypeStruct((300, 10), jnp.float32)
    gradient = jax.grad(lambda x, kernel: jnp.square(layers.product(x, kernel)).sum(), 1)
    text = jax.jit(gradient).lower(x, kernel).compile().as_text()
    results = [line.split(" = ")[1].split("{")[0] for line in text.splitlines() if " dot(" in line]
    assert "f32[10,300]" in results
    assert "f32[300,10]" not in results


def test_product_passes_on_what_is_no_matrix() -> None:
    x, kernel = draw(1, 2, 3, 4), draw(2, 4, 5)
    numbers = (((2,), (0,)), ((), ()))
    assert_close(layers.product(x, kernel, numbers), lax.dot_general(x, kernel, numbers), 0)


# ------------------------------------------------------------------------------------------------------ convolution

compiled = jax.jit(layers.convolution)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_and_gradients_equal_those_of_lax(geometry: str) -> None:
    with jax.enable_x64(True):
        x, kernel, ours, reference = example(geometry)
        assert_close(with_gradients(ours, x, kernel), with_gradients(reference, x, kernel), 1e-13)


@pytest.mark.parametrize("geometry", ["3x3, whole tiles", "3x3, stride 2, three channels"])
def test_convolution_against_finite_differences(geometry: str) -> None:
    with jax.enable_x64(True):
        x, kernel, ours, _ = example(geometry)
        check_grads(jax.jit(ours), (x, kernel), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)


def test_float32_keeps_its_digits() -> None:
    """Winograd's sums lose digits, at most 1e-5 of the largest value here, where the plain convolution loses 1e-6."""
    with jax.enable_x64(True):
        x, kernel = draw(1, 4, 16, 16, 128), draw(2, 3, 3, 128, 32)
        exact = with_gradients(
            lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=LAYOUT), x, kernel
        )
        single = with_gradients(layers.convolution, x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert {y.dtype for y in single} == {jnp.dtype(jnp.float32)}
    assert_close(single, exact, 1e-5)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3, 3), st.sampled_from([(8, 8, 5), (7, 5, 5), (8, 8, 3)]))
def test_convolution_is_linear(seed: int, factor: float, shape: tuple[int, int, int]) -> None:
    with jax.enable_x64(True):
        x, other, kernel = draw(seed, 2, *shape), draw(seed + 1, 2, *shape), draw(seed + 2, 3, 3, shape[-1], 4)
        whole = compiled(x + factor * other, kernel)
        assert_close(whole, compiled(x, kernel) + factor * compiled(other, kernel), 1e-12)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.integers(-3, 3), st.integers(-3, 3))
def test_convolution_moves_with_its_input(seed: int, down: int, right: int) -> None:
    """Tiles are four columns wide, so a shift by less must not be seen."""
    with jax.enable_x64(True):
        x = np.pad(draw(seed, 2, 5, 5, 5), ((0, 0), (5, 6), (5, 6), (0, 0)))
        kernel = draw(seed + 1, 3, 3, 5, 4)
        moved = compiled(np.roll(x, (down, right), (1, 2)), kernel)
        assert_close(moved, np.roll(compiled(x, kernel), (down, right), (1, 2)), 1e-12)


def test_other_layouts_go_to_lax() -> None:
    x, kernel = draw(1, 2, 3, 8, 8), draw(2, 4, 3, 5, 5)
    options: dict[str, Any] = {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}
    ours = layers.convolution(x, kernel, (1, 1), "SAME", **options)
    np.testing.assert_array_equal(ours, lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **options))


@pytest.mark.parametrize(("groups", "transposed"), [(2, False), (1, True)])
def test_other_convolutions_go_to_lax(groups: int, transposed: bool) -> None:
    x, kernel = draw(1, 2, 8, 8, 6), draw(2, 3, 3, 6 // groups, 4)
    options: dict[str, Any] = {"feature_group_count": groups, "lhs_dilation": (2, 2) if transposed else (1, 1)}
    expected = lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT, **options)
    np.testing.assert_array_equal(layers.convolution(x, kernel, (1, 1), ((1, 1), (1, 1)), **options), expected)


def test_conv_is_flax_conv() -> None:
    ours, theirs = (kind(5, 6, (3, 3), strides=2, rngs=nnx.Rngs(0)) for kind in (layers.Conv, nnx.Conv))
    assert jax.tree.structure(nnx.state(ours)) == jax.tree.structure(nnx.state(theirs))
    assert_close(ours(draw(1, 2, 8, 8, 5)), theirs(draw(1, 2, 8, 8, 5)), 1e-6)


def test_vmap_over_networks() -> None:
    with jax.enable_x64(True):
        x, kernel, ours, reference = example("3x3, whole tiles")
        many = (jnp.stack([x, -x, 2 * x]), jnp.stack([kernel, kernel**2, kernel]))
        assert_close(with_gradients(jax.vmap(ours), *many), with_gradients(jax.vmap(reference), *many), 1e-13)


# ------------------------------------------------------------------------------------------- what the compiler makes


class Network(nnx.Module):
    """A layer of every kind."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        kinds = [(3, 5, 1), (8, 3, 1), (8, 3, 2), (8, 1, 2)]  # channels in, kernel, stride
        self.convolutions = nnx.List(
            [layers.Conv(inputs, 8, (size, size), stride, use_bias=False, rngs=rngs) for inputs, size, stride in kinds]
        )
        self.normalisations = nnx.List([layers.BatchNorm(8, rngs=rngs) for _ in kinds])

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, normalisation in zip(self.convolutions, self.normalisations, strict=True):
            x = normalisation.activated(conv(x), pool=conv.kernel_size == (5, 5))
        return x


def trained(convolution: Callable[..., jax.Array], steps: int = 3) -> tuple[Callable[..., Any], Any, jax.Array]:
    """A scan of gradient steps, its start, and images."""
    network = Network(nnx.Rngs(0))
    for layer in network.convolutions:
        layer.conv_general_dilated = convolution
    graph, params, rest = nnx.split(network, nnx.Param, ...)

    def loss(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        network = nnx.merge(graph, params, rest, copy=True)
        y = network(x)
        return jnp.square(y - 1).mean(), nnx.state(network, nnx.Not(nnx.Param))

    def run(start: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        def step(state: Any, _: None) -> tuple[Any, jax.Array]:
            (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(*state, x)
            return (jax.tree.map(lambda w, g: w - 0.1 * g, state[0], gradients), rest), value

        return lax.scan(step, start, length=steps)

    return run, (params, rest), draw(1, 4, 16, 16, 3).astype(jnp.float32)


@functools.cache
def compiled_training(convolution: Callable[..., jax.Array]) -> Any:
    run, *arguments = trained(convolution)
    return jax.jit(run).lower(*arguments).compile()


def convolution_layouts(program: Any) -> list[str]:
    return re.findall(r"convolution\(.*dim_labels=(\S+?)[,\s]", program.as_text())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA:CPU")
def test_gradient_in_a_scan_stays_in_the_fast_layout() -> None:
    layouts = convolution_layouts(compiled_training(layers.convolution))
    assert len(layouts) > 4
    assert set(layouts) == {"b01f_01io->b01f"}
    # The reason for all this; when it goes, so can our gradient.
    assert set(convolution_layouts(compiled_training(lax.conv_general_dilated))) - {"b01f_01io->b01f"}


def test_training_in_a_scan_equals_plain_convolutions() -> None:
    def after(convolution: Callable[..., jax.Array]) -> Any:
        _, start, x = trained(convolution)
        return compiled_training(convolution)(start, x)

    assert_close(after(layers.convolution), after(lax.conv_general_dilated), 1e-4)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA:CPU")
def test_unused_gradient_of_the_input_is_dropped() -> None:
    x, kernel = draw(1, 2, 7, 7, 5), draw(2, 3, 3, 5, 6)

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.square(layers.convolution(x, kernel)).sum()

    def count(which: int | tuple[int, ...]) -> int:
        return len(convolution_layouts(jax.jit(jax.grad(loss, which)).lower(x, kernel).compile()))

    assert (count((0, 1)), count(1)) == (3, 2)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_plain_convolution(platform: str) -> None:
    x, kernel = jnp.ones((2, 8, 8, 5)), jnp.ones((3, 3, 5, 6))

    def lowered(convolution: Callable[..., jax.Array]) -> list[str]:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.square(convolution(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)).sum()

        program = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.while" not in program
        return sorted(re.findall(r"stablehlo\.convolution.*dim_numbers = (.*?), window", program))

    assert lowered(layers.convolution) == lowered(lax.conv_general_dilated)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_as_products_equals_that_of_lax(geometry: str) -> None:
    """Recipes are for accelerators; here they are called by name."""
    with jax.enable_x64(True):
        x, kernel, _, reference = example(geometry)
        y, dx, dkernel = with_gradients(reference, x, kernel)
        _, _, _, _, _, size, stride, padding, dilation = GEOMETRIES[geometry]
        if isinstance(padding, str):
            extent = ((size - 1) * dilation + 1,) * 2
            padding = lax.padtype_to_pads(x.shape[1:3], extent, (stride,) * 2, padding)
        pads = tuple(map(tuple, padding))
        where = Geometry((stride,) * 2, (pads[0], pads[1]), (dilation,) * 2)
        g = draw(3, *y.shape)  # the weights of `with_gradients`
        ours = [
            products.PRODUCTS.forward(where, None, x, kernel),
            products.PRODUCTS.input_gradient(where, None, x, kernel, g),
            products.PRODUCTS.kernel_gradient(where, None, x, kernel, g),
        ]
        assert_close(ours, [y, dx, dkernel], 1e-13)


def test_on_an_accelerator_products_take_the_place_of_convolutions() -> None:
    x, kernel = jnp.ones((3, 2, 8, 8, 5)), jnp.ones((3, 3, 3, 5, 6))

    def convolutions() -> int:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.square(jax.vmap(lambda x, k: layers.convolution(x, k, padding="SAME"))(x, kernel)).sum()

        program = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
        return program.count("stablehlo.convolution")

    with layers.convolutions_as_products():
        assert convolutions() == 0
    assert convolutions() == 3


def test_one_network_per_device() -> None:
    run, start, x = trained(layers.convolution)
    cells = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), start)

    def cell(start: Any, x: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], run(jax.tree.map(lambda leaf: leaf[0], start), x))

    mesh = jax.make_mesh((2,), ("cell",), (jax.sharding.AxisType.Auto,))
    specs: dict[str, Any] = {"in_specs": (PartitionSpec("cell"), PartitionSpec()), "out_specs": PartitionSpec("cell")}
    both = jax.jit(jax.shard_map(cell, mesh=mesh, **specs))(cells, x)
    for i in range(2):
        own, start = (jax.tree.map(operator.itemgetter(i), tree) for tree in (both, cells))
        assert_close(own, compiled_training(layers.convolution)(start, x), 1e-4)


# ----------------------------------------------------------------------------------------------- activation functions

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky-relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_activations_are_their_formulas(name: str) -> None:
    with jax.enable_x64(True):
        x = draw(1, 200) * 3
        function = layers.activation(name, 0.2)
        np.testing.assert_allclose(function(x), FORMULAS[name](np.asarray(x)), rtol=1e-12, atol=1e-14)
        slopes = (FORMULAS[name](np.asarray(x) + 1e-6) - FORMULAS[name](np.asarray(x) - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.vmap(jax.grad(function))(x), slopes, rtol=1e-6, atol=1e-8)


def test_derivative_of_a_rectifier_at_zero_is_its_slope() -> None:
    for slope in (0.0, 0.3):
        assert jax.grad(layers.Rectifier(slope))(0.0) == pytest.approx(slope)


def test_unknown_activations_are_refused() -> None:
    with pytest.raises(InvalidInput, match="activation must be one of relu leaky-relu elu tanh sigmoid, got 'swish'"):
        layers.activation("swish")
    with pytest.raises(InvalidInput, match=r"slope must be in \[0, 1\), got 1.0"):
        layers.activation("leaky-relu", 1.0)


# ------------------------------------------------------------------------------------------------------ max-pooling


def windows(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2), (3, 2, 2, 1)])
def test_max_pool_and_gradient_equal_those_of_a_window_reduction(shape: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        assert_close(with_gradients(layers.max_pool, draw(1, *shape)), with_gradients(windows, draw(1, *shape)), 1e-15)


@pytest.mark.parametrize(
    ("window", "first"), [((1, 1, 1, 1), 0), ((0, 1, 1, 1), 1), ((0, 0, 1, 1), 2), ((0, 0, 0, 1), 3), ((2, 1, 2, 1), 0)]
)
def test_max_pool_gradient_of_a_tie_goes_to_the_first(window: tuple[int, ...], first: int) -> None:
    x = jnp.asarray(window, jnp.float32).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: 5 * layers.max_pool(x).sum())(x)
    np.testing.assert_array_equal(gradient.ravel(), 5 * np.eye(4)[first])


def test_max_pool_shows_nan() -> None:
    assert jnp.isnan(layers.max_pool(jnp.zeros((1, 2, 2, 1)).at[0, 1, 0, 0].set(jnp.nan))).all()


# ---------------------------------------------------------------------------------------------- batch normalisation


def normalised(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale.reshape(shape) + bias.reshape(shape)


def layer_with(scale: jax.Array, bias: jax.Array, **options: Any) -> layers.BatchNorm:
    layer = layers.BatchNorm(scale.size, param_dtype=scale.dtype, rngs=nnx.Rngs(0), **options)
    assert layer.scale is not None
    assert layer.bias is not None
    layer.scale[...], layer.bias[...] = scale, bias
    return layer


def apply(method: str, **options: Any) -> Callable[..., jax.Array]:
    return lambda x, scale, bias: getattr(layer_with(scale, bias), method)(x, **options)


def leaky(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, 0.1 * x)


LEAKY = layers.Rectifier(0.1)
FORMS = {
    "plain": (apply("__call__"), normalised),
    "rectified": (apply("activated"), lambda *a: jax.nn.relu(normalised(*a))),
    "leaky": (apply("activated", activation=LEAKY), lambda *a: leaky(normalised(*a))),
    "tanh": (apply("activated", activation=jnp.tanh), lambda *a: jnp.tanh(normalised(*a))),
    "pooled": (apply("activated", pool=True), lambda *a: windows(jax.nn.relu(normalised(*a)))),
    "leaky, pooled": (apply("activated", activation=LEAKY, pool=True), lambda *a: windows(leaky(normalised(*a)))),
    "tanh, pooled": (apply("activated", activation=jnp.tanh, pool=True), lambda *a: windows(jnp.tanh(normalised(*a)))),
}
SHAPES = [(3, 5, 6, 4), (1, 4, 4, 4), (7, 4)]
CASES = [(form, shape) for form in FORMS for shape in SHAPES if "pooled" not in form or len(shape) == 4]


@pytest.mark.parametrize(("form", "shape"), CASES)
def test_normalisation_and_gradients_equal_the_formula(form: str, shape: tuple[int, ...]) -> None:
    """Negative scales turn a maximum into a minimum, so there is one."""
    with jax.enable_x64(True):
        arguments = draw(1, *shape) * 2 + 3, jnp.asarray([1.5, -0.7, 1e-3, 0.3]), jnp.asarray([0.1, 0.2, 1e-4, -0.4])
        ours, formula = FORMS[form]
        assert_close(with_gradients(ours, *arguments), with_gradients(formula, *arguments), 1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_normalisation_against_finite_differences(form: str) -> None:
    with jax.enable_x64(True):
        arguments = draw(1, 2, 4, 4, 3), jnp.asarray([1.5, -0.7, 0.3]), jnp.asarray([0.1, 0.2, -0.4])
        check_grads(jax.jit(FORMS[form][0]), arguments, order=1, modes=["rev"], atol=1e-6, rtol=1e-6, eps=1e-6)


@pytest.mark.parametrize("activation", [layers.RELU, LEAKY, jax.nn.elu], ids=["relu", "leaky", "elu"])
@pytest.mark.parametrize("pool", [False, True])
def test_activated_is_normalise_activate_pool(pool: bool, activation: layers.Activation) -> None:
    x, fused, apart = draw(1, 4, 6, 8, 5).astype(jnp.float32), *(layers.BatchNorm(5, rngs=nnx.Rngs(0)) for _ in "ab")
    expected = activation(apart(x))
    assert_close(fused.activated(x, activation, pool=pool), layers.max_pool(expected) if pool else expected, 1e-6)
    assert_close(nnx.state(fused), nnx.state(apart), 1e-6)
    for layer in (fused, apart):
        layer.eval()
    expected = activation(apart(x))
    np.testing.assert_array_equal(
        fused.activated(x, activation, pool=pool), layers.max_pool(expected) if pool else expected
    )


def test_dead_channel_sends_its_gradient_to_the_first_pixel() -> None:
    """Scale zero makes all pixels of a window equal; the gradient of the scale then sees the first of each."""
    with jax.enable_x64(True):
        x = draw(1, 2, 4, 4, 1)
        _, _, gradient, _ = with_gradients(apply("activated", pool=True), x, jnp.zeros(1), jnp.ones(1))
        firsts = normalised(x, jnp.ones(1), jnp.zeros(1))[:, ::2, ::2]
        np.testing.assert_allclose(gradient[0], (firsts * draw(3, *firsts.shape)).sum(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 4, 3)])
@pytest.mark.parametrize("method", ["__call__", "activated"])
@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics(shape: tuple[int, ...], method: str, unbiased: bool) -> None:
    """As PyTorch writes them (unbiased), or flax (biased): n / (n - 1) between them."""
    layer = layer_with(jnp.ones(3), jnp.zeros(3), unbiased=unbiased)
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = np.asarray(draw(seed, *shape) * 2 + seed, np.float32)
        getattr(layer, method)(jnp.asarray(x))
        values = x.astype(np.float64).reshape(-1, 3)
        mean = 0.9 * mean + 0.1 * values.mean(0)
        variance = 0.9 * variance + 0.1 * values.var(0, ddof=int(unbiased))
    assert_close((layer.mean[...], layer.var[...]), (mean, variance), 1e-6)
    layer.eval()
    x = draw(9, *shape).astype(jnp.float32)
    assert_close(layer(x), (np.asarray(x) - mean) / np.sqrt(variance + 1e-5), 1e-6)
    assert_close((layer.mean[...], layer.var[...]), (mean, variance), 1e-6)


def test_biased_layer_is_that_of_flax() -> None:
    x = draw(1, 4, 3, 3, 5).astype(jnp.float32)
    ours = layers.BatchNorm(5, unbiased=False, rngs=nnx.Rngs(0))
    theirs = nnx.BatchNorm(5, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))
    assert_close(ours(x), theirs(x), 1e-6)
    assert_close(nnx.state(ours), nnx.state(theirs), 1e-6)
    assert jax.tree.structure(nnx.state(ours)) == jax.tree.structure(nnx.state(theirs))


def test_statistics_of_bfloat16_are_float32() -> None:
    """And far from zero they do not cancel: mean 100, deviation 1."""
    x = (draw(1, 64, 8, 8, 2) + 100).astype(jnp.float32)
    layer = layers.BatchNorm(2, momentum=0.0, unbiased=False, rngs=nnx.Rngs(0))
    layer.activated(x)
    assert_close(layer.var[...], np.asarray(x, np.float64).var((0, 1, 2)), 1e-5)
    half = x.astype(jnp.bfloat16)
    assert layer.activated(half).dtype == layer(half).dtype == jnp.bfloat16
    assert layer.var[...].dtype == jnp.float32
    assert_close(layer.var[...], np.asarray(half, np.float64).var((0, 1, 2)), 1e-5)


def test_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="masked"):
        layers.BatchNorm(2, rngs=nnx.Rngs(0))(jnp.ones((3, 2)), mask=jnp.ones((3, 2), bool))
