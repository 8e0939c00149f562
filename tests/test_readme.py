"""What the README says is so: its Python runs, its commands exist, its picture and pages are there."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxsparse.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class SomebodysModel(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.linear(x)))


def test_python(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    model = SomebodysModel(nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    gradients = jax.tree.map(jnp.ones_like, params)
    exec(code, {"model": model, "params": params, "gradients": gradients, "batches": [jnp.ones((5, 3))]})
    assert "dead" in capsys.readouterr().out


def test_commands() -> None:
    named = set(re.findall(r"`jaxsparse (\w+)", README))
    assert named == set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
