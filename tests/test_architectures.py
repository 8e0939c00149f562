"""Networks as their authors write them: measured, masked, shrunk, trained on, saved and exported.

Which units are dead is written down by each network's own `kill`; here they are counted again from its arrays.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse.bench.architectures import ARCHITECTURES, Architecture
from jaxsparse.tracing.program import RUN_ONCE
from jaxsparse.trees import flatten

WIDTH = 1 / 16
OTHER = {
    "resnet-18": (40, 72, 3),
    "convnext": (32, 64, 3),
    "unet": (32, 48, 3),
    "gpt": (7,),
    "mobilenet-v2": (40, 72, 3),
}
"""Another size of input, where the network takes one."""
SOME = [name if name in ("gpt", "unet") else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
"""Two that are small, and the others where there is time."""


@pytest.fixture(autouse=True)
def _promotion() -> Iterator[None]:
    """Authors add vectors to arrays."""
    with jax.numpy_rank_promotion("allow"):
        yield


@cache
def shrunk(name: str) -> tuple[Architecture, Any, Any, Any]:
    """The architecture, the network with dead units, the one without, the report."""
    architecture = ARCHITECTURES[name]
    model = architecture.made(WIDTH)
    return architecture, model, *js.shrink(model, architecture.input(2))


def outputs(model: Any, x: jax.Array) -> np.ndarray:
    graph, state = nnx.split(model)
    return np.asarray(jax.jit(lambda s, x: nnx.merge(graph, s, copy=True)(x), compiler_options=RUN_ONCE)(state, x))


def agree(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.max(abs(one - other)) <= 1e-5 * np.max(abs(one))
    assert np.ptp(one) > 0


# By network, of each kind of layer: by what it is dead, and how many of its units are, by hand.
LOST: dict[str, dict[str, tuple[str, int]]] = {
    "resnet-18": {"conv1": ("scale", 2), "layer2/0/conv1": ("scale", 4), "layer4/1/conv2": ("scale", 16)},
    "vgg-16": {"features/layers/0": ("scale", 2), "classifier/layers/3": ("norm", 32)},
    "mobilenet-v2": {"blocks/1/depthwise": ("scale", 12), "blocks/6/expand": ("scale", 12), "last": ("scale", 40)},
    "convnext": {"stages/0/layers/0/pwconv1": ("norm", 12), "stages/3/layers/0/pwconv1": ("norm", 96)},
    "gpt": {"h/0/mlp/c_fc": ("norm", 64), "h/3/attn/c_attn": ("norm", 16)},
    "vit": {"blocks/0/mlp/w12": ("norm", 42), "blocks/5/attn/value": ("norm", 16)},
    "unet": {"inc/conv2": ("scale", 2), "down/2/conv1": ("scale", 16), "up/0/conv/conv1": ("scale", 8)},
}


@pytest.mark.parametrize("name", SOME)
def test_measured(name: str) -> None:
    """All that is dead is found, and nothing else, under the names of the network's own modules."""
    architecture, model, _, _ = shrunk(name)
    found = js.measure(model, architecture.input(2))
    for layer, (criterion, units) in LOST[name].items():
        assert int(found.dead[criterion][layer].sum()) == units
    state = flatten(nnx.state(model, nnx.Param))
    scales = sum(int((np.asarray(leaf) == 0).sum()) for path, leaf in state.items() if path.endswith("scale"))
    assert sum(int(mask.sum()) for mask in found.dead["scale"].values()) == scales
    columns = [
        np.asarray(leaf).reshape(-1, *leaf.shape[-2 if "attn/value" in path else -1 :])
        for path, leaf in state.items()
        if path.endswith("kernel")
    ]
    zero = sum(int((column == 0).all(0).sum()) for column in columns)
    gates = sum(int(mask.sum()) for path, mask in found.dead["norm"].items() if path.endswith("w12"))
    assert sum(int(mask.sum()) for mask in found.dead["norm"].values()) + gates == zero


