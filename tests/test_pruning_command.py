"""`jaxsparse prune`: the folder it writes loads, is as sparse as it says, and can be made smaller."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

import jaxsparse as js
from jaxsparse import data, records
from jaxsparse.cli import main
from jaxsparse.config import Run
from jaxsparse.losses import evaluate
from jaxsparse.shrinking import costs
from jaxsparse.trees import flatten

TRAIN = ["--epochs", "2", "--measure-every", "1", "--regularizer", "none", "--learning-rate", "0.01"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without normalisation, through all of `train`."""
    out = tmp_path_factory.mktemp("prune") / "run"
    assert main(["train", "--model", "batranet", *TRAIN, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network with normalisation."""
    network = js.models.MLP(10, widths=(6, 5), rngs=nnx.Rngs(0))
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(network)).items()}
    settings = {"regularizer": "none", "strength": 0.0, "seed": 0, "learning_rate": 1e-3, "constants": {}}
    history = {"epochs": [1], "test_error": [90.0]}
    described = Run(widths=(6, 5), epochs=1, measure_every=1, batch=200)
    record = records.Record("run", described, settings, "done", "", 1.0, history, arrays)
    return records.write(record, tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def untrained(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def prune(capsys: pytest.CaptureFixture[str], folder: Path, out: Path, *flags: str) -> dict:
    assert main(["prune", str(folder), "--out", str(out), "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_network_without_normalisation_trains(trained: Path) -> None:
    """Nothing is dead by scale where there is none; the parameters alive are told by norm."""
    (row,) = records.results(trained).to_pylist()
    assert np.isnan(row["sparsity_scale"])
    assert row["params_alive"] == row["params"] == 2822


def test_round_trip(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    found = prune(
        capsys, trained, out, "--sparsity", "0.8", "--epochs", "4", "--schedule", "iterative", "--rounds", "2"
    )
    assert {path.name for path in out.iterdir()} == {"masks.safetensors", "run.json", "weights.safetensors"}
    assert [epoch for epoch, _ in found["plan"]] == [0, 2]
    model, whole, masks = js.load(out), js.load(trained), load_file(out / "masks.safetensors")
    weights = flatten(nnx.state(model, nnx.Param))
    assert masks.keys() == weights.keys()
    for name, mask in masks.items():
        assert not np.asarray(weights[name])[~mask].any(), name
    kernels = {name: mask for name, mask in masks.items() if name.endswith("kernel")}
    total = sum(mask.size for mask in kernels.values())
    pruned = sum(int((~mask).sum()) for mask in masks.values())
    assert pruned == round(0.8 * total)
    assert found["sparsity"] == pytest.approx(100 * pruned / sum(mask.size for mask in masks.values()))
    inside = [~mask for name, mask in kernels.items() if name.startswith("convolutions")]
    assert found["sparsity_convolutions"] == pytest.approx(100 * np.mean(np.concatenate([m.ravel() for m in inside])))
    dataset = data.load("digits")
    errors = [float(evaluate(network, dataset, dataset.test)[1]) for network in (whole, model)]
    assert [found["test_error"][0], found["test_error"][2]] == pytest.approx(errors)
    assert found["accuracy"][1] == pytest.approx(100 - found["test_error"][1])
    described = json.loads((out / "run.json").read_text())
    assert described["pruned"] == found
    assert main(["measure", str(out)]) == 0


def test_published_protocol(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--protocol", "batra2024", "--epochs", "1", "--method", "slimming", "--sparsity", "0.25")
    found = prune(capsys, trained, tmp_path / "out", *flags)
    assert found["fine_tuning"]["learning_rate"] == 1e-6
    assert not found["fine_tuning"]["mask_every_step"]
    channels = 3 + 9 + 9 + 9
    assert found["sparsity"] == pytest.approx(100 * 9 * round(0.25 * channels) / 2822)


def test_pruned_units_are_shrunk(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "SECONDS", 0.0)
    found = prune(capsys, untrained, tmp_path / "out", "--method", "filters", "--epochs", "0")
    assert found["accuracy"][1] == found["accuracy"][2]
    assert found["sparsity_convolutions"] is None
    assert main(["shrink", str(tmp_path / "out"), "--out", str(tmp_path / "smaller"), "--json"]) == 0
    shrunk = json.loads(capsys.readouterr().out)
    assert shrunk["widths"]["hidden/0"] == [6, 3]
    assert shrunk["test_error"][1] == pytest.approx(found["test_error"][2])
    again = prune(capsys, tmp_path / "smaller", tmp_path / "again", "--epochs", "1")  # the smaller network
    assert pruned_share(tmp_path / "again") == pytest.approx(0.5, abs=0.01)
    assert again["test_error"][0] == pytest.approx(shrunk["test_error"][1])


def pruned_share(folder: Path) -> float:
    masks = load_file(folder / "masks.safetensors")
    kernels = np.concatenate([mask.ravel() for name, mask in masks.items() if name.endswith("kernel")])
    return float(np.mean(~kernels))


@pytest.mark.parametrize("method", ["hybrid", "random", "random-filters", "implicit"])
def test_methods(method: str, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--threshold", "1e9"] if method == "implicit" else ["--sparsity", "0.5"]
    found = prune(capsys, untrained, tmp_path / method, "--method", method, "--epochs", "0", *flags)
    by_parameter = found["sparsity_by_parameter"]
    expected = 100.0 if method == "implicit" else 50.0
    assert by_parameter["hidden/0/linear/kernel"] == pytest.approx(expected, abs=8)
    assert (by_parameter["head/kernel"] == 0) == (method != "random")
    assert (by_parameter["hidden/0/norm/scale"] == 0) == (method in ("hybrid", "random"))


def test_text(untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(untrained), "--epochs", "0"]) == 0
    told = capsys.readouterr().out
    assert "accuracy after pruning" in told
    assert str(tmp_path / "run-pruned") in told
    assert js.load(tmp_path / "run-pruned")(jax.numpy.ones((1, 8, 8, 1))).shape == (1, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "l1"], "method must be one of magnitude filters"),
        (["--sparsity", "1.5"], "sparsity must be a fraction in [0, 1]"),
        (["--sparsity", "nan"], "sparsity must be a fraction in [0, 1]"),
        (["--sparsity", "0.5", "--threshold", "1"], "sparsity must be left out where a threshold is given"),
        (["--sparsity", "0.5", "--method", "implicit"], "sparsity must be left out for implicit"),
        (["--sparsity", "1"], "sparsity must be low enough to leave something of head hidden/0 hidden/1, got 1.0"),
        (["--sparsity", "0.95", "--method", "filters"], "sparsity must be low enough to leave something of hidden"),
        (["--threshold", "9", "--method", "slimming"], "threshold must be low enough to leave something of hidden"),
        (["--threshold", "-1"], "threshold must be a finite number >= 0"),
        (["--schedule", "linear"], "schedule must be one of one-shot iterative cubic"),
        (["--schedule", "cubic", "--threshold", "1"], "schedule must be one-shot for implicit"),
        (["--schedule", "cubic", "--epochs", "4"], "rounds must be a whole number from 1 to 4"),
        (["--protocol", "han2015"], "protocol must be one of own batra2024"),
        (["--epochs", "-1"], "epochs must be a whole number >= 0"),
        (["--learning-rate", "0"], "learning-rate must be a finite number > 0"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--out", "."], "out must be a new or empty folder"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prune", str(untrained), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(tmp_path)]) == 2
    assert "run must be the folder of a run" in capsys.readouterr().err
