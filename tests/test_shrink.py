"""Shrunk networks against the networks that they must equal, on random networks of every shape.

The oracle is the whole network with the dead units' gammas (without a normalisation: incoming weights) set to zero by
NumPy, run as it is.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse import layers, models
from jaxsparse.checks import InvalidInput
from jaxsparse.shrinking import Borders, masked
from jaxsparse.tracing.program import RUN_ONCE


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def randomised(build: Callable[[], Any], seed: int, dtype: Any = np.float64) -> Any:
    """A model with random numbers for all parameters and statistics; variances positive."""
    rng = np.random.default_rng(seed)
    graph, state = nnx.split(nnx.eval_shape(build))

    def draw(path: tuple[Any, ...], leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.zeros(leaf.shape, leaf.dtype)
        fan = max(1, int(np.prod(leaf.shape[:-1]))) if leaf.ndim > 1 else 1
        numbers = rng.normal(size=leaf.shape) / np.sqrt(fan)
        return jnp.asarray(abs(numbers) + 0.5 if "var" in jax.tree_util.keystr(path) else numbers, dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))


def outputs(model: Any, x: Any) -> np.ndarray:
    graph, state = nnx.split(model)

    def call(state: Any, x: Any) -> Any:
        copy = nnx.merge(graph, state, copy=True)
        copy.eval()
        return copy(x)

    return np.asarray(jax.jit(call, compiler_options=RUN_ONCE)(state, x))


def oracle(model: Any, dead: dict[str, np.ndarray], constants: dict[str, np.ndarray] | None = None) -> Any:
    """The masked model, by hand."""
    copy = nnx.clone(model)
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(copy)}
    for name, units in dead.items():
        module: Any = modules[name]
        inner = [
            each
            for each in (getattr(module, "norm", None), getattr(module, "conv", None), getattr(module, "linear", None))
            if each is not None
        ]
        module = inner[0] if inner and not hasattr(module, "kernel") else module
        weights = module.scale if getattr(module, "scale", None) is not None else module.kernel
        array = np.array(weights[...])
        array[..., units] = 0
        weights[...] = jnp.asarray(array)
        if constants is not None and name in constants:
            bias = np.array(module.bias[...])
            bias[units] = constants[name][units]
            module.bias[...] = jnp.asarray(bias)
    return copy


def check(
    model: Any,
    x: Any,
    dead: dict[str, np.ndarray],
    tolerance: float = 1e-12,
    constants: dict[str, np.ndarray] | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Shrinks, and compares on inputs other than the example."""
    before = nnx.state(model, nnx.Not(nnx.RngState))
    smaller, report = js.shrink(model, x[:2], dead, constants=constants, **options)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model, nnx.Not(nnx.RngState)), before)
    expected = outputs(oracle(model, dead, constants), x)
    found = outputs(smaller, x)
    assert found.shape == expected.shape
    assert np.max(abs(found - expected), initial=0) <= tolerance * max(1, np.max(abs(expected), initial=0)), str(report)
    for name, layer in report.layers.items():
        assert (np.diff(layer.kept) > 0).all()
        asked = [dead[own] for own in dead if report.layers[own] is layer]
        assert set(layer.reasons) == set(np.flatnonzero(asked[0] if asked else [])) & set(layer.kept.tolist()), name
    return smaller, report


class Unit(nnx.Module):
    """A convolution, perhaps a normalisation, an activation function."""

    def __init__(self, inputs: int, width: int, spec: dict[str, Any], image: tuple[int, int], rngs: nnx.Rngs):
        conv = layers.Conv if spec["own"] else nnx.Conv
        norm = layers.BatchNorm if spec["own"] else nnx.BatchNorm
        padding = spec["padding"] if min(image) >= 3 else "SAME"  # others need a few pixels
        window, bias = (spec["size"], spec["size"]), spec["norm"] != "after"
        self.conv = conv(inputs, width, window, strides=spec["stride"], padding=padding, use_bias=bias, rngs=rngs)
        self.norm = nnx.data(norm(width, use_running_average=True, rngs=rngs) if spec["norm"] != "none" else None)
        self.act = spec["act"]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)
        return self.act(x if self.norm is None else self.norm(x))


