"""The figures of `jaxsparse decay` show the records and theory, and their records are the recursion's."""

from __future__ import annotations

import math
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

import figures.__main__ as pictures
from jaxsparse import CoupledL2, decay, theory
from jaxsparse.checks import InvalidInput
from jaxsparse.report.decay import FIGURES, draw
from jaxsparse.report.decay.curves import rules_of, table_of
from jaxsparse.report.decay.steps_map import steps_map
from jaxsparse.report.decay.zero_gradient import WINDOW

ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures") / "decay"
    decay.write(decay.Plan(("sgd", "adam"), ("l2",), (1e-3,), steps=50), out)
    return out


def labels(legend: mpl.legend.Legend | None) -> list[str]:
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def title(axes: Axes) -> str:
    return axes.get_title(loc="left")


def heights(axes: Axes) -> list[float]:
    """Of the horizontal lines."""
    lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    return [float(line[0]) for line in lines if len(line) == 2 and line[0] == line[1]]


# Without a gradient: the fall and the oscillation


def test_oscillation(folder: Path) -> None:
    left, right = draw("oscillation", folder).axes
    assert labels(left.get_legend()) == ["SGD, simulated", "Adam, simulated", "theory"]
    assert [title(left), title(right)] == ["L2 5e-4, no gradient of the loss", "Adam near zero"]
    assert (left.get_ylabel(), left.get_xlabel(), left.get_yscale()) == ("weight", "step", "linear")
    amplitude = 1e-3 * 0.1 / (2 * 1.9) - 1e-8 / 5e-4
    assert heights(right) == pytest.approx([1e5 * amplitude, -1e5 * amplitude])
    assert right.get_ylabel() == "weight / $10^{-5}$"
    assert labels(right.get_legend()) == ["Adam, simulated", "rms over 200 steps", "theory: ±6.3e-6"]


def test_oscillation_is_the_recursion_and_its_mean_square(folder: Path) -> None:
    left, right = draw("oscillation", folder).axes
    path = oracle.trajectory(
        "adam", "torch", ADAM, [1e-3] * 4000, np.array([0.2]), np.zeros((4000, 1)), regularizer="l2", strength=5e-4
    )[:, 0]
    simulated, predicted = left.lines[2], left.lines[3]
    np.testing.assert_allclose(simulated.get_ydata()[1:2000], path[:1999], rtol=1e-6, atol=1e-9)
    exact = np.asarray(predicted.get_ydata(), float)
    np.testing.assert_allclose(exact[1:1500], path[:1499], rtol=0.02, atol=1e-6)
    assert np.isnan(exact[-1])  # thrown back: not predicted
    weight, size = right.lines[:2]
    steps, values = (np.asarray(of, float) for of in weight.get_data())
    middles, sizes = (np.asarray(of, float) for of in size.get_data())
    for place in (0, 1000, len(sizes) - 1):
        window = values[place : place + WINDOW]
        assert sizes[place] == pytest.approx(math.sqrt(np.mean(window**2)))
        assert middles[place] == pytest.approx(steps[place] + WINDOW / 2)


# The map


def first_below(optimizer: str, learning_rate: float, strength: float, hyper: dict[str, Any], steps: int) -> int | None:
    path = oracle.trajectory(
        optimizer,
        "torch",
        hyper,
        [learning_rate] * steps,
        np.ones(1),
        np.zeros((steps, 1)),
        regularizer="l2",
        strength=strength,
    )
    below = np.flatnonzero(np.abs(path[:, 0]) < 1e-12)
    return int(below[0]) + 1 if below.size else None


def test_map_is_the_recursion_and_theory(folder: Path) -> None:
    rows = pyarrow.parquet.read_table(folder / "map.parquet").to_pylist()
    assert list(rows[0]) == ["optimizer", "strength", "learning_rate", "steps", "steps_to_1e-12", "theory"]
    assert len(rows) == 2 * 25 * 25
    hypers: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9, "nesterov": False}, "adam": ADAM}
    checked = 0
    for row in rows[7::97]:
        setting = row["optimizer"], row["learning_rate"], row["strength"], hypers[row["optimizer"]]
        found, expected = row["steps_to_1e-12"], first_below(*setting, steps=3000)
        if expected is not None or (found is not None and found <= 3000):
            # near a change of sign a rounding decides which crossing lands within 1e-12
            assert found == expected or (row["optimizer"] == "adam" and row["learning_rate"] > 0.1)
            checked += 1
    assert checked >= 4
    asked = [row for row in rows if row["optimizer"] == "adam" and row["theory"] is not None]
    assert sorted({round(math.log10(row["learning_rate"]), 9) for row in asked}) == [-4, -3, -2, -1, 0]
    assert len(asked) == 5 * 7
    for row in asked[::9]:
        expected = theory.steps_to(
            1e-12, "adam", CoupledL2(row["strength"]), learning_rate=row["learning_rate"], init=1.0, **ADAM
        )
        assert row["theory"] == expected or math.isnan(row["theory"]) == math.isnan(expected)
    assert all(row["theory"] is not None for row in rows if row["optimizer"] == "sgd")


