"""Layers and units read off the computation: against what a person reads off the code of the model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jaxsparse as js
from jaxsparse import layers
from jaxsparse.checks import InvalidInput
from jaxsparse.trees import Kind, flatten, kinds

RNG = np.random.default_rng(0)


def layer_of(model: nnx.Module, x: Any, name: str) -> Any:
    return next(layer for layer in js.wiring(model, x).layers if name in (layer.name, *layer.aliases))


def parameters(model: nnx.Module, x: Any) -> dict[str, set[str]]:
    """Names of the parameters of each hidden layer, by its name."""
    return {layer.name: {part.name for part in layer.parts} for layer in js.wiring(model, x).hidden}


class Block(nnx.Module):
    """Everything that stands in one module, for `call` to wire."""

    def __init__(self, call: Callable[[Any, jax.Array], jax.Array], width: int = 8):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(width, rngs=rngs)
        self.bn2 = nnx.BatchNorm(width, rngs=rngs)
        self.ln = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, 3, rngs=rngs)
        self.call = call

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.call(self, x).mean((1, 2)))


IMAGES = jnp.asarray(RNG.normal(size=(2, 6, 6, 8)), jnp.float32)
BN1, BN2, LN = ({f"{norm}/scale", f"{norm}/bias"} for norm in ("bn1", "bn2", "ln"))
WIRED: dict[str, tuple[Callable[[Any, jax.Array], jax.Array], dict[str, set[str]]]] = {
    "post-norm": (
        lambda m, x: nnx.relu(m.bn2(m.conv2(nnx.relu(m.bn1(m.conv1(x)))))),
        {"conv1": {"conv1/kernel", *BN1}, "conv2": {"conv2/kernel", *BN2}},
    ),
    "crossed names": (
        lambda m, x: nnx.relu(m.bn1(m.conv2(nnx.relu(m.bn2(m.conv1(x)))))),
        {"conv1": {"conv1/kernel", *BN2}, "conv2": {"conv2/kernel", *BN1}},
    ),
    "pre-norm, residual": (
        lambda m, x: x + m.conv2(nnx.relu(m.bn2(m.conv1(nnx.relu(m.bn1(x)))))),
        {"bn1": BN1, "conv1": {"conv1/kernel", *BN2}, "conv2": {"conv2/kernel"}},
    ),
    "activation before the norm, then a pool": (
        lambda m, x: m.bn2(nnx.max_pool(nnx.relu(m.conv2(m.bn1(nnx.relu(m.conv1(x))))), (2, 2), (2, 2))),
        {"conv1": {"conv1/kernel", *BN1}, "conv2": {"conv2/kernel", *BN2}},
    ),
    "layer norm": (
        lambda m, x: nnx.gelu(m.ln(m.conv1(x))),
        {"conv1": {"conv1/kernel", *LN}},
    ),
    "shared": (
        lambda m, x: m.conv2(nnx.relu(m.conv1(nnx.relu(m.conv1(x))))),
        {"conv1": {"conv1/kernel"}, "conv2": {"conv2/kernel"}},
    ),
    "read twice": (
        lambda m, x: (lambda h: m.conv2(nnx.relu(m.bn1(h))) + h)(m.conv1(x)),
        {"bn1": BN1, "conv1": {"conv1/kernel"}, "conv2": {"conv2/kernel"}},
    ),
    "gated": (
        lambda m, x: nnx.silu(m.conv1(x)) * m.conv2(x),
        {"conv1": {"conv1/kernel", "conv2/kernel"}},
    ),
}


@pytest.mark.parametrize("name", WIRED)
def test_what_belongs_to_a_unit(name: str) -> None:
    call, expected = WIRED[name]
    assert parameters(Block(call), IMAGES) == expected


class Narrow(nnx.Module):
    """A convolution or a dense layer with a normalisation, then a head."""

    def __init__(self, width: int, kind: str, norm: Callable[..., Any]):
        rngs = nnx.Rngs(0)
        self.layer = nnx.Conv(8, width, (3, 3), rngs=rngs) if kind == "convolution" else nnx.Linear(8, width, rngs=rngs)
        self.norm, self.head = norm(width, rngs=rngs), nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(nnx.relu(self.norm(self.layer(x))))


NORMS: dict[str, Callable[..., Any]] = {
    "nnx": lambda width, rngs: nnx.BatchNorm(width, use_running_average=True, rngs=rngs),
    "own": lambda width, rngs: layers.BatchNorm(width, use_running_average=True, rngs=rngs),
    "layer": nnx.LayerNorm,
    "group": lambda width, rngs: nnx.GroupNorm(width, num_groups=1, rngs=rngs),
    "instance": nnx.InstanceNorm,
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["convolution", "dense"])
def test_a_layer_of_one_unit_has_what_a_layer_of_several_has(kind: str, norm: str) -> None:
    def parts(width: int) -> list[tuple[str, str, str]]:
        x = IMAGES if kind == "convolution" or norm == "instance" else IMAGES[:, 0, 0]
        found = js.wiring(Narrow(width, kind, NORMS[norm]), x).layers
        return [(layer.name, part.name, part.role) for layer in found for part in layer.parts]

    assert parts(1) == parts(2)


@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1)])
def test_a_scalar_for_all_layers_is_no_scale_of_the_only_unit(shape: tuple[int, ...]) -> None:
    params = {"one": jnp.ones((8, 1)), "many": jnp.ones((1, 3)), "all": jnp.ones(())}

    def f(params: Any, x: jax.Array) -> jax.Array:
        every = params["all"].reshape(shape)
        return nnx.relu(x @ params["one"] * every) @ params["many"] * every

    assert [part.name for part in js.wiring(f, IMAGES, params=params).hidden[0].parts] == ["one"]


ACTIVATIONS: dict[str, tuple[Callable[[Any, jax.Array], jax.Array], Callable[[Any, jax.Array], jax.Array]]] = {
    "silu, which reads twice": (lambda m, x: nnx.silu(m.conv1(x)), lambda m, x: nnx.silu(m.conv1(x))),
    "before the pool": (
        lambda m, x: nnx.max_pool(nnx.leaky_relu(m.bn1(m.conv1(x))), (2, 2), (2, 2)),
        lambda m, x: nnx.leaky_relu(m.bn1(m.conv1(x))),
    ),
    "after the pool and the norm": (
        lambda m, x: jnp.tanh(m.bn1(nnx.avg_pool(m.conv1(x), (2, 2), (2, 2)))),
        lambda m, x: jnp.tanh(m.bn1(nnx.avg_pool(m.conv1(x), (2, 2), (2, 2)))),
    ),
    "gated": (
        lambda m, x: nnx.silu(m.conv1(x)) * m.conv2(x),
        lambda m, x: nnx.silu(m.conv1(x)) * m.conv2(x),
    ),
    "shuffled": (lambda m, x: abs(m.conv1(x)[..., ::-1]), lambda m, x: m.conv1(x)),
    "flattened and back": (
        lambda m, x: nnx.relu(m.conv1(x).reshape(x.shape[0], -1)).reshape(x.shape),
        lambda m, x: nnx.relu(m.conv1(x)),
    ),
    "norm last": (lambda m, x: m.bn1(nnx.relu(m.conv1(x))), lambda m, x: m.bn1(nnx.relu(m.conv1(x)))),
    "read by a sum as well": (lambda m, x: (lambda h: nnx.relu(h) + m.conv2(h))(m.conv1(x)), lambda m, x: m.conv1(x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_is_what_the_next_layer_reads(name: str) -> None:
    """Nobody says which activation function it is."""
    call, activation = ACTIVATIONS[name]
    model = Block(call)
    model.bn1.scale[...], model.bn1.bias[...] = jnp.linspace(-1, 1, 8), jnp.linspace(-2, 0.5, 8)
    found: Any = js.measure(model, IMAGES).units["conv1"].activation
    model.eval()
    expected = abs(np.asarray(activation(model, IMAGES))).max((0, 1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Attention(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.embed = nnx.Embed(11, 12, rngs=rngs)
        self.norm = nnx.LayerNorm(12, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(3, 12, decode=False, rngs=rngs)
        self.fused, self.down = nnx.Linear(12, 20, rngs=rngs), nnx.Linear(10, 12, rngs=rngs)
        self.last = nnx.RMSNorm(12, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        x = x + self.attention(self.norm(x))
        gate, up = jnp.split(self.fused(x), 2, -1)
        x = x + self.down(nnx.silu(gate) * up)
        return self.embed.attend(self.last(x))


TOKENS = jnp.asarray(RNG.integers(0, 11, (2, 5)))


def test_attention_and_a_fused_gate() -> None:
    """Units of an attention are its heads times their dimensions; gate and up of one kernel are one unit."""
    model = Attention(nnx.Rngs(0))
    sizes = {layer.name: layer.size for layer in js.wiring(model, TOKENS).hidden}
    heads = {f"attention/{name}": 12 for name in ("query", "key", "value", "out")}
    assert sizes == {**heads, "down": 12, "embed/0": 12, "fused": 10, "last": 12, "norm": 12}
    kernel = np.array(model.fused.kernel[...])
    kernel[:, [3, 13]] = 0  # gate and up of unit 3
    kernel[:, 4] = 0  # the gate alone
    model.fused.kernel[...] = jnp.asarray(kernel)
    value = np.array(model.attention.value.kernel[...])
    value[:, 1, 2] = 0
    model.attention.value.kernel[...] = jnp.asarray(value)
    found: Any = js.measure(model, TOKENS)
    assert list(np.flatnonzero(found.dead["norm"]["fused"])) == [3]
    assert list(np.flatnonzero(found.dead["activation"]["fused"])) == [3, 4]
    assert list(np.flatnonzero(found.dead["norm"]["attention/value"])) == [1 * 4 + 2]
    expected = np.sqrt((kernel[:, :10] ** 2).sum(0) + (kernel[:, 10:] ** 2).sum(0))
    np.testing.assert_allclose(found.units["fused"].norm, expected, rtol=1e-6)


def test_a_token_beside_what_a_layer_puts_out() -> None:
    """Where other values join and a table of positions is added, units of the layer are no longer told."""

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.patch, self.head = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
            self.token, self.places = nnx.Param(jnp.ones((1, 1, 4))), nnx.Param(jnp.ones((1, 6, 4)))

        def __call__(self, x: jax.Array) -> jax.Array:
            token = jnp.broadcast_to(self.token[...], (len(x), 1, 4))
            return self.head(jnp.concatenate([token, self.patch(x)], 1) + self.places)

    model, x = Model(nnx.Rngs(0)), jnp.asarray(RNG.normal(size=(2, 5, 3)), jnp.float32)
    found: Any = js.measure(model, x)
    assert list(found.units) == ["patch"]
    np.testing.assert_allclose(found.units["patch"].activation, abs(np.asarray(model.patch(x))).max((0, 1)), rtol=1e-6)


class Stacked(nnx.Module):
    """Layers of one depth after another, scanned over."""

    def __init__(self, rngs: nnx.Rngs):
        create = nnx.split_rngs(splits=3)(nnx.vmap(lambda rngs: nnx.Linear(6, 6, rngs=rngs)))
        self.layers, self.head = create(rngs), nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        through = nnx.scan(lambda x, layer: x + nnx.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.head(through(x, self.layers))


def test_stacked_layers() -> None:
    """Each depth has its own units."""
    model, x = Stacked(nnx.Rngs(0)), jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32)
    kernel = np.array(model.layers.kernel[...])
    kernel[1, :, 2:4] = 0
    model.layers.kernel[...] = jnp.asarray(kernel)
    found: Any = js.measure(model, x)
    assert list(found.units) == ["layers/0", "layers/1", "layers/2"]
    own = np.asarray(x)
    for depth in range(3):
        np.testing.assert_allclose(found.units[f"layers/{depth}"].norm, np.sqrt((kernel[depth] ** 2).sum(0)), rtol=1e-6)
        before = own @ kernel[depth] + np.asarray(model.layers.bias[...])[depth]
        own = own + np.tanh(before)
        np.testing.assert_allclose(found.units[f"layers/{depth}"].activation, abs(np.tanh(before)).max(0), rtol=1e-5)
    assert found.counts()["layers/1"]["norm"] == 2
    _, report = js.shrink(model, x)
    assert report.removed == {}


def test_recurrence() -> None:
    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.rnn, self.head = nnx.RNN(nnx.SimpleCell(3, 4, rngs=rngs)), nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            states: Any = self.rnn(x)
            return self.head(states[:, -1])

    model: Any = Model(nnx.Rngs(0))
    model.rnn.cell.dense_i.kernel[...] = model.rnn.cell.dense_i.kernel[...].at[:, 1].set(0)
    found: Any = js.measure(model, jnp.ones((2, 5, 3)))
    assert list(np.flatnonzero(found.dead["norm"]["rnn/cell/dense_i"])) == [1]


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.LayerNorm()(linen.Dense(7)(x)))
        return linen.Dense(3)(x)


def by_hand(params: Any, x: jax.Array) -> jax.Array:
    return jnp.maximum(x @ params["w1"] + params["b1"][None], 0) @ params["w2"]


def test_any_function_of_parameters() -> None:
    """linen, and JAX written by hand, haiku's names; flags and numbers of Python's stay as they are."""
    x = jnp.asarray(RNG.normal(size=(5, 4)), jnp.float32)
    variables = Dense().init(jax.random.key(0), x)
    variables["params"]["LayerNorm_0"]["scale"] = jnp.ones(7).at[2].set(0)
    found: Any = js.measure(Dense().apply, x, params=variables)
    assert list(found.units) == ["params/Dense_0"]
    assert list(np.flatnonzero(found.dead["scale"]["params/Dense_0"])) == [2]
    params = {"w1": jnp.ones((4, 6)).at[:, 5].set(0), "b1": jnp.zeros(6), "w2": jnp.ones((6, 2)), "act": "relu"}
    found = js.measure(by_hand, [x, x[:2]], params=params)
    assert list(np.flatnonzero(found.dead["norm"]["w1"])) == [5]
    np.testing.assert_allclose(found.units["w1"].activation[:5], max(0, float(x.sum(1).max())), rtol=1e-5)
    wiring = js.wiring(Dense().apply, x, variables)
    masks = flatten(js.pruning.implicit(variables, wiring=wiring))
    assert {name: int((~np.asarray(mask)).sum()) for name, mask in masks.items() if not mask.all()} == {
        "params/Dense_0/kernel": 4,
        "params/Dense_0/bias": 1,
        "params/LayerNorm_0/scale": 1,
        "params/LayerNorm_0/bias": 1,
    }


def test_a_bridged_linen_model_has_layers() -> None:
    model = nnx.bridge.ToNNX(Dense(), rngs=nnx.Rngs(0))
    x = jnp.ones((2, 4))
    nnx.bridge.lazy_init(model, x)
    assert js.measure(model, x).units["Dense_0"].norm is not None


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"model must be a flax.nnx.Module, or a function f\(params, x\)"):
        js.measure(Dense(), jnp.ones((2, 4)))  # pyright: ignore[reportArgumentType]


def test_masks_with_the_wiring() -> None:
    """In a residual block before whose layers the norms stand, names can say nothing; the computation can."""
    call, _ = WIRED["pre-norm, residual"]
    model = Block(call)
    model.bn2.scale[...] = model.bn2.scale[...].at[:3].set(0)
    params = nnx.state(model, nnx.Param)

    def gone(masks: Any) -> dict[str, int]:
        return {n: int((~np.asarray(m)).sum()) for n, m in flatten(masks).items() if not np.all(m)}

    wiring = js.wiring(model, IMAGES)
    assert gone(js.pruning.implicit(params, wiring=wiring)) == {"bn2/scale": 3, "bn2/bias": 3, "conv1/kernel": 3 * 72}
    masks = js.pruning.slimming(params, js.pruning.Below(1e-2), wiring=wiring)
    assert gone(masks) == {"bn2/scale": 3, "bn2/bias": 3, "conv1/kernel": 3 * 72}
    dead = js.pruning.dead_units(masks, wiring)
    assert list(dead) == ["conv1"]
    nnx.update(model, js.pruning.apply(params, masks))
    smaller, report = js.shrink(model, IMAGES, dead)
    assert report.removed == {"conv1": 3}
    assert smaller.bn2.scale.shape == (5,)


def test_kinds_by_the_names_of_other_frameworks() -> None:
    one = jnp.ones(3)
    haiku = {"net/linear": {"w": jnp.ones((2, 3)), "b": one}, "net/norm": {"scale": one, "offset": one}}
    assert flatten(kinds(haiku)) == {
        "net/linear/b": Kind.BIAS,
        "net/linear/w": Kind.KERNEL,
        "net/norm/offset": Kind.SHIFT,
        "net/norm/scale": Kind.SCALE,
    }
    equinox = {"linear": {"weight": jnp.ones((3, 2)), "bias": one}, "norm": {"weight": one, "bias": one}}
    assert flatten(kinds(equinox)) == {
        "linear/bias": Kind.BIAS,
        "linear/weight": Kind.KERNEL,
        "norm/bias": Kind.SHIFT,
        "norm/weight": Kind.SCALE,
    }
    with pytest.raises(InvalidInput, match="params must have names that say what they are"):
        js.trees.of_kind("kernel")({"a": jnp.ones(3)})


class Pair(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.a, self.b = nnx.Linear(6, 9, rngs=rngs), nnx.Linear(9, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(nnx.relu(self.a(x)))


def test_copies_of_the_weights_are_cut_and_folded() -> None:
    """A moving average has other constants than the weights: with its own folded, it computes what it did."""
    model, x = Pair(nnx.Rngs(0)), jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    model.a.kernel[...] = model.a.kernel[...].at[:, :4].set(0)
    model.a.bias[...] = jnp.full(9, 0.5)
    params = nnx.state(model, nnx.Param)
    average = jax.tree.map(lambda w: 0.8 * w + 0.01, params)
    average["a"]["kernel"] = average["a"]["kernel"].replace(average["a"]["kernel"][...].at[:, :4].set(0))
    smaller, report = js.shrink(model, x)
    assert report.folded == {"a": 4}
    big, small = nnx.clone(model), nnx.clone(smaller)
    nnx.update(big, average)
    for folded in (report.apply(average), report.cut.apply(average)):
        nnx.update(small, folded)
        np.testing.assert_allclose(small(x), big(x), rtol=1e-5, atol=1e-6)
    tx = optax.contrib.schedule_free_adamw(1e-3)
    state = report.cut.apply(tx.init(params))
    np.testing.assert_allclose(flatten(state.z)["b/bias"], smaller.b.bias[...], rtol=1e-6)
    gradients = jax.tree.map(lambda w: jnp.where(jnp.arange(w.size).reshape(w.shape) % 2, 1.0, -1.0), params)
    np.testing.assert_array_equal(flatten(report.cut.apply(gradients))["b/bias"], flatten(gradients)["b/bias"])


class Scaled(nnx.Module):
    """Kernels that decayed, and scales near 1."""

    def __init__(self, rngs: nnx.Rngs):
        self.a, self.norm, self.b = (
            nnx.Linear(6, 9, rngs=rngs),
            nnx.BatchNorm(9, rngs=rngs),
            nnx.Linear(9, 3, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(nnx.relu(self.norm(self.a(x))))


def test_second_moments_are_no_copy_of_the_weights() -> None:
    """They are positive, as the scales are, so that they point where the weights do; still they are cut as they are."""
    model, x = Scaled(nnx.Rngs(0)), jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    for layer in (model.a, model.b):
        layer.kernel[...] = 0.1 * layer.kernel[...]
    model.norm.bias[...] = jnp.full(9, 0.5)
    _, report = js.shrink(model, x, {"a": np.arange(9) < 4})
    assert report.folded == {"a": 4}
    moments = jax.tree.map(lambda w: jnp.full_like(w, 10.0 ** (-2 * w.ndim)), nnx.state(model, nnx.Param))
    for leaf in jax.tree.leaves(report.cut.apply(moments)):
        np.testing.assert_array_equal(leaf, jnp.float32(10.0 ** (-2 * leaf.ndim)))


def test_a_flattened_state_and_donated_buffers() -> None:
    """`optax.flatten` keeps one vector of everything; training that donates the smaller model's buffers leaves the
    given model as it is."""
    model, x = Pair(nnx.Rngs(0)), jnp.asarray(RNG.normal(size=(5, 6)), jnp.float32)
    dead = {"a": np.arange(9) < 4}
    params = nnx.state(model, nnx.Param)
    tx = optax.flatten(optax.adam(1e-2))
    state = tx.init(params)
    _, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    state = jax.tree.map(lambda a: jnp.arange(a.size, dtype=a.dtype) if a.ndim else a, state)
    smaller, report = js.shrink(model, x, dead)
    cut = report.cut.apply(state)
    bias, kernel, last, out = np.split(np.arange(9 + 54 + 3 + 27), [9, 63, 66])
    expected = [bias[4:], kernel.reshape(6, 9)[:, 4:].ravel(), last, out.reshape(9, 3)[4:].ravel()]
    np.testing.assert_array_equal(jax.tree.leaves(cut)[1], np.concatenate(expected))
    graph, own = nnx.split(smaller)
    jax.jit(lambda own: jax.tree.map(lambda a: a + 1, own), donate_argnums=0)(own)
    jax.block_until_ready(model(x))
    del graph
