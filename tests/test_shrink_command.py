"""`jaxsparse shrink`: the folder it writes loads, measures and computes like the network it came from."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse import data, records
from jaxsparse.cli import main
from jaxsparse.config import Run
from jaxsparse.report import figures, widths
from jaxsparse.shrinking import costs
from jaxsparse.trees import flatten


@pytest.fixture(autouse=True)
def _measure_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SECONDS", 0.0)


DEAD = {"mlp": np.isin(np.arange(6), (0, 4)), "basicnet": np.isin(np.arange(6), (1, 2, 5))}


def run(folder: Path, model: str) -> Path:
    """A run whose first layer has dead units with a positive beta."""
    network = js.models.build(model, shape=(8, 8, 1), classes=10, widths=(6, 5), rngs=nnx.Rngs(0))
    norm = (network.hidden if model == "mlp" else network.convolutions)[0].norm
    norm.scale[...] = jnp.where(DEAD[model], 1e-5, 1.0)
    norm.bias[...] = jnp.where(DEAD[model], 0.5, 0.1)
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(network)).items()}
    history = {"epochs": [1], "test_error": [90.0]}
    settings = {"regularizer": "none", "strength": 0.0, "seed": 0, "learning_rate": 1e-3, "constants": {}}
    described = Run(model=model, widths=(6, 5), epochs=1, measure_every=1)
    return records.write(records.Record("run", described, settings, "done", "", 1.0, history, arrays), folder)


@pytest.mark.parametrize(
    ("model", "borders", "left"),
    [("mlp", "keep", 4), pytest.param("basicnet", "keep", 6, marks=pytest.mark.slow), ("basicnet", "map", 3)],
)
def test_round_trip(model: str, borders: str, left: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = run(tmp_path, model), tmp_path / "small"
    assert main(["shrink", str(folder), "--out", str(out), "--borders", borders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first = "hidden/0" if model == "mlp" else "convolutions/0"
    assert found["widths"][first] == [6, left]
    assert found["cost"][1]["macs"] == found["cost"][0]["macs"] or left < 6
    smaller, whole = js.load(out), js.load(folder)
    dataset = data.load("digits")
    x = data.preprocess(dataset, dataset.test.images[:20])
    scale = max(1.0, float(abs(whole(x)).max()))
    assert float(abs(smaller(x) - whole(x)).max()) < 1e-4 * scale  # what |gamma| = 1e-5 still did, and float32
    assert found["cost"][1]["parameters"] == sum(leaf.size for leaf in flatten(nnx.state(smaller, nnx.Param)).values())
    assert {path.name for path in out.iterdir()} == {"figures", "run.json", "weights.safetensors"}
    assert main(["measure", str(out)]) == 0
    if borders == "keep":
        return
    again = tmp_path / "again"
    assert main(["shrink", str(out), "--out", str(again)]) == 0
    assert json.loads((again / "run.json").read_text())["shrunk"]["widths"][first] == [left, left]
    assert "latency" in capsys.readouterr().out


def test_by_activation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Units that never get through ReLU on the training set are taken to put out zero."""
    network = js.load(run(tmp_path, "mlp"))
    network.hidden[0].norm.bias[...] = jnp.where(DEAD["mlp"], -99.0, 0.1)
    network.hidden[0].norm.scale[...] = jnp.ones(6)
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(network)).items()}
    records.write_network(tmp_path / "run", records.describe(tmp_path / "run"), arrays)
    assert main(["shrink", str(tmp_path / "run"), "--by", "activation", "--out", str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["removed"]["hidden/0"] == 2
    assert "hidden/0" not in found["folded"]
    assert found["test_error"][0] == found["test_error"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "size"], "by must be one of scale activation norm"),
        (["--borders", "guess"], "borders must be one of keep map"),
        (["--threshold", "-1"], "tolerance must be a finite number >= 0"),
        (["--out", "."], "out must be a new or empty folder"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run(tmp_path, "mlp")
    monkeypatch.chdir(tmp_path)
    assert main(["shrink", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", str(tmp_path)]) == 2
    assert "run must be the folder of a run" in capsys.readouterr().err


def test_figure_is_the_same_twice() -> None:
    found = {"hidden/0": (300, 151), "hidden/1": (20, 0), "head": (10, 10)}
    assert figures.svg(widths.bars(found)) == figures.svg(widths.bars(found))
    bars = [bar.get_width() for bar in widths.bars(found).axes[0].patches]
    assert bars == [300, 20, 10, 151, 0, 10]


def test_a_run_goes_on_working(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the commands make of a run stands beside it, not among its own cells; an older version's does no harm."""
    whole = tmp_path / "mine"
    cell = run(whole / "cells", "mlp")
    before = js.load(whole)(jnp.ones((1, 8, 8, 1)))
    assert main(["shrink", str(whole)]) == 0
    assert main(["prune", str(whole), "--epochs", "0", "--sparsity", "0.3"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "mine-shrunk", "mine-pruned"}
    (tmp_path / "mine-shrunk").rename(cell.with_name(cell.name + "-shrunk"))
    assert main(["measure", str(whole)]) == 0
    np.testing.assert_array_equal(js.load(whole)(jnp.ones((1, 8, 8, 1))), before)
    assert main(["shrink", str(whole), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["widths"]["hidden/0"] == [6, 4]