def test_drawn_map(folder: Path) -> None:
    figure = draw("steps-map", folder)
    sgd, adam, key, *_ = figure.axes
    assert (title(sgd), title(adam)) == ("SGD", "Adam")
    assert labels(key.get_legend()) == ["by theory", "not in 100,000 steps"]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("L2 strength", "learning rate")
    table = pyarrow.parquet.read_table(folder / "map.parquet")
    steps = {(row["strength"], row["learning_rate"]): row["steps_to_1e-12"] for row in table.to_pylist()[:625]}
    cells = sgd.collections[0].get_array()
    assert cells is not None
    exponents = np.ma.filled(np.ma.asarray(cells).reshape(25, 25), np.nan)
    expected = [
        [steps[strength, rate] for strength in sorted({s for s, _ in steps})] for rate in sorted({r for _, r in steps})
    ]
    np.testing.assert_allclose(10**exponents, np.array(expected, float))
    (contours,) = (found for found in sgd.collections if isinstance(found, QuadContourSet))
    drawn = dict(zip(contours.levels, contours.get_paths(), strict=True))
    for level in (5, 7):
        for strength, rate in 10.0 ** drawn[level].vertices:
            exact = theory.steps_to(1e-12, "sgd", CoupledL2(strength), learning_rate=rate, init=1.0, momentum=0.9)
            assert math.log10(exact) == pytest.approx(level, abs=0.02)
    assert "$10^{5}$" in [text.get_text() for text in sgd.texts]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [[None] * 4, [1, 1, 1, 1]])
def test_map_of_extremes(steps: list[int | None]) -> None:
    columns = {
        "optimizer": ["sgd"] * 4,
        "strength": [0.1, 1.0] * 2,
        "learning_rate": [0.1, 0.1, 1.0, 1.0],
        "steps": [100] * 4,
        "steps_to_1e-12": pa.array(steps, pa.int64()),
        "theory": [math.nan, math.inf, 2e3, 2e4],
    }
    assert isinstance(steps_map(pa.table(columns)), Figure)


# The conventions


def test_conventions(folder: Path) -> None:
    figure = draw("conventions", folder)
    panels = {title(axes): axes for axes in figure.axes}
    assert list(panels) == ["Adam", "AMSGrad", "RMSprop", "Adagrad"]
    assert labels(figure.legends[0]) == ["torch", "keras", "optax", "paper", "level by theory"]
    adam = 1e-3 * 0.1 / (2 * 1.9) - 1e-8 / 1e-3  # keras has epsilon 1e-7: no cycle
    assert heights(panels["Adam"]) == pytest.approx([adam] * 3)
    assert heights(panels["RMSprop"]) == pytest.approx([5e-4 - 1e-5, 5e-4])
    assert heights(panels["AMSGrad"]) == heights(panels["Adagrad"]) == []
    assert {to_hex(line.get_color()) for line in panels["AMSGrad"].lines} == {
        "#e69f00",
        "#0072b2",
        "#009e73",
        "#1c2126",
    }


def test_theory_has_the_level_of_the_weight(folder: Path) -> None:
    """RMSprop settles in the cycle where epsilon is outside the root, and dies where it is inside; Adam's keras too."""
    outcomes = table_of(folder, "conventions-outcomes")
    for row, rule in zip(outcomes.to_pylist(), rules_of(outcomes), strict=True):
        level = rule.cycle_amplitude()
        if row["optimizer"] == "rmsprop":
            assert row["level"] == pytest.approx(level, rel=1e-3) if level is not None else row["level"] < 1e-12
        elif row["optimizer"] == "adam":
            assert (level or 0) <= row["level"] <= 15 * (level or 0) + 1e-12
        else:
            assert level is None


def test_records_say_what_made_them(folder: Path) -> None:
    rules = {(rule.optimizer, rule.convention): rule for rule in rules_of(table_of(folder, "conventions-outcomes"))}
    assert rules["adam", "keras"].constants == {"b1": 0.9, "b2": 0.99, "eps": 1e-7}
    assert rules["rmsprop", "torch"].constants == {"decay": 0.9, "eps": 1e-8}
    assert rules["adagrad", "optax"].learning_rate == 1e-2


# python -m figures


def test_links_of_the_theory_lead_somewhere() -> None:
    page = Path(__file__).parents[1] / "docs" / "theory.md"
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert {f"../figures/images/{name}.png" for name in FIGURES} <= set(links)
    assert all((page.parent / link).exists() for link in links)


def test_python_m_figures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    for name in FIGURES:
        ET.parse(tmp_path / "out" / f"{name}.svg")
    assert capsys.readouterr().out.count("\n") == len(FIGURES)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{")], ids=["missing", "unreadable"])
def test_a_folder_without_its_records(
    spoil: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    spoil(copy / "map.parquet")
    with pytest.raises(InvalidInput, match=r"folder must be one of `jaxsparse decay` with map.parquet"):
        draw("steps-map", copy)
    assert pictures.main([str(copy), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "map.parquet" in told
    assert not (tmp_path / "out").exists()