class Network(nnx.Module):
    """Units in sequence, beside each other (concatenated), or around an identity; then a head."""

    def __init__(self, spec: dict[str, Any], rngs: nnx.Rngs):
        self.spec = spec
        self.units = nnx.List([])
        shape = (1, 6, 5, 2)
        for block in spec["blocks"]:
            image, inputs, width = shape[1:3], shape[-1], block["width"]
            if block["join"] == "residual":
                inside, left = {**block, "stride": 1}, (image[0] - 2, image[1] - 2)
                units = [Unit(inputs, width, inside, image, rngs), Unit(width, inputs, inside, left, rngs)]
            elif block["join"] == "concatenate":
                units = [Unit(inputs, width, block, image, rngs), Unit(inputs, 2, {**block, "size": 1}, image, rngs)]
            else:
                units = [Unit(inputs, width, block, image, rngs)]
            self.units.append(nnx.List(units))
            shape = jax.eval_shape(lambda x, u=units, b=block: self.block(u, b, x), jnp.zeros(shape, np.float32)).shape
        features = int(np.prod(shape[1:])) if spec["head"] == "flatten" else shape[-1]
        self.hidden = nnx.Linear(features, 4, use_bias=spec["hidden_bias"], rngs=rngs)
        self.hidden_norm = nnx.data(nnx.BatchNorm(4, rngs=rngs) if spec["hidden_norm"] else None)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def block(self, units: Any, block: dict[str, Any], x: jax.Array) -> jax.Array:
        found = units[0](x)
        if block["join"] == "residual":
            found, x = common(units[1](found), x)
            found = found + x
        elif block["join"] == "concatenate":
            found = jnp.concatenate(common(found, units[1](x)), -1)
        return block["pool"](found)

    def __call__(self, x: jax.Array) -> jax.Array:
        for units, block in zip(self.units, self.spec["blocks"], strict=True):
            x = self.block(units, block, x)
        if self.spec["head"] == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            x = x.mean((1, 2)) if self.spec["head"] == "mean" else x.max((1, 2))
        x = self.hidden(x)
        return self.head(nnx.relu(x if self.hidden_norm is None else self.hidden_norm(x)))


