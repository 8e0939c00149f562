"""The command line as a person uses it: what works, and what is refused in one line with nothing written."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxsparse import export, layers, records
from jaxsparse.cli import main

QUICK = ["--epochs", "4", "--batch", "200", "--widths", "8", "--measure-every", "2"]
TRAIN = ["train", "--optimizer", "sgd", "--strength", "0.01", "--seed", "5", *QUICK]
BAD = {
    "unknown command": ["gird"],
    "unknown flag": ["grid", "--optimizer", "adam"],
    "no number": ["grid", "--epochs", "many"],
    "unknown optimizer": ["grid", "--optimizers", "adam", "adamz"],
    "unknown regularizer": ["train", "--regularizer", "l1"],
    "unknown data": ["grid", "--data", "../digits"],
    "unknown model": ["grid", "--model", "../mlp"],
    "unknown convention": ["train", "--convention", "pytorch"],
    "negative strength": ["grid", "--strengths", "-1e-3"],
    "negative strength of one": ["train", "--strength", "-0.1"],
    "strength is no number": ["grid", "--strengths", "nan"],
    "learning rate is no number": ["train", "--learning-rate", "nan"],
    "learning rate of zero": ["train", "--learning-rate", "0"],
    "b1 of one": ["train", "--b1", "1"],
    "b1 of one in a grid": ["grid", "--b1", "1"],
    "hyperparameter of another rule": ["train", "--rho", "0.9"],
    "nesterov for adam": ["train", "--nesterov"],
    "batch larger than the data": ["grid", "--batch", "1438"],
    "batch of none": ["grid", "--batch", "0"],
    "epochs": ["train", "--epochs", "0"],
    "width": ["train", "--width", "-1"],
    "widths": ["train", "--widths", "8", "0"],
    "head": ["train", "--model", "basicnet", "--head", "0"],
    "head of a network without": ["train", "--head", "8"],
    "unknown activation": ["train", "--activation", "swish"],
    "slope": ["train", "--activation", "leaky-relu", "--slope", "1"],
    "beta is no number": ["train", "--initial-beta", "nan"],
    "rate of zero": ["grid", "--gamma-rate", "0"],
    "negative rate": ["grid", "--beta-rate", "-1"],
    "more widths than layers": ["grid", "--model", "vgg-11", "--widths", *"123456789"],
    "milestones": ["train", "--milestones", "9999"],
    "threshold": ["train", "--threshold-norm", "-1"],
    "seeds": ["grid", "--seeds", "0"],
    "seed": ["train", "--seed", "-1"],
    "results of nothing": ["results", "nowhere"],
    "report of nothing": ["report", "nowhere"],
    "measure of nothing": ["measure", "nowhere"],
    "data action": ["data", "delete"],
    "data name": ["data", "info", "../digits"],
    "bench of nothing": ["bench", "jump"],
    "bench image": ["bench", "step", "--image", "32x32"],
    "bench cells": ["bench", "step", "--cells", "0"],
    "bench without rival": ["bench", "step", "--model", "vgg-11", "--against", "torch"],
    "bench rival": ["bench", "step", "--against", "numpy"],
    "bench thresholding": ["bench", "step", "--thresholding", "soft"],
    "bench seeds": ["bench", "grid", "--seeds", "0"],
    "bench devices without cells": ["bench", "grid", "--seeds", "1"],
    "bench seconds": ["bench", "grid", "--seconds", "0"],
    "bench out": ["bench", "profile", "--out", "/dev/null/profile"],
    "bench flag of another": ["bench", "decay", "--width", "2"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("jaxsparse: ")
    assert told.err.count("\n") == 1, told.err
    assert "must be" in told.err or "options" in told.err or "Error parsing" in told.err or "Unrecognized" in told.err
    assert not list(tmp_path.iterdir())


def test_out_that_can_not_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([*TRAIN, "--out", str(tmp_path / "file")]) == 2
    assert "out must be a folder that can be written to" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_refusal_is_quick(tmp_path: Path) -> None:
    """From the shell, imports included; a generous bound for a loaded machine."""
    begun = time.monotonic()
    code = "import sys; from jaxsparse.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "grid", "--optimizers", "adamz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(("flag", "value"), [("--epochs", "many"), ("--strengths", "strong"), ("--seeds", "1.5")])
def test_what_does_not_parse_is_named(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grid", flag, value]) == 2
    told = capsys.readouterr().err
    assert flag in told
    assert value in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["", "grid", "train", "decay", "measure", "prune", "report", "results", "data", "bench"]
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "usage: jaxsparse" in capsys.readouterr().out


def test_help_that_nobody_reads_to_its_end() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "import sys; from jaxsparse.cli import main; sys.exit(main(['grid', '--help']))"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    assert "digits" in capsys.readouterr().out
    assert main(["data", "info", "digits"]) == 0
    assert "1437" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "run"
    assert main([*TRAIN, "--out", str(out)]) == 0
    return out


def test_train_writes_a_run_and_a_report(trained: Path) -> None:
    assert [path.name for path in (trained / "cells").iterdir()] == ["sgd-l2-0.01-seed5"]
    assert records.describe(trained / "cells" / "sgd-l2-0.01-seed5")["constants"] == {"momentum": 0.9}
    page = (trained / "report.html").read_text()
    assert "jaxsparse train --optimizer sgd" in page


def test_results_as_csv(trained: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["results", str(trained), "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode()))
    contract = (
        "dataset model optimizer regularizer strength convention seed epochs steps train_loss test_error "
        "sparsity_scale sparsity_activation sparsity_norm params params_alive seconds status"
    )
    assert set(contract.split()) <= set(row)
    assert (row["optimizer"], row["regularizer"], float(row["strength"]), row["seed"]) == ("sgd", "l2", 0.01, "5")
    assert (row["steps"], row["status"]) == ("28", "done")


def test_results_as_a_table(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(trained)]) == 0
    assert "SGD" in capsys.readouterr().out


def test_measure(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(trained), "--threshold-scale", "1e9"]) == 0
    assert "100.0 %" in capsys.readouterr().out
    assert main(["measure", str(trained), "--threshold-scale", "1e9", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    assert found["units"] == found["scale"] > 0 == found["norm"]


def test_network_of_other_settings(tmp_path: Path) -> None:
    """Trained, written and read back."""
    flags = ["--model", "vgg-11", "--head", "6", "--activation", "leaky-relu", "--slope", "0.1", "--initial-beta", "1"]
    rates = ["--gamma-rate", "0.1", "--beta-rate", "0.5"]
    assert main([*TRAIN, *flags, *rates, "--widths", "4", "4", "--out", str(tmp_path / "run")]) == 0
    model = export.load(tmp_path / "run")
    assert [block.norm.num_features for block in (*model.convolutions, *model.hidden)] == [4, 4, 6]
    assert model.hidden[0].activation == layers.Rectifier(0.1)
    assert main(["measure", str(tmp_path / "run")]) == 0


def test_same_again_trains_nothing_another_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = trained / "cells" / "sgd-l2-0.01-seed5" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert main([*TRAIN, "--out", str(trained)]) == 0
    assert main([*TRAIN, "--seed", "6", "--out", str(trained)]) == 2
    assert "out must be a new folder or one of the same grid" in capsys.readouterr().err
    assert weights.stat().st_mtime_ns == before


def test_bench_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--width", "0.1", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ms_per_step"] > 0
    assert found["cells"] == 2
    assert found["images_per_second"] == pytest.approx(1e3 * 64 / found["ms_per_step"])
    assert found["compile_seconds"] > 0
    forward = 2 * (64 * 30 + 30 * 10)  # the products of a network 64-30-10, for an image
    assert found["gflops"] * found["ms_per_step"] * 1e6 == pytest.approx(3 * 64 * forward, rel=0.1)


def test_bench_shrink_removes_half(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "shrink", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == [300 * (64 + 2 + 10) + 10, 150 * (64 + 2 + 10) + 10]
    assert found["macs"] == [300 * (64 + 10), 150 * (64 + 10)]
    assert found["share"] == pytest.approx(found["time_gain"] / found["macs_gain"])
    assert main(["bench", "shrink", "--batch", "0"]) == 2
    assert capsys.readouterr().err == "jaxsparse: batch must be a whole number >= 1, got 0\n"
