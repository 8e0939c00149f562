"""Grids: declared cells, sharing of compilations, resuming, failure, and the model of a cell read back."""

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxsparse as js
from jaxsparse import data, grid, records, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import running
from jaxsparse.losses import evaluate
from jaxsparse.train import make_train

SMALL = Run(widths=(8,), epochs=4, batch=200, measure_every=2)


def declaration(**changes: object) -> grid.Declaration:
    settings: dict[str, object] = {
        "run": SMALL,
        "optimizers": ("adam", "sgd"),
        "regularizers": ("none", "l2"),
        "strengths": (0.01, 0.1),
        "seeds": (0, 1, 2),
        **changes,
    }
    return grid.Declaration(**settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid") / "run"
    progress = list(grid.run(declaration(), folder))
    assert [step.finished for step in progress] == sorted(step.finished for step in progress)
    assert progress[-1].finished == progress[-1].cells == 18
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Weights and measurements of every cell, bit by bit; wall time is left out."""
    columns = ["train_loss", "test_error", "sparsity_scale", "gamma", "activation"]
    history = records.history(folder, columns)
    found = {path.parent.name: path.read_bytes() for path in sorted(folder.glob("cells/*/weights.safetensors"))}
    return {**found, "history": str(history.to_pylist()).encode()}


def test_cells_are_the_product() -> None:
    cells = declaration().cells()
    names = [cell.name for cell in cells]
    assert len(set(names)) == len(names) == 2 * (1 + 2) * 3
    assert "adam-none-seed0" in names
    assert "sgd-l2-0.01-seed2" in names
    rates = {cell.run.optimizer: cell.hyper.learning_rate for cell in cells}
    assert rates == {"adam": 1e-3, "sgd": 0.1}
    assert cells[0].hyper.constants["b2"] == 0.99  # the paper's, not PyTorch's
    assert len({cell.run for cell in cells}) == 2  # no regularizer is L2 of strength 0: one compilation
    regularized = [cell.hyper.strength for cell in cells if cell.regularizer == "none"]
    assert set(regularized) == {0.0}


def test_given_constants_replace_the_papers_where_they_apply() -> None:
    cells = declaration(constants={"b1": 0.8, "momentum": 0.5}, learning_rate=0.3).cells()
    seen = {cell.run.optimizer: (cell.hyper.learning_rate, dict(cell.hyper.constants)) for cell in cells}
    assert seen == {"adam": (0.3, {"b1": 0.8, "b2": 0.99, "eps": 1e-8}), "sgd": (0.3, {"momentum": 0.5})}


def test_one_compilation_per_optimizer_and_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Run] = []
    original = grid.Engine.compile

    def counted(self: grid.Engine, cells: Sequence[grid.Cell]) -> object:
        compiled.append(cells[0].run)
        return original(self, cells)

    monkeypatch.setattr(grid.Engine, "compile", counted)
    small = declaration(optimizers=("sgd",), regularizers=("none", "l2", "wd"), seeds=(0,))
    list(grid.run(small, tmp_path / "run"))
    assert sorted((run.optimizer, run.regularizer) for run in compiled) == [("sgd", "l2"), ("sgd", "wd")]


def test_several_networks_and_folders_at_once(tmp_path: Path) -> None:
    """Each cell lands in its own folder, with the bits that it has when it is trained alone."""
    wide, narrow = (declaration(run=dataclasses.replace(SMALL, widths=(width,))).cells()[:3] for width in (6, 5))
    jobs = [grid.Job(cell, tmp_path / name) for name, cells in (("a", wide), ("b", narrow)) for cell in cells]
    *_, last = grid.train_all(jobs)
    assert (last.cells, last.finished, last.current) == (6, 6, ())
    list(grid.train(narrow[1:2], tmp_path / "alone"))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {cell.name for cell in wide}
    together, alone = (records.weights(tmp_path / folder / narrow[1].name) for folder in ("b", "alone"))
    assert {name: len(array) for name, array in together.items()} == {name: len(array) for name, array in alone.items()}
    for name, array in alone.items():
        np.testing.assert_array_equal(together[name], array, err_msg=name)
    assert [progress.finished for progress in grid.train_all(jobs)] == [6]  # nothing is left to do


def test_cells_equal_training_alone(trained: Path) -> None:
    """What a cell of a grid holds is what `make_train` gives for its settings."""
    hyper = Hyper(1e-3, 0.1, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})
    run = dataclasses.replace(SMALL, optimizer="adam", regularizer="l2")
    state, rows = jax.jit(make_train(run))(hyper, jax.random.key(2), data.load("digits"))
    weights = records.weights(trained / "cells" / "adam-l2-0.1-seed2")
    for name, leaf in {**trees.flatten(state.params), **trees.flatten(state.stats)}.items():
        np.testing.assert_allclose(weights[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)
    history = records.history(trained / "cells" / "adam-l2-0.1-seed2", ["train_loss", "test_error", "steps"])
    np.testing.assert_allclose(history["train_loss"].to_pylist(), rows.train_loss[:, -1], rtol=1e-4)
    assert history["steps"].to_pylist() == [14, 28]


def test_results_say_what_was_trained(trained: Path) -> None:
    rows = records.results(trained).to_pylist()
    assert len(rows) == 18
    assert {row["status"] for row in rows} == {"done"}
    assert {(row["optimizer"], row["regularizer"], row["strength"]) for row in rows} == {
        (optimizer, *form) for optimizer in ("adam", "sgd") for form in (("none", 0.0), ("l2", 0.01), ("l2", 0.1))
    }
    for row in rows:
        assert row["params"] == 64 * 8 + 2 * 8 + 8 * 10 + 10
        assert row["test_error"] < 85  # a network that guesses errs on 90 %
        alive = round(8 * (1 - row["sparsity_scale"] / 100))
        assert row["params_alive"] == alive * (64 + 2 + 10) + 10
    one, other = (records.weights(trained / "cells" / f"adam-none-seed{seed}") for seed in (0, 1))
    assert not np.array_equal(one["head/kernel"], other["head/kernel"])


def test_loaded_model_errs_as_recorded(trained: Path) -> None:
    dataset = data.load("digits")
    rows = {row["cell"]: row for row in records.results(trained).to_pylist()}
    model = js.load(trained / "cells" / "sgd-l2-0.01-seed1")
    loss, error, _ = evaluate(model, dataset, dataset.test)
    assert float(error) == pytest.approx(rows["sgd-l2-0.01-seed1"]["test_error"])
    assert float(loss) == pytest.approx(rows["sgd-l2-0.01-seed1"]["test_loss"], rel=1e-4)
    with pytest.raises(InvalidInput, match="run must be the folder of a run"):
        js.load(trained)


def test_finished_grid_trains_nothing(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "Engine", None)
    progress = list(grid.run(declaration(), trained))
    assert [(step.finished, step.cells) for step in progress] == [(18, 18)]


def test_missing_cells_are_made_up_for_with_the_same_bits(trained: Path, tmp_path: Path) -> None:
    """An odd cell out, which shares its devices with another neighbour than before."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(trained), str(copy)], check=True)
    for name in ("adam-l2-0.1-seed1", "sgd-none-seed0"):
        subprocess.run(["rm", "-r", str(copy / "cells" / name)], check=True)
    (copy / "cells" / "adam-l2-0.1-seed1.partial").mkdir()
    list(grid.run(declaration(), copy))
    assert contents(copy) == contents(trained)


def test_another_configuration_is_refused_with_the_difference(trained: Path) -> None:
    before = (trained / "grid.json").read_bytes()
    changed = declaration(seeds=(0, 1), run=dataclasses.replace(SMALL, batch=100))
    with pytest.raises(InvalidInput, match=r"differs: run.batch was 200, is now 100") as raised:
        list(grid.run(changed, trained))
    assert "\n" not in str(raised.value)
    assert (trained / "grid.json").read_bytes() == before


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match="out must be a new or empty folder"):
        list(grid.run(declaration(), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_divergence_is_recorded_and_the_grid_goes_on(tmp_path: Path) -> None:
    wild = declaration(optimizers=("sgd", "adam"), regularizers=("none",), seeds=(0,), learning_rate=1e30)
    list(grid.run(wild, tmp_path / "run"))
    rows = {row["optimizer"]: row for row in records.results(tmp_path / "run").to_pylist()}
    assert rows["sgd"]["status"] == "diverged"
    assert not math.isfinite(rows["sgd"]["train_loss"])
    assert set(rows) == {"sgd", "adam"}


def test_failure_is_recorded_the_grid_goes_on_and_a_resumed_one_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = grid.Engine.compile

    def compile_all_but_adam(self: grid.Engine, cells: Sequence[grid.Cell]) -> object:
        if cells[0].run.optimizer == "adam":
            raise MemoryError("no memory left")
        return original(self, cells)

    monkeypatch.setattr(grid.Engine, "compile", compile_all_but_adam)
    small = declaration(regularizers=("none",), seeds=(0,))
    list(grid.run(small, tmp_path / "run"))
    assert records.finished(tmp_path / "run" / "cells") == {"adam-none-seed0": "failed", "sgd-none-seed0": "done"}
    assert "no memory left" in records.describe(tmp_path / "run" / "cells" / "adam-none-seed0")["message"]
    with pytest.raises(InvalidInput, match="one that did not fail"):
        js.load(tmp_path / "run" / "cells" / "adam-none-seed0")
    monkeypatch.setattr(grid.Engine, "compile", original)
    list(grid.run(small, tmp_path / "run"))
    assert set(records.finished(tmp_path / "run" / "cells").values()) == {"done"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizers": ("adamz",)}, "optimizers must be one of sgd adam"),
        ({"optimizers": ()}, "optimizers must be at least one name"),
        ({"optimizers": ("adam", "adam")}, "optimizers must be without repetition"),
        ({"regularizers": ("l1",)}, "regularizers must be one of none l2 wd"),
        ({"strengths": (-1e-4,)}, "strengths must be finite numbers >= 0"),
        ({"strengths": (math.nan,)}, "strengths must be finite numbers >= 0"),
        ({"strengths": (math.inf,)}, "strengths must be finite numbers >= 0"),
        ({"strengths": (1.0,), "regularizers": ("wd",)}, "strengths must be .* < 1 for wd"),
        ({"strengths": ()}, "strengths must be at least one number"),
        ({"seeds": ()}, "seeds must be at least one"),
        ({"seeds": (-1,)}, "seed must be whole numbers"),
        ({"constants": {"b1": 1.0}}, "b1 must be in"),
        ({"constants": {"rho": 0.9}}, "rho must be a hyperparameter of adam sgd"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"run": dataclasses.replace(SMALL, batch=1438)}, "batch must be at most the 1437"),
        ({"run": dataclasses.replace(SMALL, data="../digits")}, "data must be one of digits"),
        ({"run": dataclasses.replace(SMALL, model="vgg")}, "model must be one of mlp"),
        ({"run": dataclasses.replace(SMALL, convention="jax")}, "convention must be one of torch"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        declaration(**change)
    assert "\n" not in str(raised.value)


@cache
def undisturbed(folder: Path) -> dict[str, bytes]:
    subprocess.run([*COMMAND, "--out", str(folder)], check=True, capture_output=True)
    return contents(folder)


COMMAND = [
    *(sys.executable, "-c", "import sys; from jaxsparse.cli import main; sys.exit(main())", "grid"),
    *("--optimizers", "adam", "--regularizers", "none", "l2", "--strengths", "0.01", "--seeds", "4"),
    *("--epochs", "60", "--batch", "64", "--widths", "16", "--measure-every", "1"),
]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments(kills: int, tmp_path: Path) -> None:
    """kill -9, resume, until done: every cell once, and the bits of an undisturbed grid."""
    expected = undisturbed(tmp_path / "undisturbed")
    out = tmp_path / "killed"
    moments = random.Random(kills)
    trained: list[str] = []
    for _ in range(kills):
        before = set(records.finished(out / "cells"))
        process = subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while process.poll() is None and not (out / "cells").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 8))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        trained += sorted(set(records.finished(out / "cells")) - before)
    stamps = {name: (out / "cells" / name).stat().st_mtime_ns for name in trained}
    subprocess.run([*COMMAND, "--out", str(out)], check=True, capture_output=True)
    assert contents(out) == expected
    assert len(trained) == len(set(trained))
    assert stamps == {name: (out / "cells" / name).stat().st_mtime_ns for name in trained}  # none was trained twice
    assert not list(out.rglob("*.partial"))
    assert json.loads((out / "grid.json").read_text())["seeds"] == [0, 1, 2, 3]
