"""Universality against loops over images and units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsparse import data, models, selectivity, sparsity
from jaxsparse.data import Dataset, Split
from jaxsparse.layers import Rectifier


def small(count: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 17, (count, 8, 8, 1), dtype=np.uint8)
    split = Split(jnp.asarray(images), jnp.asarray(rng.integers(0, 10, count, dtype=np.int32)))
    return Dataset(split, split, jnp.full(1, 8.0), jnp.full(1, 5.0), data.describe("digits"))


def network(seed: int = 0, slope: float = 0.0) -> nnx.Module:
    """With a dead unit, a unit that is always active, and others in between."""
    options = {"activation": Rectifier(slope), "rngs": nnx.Rngs(seed)}
    model = models.build("basicnet", shape=(8, 8, 1), classes=10, widths=(3, 4, 2), **options)
    model.eval()
    for block in model.convolutions:
        block.norm.bias[...] = jnp.linspace(-2.0, 1.0, block.norm.bias.shape[0])
    first = model.convolutions[0].norm
    first.scale[...] = jnp.asarray([0.0, 1.0, 1.0])
    first.bias[...] = jnp.asarray([-1.0, -1.0, 9.0])
    return model


@pytest.mark.parametrize("count", [7, 1100])
def test_against_loops(count: int) -> None:
    dataset, model = small(count), network()
    seen = jax.jit(lambda dataset: selectivity.observe(model, dataset, "convolutions"))(dataset)
    x = data.preprocess(dataset, dataset.train.images)
    for name, (out,) in sparsity.outputs(model, x, "convolutions").items():
        activation = np.asarray(out, np.float64)
        for unit in range(activation.shape[-1]):
            peaks = [activation[image, ..., unit].max() for image in range(count)]
            active = sum(peak > 1e-3 * max(peaks) for peak in peaks) if max(peaks) > 1e-12 else 0
            np.testing.assert_allclose(seen[name].universality[unit], 100 * active / count, atol=0.1)
            share = np.mean([np.mean(activation[image, ..., unit] > 0) for image in range(count)])
            np.testing.assert_allclose(seen[name].active[unit], 100 * share, atol=0.1)


def test_what_dead_and_constant_units_have() -> None:
    seen = selectivity.observe(network(), small(50), "convolutions")["convolutions/0"]
    assert seen.universality[0] == 0
    assert seen.active[0] == 0
    assert seen.universality[2] == 100


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_activation_is_that_of_the_model(slope: float) -> None:
    """Universality by hand from the first block's own layers, with a leaky rectifier and without its leak."""
    dataset, model = small(50), network(slope=slope)
    x = data.preprocess(dataset, dataset.train.images)
    block = model.convolutions[0]
    before = np.asarray(block.norm(block.linear(x)), np.float64)
    seen = selectivity.observe(model, dataset, "convolutions")["convolutions/0"].universality
    found = {}
    for leak in (slope, 0.0):
        peaks = np.abs(np.where(before > 0, before, leak * before)).max((1, 2))
        largest = peaks.max(0)
        found[leak] = 100 * np.where(largest > 1e-12, (peaks > 1e-3 * largest).mean(0), 0)
    np.testing.assert_allclose(seen, found[slope], atol=0.1)
    assert bool(np.any(np.abs(found[slope] - found[0.0]) > 1)) == (slope > 0)


def test_leaky_units_are_active_where_they_are_negative() -> None:
    """What is measured is the network's own activation."""
    leaky = selectivity.observe(network(slope=0.5), small(50), "convolutions")
    assert leaky["convolutions/0"].universality[0] == 100  # puts out -0.5 everywhere
