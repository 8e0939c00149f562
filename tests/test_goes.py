"""Layers in which units go together: groups, multipliers, resizing, splits, shuffles, einsums. How many go, and that
the network computes what it did, at other sizes too."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js


class EinsumNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(5, 8, rngs=rngs)
        self.einsum = nnx.Einsum("bi,io->bo", (8, 6), (6,), rngs=rngs)
        self.out = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.einsum(nnx.relu(self.first(x)))))


class General(nnx.Module):
    """Two groups of eight that a product reads at once."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.LinearGeneral(5, (2, 8), rngs=rngs)
        self.out = nnx.LinearGeneral((2, 8), 3, axis=(-2, -1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.first(x)))


class Groups(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, groups: int = 2, between: int = 8):
        self.first = nnx.Conv(3, 8, (3, 3), padding="VALID", rngs=rngs)
        self.between = nnx.Conv(8, between, (3, 3), padding="VALID", feature_group_count=groups, rngs=rngs)
        self.out = nnx.Conv(between, 4, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.between(nnx.relu(self.first(x))))).mean((1, 2))


class Through(nnx.Module):
    """A convolution, what happens to its channels, and one that reads them."""

    def __init__(self, rngs: nnx.Rngs, what: str):
        self.what = what
        reads = {"halves": 12, "pixels": 2}.get(what, 8)
        self.first = nnx.Conv(3, 8, (1, 1), rngs=rngs)
        self.inner = nnx.Conv(4, 4, (1, 1), rngs=rngs)
        self.out = nnx.Conv(reads, 4, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.relu(self.first(x))
        n, height, width, channels = h.shape
        if self.what in ("nearest", "linear"):
            h = jax.image.resize(h, (n, 2 * height, 2 * width, channels), self.what)
        elif self.what == "halves":  # C2f of YOLOv8
            left, right = jnp.split(h, 2, -1)
            h = jnp.concatenate([left, right, nnx.relu(self.inner(right))], -1)
        elif self.what == "pixels":
            h = h.reshape(n, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, -1)
        else:
            h = h.reshape(n, height, width, 2, -1).swapaxes(-1, -2).reshape(h.shape)
        return self.out(h).mean((1, 2))


class Sliced(nnx.Module):
    """SwiGLU in one product, cut by slices."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(5, 12, rngs=rngs)
        self.out = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.first(x)
        half = h.shape[-1] // 2
        return self.out(nnx.silu(h[..., :half]) * h[..., half:])


RNGS = nnx.Rngs(0)
CASES: dict[str, tuple[Any, str, list[int], int]] = {
    "einsum": (EinsumNet(RNGS), "einsum", [1, 4, 5], 3),
    "before an einsum": (EinsumNet(RNGS), "first", [1, 4, 5], 3),
    "two axes": (General(RNGS), "first", [1], 2),
    "into a multiplier": (Groups(RNGS, 8, 16), "first", [1, 4, 5], 3),
    "out of a multiplier": (Groups(RNGS, 8, 16), "between", [2, 3, 8, 9], 4),
    "half of a multiplier": (Groups(RNGS, 8, 16), "between", [2, 8], 0),
    "depthwise": (Groups(RNGS, 8, 8), "first", [1, 4, 5], 3),
    "as many into each group": (Groups(RNGS), "first", [1, 5], 2),
    "more into one group": (Groups(RNGS), "first", [1, 2, 5], 2),
    "as many out of each group": (Groups(RNGS), "between", [0, 3, 4, 7], 4),
    "a whole group": (Groups(RNGS), "first", [0, 1, 2, 3], 0),
    "nearest": (Through(RNGS, "nearest"), "first", [1, 4, 5], 3),
    "linear": (Through(RNGS, "linear"), "first", [1, 4, 5], 3),
    "halves": (Through(RNGS, "halves"), "first", [1, 2, 5, 6], 4),
    "pixels": (Through(RNGS, "pixels"), "first", [1, 3, 5, 7], 4),
    "shuffle": (Through(RNGS, "shuffle"), "first", [1, 5], 2),
    "slices": (Sliced(RNGS), "first", [1, 3, 7, 9], 2),
}
"""Network, layer, dead units, and how many of them go."""


def killed(name: str, bias: float) -> nnx.Module:
    model, layer, units, _ = CASES[name]
    model = nnx.clone(model)
    module = getattr(model, layer)
    kernel, shift = np.array(module.kernel[...]), np.array(module.bias[...])
    kernel[..., units], shift[..., units] = 0, bias
    module.kernel[...], module.bias[...] = jnp.asarray(kernel), jnp.asarray(shift)
    return model


def inputs(name: str, count: int, side: int, seed: int = 0) -> jax.Array:
    flat = isinstance(CASES[name][0], EinsumNet | General | Sliced)
    shape = (count, 5) if flat else (count, side, side, 3)
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("name", CASES)
def test_what_goes(name: str) -> None:
    model, (_, layer, units, gone) = killed(name, 0.0 if name == "slices" else -1.0), CASES[name]
    smaller, report = js.shrink(model, inputs(name, 2, 8))
    removed = np.setdiff1d(np.arange(report.layers[layer].before), report.layers[layer].kept)
    assert len(removed) == gone
    assert name in ("two axes", "slices") or set(removed) <= set(units)
    for x in (inputs(name, 2, 8), inputs(name, 3, 11, seed=1)):
        np.testing.assert_allclose(smaller(x), model(x), atol=2e-6)
    assert not report.unknown


@pytest.mark.parametrize("name", CASES)
def test_constants_stay_right(name: str) -> None:
    """Dead units that put out something other than zero."""
    model = killed(name, 0.7)
    smaller, _ = js.shrink(model, inputs(name, 2, 8))
    for x in (inputs(name, 2, 8), inputs(name, 3, 11, seed=1)):
        np.testing.assert_allclose(smaller(x), model(x), atol=5e-6)


class Branch(nnx.Module):
    """A sum whose second term may die whole, with nothing left between its convolutions."""

    def __init__(self, rngs: nnx.Rngs, groups: int):
        self.first = nnx.Conv(3, 8, (1, 1), rngs=rngs)
        self.inner = nnx.Conv(8, 8, (3, 3), feature_group_count=groups, rngs=rngs)
        self.outer = nnx.Conv(8, 8, (1, 1), rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.relu(self.first(x))
        return self.head((h + self.outer(nnx.relu(self.inner(h)))).mean((1, 2)))


@pytest.mark.parametrize("groups", [1, 2])
def test_again_after_a_layer_died_whole(groups: int, tmp_path: Path) -> None:
    """A convolution of no channels is shrunk, saved and loaded as any other."""
    model, x = Branch(nnx.Rngs(0), groups), jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    dead = {"first": np.arange(8) < 4, "inner": np.ones(8, bool)}
    constants = {"first": -np.ones(8), "inner": -np.ones(8)}
    once, report = js.shrink(model, x, dead, constants=constants)
    assert report.widths["inner"] == (8, 0)
    again, _ = js.shrink(once, x)
    np.testing.assert_allclose(again(x), once(x), atol=1e-6)
    js.save(tmp_path / "small.safetensors", again)
    loaded = js.load(tmp_path / "small.safetensors", like=model)
    np.testing.assert_array_equal(loaded(x), again(x))


@pytest.mark.parametrize("name", ["einsum", "into a multiplier", "out of a multiplier", "as many into each group"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    """Groups and sizes that a module states follow from its arrays."""
    smaller, _ = js.shrink(killed(name, -1.0), inputs(name, 2, 8))
    js.save(tmp_path / "small.safetensors", smaller)
    again = js.load(tmp_path / "small.safetensors", like=CASES[name][0])
    np.testing.assert_array_equal(again(inputs(name, 2, 8)), smaller(inputs(name, 2, 8)))
