"""Damage is noticed, what is incomplete is put aside, foreign files are refused by name."""

import json
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file, save_file

import jaxsparse as js
from jaxsparse import files, grid, records
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Run

DECLARED = grid.Declaration(
    Run(widths=(8,), epochs=4, batch=200, measure_every=2),
    optimizers=("adam",),
    regularizers=("none", "l2"),
    strengths=(0.1,),
    seeds=(0,),
)
NAMES = ("adam-none-seed0", "adam-l2-0.1-seed0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "run"
    list(grid.run(DECLARED, folder))
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def values(run: Path) -> dict[str, Any]:
    """All that is read of a run."""
    described = records.check(run)
    history = pyarrow.parquet.read_table(run / "history.parquet")
    weights = {name: array.tobytes() for name, array in records.weights(run).items()}
    return {"described": described, "history": str(history.to_pydict()), "weights": weights}


@pytest.mark.parametrize("flips", [60, pytest.param(1000, marks=pytest.mark.faults)])
def test_every_flipped_bit_is_noticed_or_harmless(flips: int, copy: Path) -> None:
    """Spread over all files of a run and its grid's declaration; in the small ones, more often than by their size."""
    run = copy / "cells" / NAMES[1]
    before, declared = values(run), files.declared(copy / "grid.json", "out")
    chosen, noticed = random.Random(flips), 0
    paths = [*sorted(run.iterdir()), copy / "grid.json"]
    for number in range(flips):
        path = paths[number % len(paths)]
        content = path.read_bytes()
        flip(path, chosen.randrange(8 * len(content)))
        try:
            found = values(run), files.declared(copy / "grid.json", "out")
        except InvalidInput as error:
            found = str(error)
        if isinstance(found, str):
            assert path.name in found
            assert "\n" not in found
            noticed += 1
        else:
            assert found == (before, declared)
        path.write_bytes(content)
    assert values(run) == before
    assert noticed > 0.9 * flips  # spaces that become other spaces are harmless


@pytest.mark.parametrize("name", ["run.json", "history.parquet", "weights.safetensors"])
def test_damage_is_told_in_every_command(
    name: str, copy: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = copy / "cells" / NAMES[1] / name
    flip(path, 8 * (path.stat().st_size // 2))
    told = f"'{path}' is damaged"
    for command in (["results", str(copy)], ["results", str(copy), "--csv"], ["report", str(copy)]):
        caplog.clear()
        records._tell_once.cache_clear()
        assert main(command) == 1
        assert caplog.text.count(told) == 1
    assert NAMES[1].split("-")[1] not in capsys.readouterr().out.split("report")[0]
    if name != "history.parquet":  # which these do not read
        for command in ("measure", "shrink", "export"):
            assert (
                main([command, str(path.parent), "--out", str(tmp_path / "no")][: 2 if command == "measure" else 4])
                == 2
            )
            (line,) = capsys.readouterr().err.splitlines()
            assert told in line
        with pytest.raises(InvalidInput, match="run must be whole"):
            js.load(path.parent)
    with pytest.raises(InvalidInput, match="run must be whole") if name != "weights.safetensors" else nullcontext():
        records.epochs_of(path.parent)


def torn(length: Callable[[int], int]) -> Callable[[Path], None]:
    def tear(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: length(len(content))])

    return tear


def replaced(text: str) -> Callable[[Path], None]:
    return lambda path: (path.write_text(text), None)[1]


TEARS = {
    "gone": Path.unlink,
    **{f"{n} bytes": torn(lambda size, n=n: n) for n in (0, 1, 4, 8, 9, 100)},
    **{f"all but {n}": torn(lambda size, n=n: size - n) for n in (1, 8, 100)},
    "half": torn(lambda size: size // 2),
    "{}": replaced("{}"),
    "[]": replaced("[]"),
    "null": replaced("null"),
    "another file": replaced("PAR1" * 100),
}


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("name", ["run.json", "history.parquet", "weights.safetensors"])
@pytest.mark.parametrize("version", ["now", "earlier"])
def test_torn_files_are_put_aside(
    version: str, name: str, tear: str, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in records of earlier versions, which have no checksums: there as far as it can be told."""
    run = copy / "cells" / NAMES[0]
    if version == "earlier":
        described = json.loads((run / "run.json").read_text())
        for key in ("format", "sha256", "files", "cell"):
            del described[key]
        (run / "run.json").write_text(json.dumps(described))
    TEARS[tear](run / name)
    jobs = [grid.Job(cell, copy / "cells") for cell in DECLARED.cells()]
    trained: list[str] = []

    def trainer(jobs: Any, progress: grid.Progress, claims: Any) -> Any:
        trained.extend(job.cell.name for job in jobs)
        for job in jobs:
            shutil.copytree(copy / "cells" / NAMES[1], job.path)
        yield progress

    list(grid.train_all(jobs, trainer))
    assert trained == [NAMES[0]]
    (aside,) = (copy / "cells").glob("*.aside-1")
    assert f"kept as {aside}, and trained again: run must be" in caplog.text


@pytest.mark.parametrize("what", ["file", "empty folder", "renamed", "link"])
def test_something_else_in_a_cells_place(what: str, copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = copy / "cells"
    run = cells / NAMES[0]
    before = records.weights(run)
    if what == "renamed":
        run.rename(cells / "mine")
    else:
        shutil.rmtree(run)
    if what == "file":
        run.write_text("thesis")
    elif what == "empty folder":
        run.mkdir()
    elif what == "link":
        run.symlink_to(copy / "nowhere")
    list(grid.run(DECLARED, copy))
    after = records.weights(run)
    assert all(np.array_equal(before[name], array) for name, array in after.items())
    assert set(records.finished(cells)) == set(NAMES)
    (aside,) = cells.glob("*.aside-1")
    assert str(aside) in caplog.text
    assert main(["results", str(copy)]) == 0


def test_a_network_that_diverged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = grid.Declaration(DECLARED.run, ("sgd",), ("none",), (0.1,), (0,), learning_rate=1e30)
    list(grid.run(wild, tmp_path / "run"))
    (run,) = (tmp_path / "run" / "cells").iterdir()
    described = records.describe(run)
    assert described["status"] == "diverged"
    losses = np.ravel(pyarrow.parquet.read_table(run / "history.parquet")["train_loss_by_epoch"].to_pylist())
    epoch = int(np.flatnonzero(~np.isfinite(losses))[0])
    told = f"the loss was not finite for the first time in epoch {epoch + 1}, steps {7 * epoch + 1} to {7 * epoch + 7}"
    assert described["message"] == told
    for command in (["measure", str(run)], ["shrink", str(run)], ["export", str(run)]):
        assert main(command) == 2
        assert capsys.readouterr().err == f"jaxsparse: run must be one with finite weights, got '{run}': {told}\n"


def test_weights_that_are_no_numbers_are_named_without_a_message(copy: Path) -> None:
    """As those of earlier versions, or whose last step alone went wrong."""
    run = copy / "cells" / NAMES[0]
    spoil(run, lambda arrays: arrays["head/kernel"].__setitem__((0, 0), np.nan))
    with pytest.raises(InvalidInput, match=r"finite weights, got .*: head/kernel is not finite"):
        js.load(run)
    found = grid.recording.divergence(np.zeros(4), 7, {"a": np.zeros(1), "b": np.array([np.inf])})
    assert found == "b is not finite since the last step, 28"
    assert grid.recording.divergence(np.zeros(4), 7, {"a": np.zeros(1)}) == ""


def spoil(run: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Changes weights, and the record as if it had been so: a foreign file."""
    arrays = load_file(run / "weights.safetensors")
    change(arrays)
    save_file(arrays, run / "weights.safetensors")
    described = files.unsealed((run / "run.json").read_bytes())
    (run / "run.json").write_bytes(
        records._described(described, {name: (run / name).read_bytes() for name in described["files"]})
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda a: a.update({"head/kernel": a["head/kernel"].astype(np.float64)}),
            "weights head/kernel must be float32",
        ),
        (lambda a: a.update({"head/kernel": a["head/kernel"].astype(np.int32)}), "weights head/kernel must be float32"),
        (
            lambda a: a.update({"head/kernel": a["head/kernel"][:, :3].copy()}),
            r"weights head/kernel must be of shape \[8, 10\]",
        ),
        (
            lambda a: a.update({"head/bias": np.zeros((10, 1), np.float32)}),
            r"weights head/bias must be of shape \[10\]",
        ),
        (
            lambda a: a.update({"more": np.zeros(3, np.float32)}),
            "weights must be without arrays that mlp has not, got 'more'",
        ),
        (lambda a: a.pop("head/bias"), "head/bias"),
    ],
)
def test_foreign_weights_are_refused_by_name(change: Any, told: str, copy: Path) -> None:
    run = copy / "cells" / NAMES[0]
    spoil(run, change)
    with pytest.raises(InvalidInput, match=told) as no:
        js.load(run)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("shape", "[8, 8]", "card's shape must be height, width and channels"),
        ("shape", "[8, 8, -1]", "card's shape must be whole numbers"),
        ("classes", "1e9", "card's classes must be whole numbers"),
        ("classes", "11", "weights must be made for 11 classes|have shapes that fit"),
        ("built", "[99999999999]", "card's built must be whole numbers"),
        ("slope", "NaN", "card's slope must be finite"),
        ("model", "5", "card's model must be a str"),
        ("mean", '["a"]', "card's mean must be finite"),
        ("run", "[]", "card's run must be a Mapping"),
    ],
)
def test_absurd_cards_are_refused_by_name(field: str, text: str, told: str, copy: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    model, card = js.export.read(copy / "cells" / NAMES[0])
    arrays = {name: np.asarray(leaf) for name, leaf in js.trees.flatten(js.export.card.nnx.state(model)).items()}
    save_file(arrays, path, {**card.metadata(model), field: text})
    with pytest.raises(InvalidInput, match=told) as no:
        js.load(path)
    assert "\n" not in str(no.value)


def test_formulas_from_foreign_folders_are_quoted(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copy / "cells" / NAMES[0]
    path = run / "history.parquet"
    table = pyarrow.parquet.read_table(path)
    column = table.column_names.index("dataset")
    told = '=HYPERLINK("http://a.b")'
    pyarrow.parquet.write_table(table.set_column(column, "dataset", [[told] * len(table)]), path)
    spoil(run, lambda arrays: None)
    assert main(["results", str(copy), "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("\"'=HYPERLINK(") for line in lines) == 1
    assert any(line.startswith("digits,") for line in lines)
