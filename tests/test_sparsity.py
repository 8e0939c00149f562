"""Dead units against naive loops, on our networks and on networks of somebody else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse import criteria, data, models, sparsity
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.train import network


class Flat(nnx.Module):
    """Convolutions and normalisations side by side in one module, as most people write them."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.bn1 = nnx.BatchNorm(4, rngs=rngs)
        self.conv2 = nnx.Conv(4, 5, (3, 3), rngs=rngs)
        self.bn2 = nnx.BatchNorm(5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.fc = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        return self.fc(self.dropout(x.mean((1, 2))))


class WithoutNorm(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(6, 4, rngs=rngs)
        self.second = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(nnx.leaky_relu(self.first(x), 0.1))


def kill(model: models.Network) -> models.Network:
    """Gives a network units that are dead in one way each: 0 by scale, 1 by activation, 2 by norm."""
    block = (model.hidden if isinstance(model, models.MLP) else model.convolutions)[0]
    scale, shift = np.ones(block.norm.scale.shape), np.zeros(block.norm.scale.shape)
    scale[0], shift[0] = 5e-4, 0.3
    shift[1] = -1e3
    block.norm.scale[...], block.norm.bias[...] = jnp.asarray(scale), jnp.asarray(shift)
    block.linear.kernel[...] = block.linear.kernel[...].at[..., 2].set(1e-5)
    return model


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-11"])
def test_against_a_loop(name: str) -> None:
    dataset = data.load("digits")
    rngs = nnx.Rngs(0)
    model = kill(models.build(name, shape=(8, 8, 1), classes=10, widths=(6, 5), rngs=rngs))
    model.eval()
    images = data.preprocess(dataset, dataset.train.images)
    only = models.features_of(name)
    found = sparsity.judge(jax.jit(lambda: sparsity.observe(model, dataset, only))(), Thresholds())
    x = images.reshape(len(images), -1) if name == "mlp" else images
    blocks = model.hidden if isinstance(model, models.MLP) else model.convolutions
    for number, block in enumerate(blocks):
        x = block(x)
        y = np.asarray(x)
        path = f"{only}/{number}"
        for unit in range(y.shape[-1]):
            largest = max(abs(image[..., unit]).max() for image in y)
            norm = np.sqrt((np.asarray(block.linear.kernel[...], np.float64)[..., unit] ** 2).sum())
            assert found.dead["scale"][path][unit] == (abs(float(block.norm.scale[unit])) < 1e-3)
            assert found.dead["activation"][path][unit] == (largest <= 1e-12)
            assert found.dead["norm"][path][unit] == (norm < 1e-3)
            assert float(found.units[path].activation[unit]) == pytest.approx(largest, rel=1e-5)
            assert float(found.units[path].norm[unit]) == pytest.approx(norm, rel=1e-5)
    first = f"{only}/0"
    assert [list(np.flatnonzero(found.dead[by][first])) for by in criteria.names_of(Thresholds())] == [[0], [1], [2]]
    assert found.percent("scale") == pytest.approx(100 / 11)
    public = js.measure(model, np.split(np.asarray(images[:1400]), 7), only=only)
    for criterion in criteria.names_of(Thresholds()):
        for path, mask in found.dead[criterion].items():
            np.testing.assert_array_equal(public.dead[criterion][path], mask)


def test_somebody_elses_model() -> None:
    model = Flat(nnx.Rngs(0))
    model.bn1.scale[...] = jnp.array([1.0, 1e-5, 1.0, 1.0])
    model.bn2.bias[...] = jnp.array([-1e6, 1.0, 1.0, 1.0, 1.0])
    model.conv2.kernel[...] = model.conv2.kernel[...].at[..., 3].set(0.0)
    model.train()
    x = jax.random.normal(jax.random.key(0), (32, 9, 9, 1))
    before = jax.device_get(nnx.state(model, nnx.Param, nnx.BatchStat))
    found = js.measure(model, [x[:16], x[16:]])
    after = jax.device_get(nnx.state(model, nnx.Param, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, before, after)  # the given model is left as it was
    assert not model.bn1.use_running_average
    assert list(np.flatnonzero(found.dead["scale"]["bn1"])) == [1]
    assert list(np.flatnonzero(found.dead["activation"]["bn2"])) == [0]
    assert list(np.flatnonzero(found.dead["norm"]["conv2"])) == [3]
    assert set(found.units) == {"conv1", "conv2"}  # each with its normalisation; the output layer is not counted
    assert found.units["bn1"] is found.units["conv1"]
    assert found.percent("scale") == 100 / 9
    assert "conv1" in str(found)
    assert "conv1" in repr(found)
    assert "<td>conv1</td>" in found._repr_html_()
    assert found.counts()["conv1"] == {"units": 4, "scale": 1, "activation": 0, "norm": 0}
    np.testing.assert_array_equal(found.alive("scale")["conv1"], [True, False, True, True])


def test_the_models_own_activation_and_no_normalisation() -> None:
    """What the next layer reads, whatever the activation function: a unit that ReLU would kill is alive here."""
    model = WithoutNorm(nnx.Rngs(0))
    model.first.bias[...] = jnp.array([-1e3, 0.0, 0.0, 0.0])
    x = jax.random.normal(jax.random.key(0), (64, 6))
    found = js.measure(model, [x])
    assert found.dead["scale"] == {}
    assert np.isnan(found.percent("scale"))
    assert not found.dead["activation"]["first"].any()
    expected = abs(np.asarray(nnx.leaky_relu(model.first(x), 0.1))).max(0)
    np.testing.assert_allclose(found.units["first"].activation, expected, rtol=1e-6)
    np.testing.assert_allclose(js.measure(model, x).units["first"].activation, expected, rtol=1e-6)


def test_layers_keep_their_order() -> None:
    """Through a compiled function too, where layer 10 must not come before layer 2."""
    model = models.MLP(3, shape=(2,), widths=tuple(range(1, 13)), rngs=nnx.Rngs(0))
    found = jax.jit(lambda: sparsity.units(model, {}, "hidden"))()
    assert list(found) == [f"hidden/{number}" for number in range(12)]
    assert [len(layer) for layer in sparsity.judge(found, Thresholds()).units.values()] == list(range(1, 13))


def test_training_measures_with_the_networks_own_activation() -> None:
    """A unit that ReLU would kill is alive in a leaky network, and puts out a tenth of its input."""
    dataset, run = data.load("digits"), Run(widths=(4,), activation="leaky-relu", slope=0.1)
    model: Any = network(run, jax.random.key(0))
    model.hidden[0].norm.bias[...] = jnp.array([-1e3, 0.0, 0.0, 0.0])
    model.eval()
    seen = sparsity.observation(Thresholds(), "hidden")(model, dataset).units["hidden/0"]
    images = data.preprocess(dataset, dataset.train.images).reshape(-1, 64)
    expected = abs(np.asarray(model.hidden[0](images))).max(0)
    np.testing.assert_allclose(seen.activation, expected, rtol=1e-5)
    assert float(seen.activation[0]) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-11"])
def test_silenced_units_put_out_zero_and_only_they(name: str) -> None:
    model = models.build(name, shape=(8, 8, 1), classes=10, widths=(6, 5), rngs=nnx.Rngs(1))
    blocks = model.hidden if isinstance(model, models.MLP) else model.convolutions
    blocks[0].norm.bias[...] = jnp.full(6, 0.5)
    model.eval()
    mask = jnp.array([True, False, True, False, False, False])
    silent = sparsity.silence(model, {f"{models.features_of(name)}/0": mask})
    x = jax.random.normal(jax.random.key(0), (3, 64) if name == "mlp" else (3, 8, 8, 1))
    silent_blocks = silent.hidden if isinstance(silent, models.MLP) else silent.convolutions
    before, after = np.asarray(blocks[0](x)), np.asarray(silent_blocks[0](x))
    np.testing.assert_array_equal(after[..., [0, 2]], 0.0)
    np.testing.assert_array_equal(after[..., [1, 3, 4, 5]], before[..., [1, 3, 4, 5]])
    assert before[..., 0].max() > 0


def test_silence_without_normalisation() -> None:
    model = WithoutNorm(nnx.Rngs(0))
    model.first.bias[...] = jnp.ones(4)
    silent = sparsity.silence(model, {"first": jnp.array([True, False, False, True])})
    out = np.asarray(silent.first(jnp.ones((2, 6))))
    np.testing.assert_array_equal(out[:, [0, 3]], 0.0)
    assert (out[:, [1, 2]] != 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), low=st.floats(0, 1), high=st.floats(0, 1))
def test_higher_thresholds_find_at_least_as_many(seed: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    values = np.random.default_rng(seed).normal(size=(3, 20)).astype(np.float32)
    units = {"layer": sparsity.Units(*map(jnp.asarray, (values[0], values[1], abs(values[1]), abs(values[2]))))}
    few, many = (sparsity.judge(units, Thresholds(at, at, at)) for at in (low, high))
    for criterion in criteria.names_of(Thresholds()):
        assert not (few.dead[criterion]["layer"] & ~many.dead[criterion]["layer"]).any()


def test_bad_input() -> None:
    with pytest.raises(InvalidInput, match="only must be the path of a module that holds layers"):
        js.measure(WithoutNorm(nnx.Rngs(0)), [jnp.ones((1, 6))], only="../first")
    with pytest.raises(InvalidInput, match="batches must be at least one batch"):
        js.measure(WithoutNorm(nnx.Rngs(0)), [])


def test_kernels_that_no_layer_calls() -> None:
    """Units are read off the computation: of a kernel multiplied by hand too, and none of a head that is not called."""

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.first = nnx.Linear(3, 4, rngs=rngs)
            self.aside = nnx.Linear(4, 2, rngs=rngs)
            self.last = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.last(abs(x @ self.first.kernel[...]))

    model, x = Model(nnx.Rngs(0)), jnp.ones((2, 3))
    found = js.measure(model, x)
    assert set(found.units) == {"first"}
    expected = abs(np.asarray(x @ model.first.kernel[...])).max(0)
    np.testing.assert_allclose(found.units["first"].activation, expected, rtol=1e-6)


def test_layers_may_inherit_their_call_and_be_called_twice() -> None:
    class Inherited(nnx.Linear):
        pass

    class Model(nnx.Module):
        def __init__(self) -> None:
            self.first = Inherited(3, 3, rngs=nnx.Rngs(0))
            self.first.kernel[...] = jnp.diag(jnp.array([1.0, -1.0, 0.0]))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.first(self.first(x))  # the second unit is positive after the second call only

    found = js.measure(Model(), jnp.ones((2, 3)))
    np.testing.assert_array_equal(found.dead["activation"]["first"], [False, False, True])


def test_measuring_leaves_classes_alone_that_other_threads_use() -> None:
    calls = []

    class Model(nnx.Module):
        def __init__(self) -> None:
            self.first = nnx.Linear(3, 3, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            calls.append(nnx.Linear.__call__)
            return self.first(x)

    model, before = Model(), nnx.Linear.__call__
    js.measure(model, jnp.ones((2, 3)))
    assert calls == [before]
    assert type(model.first) is nnx.Linear


def test_rates_of_several_batches() -> None:
    """Of positions, whatever the sizes of the batches: what a criterion of one's own looks at."""
    model = Flat(nnx.Rngs(0))
    batches = [np.random.default_rng(size).normal(size=(size, 6, 6, 1)).astype(np.float32) for size in (5, 2, 9)]
    seldom = js.Criterion("seldom", lambda units: units.rate, threshold=0.6)
    found = js.measure(model, batches, thresholds=Thresholds(own=(seldom,)))
    model.eval()
    hidden = nnx.relu(model.bn1(model.conv1(np.concatenate(batches))))
    expected = (np.asarray(hidden) != 0).mean((0, 1, 2))
    np.testing.assert_allclose(found.units["conv1"].rate, expected, rtol=1e-6)
    np.testing.assert_array_equal(found.dead["seldom"]["conv1"], expected < 0.6)
    assert 0 < expected.min() < expected.max() < 1


def test_layers_that_are_not_there_cannot_be_silenced() -> None:
    model = models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="dead must be by layers of the model: head hidden/0, got 'nope'"):
        sparsity.silence(model, {"nope": jnp.ones(4, bool)})
