"""Random programs of the kinds that people write: shrunk, they compute what they did, at other sizes too.

Every block has units that are dead by plain zeros in its weights, so the model itself is the oracle; of those that its
code lets go, nearly all must be gone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxsparse as js

WIDTH, HIDDEN, DEPTH = 8, 12, 2
KINDS = (
    *("plain", "post-norm", "pre-norm", "gated", "fused", "attention", "convolution", "stack"),
    *("shuffle", "grouped", "einsum", "multiplier"),
)
GOES = frozenset(KINDS) - {"shuffle", "grouped"}
"""Kinds whose dead units can all go; of channels in groups as many go from each, the others stay, with a reason."""


class Part(nnx.Module):
    """One block on a stream `[n, t, WIDTH]`; everything in one module."""

    def __init__(self, kind: str, dtype: Any, rngs: nnx.Rngs):
        self.kind = kind
        keys: dict[str, Any] = {"param_dtype": dtype, "rngs": rngs}
        if kind == "attention":
            self.attention = nnx.MultiHeadAttention(3, WIDTH, HIDDEN, decode=False, **keys)
            return
        if kind == "stack":
            create = nnx.split_rngs(splits=DEPTH)(nnx.vmap(lambda rngs: Part("plain", dtype, rngs)))
            self.layers = create(rngs)
            return
        wide = 2 * HIDDEN if kind == "fused" else HIDDEN
        if kind == "convolution":
            self.into = nnx.Conv(WIDTH, wide, (3,), padding="VALID", **keys)
        elif kind == "einsum":
            self.into = nnx.Einsum("ntw,wh->nth", (WIDTH, wide), (wide,), **keys)
        else:
            self.into = nnx.Linear(WIDTH, wide, **keys)
        if kind == "gated":
            self.gate = nnx.Linear(WIDTH, HIDDEN, **keys)
        if kind == "grouped":
            self.between = nnx.Conv(HIDDEN, HIDDEN, (1,), feature_group_count=3, **keys)
        if kind == "multiplier":
            self.between = nnx.Conv(HIDDEN, 2 * HIDDEN, (1,), feature_group_count=HIDDEN, **keys)
        if kind in ("post-norm", "pre-norm"):
            self.bn1 = nnx.BatchNorm(WIDTH if kind == "pre-norm" else HIDDEN, **keys)
            self.bn2 = nnx.BatchNorm(HIDDEN if kind == "pre-norm" else WIDTH, **keys)
        self.out = nnx.Linear(2 * HIDDEN if kind == "multiplier" else HIDDEN, WIDTH, **keys)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "attention":
            return x + self.attention(x)
        if self.kind == "stack":
            through = nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            return through(x, self.layers)
        if self.kind == "pre-norm":
            return x + self.out(nnx.relu(self.bn2(self.into(nnx.relu(self.bn1(x))))))
        if self.kind == "post-norm":
            return self.bn2(self.out(nnx.relu(self.bn1(self.into(x)))))
        if self.kind == "convolution":
            return self.out(nnx.relu(self.into(x)))
        h = self.into(x)
        if self.kind == "fused":
            gate, up = jnp.split(h, 2, -1)
            h = nnx.silu(gate) * up
        elif self.kind == "gated":
            h = nnx.silu(self.gate(x)) * h
        else:
            h = nnx.relu(h)
        if self.kind == "shuffle":
            h = h.reshape(*h.shape[:2], 2, -1).swapaxes(2, 3).reshape(h.shape)
        if self.kind in ("grouped", "multiplier"):
            h = nnx.relu(self.between(h))
        return x + self.out(h)

    def kill(self, dead: np.ndarray, bias: float) -> None:
        """Makes the dead units put out a constant, whatever comes in."""

        def zero(module: Any, units: np.ndarray, value: float) -> None:
            kernel, shift = np.array(module.kernel[...]), np.array(module.bias[...])
            kernel[..., units], shift[..., units] = 0, value
            module.kernel[...], module.bias[...] = jnp.asarray(kernel), jnp.asarray(shift)

        if self.kind == "attention":
            kernel = np.array(self.attention.value.kernel[...])
            kernel[:, 1] = 0  # a whole head
            self.attention.value.kernel[...] = jnp.asarray(kernel)
        elif self.kind == "stack":
            zero(self.layers.into, dead, min(bias, 0.0))  # one array for all depths takes no constant of one of them
        elif self.kind == "fused":
            zero(self.into, np.tile(dead, 2), bias)
        elif self.kind in ("post-norm", "pre-norm"):
            norm: Any = self.bn1 if self.kind == "post-norm" else self.bn2
            norm.scale[...] = jnp.where(dead, 0, norm.scale[...])
            norm.bias[...] = jnp.where(dead, jnp.asarray(bias, norm.bias.dtype), norm.bias[...])
        else:
            zero(self.into, dead, bias)
            if self.kind == "gated":
                zero(self.gate, dead, bias)

    def layer(self) -> str:
        """Name of the layer that loses units."""
        return {"attention": "attention/value", "stack": "layers/into/0"}.get(self.kind, "into")


class Model(nnx.Module):
    def __init__(self, kinds: list[str], dtype: Any, rngs: nnx.Rngs):
        self.parts = nnx.List([Part(kind, dtype, rngs) for kind in kinds])
        self.head = nnx.Linear(WIDTH, 3, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for part in self.parts:
            x = part(x)
        return self.head(x.mean(1))


ROUNDING = {"float32": 1e-5, "bfloat16": 2 * 2.0**-7}
"""Largest difference, relative to the largest output."""


def check(kinds: list[str], dtype: str, zeros: bool, share: float, bias: float, seed: int) -> tuple[int, int]:
    """Of the dead units that can go, how many there were and how many went."""
    rng = np.random.default_rng(seed)
    model = Model(kinds, jnp.dtype(dtype), nnx.Rngs(seed))
    chosen = [rng.random(HIDDEN) < share for _ in kinds]
    for part, dead in zip(model.parts, chosen, strict=True):
        part.kill(dead, bias)
    model.eval()
    example = np.zeros((2, 9, WIDTH)) if zeros else rng.normal(size=(2, 9, WIDTH))
    dead = {}
    for place, (part, units) in enumerate(zip(model.parts, chosen, strict=True)):
        for depth in range(DEPTH if part.kind == "stack" else 1):
            name = f"parts/{place}/{part.layer()}".removesuffix("0") + str(depth) if part.kind == "stack" else ""
            dead[name or f"parts/{place}/{part.layer()}"] = (
                np.arange(HIDDEN) // 4 == 1 if part.kind == "attention" else units
            )
    smaller, report = js.shrink(model, jnp.asarray(example, jnp.float32), dead)
    for shape in ((2, 9), (5, 9), (3, 14)):
        x = jnp.asarray(rng.normal(size=(*shape, WIDTH)), jnp.float32)
        expected, found = (np.asarray(each(x), np.float64) for each in (model, smaller))
        assert np.max(abs(expected - found)) <= ROUNDING[dtype] * np.max(abs(expected)), str(report)
    removable = [name for name in dead if kinds[int(name.split("/")[1])] in GOES]
    asked = sum(int(dead[name].sum()) for name in removable)
    return asked, sum(int((~np.isin(np.flatnonzero(dead[n]), report.layers[n].kept)).sum()) for n in removable)


ARGUMENTS: dict[str, Any] = {
    "kinds": st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    "dtype": st.sampled_from(["float32", "float32", "bfloat16"]),
    "zeros": st.booleans(),
    "share": st.sampled_from([0.2, 0.5]),
    "bias": st.sampled_from([-1.0, 0.5]),
    "seed": st.integers(0, 2**20),
}
OPTIONS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": (HealthCheck.too_slow, HealthCheck.data_too_large),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(kind: str) -> None:
    """A kind by itself: all of its dead units that can go are gone."""
    asked, gone = check([kind], "float32", False, 0.5, 0.5, 3)
    assert gone == asked
    assert asked > 0 or kind not in GOES


def random_programs(examples: int) -> None:
    counts = np.zeros(2, int)

    @given(**ARGUMENTS)
    @settings(max_examples=examples, **OPTIONS)
    def each(**arguments: Any) -> None:
        nonlocal counts
        counts += check(**arguments)

    each()
    asked, gone = counts
    assert gone >= 0.95 * asked, f"{gone} of {asked} dead units that can go are gone"


def test_random_programs() -> None:
    random_programs(3)


@pytest.mark.slow
def test_500_random_programs() -> None:
    """Some three quarters of an hour on one idle core: `pytest -m slow tests/test_random_programs.py`."""
    random_programs(500)