def common(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both cut to the rows and columns that they share."""
    rows, columns = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
    return a[:, :rows, :columns], b[:, :rows, :columns]


def none(x: jax.Array) -> jax.Array:
    return x


def overlapping_max_pool(x: jax.Array) -> jax.Array:
    return nnx.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")


def average_pool(x: jax.Array) -> jax.Array:
    return nnx.avg_pool(x, (2, 2), strides=(1, 1), padding="SAME")


def own_pool(x: jax.Array) -> jax.Array:
    return layers.max_pool(x) if min(x.shape[1:3]) >= 2 else x


BLOCKS = st.fixed_dictionaries(
    {
        "join": st.sampled_from(["plain", "plain", "residual", "concatenate"]),
        "own": st.booleans(),
        "size": st.sampled_from([1, 2, 3]),
        "stride": st.sampled_from([1, 1, 2]),
        "padding": st.sampled_from(["SAME", "SAME", "VALID", "CIRCULAR", "REFLECT"]),
        "norm": st.sampled_from(["after", "after", "with bias", "none"]),
        "act": st.sampled_from([nnx.relu, nnx.relu, nnx.leaky_relu, nnx.silu, jnp.tanh, nnx.gelu, none]),
        "width": st.integers(1, 4),
        "pool": st.sampled_from([none, none, overlapping_max_pool, average_pool, own_pool]),
    }
)
NETWORKS = st.fixed_dictionaries(
    {
        "blocks": st.lists(BLOCKS, min_size=1, max_size=3),
        "head": st.sampled_from(["flatten", "mean", "max"]),
        "hidden_bias": st.booleans(),
        "hidden_norm": st.booleans(),
    }
)


def random_network(spec: dict[str, Any], seed: int, share: float, borders: Borders, double: bool) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.float64 if double else np.float32
    model = randomised(lambda: Network(spec, nnx.Rngs(0)), seed, dtype)
    x = jnp.asarray(rng.normal(size=(5, 6, 5, 2)), dtype)
    dead = {}
    for layer in js.wiring(model, x).layers:
        modules = {part.name.rpartition("/")[0]: part.role for part in layer.parts}
        scaled = [module for module, role in modules.items() if module.endswith("norm")]
        if layer.name == "head" or (not scaled and rng.random() < 0.5):
            continue
        name, units = scaled[0] if scaled else next(iter(modules)), layer.size
        whole = rng.random() < 0.15
        dead[name] = np.ones(units, bool) if whole else rng.random(units) < share
    _, report = check(model, x, dead, 1e-12 if double else 1e-5, borders=borders)
    assert all("keep one unit" in note for note in report.notes), "the check at the end should find nothing to mend"


ARGUMENTS: dict[str, Any] = {
    "spec": NETWORKS,
    "seed": st.integers(0, 2**20),
    "share": st.sampled_from([0.0, 0.3, 0.6]),
    "borders": st.sampled_from(list(Borders)),
    "double": st.sampled_from([True, True, True, False]),
}
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@given(**ARGUMENTS)
@settings(max_examples=5, deadline=None, suppress_health_check=SLOW)
def test_random_networks(**arguments: Any) -> None:
    random_network(**arguments)


@pytest.mark.slow
@given(**ARGUMENTS)
@settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
def test_500_random_networks(**arguments: Any) -> None:
    """Some twenty minutes on one core: every network compiles its own programs."""
    random_network(**arguments)


def plain_mlp(act: Callable[[jax.Array], jax.Array]) -> Any:
    """Linear layers with biases, in the style of flax's first example."""

    class MLP(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.linear1 = nnx.Linear(5, 8, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)
            self.linear2 = nnx.Linear(8, 6, rngs=rngs)
            self.linear3 = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = self.dropout(act(self.linear1(x)))
            return self.linear3(act(self.linear2(x)))

    return MLP


class MNISTStyleCNN(nnx.Module):
    """Two convolutions with biases and average pooling, then a flattened image."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 6, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm1 = nnx.BatchNorm(6, rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, kernel_size=(3, 3), padding="VALID", rngs=rngs)
        self.batch_norm2 = nnx.BatchNorm(5, rngs=rngs)
        self.linear1 = nnx.Linear(5 * 3 * 3, 7, rngs=rngs)
        self.dropout = nnx.Dropout(rate=0.25, rngs=rngs)
        self.linear2 = nnx.Linear(7, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.avg_pool(nnx.relu(self.batch_norm1(self.conv1(x))), window_shape=(2, 2), strides=(2, 2))
        x = nnx.relu(self.batch_norm2(self.conv2(x)))
        x = x.reshape(x.shape[0], -1)
        return self.linear2(self.dropout(nnx.relu(self.linear1(x))))


class ResNetBlock(nnx.Module):
    def __init__(self, inputs: int, features: int, strides: int, rngs: nnx.Rngs):
        self.conv0 = nnx.Conv(inputs, features, (3, 3), strides=strides, use_bias=False, rngs=rngs)
        self.norm0 = nnx.BatchNorm(features, rngs=rngs)
        self.conv1 = nnx.Conv(features, features, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(features, rngs=rngs)
        self.project = nnx.data(None)
        if strides > 1 or inputs != features:
            self.project = nnx.Conv(inputs, features, (1, 1), strides=strides, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norm1(self.conv1(nnx.relu(self.norm0(self.conv0(x)))))
        return nnx.relu(y + (x if self.project is None else self.project(x)))


class ResNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.stem = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.blocks = nnx.List([ResNetBlock(4, 4, 1, rngs), ResNetBlock(4, 6, 2, rngs)])
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class PreActivation(nnx.Module):
    """Normalisation and ReLU before each convolution; the identity runs through."""

    def __init__(self, rngs: nnx.Rngs):
        self.stem = nnx.Conv(2, 4, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(4, rngs=rngs)
        self.conv1 = nnx.Conv(4, 5, (1, 1), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(5, rngs=rngs)
        self.conv2 = nnx.Conv(5, 4, (1, 1), use_bias=False, rngs=rngs)
        self.norm3 = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        x = x + self.conv2(nnx.relu(self.norm2(self.conv1(nnx.relu(self.norm1(x))))))
        return self.head(nnx.relu(self.norm3(x)).mean((1, 2)))


class Normalised(nnx.Module):
    """A feed-forward block of a transformer, with dropout; LayerNorm looks at all channels of the stream."""

    def __init__(self, rngs: nnx.Rngs):
        self.embed = nnx.Linear(5, 6, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.up = nnx.Linear(6, 9, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.down = nnx.Linear(9, 6, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.embed(x)
        x = x + self.down(self.dropout(nnx.gelu(self.up(self.norm(x)))))
        return self.head(x)


class Separable(nnx.Module):
    """A depthwise convolution between two pointwise ones, and a transposed one."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(2, 6, (1, 1), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.depthwise = nnx.Conv(6, 6, (3, 3), feature_group_count=6, padding="VALID", rngs=rngs)
        self.last = nnx.Conv(6, 3, (1, 1), rngs=rngs)
        self.up = nnx.ConvTranspose(3, 2, (2, 2), strides=(2, 2), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.up(nnx.relu(self.last(nnx.relu(self.depthwise(nnx.relu(self.norm(self.first(x))))))))


def images(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(5).normal(size=shape))


def mask(size: int, *chosen: int) -> np.ndarray:
    return np.isin(np.arange(size), chosen)


@pytest.mark.parametrize("act", [nnx.relu, nnx.sigmoid], ids=lambda act: act.__name__)
def test_foreign_mlp(act: Callable[[jax.Array], jax.Array]) -> None:
    """Without a normalisation a dead unit puts out act(bias); the next bias takes it up."""
    model = randomised(lambda: plain_mlp(act)(nnx.Rngs(0)), 1)
    smaller, report = check(model, images(4, 5), {"linear1": mask(8, 0, 3, 4), "linear2": mask(6, 5)})
    assert report.removed == {"linear1": 3, "linear2": 1}
    assert (smaller.linear1.out_features, smaller.linear2.in_features) == (5, 5)
    assert report.layers["linear1"].kept.tolist() == [1, 2, 5, 6, 7]


def test_foreign_cnn() -> None:
    """The border that average pooling and VALID windows leave is whole, so all constants fold."""
    model = randomised(lambda: MNISTStyleCNN(nnx.Rngs(0)), 2)
    dead = {"batch_norm1": mask(6, 1, 2), "batch_norm2": mask(5, 0), "linear1": mask(7, 3)}
    smaller, report = check(model, images(4, 10, 10, 1), dead)
    assert report.removed == {"conv1": 2, "conv2": 1, "linear1": 1}
    assert smaller.linear1.kernel.shape == (4 * 9, 6)


def test_foreign_resnet() -> None:
    """Inside a block units go; the identity's channels stay while it is alive."""
    model = randomised(lambda: ResNet(nnx.Rngs(0)), 3)
    inner = np.asarray(model.blocks[0].norm0.bias[...])
    dead = {"blocks/0/norm0": inner < np.inf, "blocks/0/norm1": mask(4, 2), "blocks/1/norm0": mask(6, 1)}
    smaller, report = check(model, images(3, 6, 6, 2), dead, borders=Borders.MAP)
    assert report.widths["blocks/0/norm0"] == (4, 0)
    assert report.dead_whole == ["blocks/0/conv0"]
    assert report.widths["blocks/0/norm1"] == (4, 4)
    assert set(report.kept_dead) == {"blocks/0/conv1"}
    assert smaller.blocks[0].conv1.bias.shape == (6, 6, 4)


def test_a_constant_runs_along_the_identity() -> None:
    """In a pre-activation network the constant of a branch is taken up by the next normalisation on the stream."""
    model = randomised(lambda: PreActivation(nnx.Rngs(0)), 4)
    _, report = check(model, images(3, 4, 4, 2), {"norm2": mask(5, 0, 1, 2, 3, 4)})
    assert report.widths["norm2"] == (5, 0)
    assert report.layers["norm2"].folded.size >= 1


def test_layer_norm_keeps_its_channels() -> None:
    model = randomised(lambda: Normalised(nnx.Rngs(0)), 5)
    smaller, report = check(model, images(4, 5), {"norm": mask(6, 1), "up": mask(9, 0, 8)})
    assert report.removed == {"up": 2}
    (reason,) = report.kept_dead["norm"]
    assert "over the channels" in reason
    assert smaller.up.kernel.shape == (6, 7)


def test_depthwise_and_transposed() -> None:
    model = randomised(lambda: Separable(nnx.Rngs(0)), 6)
    smaller, report = check(model, images(3, 5, 5, 2), {"norm": mask(6, 0, 4), "last": mask(3, 1)})
    assert report.widths["depthwise"] == (6, 4)
    assert smaller.depthwise.feature_group_count == 4


class Hard(nnx.Module):
    """Its code states a size."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.first = nnx.Linear(4 * 16, 5, rngs=rngs)
        self.last = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv(x)).reshape(-1, 64)
        return self.last(nnx.relu(self.first(x)))


def test_sizes_in_the_code() -> None:
    """What cannot be changed from outside stays, and the rest goes."""
    model = randomised(lambda: Hard(nnx.Rngs(0)), 7)
    _, report = check(model, images(3, 4, 4, 1), {"conv": mask(4, 0), "first": mask(5, 1, 2)})
    assert report.removed == {"first": 2}
    assert "conv" in report.notes[0]


class Apart(nnx.Module):
    """One axis of channels that its code takes apart: into heads of one product, or into an image."""

    def __init__(self, rngs: nnx.Rngs, heads: int = -1):
        self.heads, self.width = heads, 12
        self.token = nnx.Param(jax.random.normal(rngs.params(), (1, 1, 5)))
        self.qkv, self.proj = nnx.Linear(5, 36, rngs=rngs), nnx.Linear(12, 32, rngs=rngs)
        self.decode = nnx.Conv(8, 3, (3, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (len(x), 1, 5)), x], 1)
        size = 4 if self.heads < 0 else self.width // self.heads
        q, k, v = (part.reshape(*x.shape[:2], self.heads, size) for part in jnp.split(self.qkv(x), 3, -1))
        y = jnp.einsum("nhts,nshd->nthd", nnx.softmax(jnp.einsum("nthd,nshd->nhts", q, k)), v)
        y = self.proj(y.reshape(*x.shape[:2], -1)).mean(1)
        return self.decode(nnx.relu(y.reshape(len(y), 2, 2, -1)))


def test_channels_that_a_reshape_takes_apart() -> None:
    """Heads go whole, with query and key; of an image the channels at all of its pixels. One unit alone stays."""
    model = randomised(lambda: Apart(nnx.Rngs(0)), 18)
    gone, image = mask(36, *range(28, 32), 32), np.isin(np.arange(32) % 8, [1, 6])
    for layer, units in ((model.qkv, gone), (model.proj, image)):
        layer.bias[...] = jnp.where(units, 0, layer.bias[...])
    _, report = check(model, images(3, 4, 5), {"qkv": gone, "proj": image})
    assert report.layers["qkv"].kept.tolist() == [at for at in range(36) if not 4 <= at % 12 < 8]
    assert report.kept_dead == {"qkv": {"its channel is alive in another term of a sum, or elsewhere": 1}}
    assert report.layers["proj"].kept.tolist() == np.flatnonzero(~image).tolist()


def test_a_number_of_heads_in_the_code() -> None:
    model = randomised(lambda: Apart(nnx.Rngs(0), heads=3), 18)
    gone = mask(36, *range(28, 32))
    model.qkv.bias[...] = jnp.where(gone, 0, model.qkv.bias[...])
    _, report = check(model, images(3, 4, 5), {"qkv": gone})
    assert report.removed == {}
    assert report.notes == ("qkv keeps its units: the model's own code depends on how many there are",)


class Sorted(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.second = nnx.Linear(4, 5, rngs=rngs)
        self.last = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.second(jnp.sort(self.first(x), axis=-1))))


def test_an_unknown_operation_is_reported() -> None:
    model = randomised(lambda: Sorted(nnx.Rngs(0)), 8)
    _, report = check(model, images(3, 3), {"first": mask(4, 0), "second": mask(5, 1)})
    assert report.unknown == {"sort": 1}
    assert report.removed == {"second": 1}
    assert list(report.kept_dead["first"]) == ["goes into an operation that is not known here (sort)"]


@pytest.mark.parametrize("name", ["mlp", "basicnet"])
def test_whole_layer(name: str) -> None:
    """Without a way round, a layer that dies whole makes the network a constant: nothing before it is left."""
    shape = (8, 8, 1)
    model = randomised(lambda: models.build(name, shape=shape, classes=3, widths=(4, 5, 6), rngs=nnx.Rngs(0)), 9)
    path = models.features_of(name)
    _, report = check(model, images(4, *shape), {f"{path}/1": np.ones(5, bool)}, borders=Borders.MAP)
    assert all(report.widths[f"{path}/{i}"][1] <= 1 for i in (0, 1))
    assert report.layers[f"{path}/0"].followed.size


def test_constants() -> None:
    """Units dead by activation put out what the caller says; with gamma zero alone they would put out relu(beta)."""
    model = randomised(lambda: models.build("mlp", shape=(5,), classes=3, widths=(6, 4), rngs=nnx.Rngs(0)), 10)
    dead = {"hidden/0": mask(6, 1, 2, 3)}
    for constant in (np.zeros(6), np.full(6, 0.7)):
        model.hidden[0].norm.bias[...] = jnp.ones(6)
        _, report = check(model, images(4, 5), dead, constants={"hidden/0": constant})
        assert report.removed == {"hidden/0": 3}
        assert report.folded.get("hidden/0", 0) == (3 if constant.any() else 0)


def test_default_is_dead_by_scale() -> None:
    model = randomised(lambda: models.build("mlp", shape=(5,), classes=3, widths=(6,), rngs=nnx.Rngs(0)), 11)
    scale = np.array([1.0, 9e-4, -5e-4, 2e-3, 0.0, 1.0])
    model.hidden[0].norm.scale[...] = jnp.asarray(scale)
    smaller, report = js.shrink(model, images(2, 5))
    assert report.layers["hidden/0"].kept.tolist() == [0, 3, 5]
    x = images(4, 5)
    assert np.max(abs(outputs(smaller, x) - outputs(oracle(model, {"hidden/0": abs(scale) < 1e-3}), x))) < 1e-12
    assert 0 < report.change < 0.1
    _, report = js.shrink(model, images(2, 5), tolerance=3e-3)
    assert report.layers["hidden/0"].kept.tolist() == [0, 5]


def test_yaguchi_units_without_incoming_weights() -> None:
    """Yaguchi et al. 2018, Algorithm 1: zero columns go, and the next layer's bias takes act(bias) up; a unit that
    nobody reads goes too."""
    model = randomised(lambda: plain_mlp(nnx.relu)(nnx.Rngs(0)), 12)
    model.linear1.kernel[...] = model.linear1.kernel[...].at[:, 2].set(0)
    model.linear2.kernel[...] = model.linear2.kernel[...].at[5, :].set(0)
    _, report = check(model, images(4, 5), {})
    assert report.layers["linear1"].kept.tolist() == [0, 1, 3, 4, 6, 7]
    assert report.layers["linear1"].followed.tolist() == [2, 5]


def test_against_by_hand() -> None:
    """One hidden layer, cut by hand."""
    model = randomised(lambda: plain_mlp(nnx.relu)(nnx.Rngs(0)), 13)
    smaller, _ = js.shrink(model, images(2, 5), {"linear2": mask(6, 1, 4)})
    kernel, bias = np.asarray(model.linear3.kernel[...]), np.asarray(model.linear3.bias[...])
    constant = np.maximum(np.asarray(model.linear2.bias[...]), 0)[[1, 4]]
    np.testing.assert_allclose(smaller.linear3.bias[...], bias + constant @ kernel[[1, 4]], rtol=1e-13)
    np.testing.assert_array_equal(smaller.linear3.kernel[...], kernel[[0, 2, 3, 5]])
    np.testing.assert_array_equal(smaller.linear2.bias[...], np.asarray(model.linear2.bias[...])[[0, 2, 3, 5]])


def test_masked_is_the_oracle() -> None:
    model = randomised(lambda: ResNet(nnx.Rngs(0)), 14)
    dead, x = {"blocks/0/norm0": mask(4, 1), "head": mask(3, 2)}, images(2, 6, 6, 2)
    constants = {"blocks/0/norm0": np.arange(4.0)}
    expected = oracle(model, dead, constants)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(masked(model, dead, constants)), nnx.state(expected))
    assert np.max(abs(outputs(expected, x) - outputs(model, x))) > 1e-3


@pytest.mark.parametrize(
    ("dead", "constants", "message"),
    [
        ({"nowhere": mask(6)}, None, "layer in dead must be one of"),
        ({"hidden/0": mask(5)}, None, r"dead\['hidden/0'\] must be booleans of shape \(6,\)"),
        ({"hidden/0": mask(6)}, {"hidden/0": np.zeros(5)}, r"constants\['hidden/0'\] must be numbers of shape"),
        ({"hidden/0": mask(6)}, {"head": np.zeros(3)}, "layer in constants must be one of hidden/0"),
    ],
)
def test_bad_input(dead: Any, constants: Any, message: str) -> None:
    model = randomised(lambda: models.build("mlp", shape=(5,), classes=3, widths=(6,), rngs=nnx.Rngs(0)), 15)
    with pytest.raises(InvalidInput, match=message):
        js.shrink(model, images(2, 5), dead, constants=constants)


def test_bad_tolerance() -> None:
    model = randomised(lambda: models.build("mlp", shape=(5,), classes=3, widths=(6,), rngs=nnx.Rngs(0)), 15)
    with pytest.raises(InvalidInput, match="tolerance must be a finite number >= 0"):
        js.shrink(model, images(2, 5), tolerance=-1.0)


class Padded(nnx.Module):
    def __init__(self, padding: str, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 4, (1, 1), rngs=rngs)
        self.second = nnx.Conv(4, 3, (3, 3), padding=padding, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.second(nnx.relu(self.first(x)))).mean((1, 2))


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT"])
@pytest.mark.parametrize("borders", list(Borders))
def test_borders(padding: str, borders: Borders) -> None:
    """Only zero padding makes a constant differ near the borders; what is zero itself goes there too."""
    model = randomised(lambda: Padded(padding, nnx.Rngs(0)), 16)
    model.first.bias[...] = jnp.array([0.5, -0.5, 0.3, 0.1])
    smaller, report = check(model, images(3, 5, 5, 1), {"first": mask(4, 0, 1)}, borders=borders)
    assert not report.notes
    if padding == "SAME" and borders is Borders.KEEP:
        assert report.layers["first"].kept.tolist() == [0, 2, 3]
        assert report.layers["first"].reasons[0].startswith("zero padding makes its constant differ")
    else:
        assert report.layers["first"].kept.tolist() == [2, 3]
        assert report.layers["first"].folded.tolist() == [0]
        assert smaller.second.bias.shape == ((5, 5, 3) if padding == "SAME" else (3,))


def test_inputs_and_outputs_stay() -> None:
    model = randomised(lambda: plain_mlp(nnx.relu)(nnx.Rngs(0)), 17)
    model.linear1.kernel[...] = model.linear1.kernel[...].at[3].set(0)  # nobody reads input 3
    smaller, report = check(model, images(4, 5), {"linear3": mask(3, 1)})
    assert report.kept_dead == {"linear3": {"the model's output": 1}}
    assert not report.notes
    assert smaller.linear1.kernel.shape == (5, 8)
