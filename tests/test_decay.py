"""`jaxsparse decay`: its numbers against the oracle, its folder, its refusals, and what the papers' figures show."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pyarrow.parquet
import pytest

from jaxsparse import decay
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.report import decay as pictures
from jaxsparse.report import decay_table, figures, table
from jaxsparse.report.decay.curves import curves_of
from jaxsparse.report.decay.panels import panels
from jaxsparse.report.decay.zero_gradient import straight

QUICK = ["decay", "--optimizers", "adam", "sgd", "--regularizers", "l2", "wd", "--strengths", "1e-3", "0.1"]
ZERO = [*QUICK, "--protocol", "zero-gradient", "--steps", "300", "--seeds", "2"]
BAD = {
    "unknown optimizer": ["--optimizers", "adamz"],
    "unknown regularizer": ["--regularizers", "group-lasso"],
    "negative strength": ["--strengths", "-1"],
    "strength is no number": ["--strengths", "nan"],
    "strength of one for wd": ["--strengths", "1"],
    "repeated strength": ["--strengths", "0.1", "0.1"],
    "unknown protocol": ["--protocol", "low"],
    "missing file": ["--protocol", "nowhere.npy"],
    "init": ["--init", "inf"],
    "steps": ["--steps", "0"],
    "too many steps": ["--steps", "3000000000"],
    "seeds": ["--seeds", "0"],
    "convention": ["--convention", "pytorch"],
    "learning rate": ["--learning-rate", "0"],
}


@pytest.mark.parametrize("csv", [True, False])
@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input(
    arguments: list[str], csv: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["decay", *arguments, *["--csv"] * csv]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("jaxsparse: ")
    assert told.err.count("\n") == 1, told.err
    assert "must be" in told.err
    assert not list(tmp_path.iterdir())


def test_constants() -> None:
    with pytest.raises(InvalidInput, match="rho must be a hyperparameter of sgd adam"):
        decay.Plan(("sgd", "adam"), constants={"b2": 0.5, "rho": 0.5})
    plan = decay.Plan(("sgd", "adam"), constants={"b2": 0.5})
    assert plan.constants_of("adam") == {"b1": 0.9, "b2": 0.5, "eps": 1e-8}
    assert plan.constants_of("sgd") == {"momentum": 0.9}


def rows_of(arguments: list[str], capsysbinary: pytest.CaptureFixture[bytes]) -> list[dict[str, str]]:
    assert main([*arguments, "--csv"]) == 0
    told = capsysbinary.readouterr().out.decode()
    assert told.startswith("optimizer,regularizer,strength,convention,seed,step,value\n")
    return list(csv.DictReader(io.StringIO(told)))


def test_csv_follows_oracle_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = rows_of(ZERO, capsysbinary)
    assert not list(tmp_path.iterdir())
    assert len(rows) == 2 * 2 * 2 * 2 * 301
    papers: dict[str, tuple[float, dict[str, float]]] = {
        "adam": (1e-3, {"b1": 0.9, "b2": 0.99, "eps": 1e-8}),
        "sgd": (0.1, {"momentum": 0.9, "nesterov": False}),
    }
    for row in rows[::301]:
        assert (row["step"], row["value"], row["convention"]) == ("0", "0.2", "torch")
    for begin in range(0, len(rows), 301):
        row, block = rows[begin], rows[begin : begin + 301]
        assert [int(one["step"]) for one in block] == list(range(301))
        assert len({(one["optimizer"], one["regularizer"], one["strength"], one["seed"]) for one in block}) == 1
        rate, hyper = papers[row["optimizer"]]
        penalty: Any = {"regularizer": row["regularizer"], "strength": float(row["strength"])}
        want = oracle.trajectory(
            row["optimizer"], "torch", hyper, [rate] * 300, np.array([0.2]), np.zeros((300, 1)), **penalty
        )
        got = [float(one["value"]) for one in block[1:]]
        np.testing.assert_allclose(got, want[:, 0], rtol=1e-9, atol=1e-15)


def test_csv_of_a_trace(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    gradients = np.random.default_rng(0).normal(size=(40, 2))
    np.save(tmp_path / "trace.npy", gradients)
    arguments = [
        "decay",
        "--optimizers",
        "rmsprop",
        "--regularizers",
        "none",
        "--protocol",
        str(tmp_path / "trace.npy"),
    ]
    rows = rows_of(
        [*arguments, "--seeds", "2", "--init", "3", "--learning-rate", "0.5", "--convention", "keras"], capsysbinary
    )
    hyper = oracle.DEFAULTS["rmsprop", "keras"]
    want = oracle.trajectory("rmsprop", "keras", hyper, [0.5] * 40, np.full(2, 3.0), gradients)
    got = np.array([float(row["value"]) for row in rows]).reshape(2, 41)
    np.testing.assert_allclose(got[:, 1:], want.T, rtol=1e-9)
    assert main([*arguments, "--steps", "41"]) == 2


@pytest.mark.parametrize("steps", [1, 7, 5000, 5001, 12345, 100_000])
def test_marks(steps: int) -> None:
    kept = decay.marks(steps)
    assert kept[0] == 0
    assert kept[-1] == steps
    assert np.all(np.diff(kept) > 0)
    assert len(kept) <= max(1101, min(steps, 5000) + 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("decay") / "zero"
    assert main([*ZERO, "--out", str(out)]) == 0
    return out


def test_folder(folder: Path) -> None:
    tables = {f"{name}-{kind}" for name in ("decay", "zero-gradient", "conventions") for kind in decay.Found._fields}
    expected = {"decay.json", "versions.json", "figures", *(f"{name}.parquet" for name in {*tables, "map"})}
    assert {path.name for path in folder.iterdir()} == expected
    names = {f"{name}.{suffix}" for name in pictures.FIGURES for suffix in ("svg", "png")}
    assert {path.name for path in (folder / "figures").iterdir()} == names
    assert all(path.stat().st_size > 10_000 for path in (folder / "figures").iterdir())
    assert json.loads((folder / "decay.json").read_text())["steps"] == 300
    assert "jax" in json.loads((folder / "versions.json").read_text())


def test_outcomes_are_what_the_curves_show(folder: Path) -> None:
    outcomes = pyarrow.parquet.read_table(folder / "decay-outcomes.parquet").to_pylist()
    curves = [
        curve
        for seed in (0, 1)
        for curve in curves_of(pyarrow.parquet.read_table(folder / "decay-curves.parquet"), seed)
    ]
    outcomes.sort(key=lambda row: row["seed"])
    for row, curve in zip(outcomes, curves, strict=True):
        assert (row["optimizer"], row["strength"]) == (curve.optimizer, curve.strength)
        size = np.abs(curve.values)
        for threshold in decay.THRESHOLDS:
            below = np.flatnonzero(size < threshold)
            assert row[f"steps_to_{threshold:g}"] == (below[0] if len(below) else None)
        assert row["final"] == curve.values[-1]
        assert row["level"] == size[271:].max()
        assert row["amplitude"] == pytest.approx(np.ptp(curve.values[271:]) / 2)


def test_same_again_is_read_another_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert main([*ZERO, "--out", str(folder)]) == 0
    assert "Adam" in capsys.readouterr().out
    assert main([*ZERO, "--init", "0.3", "--out", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "out must be a new folder or one of the same settings" in told
    assert told.rstrip().endswith("differs: init was 0.2, is now 0.3")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    allowed = {tmp_path: "a new or empty folder", tmp_path / "mine": "a folder that can be written to"}
    for out, what in allowed.items():
        assert main([*ZERO, "--out", str(out)]) == 2
        assert capsys.readouterr().err.startswith(f"jaxsparse: out must be {what}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_spoilt_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "decay.json").write_text("{")
    assert main([*ZERO, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("jaxsparse: out must be a folder with a readable decay.json")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("plan", [{"init": 0.0}, {"steps": 1}, {"regularizers": ("none",)}, {"init": -0.5}])
def test_figures_of_extremes(plan: dict[str, Any]) -> None:
    found = decay.follow(decay.Plan(**{"optimizers": ("sgd",), "regularizers": ("wd",), "steps": 20, **plan}))
    for draw in (panels, straight):
        assert figures.svg(draw(found.curves)).startswith("<?xml")


def test_a_seed_does_not_depend_on_how_many_there_are() -> None:
    one, three = (
        decay.follow(decay.Plan(("sgd",), ("wd",), (0.1,), steps=50, seeds=seeds)).curves["value"].to_numpy()
        for seeds in (1, 3)
    )
    np.testing.assert_allclose(three[:51], one, rtol=1e-12)
    assert np.abs(three[52:102] - one[1:]).min() > 1e-9


def test_table(folder: Path) -> None:
    outcomes = pyarrow.parquet.read_table(folder / "decay-outcomes.parquet")
    console = table.console()
    with console.capture() as captured:
        console.print(decay_table.terminal(outcomes, decay.THRESHOLDS))
    lines = [line.split() for line in captured.get().splitlines()]
    assert ["Adam", "L2", "1e-3", "112"] in [
        line[:4] for line in lines
    ]  # 0.2 falls by 0.001 a step at first, less later
    assert ["SGD", "WD", "1e-3", "·", "·", "·", "·"] in [line[:7] for line in lines]


def test_bench_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "decay", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["curves_ns_per_update"] * 1e7 == pytest.approx(1e9 * found["curves_seconds"])
    assert found["million_ns_per_update"] * 1e9 == pytest.approx(1e9 * found["million_seconds"])


# What the papers' figures show


@cache
def low_gradient() -> dict[tuple[str, str, float], float]:
    """Median steps until |w| < 0.1, infinite if never, by optimizer, regularizer and strength, in 30,000 steps."""
    optimizers = ("sgd", "adam", "rmsprop", "adamax")
    plan = decay.Plan(optimizers, ("l2", "wd"), strengths=(1e-4, 1e-3), steps=30_000)
    times: dict[tuple[str, str, float], list[float]] = {}
    for row in decay.follow(plan).outcomes.to_pylist():
        steps = row["steps_to_0.1"]
        key = row["optimizer"], row["regularizer"], row["strength"]
        times.setdefault(key, []).append(np.inf if steps is None else steps)
    return {key: float(np.median(values)) for key, values in times.items()}


@pytest.mark.parametrize("strength", [1e-4, 1e-3])
def test_l2_with_adam_kills_faster_than_wd_and_than_sgd(strength: float) -> None:
    """Mehta et al. 2019, Figure 4."""
    times = low_gradient()
    assert 1.5 * times["adam", "l2", strength] < times["adam", "wd", strength]
    assert 1.5 * times["adam", "l2", strength] < times["sgd", "l2", strength]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adamax"])
def test_adaptive_methods_kill_even_at_small_strength(optimizer: str) -> None:
    """Mehta et al. 2019, supplement's Figure 3."""
    times = low_gradient()
    assert times[optimizer, "l2", 1e-4] < 0.2 * times["sgd", "l2", 1e-4]