@pytest.mark.parametrize("name", SOME)
def test_masked_and_shrunk_agree(name: str) -> None:
    """On inputs that were not the example, of other sizes too; all that was killed is gone."""
    architecture, model, smaller, report = shrunk(name)
    kept = {layer: reasons for layer, reasons in report.kept_dead.items() if not layer.startswith("blocks/0/depthwise")}
    assert not kept
    assert not report.notes
    assert report.parameters_after < 0.82 * report.parameters_before
    for shape in (None, OTHER.get(name)):
        x = architecture.input(3, shape, seed=1)
        agree(outputs(model, x), outputs(smaller, x))


@pytest.mark.parametrize("name", SOME)
def test_explicit_pruning(name: str) -> None:
    """Masks over the units of the computation, and what they leave of the network."""
    architecture, _, _, _ = shrunk(name)
    model, x = architecture.made(WIDTH, share=0.0), architecture.input(2)
    wiring, params = js.wiring(model, x), nnx.state(model, nnx.Param)
    layer = next(layer for layer in wiring.hidden if layer.name in LOST[name])
    units = np.arange(layer.size) < layer.size // 4
    masks = js.pruning.units(params, {layer.name: units}, wiring)
    assert list(js.pruning.dead_units(masks, wiring)) == [layer.name]
    nnx.update(model, js.pruning.apply(params, masks))
    found: Any = js.measure(model, x)
    assert (found.dead["norm"][layer.name] == units).all()


@pytest.mark.parametrize("name", SOME)
def test_training_goes_on(name: str) -> None:
    """Gradients, and Adam's updates from a state that is cut, are those of the whole network at what is left of it;
    and the smaller network trains."""
    architecture, model, smaller, report = shrunk(name)
    x = architecture.input(4, seed=2)
    tx = optax.adam(1e-3)

    def loss(params: Any, graph: Any, rest: Any, targets: jax.Array) -> jax.Array:
        return jnp.mean((nnx.merge(graph, params, rest, copy=True)(x) - targets) ** 2)

    gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1, compiler_options=RUN_ONCE)
    targets = jnp.asarray(np.random.default_rng(3).normal(size=outputs(model, x).shape), jnp.float32)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    state = tx.update(jax.tree.map(lambda leaf: 0.1 + abs(leaf), params), tx.init(params))[1]
    _, whole = gradient(params, graph, rest, targets)
    graph, params, rest = nnx.split(smaller, nnx.Param, ...)
    cut = report.cut.apply(state)
    _, own = gradient(params, graph, rest, targets)
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(own))
    for path, leaf in flatten(report.cut.apply(whole)).items():
        np.testing.assert_allclose(flatten(own)[path], leaf, rtol=1e-3, atol=1e-5 * largest, err_msg=path)
    expected = report.cut.apply(tx.update(whole, state)[0])
    for path, leaf in flatten(tx.update(own, cut)[0]).items():
        np.testing.assert_allclose(leaf, flatten(expected)[path], rtol=1e-3, atol=1e-7, err_msg=path)
    losses, state = [], cut
    for _ in range(4):
        value, found = gradient(params, graph, rest, targets)
        updates, state = tx.update(found, state)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", SOME)
def test_files(name: str, tmp_path: Path) -> None:
    """Weights come back into the network they were in; a program of the whole runs elsewhere."""
    architecture, model, smaller, _ = shrunk(name)
    (path,) = js.save(tmp_path / "net.safetensors", smaller)
    loaded = js.load(path, like=model)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(loaded, nnx.Param), nnx.state(smaller, nnx.Param))
    x = architecture.input(3, seed=1)
    np.testing.assert_array_equal(outputs(loaded, x), outputs(smaller, x))
    pytest.importorskip("flatbuffers")
    program, _ = js.save(tmp_path / "net.stablehlo", smaller, architecture.card(name))
    agree(outputs(smaller, x), np.asarray(jax.export.deserialize(bytearray(program.read_bytes())).call(x)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    architecture, _, smaller, _ = shrunk(name)
    (path,) = js.save(tmp_path / "net.onnx", smaller, architecture.card(name))
    x = np.asarray(architecture.input(3, seed=1))
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"images": x})
    agree(outputs(smaller, jnp.asarray(x)), theirs)
