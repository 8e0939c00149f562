"""Nothing wrong gets past the check of a shrunk model, whatever the example, the type and the size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(6, 16))


class Width(nnx.Module):
    """Its code divides by the root of a width."""

    def __init__(self, dtype: Any):
        self.a = nnx.Linear(16, 40, rngs=nnx.Rngs(0), param_dtype=dtype)
        self.b = nnx.Linear(40, 5, rngs=nnx.Rngs(1), param_dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(self.a(x))
        return self.b(h * h.shape[-1] ** -0.5)


class Plain(Width):
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(jax.nn.relu(self.a(x)))


class Late(Plain):
    """Depends on its width only for inputs that no draw is likely to give."""

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(self.a(x))
        return self.b(jnp.where(h > 1e4, h * h.shape[-1], h))


def dead(model: Any, bias: float = 0.0) -> Any:
    model.a.kernel[...] = model.a.kernel[...].at[:, :16].set(0)
    model.a.bias[...] = model.a.bias[...].at[:16].set(bias)
    return model


EXAMPLES = {"numbers": REAL, "zeros": np.zeros((1, 16)), "large": 1e3 * REAL}


@pytest.mark.parametrize(
    ("example", "dtype", "scale"),
    [
        ("numbers", "float32", 1.0),
        ("numbers", "float32", 1e-3),
        ("numbers", "bfloat16", 1.0),
        ("zeros", "float16", 1.0),
        ("zeros", "bfloat16", 1e-3),
        ("large", "float32", 1e3),
    ],
)
def test_a_width_in_the_code(example: str, dtype: str, scale: float) -> None:
    """The same network with and without: the width is found, and units without it go."""
    units = {"a": np.arange(40) < 16}
    for build, removed in ((Width, {}), (Plain, {"a": 16})):
        model = dead(build(jnp.dtype(dtype)))
        model.b.kernel[...] = model.b.kernel[...] * scale
        smaller, report = js.shrink(model, jnp.asarray(EXAMPLES[example], dtype), units)
        assert report.removed == removed
        x = jnp.asarray(REAL, dtype)
        expected, found = (np.asarray(each(x), np.float64) for each in (model, smaller))
        units_of_rounding = {"float32": 1e-6, "bfloat16": 2**-7, "float16": 2**-10}[dtype]
        assert np.max(abs(expected - found)) <= 2 * units_of_rounding * np.max(abs(expected))


def test_a_width_that_no_input_shows() -> None:
    _, report = js.shrink(dead(Late(jnp.float32)), jnp.asarray(REAL), {"a": np.arange(40) < 16})
    assert report.removed == {}
    assert "depends on how many" in report.notes[0]


class DeepSets(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.phi, self.rho = nnx.Linear(16, 24, rngs=rngs), nnx.Linear(24, 5, rngs=rngs)

    def pool(self, h: jax.Array) -> jax.Array:
        return h.sum(1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.rho(self.pool(jax.nn.relu(self.phi(x))))


class Mean(DeepSets):
    def pool(self, h: jax.Array) -> jax.Array:
        return h.mean(1)


class Positions(nnx.Module):
    """Learned positions, of which a shorter input takes the first."""

    def __init__(self, rngs: nnx.Rngs):
        self.phi = nnx.Linear(16, 24, rngs=rngs)
        self.b = nnx.Linear(24, 16, use_bias=False, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((12, 16)))
        self.c = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.b(jax.nn.relu(self.phi(x)))
        return self.c(jax.nn.relu(h + self.positions[: x.shape[1]][None]))


@pytest.mark.parametrize("example", [6, 12])
@pytest.mark.parametrize(
    ("build", "kept"),
    [(DeepSets, 14), (Mean, 10), (Positions, 14)],
)
def test_constants_at_other_lengths(build: Any, kept: int, example: int) -> None:
    """Ten units put out 0.5, four nothing. A mean of constants is the same at any length; a sum is not, and only the
    positions of the example would take a constant up: there, the ten stay, with a reason."""
    model = build(nnx.Rngs(0))
    model.phi.kernel[...] = model.phi.kernel[...].at[:, :14].set(0)
    model.phi.bias[...] = model.phi.bias[...].at[:14].set(jnp.where(jnp.arange(14) < 10, 0.5, -0.5))
    x = jnp.asarray(RNG.normal(size=(3, 12, 16)), jnp.float32)
    smaller, report = js.shrink(model, x[:, :example])
    assert report.widths["phi"] == (24, 20 if build is not Mean else kept)
    for length in (1, 4, 6, 12):
        np.testing.assert_allclose(smaller(x[:, :length]), model(x[:, :length]), rtol=1e-5, atol=1e-5)
    if build is not Mean:
        assert sum(report.kept_dead["phi"].values()) == 10


class Table(Positions):
    """Positions looked up one by one: beyond the end of the table there are no numbers."""

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.b(jax.nn.relu(self.phi(x))).mean(1)
        return self.c(jax.nn.relu(h + jnp.take(self.positions[...], jnp.arange(x.shape[1]), axis=0).mean(0)[None]))


def test_a_length_beyond_a_table_is_none_that_the_model_takes() -> None:
    model = Table(nnx.Rngs(0))
    model.b = nnx.Linear(24, 16, rngs=nnx.Rngs(1))
    model.phi.kernel[...] = model.phi.kernel[...].at[:, :14].set(0)
    model.phi.bias[...] = model.phi.bias[...].at[:14].set(0.5)
    x = jnp.asarray(RNG.normal(size=(3, 12, 16)), jnp.float32)
    assert jnp.isnan(model(jnp.ones((1, 13, 16)))).all()
    smaller, report = js.shrink(model, x)
    assert report.folded == {"phi": 14}
    for length in (1, 12):
        np.testing.assert_allclose(smaller(x[:, :length]), model(x[:, :length]), rtol=1e-5, atol=1e-5)


class Trees(Plain):
    def __call__(self, batch: dict[str, Any]) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = super().__call__(batch["x"])
        return {"logits": y * batch["scale"], "best": y.argmax(-1), "flag": batch["train"]}


def test_trees_with_flags_scalars_and_integer_outputs() -> None:
    example = {"x": jnp.asarray(REAL, jnp.float32), "train": False, "scale": jnp.asarray(2.0)}
    model = dead(Trees(jnp.float32))
    smaller, report = js.shrink(model, example)
    assert report.removed == {"a": 16}
    expected, found = model(example), smaller(example)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["best"], expected["best"])
