"""The report of fabricated records: means by NumPy, what is left out, escaping, one file that needs nothing else."""

import html
import io
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import figures.__main__ as pictures
from jaxsparse import files, records, report
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Run
from jaxsparse.grid import Declaration
from jaxsparse.report import figures, gallery, histories, reading, table
from jaxsparse.report.table import Column, Estimate, number, percent
from jaxsparse.rules import INK

UNITS = 20
POINTS = 3
THRESHOLD = Run().thresholds.scale


@dataclass(frozen=True)
class Cell:
    """A cell to fabricate; the number of dead units rises linearly to `dead` in the last layer's first units."""

    optimizer: str = "adam"
    regularizer: str = "l2"
    strength: float = 1e-3
    seed: int = 0
    dead: int = 8
    error: float = 2.0
    status: str = "done"
    message: str = ""


def fabricate(folder: Path, cells: list[Cell], layers: tuple[int, ...] = (UNITS,)) -> Path:
    for cell in cells:
        name = f"{cell.optimizer}-{cell.regularizer}-{cell.strength:g}-seed{cell.seed}".replace("/", "_")
        records.write(record(cell, name, layers), folder / "cells")
    return folder


def record(cell: Cell, name: str, layers: tuple[int, ...]) -> records.Record:
    units, random = sum(layers), np.random.default_rng(cell.seed)
    dead = [round(cell.dead * point / POINTS) for point in range(1, POINTS + 1)]
    gamma = random.uniform(0.2, 0.8, (POINTS, units))
    for row, count in zip(gamma, dead, strict=True):
        row[units - count :] = -1e-5
    shares = [100 * count / units for count in dead]
    measured = {
        "train_loss": [0.1] * POINTS,
        "test_loss": [0.1] * POINTS,
        "test_error": [cell.error] * POINTS,
        "test_error_silenced": [cell.error] * POINTS,
        "sparsity_scale": shares,
        "sparsity_activation": [share / 2 for share in shares],
        "sparsity_norm": shares,
    }
    history = {
        "epochs": [10, 20, 30],
        "steps": [100, 200, 300],
        "params": [1000] * POINTS,
        "params_alive": [900] * POINTS,
        **measured,
        "layers": [[f"hidden/{i}" for i in range(len(layers))]] * POINTS,
        "layer_units": [list(layers)] * POINTS,
        "gamma": list(gamma),
        "beta": list(gamma / 10),
        "activation": list(gamma),
        "norm": list(gamma),
    }
    if cell.status == "failed":
        history = {
            **{name: [0] for name in ("params", "params_alive", "epochs", "steps")},
            **{name: [math.nan] for name in measured},
        }
    settings = {
        "regularizer": cell.regularizer,
        "strength": cell.strength,
        "seed": cell.seed,
        "learning_rate": 1e-3,
        "constants": {"eps": 1e-8},
    }
    run = replace(Run(epochs=30, measure_every=10), optimizer=cell.optimizer)
    weights = {"w": np.zeros(1, np.float32)}
    return records.Record(name, run, settings, cell.status, cell.message, 6.0, history, weights)


def declare(folder: Path, optimizers: tuple[str, ...], regularizers: tuple[str, ...], seeds: int) -> Declaration:
    declaration = Declaration(
        Run(epochs=30, measure_every=10), optimizers, regularizers, (1e-4, 1e-3), tuple(range(seeds))
    )
    folder.mkdir(parents=True, exist_ok=True)
    records.write_text(folder / "grid.json", json.dumps(asdict(declaration)))
    return declaration


