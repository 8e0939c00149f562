"""What the README says is so: its Python runs, its commands exist, its picture and pages are there."""

import csv
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsparse.cli import main
from jaxsparse.commands import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class SomebodysModel(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.norm(self.linear(x))))


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One after another, as somebody would who has a model and data."""
    first, loop, grid = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    model = SomebodysModel(nnx.Rngs(0))
    params, x = nnx.state(model, nnx.Param), np.ones((5, 3), np.float32)
    gradients = jax.tree.map(jnp.ones_like, params)
    known: dict[str, Any] = {"model": model, "params": params, "gradients": gradients, "batches": [x]}
    exec(first, known)
    assert "dead" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    exec(loop, known | {"x": x, "train_step": lambda model: None})
    assert sum("monitor" in line for line in loop.splitlines()) == 3
    assert main(["report", "runs/mine"]) == 0
    with (tmp_path / "runs" / "mine" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "200", "400", "600", "800"]
    x, y = np.random.default_rng(0).normal(size=(90, 20)), np.arange(90) % 3
    own = {"nnx": nnx, "x": x, "y": y, "x_test": x, "y_test": y}
    exec(grid, known | own)
    assert len(list((tmp_path / "runs" / "my-grid" / "cells").glob("*/run.json"))) == 8
    assert sum(bool(line.strip()) for line in grid.splitlines()) <= 12


def test_python_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).normal(size=(90, 20)), np.arange(90) % 3
    known: dict[str, Any] = {"x": x, "y": y, "x_test": x, "y_test": y}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(block, known)
    assert set(known["frame"]["optimizer"]) == {"adam", "optax:lion", "signs"}
    assert known["frame"]["sparsity_seldom"].notna().all()
    assert known["page"].exists()


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 110


def test_claims_are_counted() -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [a-z]+\d{4} \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    shown, not_shown, undecidable, not_run = (sum(map(int, column)) for column in zip(*rows, strict=True))
    told = f"Of {sum(map(int, sum(rows, ())))} claims of five papers {shown} are shown, {not_shown} not shown and"
    assert told in " ".join(README.split())
    assert f"{undecidable} undecidable at these scales; {not_run} are not run." in " ".join(README.split())


def test_commands() -> None:
    named = set(re.findall(r"`jaxsparse (\w+)", README))
    assert named == set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