@cache
def zero_gradient() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    found = decay.follow(decay.ZERO_GRADIENT)
    outcomes = {row["optimizer"]: row for row in found.outcomes.to_pylist()}
    return {curve.optimizer: curve for curve in curves_of(found.curves)}, outcomes


def test_adam_oscillates_and_sgd_does_not() -> None:
    """Yaguchi et al. 2018, Figure 4: from 0.2 to a small level, and around zero from then on."""
    curves, outcomes = zero_gradient()
    assert outcomes["adam"]["oscillates"]
    assert 1e-6 < outcomes["adam"]["amplitude"] < 1e-4
    assert not outcomes["sgd"]["oscillates"]
    assert np.all(np.diff(curves["sgd"].values) <= 0)
    assert curves["sgd"].values[-1] > 0


def test_adam_decays_doubly_exponentially() -> None:
    """Yaguchi et al. 2018, Theorem III.2: log(-log w) grows ever faster up to the oscillation, SGD's slower."""
    curves, outcomes = zero_gradient()

    def slopes(name: str) -> tuple[float, float]:
        steps, values = curves[name].steps, curves[name].values
        end = np.argmax(values <= 0) if np.any(values <= 0) else len(values)
        y, middle = np.log(-np.log(values[:end])), np.searchsorted(steps, steps[end - 1] / 2)
        first = (y[middle] - y[0]) / steps[middle]
        return first, (y[-1] - y[middle]) / (steps[end - 1] - steps[middle])

    assert slopes("adam")[1] >= slopes("adam")[0]
    assert slopes("sgd")[1] < 0.8 * slopes("sgd")[0]
    assert outcomes["adam"]["steps_to_1e-06"] < 500
    assert outcomes["sgd"]["steps_to_1e-06"] is None