MIXED = [
    *(Cell(seed=seed, dead=dead, error=error) for seed, dead, error in ((0, 8, 2.0), (1, 10, 2.5), (2, 6, 3.5))),
    Cell("sgd", seed=0, dead=0, error=1.0),
    Cell("sgd", seed=1, dead=20, error=90.0, status="diverged"),
    Cell("sgd", seed=2, status="failed", message="ValueError: no luck"),
    Cell("sgd", "none", 0.0, dead=0, error=1.25),
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid with every kind of cell: SGD and Adam under L2 1e-3, the rest missing."""
    folder = tmp_path_factory.mktemp("mixed")
    declare(folder, ("sgd", "adam"), ("none", "l2", "wd"), 3)
    return fabricate(folder, MIXED)


@pytest.fixture(scope="module")
def page(mixed: Path) -> str:
    return report.write(mixed, "jaxsparse grid --out a & b").read_text(encoding="utf-8")


# The table


def test_means_and_deviations_are_numpys(mixed: Path) -> None:
    entry = table.summarize(mixed).find("adam", Column("l2", 1e-3))
    assert entry is not None
    shares, errors = np.array([40.0, 50.0, 30.0]), np.array([2.0, 2.5, 3.5])
    for found, expected in (
        (entry.dead, shares),
        (entry.sparsity["activation"], shares / 2),
        (entry.test_error, errors),
    ):
        assert found is not None
        assert found.deviation is not None
        assert found.count == 3
        np.testing.assert_allclose([found.mean, found.deviation], [expected.mean(), expected.std(ddof=1)])
    assert str(entry.dead) == "40.0 ± 10.0"
    assert entry.notes == ()


def test_failed_and_diverged_cells_enter_no_mean(mixed: Path) -> None:
    entry = table.summarize(mixed).find("sgd", Column("l2", 1e-3))
    assert entry is not None
    assert (entry.expected, entry.done, entry.failed, entry.diverged) == (3, 1, 1, 1)
    assert entry.test_error == Estimate(1.0, None, 1)
    assert entry.dead == Estimate(0.0, None, 1)
    assert entry.notes == ("1 of 3 done", "1 failed", "1 diverged")
    course = histories.courses(mixed)["sgd", Column("l2", 1e-3)]
    assert course.mean.tolist() == [0, 0, 0]


def test_missing_cells_are_placeholders_in_the_declared_order(mixed: Path) -> None:
    summary = table.summarize(mixed)
    assert summary.layout.optimizers == ("sgd", "adam")
    labels = ["none", "L2 1e-4", "L2 1e-3", "WD 1e-4", "WD 1e-3"]
    assert [column.label for column in summary.layout.columns] == labels
    missing = summary.find("adam", Column("wd", 1e-4))
    assert missing is not None
    assert (missing.dead, missing.test_error, missing.ended) == (None, None, 0)


def test_without_a_declaration_the_layout_is_what_is_there(tmp_path: Path) -> None:
    cells = [Cell(strength=1e-3), Cell("sgd", "none", 0.0), Cell(strength=1e-4), Cell(strength=1e-4, seed=1)]
    layout = table.summarize(fabricate(tmp_path, cells)).layout
    assert [column.label for column in layout.columns] == ["none", "L2 1e-4", "L2 1e-3"]
    assert (layout.optimizers, layout.seeds) == (("adam", "sgd"), 2)


def test_a_folder_of_different_networks_is_refused(tmp_path: Path) -> None:
    fabricate(tmp_path / "a", [Cell()])
    fabricate(tmp_path / "b", [Cell()])
    with pytest.raises(InvalidInput, match="one grid"):
        table.summarize(tmp_path)
    with pytest.raises(InvalidInput, match="finished runs"):
        table.summarize(tmp_path / "none")


def printed(summary: table.Summary) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table.terminal(summary))
    return console.export_text()


def test_terminal_fits_and_takes_names_literally(tmp_path: Path) -> None:
    optimizers = ("sgd", "adam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta")
    declaration = declare(tmp_path, optimizers, ("none", "l2", "wd"), 2)
    assert table.empty(declaration).is_empty
    fabricate(tmp_path, [Cell(name, "wd", seed=s, error=10 * s) for s in (0, 1) for name in optimizers])
    fabricate(tmp_path, [Cell("sgd", seed=0, status="diverged"), Cell("sgd", seed=1, dead=7)])
    text = printed(table.summarize(tmp_path))
    assert max(map(len, text.splitlines())) <= 100
    assert "40.0 ± 0.0" in text
    assert "5.0 ± 7.1" in text
    assert table.PLACEHOLDER in text
    assert "1 diverged" in text
    assert "…" not in text
    hostile = table.summary_of([], table.Layout(("[red]x[/y]",), (Column("|[b]", 1.0),), 1))
    assert "[red]x[/y]" in printed(hostile)


def test_markdown(mixed: Path) -> None:
    lines = table.markdown(table.summarize(mixed)).splitlines()
    assert lines[0] == "|  | none | L2 1e-4 | L2 1e-3 | WD 1e-4 | WD 1e-3 |"
    assert "| 0 (1.0) [1 of 3 done, 1 failed, 1 diverged] |" in lines[2]
    assert "| **40.0 ± 10.0** (2.7 ± 0.8) |" in lines[3]
    hostile = table.summary_of([], table.Layout(("a|b",), (Column("l2", 1.0),), 1))
    assert "a\\|b" in table.markdown(hostile)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1e-3, "1e-3"), (5e-4, "5e-4"), (0.1, "0.1"), (2.5e-12, "2.5e-12"), (10, "10")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_a_small_share_is_not_shown_as_none() -> None:
    assert [percent(value) for value in (0, 0.01, 0.06, 38.46)] == ["0", "<0.1", "0.1", "38.5"]


# What is said


def test_the_reading_says_what_the_table_says(mixed: Path) -> None:
    told = reading.sentences(table.summarize(mixed))
    assert told[0].startswith("The most dead units are found with Adam and L2 1e-3: 40.0 ± 10.0 % of the hidden units")
    assert "at a test error of 2.7 ± 0.8 %" in told[0]
    assert told[1] == "Under the same regularizer it is 0 % with SGD."
    assert "1 of 3 combinations" in told[2]
    assert told[-1].startswith("5 of 30 networks were trained to the end; 1 failed, 1 diverged and 23 not trained yet")


def test_the_reading_of_no_effect_and_of_nothing(tmp_path: Path) -> None:
    none = fabricate(tmp_path / "none", [Cell(dead=0), Cell("sgd", dead=0)])
    assert reading.sentences(table.summarize(none))[0].startswith("No hidden unit is dead by scale")
    failed = fabricate(tmp_path / "failed", [Cell(status="failed")])
    assert reading.sentences(table.summarize(failed))[0].startswith("No network was trained to its end")


def test_the_reading_sets_decay_beside_l2_and_the_error_without_either(tmp_path: Path) -> None:
    cells = [Cell(), Cell(regularizer="wd", dead=1), Cell(regularizer="none", strength=0.0, dead=0, error=1.5)]
    told = " ".join(reading.sentences(table.summarize(fabricate(tmp_path, cells))))
    assert "2.0 % (1.5 % without a regularizer)" in told
    assert "With WD 1e-3 in place of L2 1e-3 it is 5.0 % with Adam." in told
    assert "±" not in told  # one seed
    assert told.endswith("All 3 networks were trained to the end.")


# The page


def test_page_says_where_it_comes_from(page: str, mixed: Path) -> None:
    text = html.unescape(page)
    for expected in (
        "jaxsparse grid --out a & b",
        "not the numbers of the papers",
        "ValueError: no luck",
        "2.7 ± 0.8 %",
    ):
        assert expected in text
    assert "scikit-learn ships" in text
    assert records.versions()["jax"] in text
    assert "0.7 minutes" in text  # seven cells of six seconds
    assert text.count('<td class="bad">') == 2
    assert (mixed / "report.html").stat().st_size < 5e6


def test_page_refers_to_nothing_outside(page: str) -> None:
    references = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)|url\(\s*["']?([^"')]+)""", page)
    targets = {first or second for first, second in references}
    assert targets  # the figures refer to their own parts
    assert {target for target in targets if not target.startswith(("#", "data:image/png;base64,"))} == set()
    assert "@import" not in page
    assert "<link" not in page
    assert "default-src 'none'" in page


