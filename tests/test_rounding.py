"""Widths that fill vectors: what stays, by brute force, and that the network computes what it did."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.shrinking.rounding import rounded


class Residual(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(3, 20, (3, 3), rngs=rngs)
        self.norm1 = nnx.BatchNorm(20, rngs=rngs)
        self.inner = nnx.Conv(20, 13, (3, 3), rngs=rngs)
        self.norm2 = nnx.BatchNorm(13, rngs=rngs)
        self.outer = nnx.Conv(13, 20, (1, 1), rngs=rngs)
        self.norm3 = nnx.BatchNorm(20, rngs=rngs)
        self.head = nnx.Linear(20, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.first(x)))
        x = nnx.relu(x + self.norm3(self.outer(nnx.relu(self.norm2(self.inner(x))))))
        return self.head(x.mean((1, 2)))


def network(dead: dict[str, int]) -> Residual:
    """With gammas of different sizes, the first ones of which are dead: the smaller, the deader."""
    model = Residual(nnx.Rngs(0))
    for name in ("norm1", "norm2", "norm3"):
        norm: Any = getattr(model, name)
        count = dead[name]
        gamma = np.linspace(0.5, 1.5, norm.scale.shape[0])
        gamma[:count] = np.linspace(1e-4, 9e-4, count)
        norm.scale[...] = jnp.asarray(gamma, jnp.float32)
    model.eval()
    return model


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_widths(multiple: int) -> None:
    """20 - 9 = 11 units of the residual path and 13 - 10 = 3 inside, rounded up."""
    model = network({"norm1": 9, "norm2": 10, "norm3": 9})
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    plain, before = js.shrink(model, x)
    smaller, report = js.shrink(model, x, round_to=multiple)
    expected = {1: (11, 3), 4: (12, 4), 8: (16, 8)}[multiple]
    assert (report.widths["first"][1], report.widths["inner"][1]) == expected
    assert report.widths["outer"][1] == expected[0]
    np.testing.assert_allclose(smaller(x), plain(x), atol=1e-5)
    kept = report.layers["inner"].kept
    np.testing.assert_array_equal(kept, np.arange(13 - expected[1], 13))  # the least dead are the last of the dead
    reasons = set(report.layers["inner"].reasons.values())
    assert reasons == (set() if multiple == 1 else {"it fills the width"})
    assert before.widths["inner"][1] == 3


def test_a_smallest_width_and_layers_that_died_whole() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    _, report = js.shrink(network({"norm1": 0, "norm2": 11, "norm3": 0}), x, min_width=5)
    assert report.widths["inner"] == (13, 5)
    _, report = js.shrink(network({"norm1": 0, "norm2": 13, "norm3": 0}), x, min_width=5, round_to=4)
    assert report.widths["inner"] == (13, 0)
    _, report = js.shrink(network({"norm1": 0, "norm2": 1, "norm3": 0}), x, round_to=8)
    assert report.widths["inner"] == (13, 13)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    multiple=st.integers(1, 5),
    least=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None)
def test_any_layers(sizes: list[int], multiple: int, least: int, seed: int) -> None:
    """Layers that share channels too: nothing more goes, and each is as wide as asked for, or as it was, or empty."""
    rng = np.random.default_rng(seed)
    units = {str(i): rng.integers(1, 15, size=(size, 1)) for i, size in enumerate(sizes)}
    removed = rng.random(15) < 0.6
    order = {name: rng.permutation(len(roots)) for name, roots in units.items()}
    left, stay = rounded(removed, units, order, multiple, least)
    assert not (left & ~removed).any()
    assert set(stay) == set(np.flatnonzero(removed & ~left))
    for roots in units.values():
        before, after = int((~removed[roots[:, 0]]).sum()), int((~left[roots[:, 0]]).sum())
        assert before <= after
        assert before == 0 or after >= min(least, len(roots))
    if len(sizes) == 1 and len(np.unique(units["0"])) == sizes[0] and before:
        wanted = next(
            n for n in range(sizes[0] + 1) if n == sizes[0] or (n >= max(before, least) and n % multiple == 0)
        )
        assert after == wanted


@pytest.mark.parametrize("name", ["round_to", "min_width"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_bad_input(name: str, value: Any) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(InvalidInput, match=f"{name} must be a whole number >= 1, got {value}"):
        js.shrink(network({"norm1": 0, "norm2": 0, "norm3": 0}), jnp.zeros((1, 6, 6, 3)), **given)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "--epochs", "4", "--widths", "61", "--out", str(run)]) == 0
    gamma = np.sort(abs(np.asarray(js.load(run).hidden[0].norm.scale[...])))
    threshold = str((gamma[20] + gamma[21]) / 2)  # 21 of 61 are dead: 40 stay, or 48
    for multiple, width in (("8", 40), ("16", 48)):
        small = tmp_path / multiple
        flags = ["--threshold", threshold, "--round-to", multiple, "--out", str(small)]
        assert main(["shrink", str(run), *flags]) == 0
        assert ("8 dead units stay: it fills the width" in capsys.readouterr().out) == (width == 48)
        assert js.load(small).hidden[0].norm.scale.shape == (width,)
    assert main(["shrink", str(run), "--round-to", "0"]) == 2
    assert "round-to must be a whole number >= 1, got 0" in capsys.readouterr().err