def test_page_escapes_hostile_names(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    cells = [Cell(), Cell(hostile, hostile, seed=1), Cell(seed=2, status="failed", message=hostile)]
    text = report.write(fabricate(tmp_path, cells), hostile).read_text(encoding="utf-8")
    assert hostile not in text
    assert text.count(html.escape(hostile)) >= 5
    assert text.count("<script") == 1


def test_files_are_whole_and_drawings_well_formed(page: str, mixed: Path) -> None:
    names = {path.name for path in (mixed / "figures").iterdir()}
    stems = {"sparsity-over-training", "sparsity-against-error", "scales-over-training", "criteria"}
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("svg", "png")}
    assert not list(mixed.rglob(f"*{records.PARTIAL}"))
    for name in stems:
        ET.parse(mixed / "figures" / f"{name}.svg")
        assert (mixed / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
        assert INK not in drawing
        assert figures.PAPER not in drawing


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fabricate(tmp_path, [Cell()])
    before = report.write(folder, "first").read_bytes()

    def full(path: Path) -> None:
        if path.name.startswith("report.html"):
            raise OSError("disk full")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(InvalidInput, match=r"report.html can.t be written .disk full"):
        report.write(folder, "second")
    assert (folder / "report.html").read_bytes() == before


# The figures


@pytest.mark.parametrize(
    ("cells", "layers", "absent"),
    [
        ([Cell(), Cell(seed=1, dead=6)], (UNITS,), {"scales-over-training"}),
        ([Cell(status="failed")], (UNITS,), None),
        ([Cell(status="diverged"), Cell("sgd", status="diverged")], (UNITS,), None),
        ([Cell(dead=0), Cell("sgd", dead=0)], (UNITS,), {"criteria"}),
        ([Cell(), Cell("sgd", dead=0), Cell("other", "wd", 0.1)], (4, 6, 10), set()),
        ([Cell(regularizer="none", strength=0.0, dead=0)], (UNITS,), {"scales-over-training", "criteria"}),
    ],
    ids=["one optimizer", "all failed", "all diverged", "no dead unit", "several layers", "no regularizer"],
)
def test_every_grid_can_be_drawn(
    tmp_path: Path, cells: list[Cell], layers: tuple[int, ...], absent: set[str] | None
) -> None:
    folder = fabricate(tmp_path, cells, layers)
    drawn = list(gallery.draw(gallery.Shown(folder, table.summarize(folder), Run().thresholds)))
    names = {picture.name for picture in drawn}
    assert ("sparsity-by-layer" in names) == (len(layers) > 1)
    assert {picture.name for picture in drawn if picture.svg is None} == (names if absent is None else absent)
    assert all(picture.caption for picture in drawn)


def test_sparsity_by_layer_is_of_the_last_epoch(tmp_path: Path) -> None:
    cells = [Cell(dead=8), Cell(seed=1, dead=12), Cell(seed=2, dead=20, status="diverged")]
    found = histories.layers(fabricate(tmp_path, cells, (4, 6, 10)), THRESHOLD)
    assert found is not None
    # the last 8 and the last 12 of 20 units
    np.testing.assert_allclose(found.mean["adam", Column("l2", 1e-3)], [0, (0 + 2 / 6) / 2 * 100, (0.8 + 1) / 2 * 100])


def test_evolution_holds_the_units_of_all_finished_seeds(mixed: Path) -> None:
    pair = histories.adam_beside_sgd(mixed, table.summarize(mixed))
    assert pair is not None
    adam, sgd = pair
    assert (adam.label, adam.seeds, adam.gamma.shape) == ("Adam + L2 1e-3", 3, (POINTS, 3 * UNITS))
    assert (sgd.seeds, sgd.beta.shape, sgd.epochs.tolist()) == (1, (POINTS, UNITS), [10, 20, 30])
    assert 100 * (abs(adam.gamma[-1]) < THRESHOLD).mean() == pytest.approx(40)


def test_bins_hold_every_value() -> None:
    values = np.array([[-0.7, -1e-3, -1e-9, 0.0, 2e-4, 1e-3, 0.3, 1.7]])
    bins = figures._bins([values], THRESHOLD)
    assert (np.diff(bins) > 0).all()
    assert np.histogram(values, bins)[0].sum() == values.size
    np.testing.assert_allclose(
        figures._from_symlog(figures._to_symlog(values, THRESHOLD), THRESHOLD), values, atol=1e-15
    )


def test_labels_keep_their_distance() -> None:
    heights = figures._spread_apart(np.array([1.0, 1.1, 1.2, 9.0]), 1.0)
    np.testing.assert_allclose(heights, [0.1, 1.1, 2.1, 9.0])


def test_the_same_figure_is_the_same_text(mixed: Path) -> None:
    summary = table.summarize(mixed)
    first, second = (figures.tradeoff(summary) for _ in range(2))
    assert first is not None
    assert second is not None
    assert figures.svg(first) == figures.svg(second)


# The command line


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, jaxsparse.report; assert not {'matplotlib', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_as_csv_and_table(mixed: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    report.print_results(mixed, csv=True)
    header, *rows = capfdbinary.readouterr().out.decode().splitlines()
    assert header.split(",") == list(records.COLUMNS)
    assert len(rows) == len(MIXED)
    report.print_results(mixed)
    assert "40.0 ± 10.0" in capfdbinary.readouterr().out.decode()


def test_pictures_of_the_readme(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main([str(mixed), "--out", str(tmp_path / "out")]) == 0
    ET.parse(tmp_path / "out" / "sparsity-by-optimizer.svg")
    assert pictures.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "finished runs" in told
    assert not (tmp_path / "none").exists()
