"""What makes a run is compared whole: under one name there is never something else."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxsparse import data, files, grid, records, report, rules
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Run, Target
from jaxsparse.data import prepared
from jaxsparse.grid import declaration

QUICK = ["--epochs", "4", "--batch", "200", "--widths", "8", "--measure-every", "2", "--optimizers", "sgd", "adam"]
DECLARED = grid.Declaration(
    Run(widths=(8,), epochs=4, batch=200, measure_every=2, milestones=(3,)),
    optimizers=("adam",),
    regularizers=("l2",),
    strengths=(0.1,),
    seeds=(0,),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin") / "run"
    list(grid.run(DECLARED, folder))
    return folder


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, 1] if isinstance(value, list) else {**value, "more": 1} if isinstance(value, dict) else f"{value}-"


def changed(content: dict[str, Any], path: str) -> dict[str, Any]:
    """With the value at a dotted path replaced."""
    first, _, rest = path.partition(".")
    return {**content, first: changed(content[first], rest) if rest else other(content[first])}


def test_every_field_of_a_declaration_is_compared(trained: Path, tmp_path: Path) -> None:
    content = files.declared(trained / "grid.json", "out")
    paths = list(files.flat(content))
    every = {f"run.{field.name}" for field in dataclasses.fields(Run)} - {"run.thresholds"}
    every |= {f"run.thresholds.{name}" for name in ("scale", "activation", "norm", "own")}
    every |= {field.name for field in dataclasses.fields(grid.Declaration)} - {"run"} | {"data_fingerprint", "rules"}
    assert every == set(paths)
    for path in set(paths) - set(declaration.GROWING):
        (tmp_path / "grid.json").write_text(files.sealed(changed(content, path)))
        with pytest.raises(InvalidInput, match=rf"out must be .* differs: {path.replace('.', '[.]')}[^;]* was") as no:
            list(grid.run(DECLARED, tmp_path))
        assert "\n" not in str(no.value)
        assert all(told.startswith(path) for told in str(no.value).partition("differs: ")[2].split("; "))
        assert [left.name for left in tmp_path.iterdir()] == ["grid.json"]


def test_a_grid_grows(trained: Path, tmp_path: Path) -> None:
    """In what varies; what is written down has both, and numbers stay in order."""
    shutil.copytree(trained, tmp_path / "g")
    path = tmp_path / "g" / "grid.json"
    before = files.declared(path, "out")
    more = replace(DECLARED, optimizers=("sgd",), regularizers=("wd", "none"), strengths=(1e-5,), seeds=(7, 3))
    with pytest.raises(InvalidInput, match=r"optimizers was .* is now"):
        more.write(path.parent, grows=False)
    assert files.declared(path, "out") == before
    for _ in range(2):
        more.write(path.parent)
        DECLARED.write(path.parent)
        now = files.declared(path, "out")
        assert now["optimizers"] == [*before["optimizers"], "sgd"]
        assert now["regularizers"] == [*before["regularizers"], "wd", "none"]
        assert now["strengths"] == sorted({*before["strengths"], 1e-5})
        assert now["seeds"] == sorted({*before["seeds"], 3, 7})
        assert {name: now[name] for name in now.keys() - set(declaration.GROWING)} == {
            name: before[name] for name in before.keys() - set(declaration.GROWING)
        }
    with pytest.raises(InvalidInput, match=r"differs: learning_rate was None, is now 0.5$"):
        replace(more, learning_rate=0.5).write(path.parent)


def test_every_field_of_a_cell_is_compared(trained: Path, tmp_path: Path) -> None:
    """Also where cells come without a declaration, as those of `experiments`."""
    (cell,) = DECLARED.cells()
    run = tmp_path / cell.name
    shutil.copytree(trained / "cells" / cell.name, run)
    content = records.describe(run)
    ours = {"run": content["run"], **cell.settings()}
    for path in files.flat(ours):
        (run / "run.json").write_text(files.sealed(changed(content, path)))
        with pytest.raises(InvalidInput, match=rf"{run} differs: {path.replace('.', '[.]')} was") as no:
            list(grid.train([cell], tmp_path))
        assert ";" not in str(no.value)
    assert [left.name for left in tmp_path.iterdir()] == [cell.name]


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["grid", *QUICK, "--seeds", "1", "--regularizers", "none", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--activation", "tanh"]) == 2
    assert "differs: run.activation was relu, is now tanh" in capsys.readouterr().err


def test_what_earlier_versions_wrote_goes_on(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without seals, checksums, and fields that were added since: they have their defaults."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    for path in (copy / "grid.json", *copy.glob("cells/*/run.json")):
        content = {name: value for name, value in json.loads(path.read_text()).items() if name not in ADDED}
        for name in LATER:
            del content["run"][name]
        if path.name == "grid.json":
            content |= {"sparsity": 0.0, "sparsity_strength": 0.0}  # what `targets` were
        path.write_text(json.dumps(content))
    monkeypatch.setattr(grid.running, "Engine", None)  # nothing is trained
    progress = list(grid.run(DECLARED, copy))
    assert (progress[-1].finished, progress[-1].cells) == (1, 1)
    assert records.results(copy).drop_columns("seconds").equals(records.results(trained).drop_columns("seconds"))
    assert report.table.summarize(copy) == report.table.summarize(trained)
    with pytest.raises(InvalidInput, match=r"run\.activation was relu, is now tanh"):
        list(grid.run(replace(DECLARED, run=replace(DECLARED.run, activation="tanh")), copy))
    monkeypatch.setattr(rules, "VERSION", 2)  # those records are of version 1
    with pytest.raises(InvalidInput, match="rules was 1, is now 2"):
        list(grid.run(DECLARED, copy))


LATER = ("activation", "slope", "head", "pixels", "regularize", "thresholding", "density", "bound_rate", "shrink_every")
ADDED = ("format", "sha256", "files", "cell", "data_fingerprint", "rules", "targets", "start")


def test_one_target_of_an_earlier_version_is_that_of_every_density(tmp_path: Path) -> None:
    run = replace(DECLARED.run, thresholding="budget", thresholded="kernels", density=("parameters", "flops"))
    declared = replace(DECLARED, run=run, targets=(Target(0.5, 2.0), Target(0.5, 2.0)))
    declared.write(tmp_path)
    path = tmp_path / "grid.json"
    content = {name: value for name, value in json.loads(path.read_text()).items() if name not in ADDED}
    path.write_text(json.dumps({**content, "sparsity": 0.5, "sparsity_strength": 2.0}))
    declared.write(tmp_path)
    with pytest.raises(InvalidInput, match="targets was"):
        replace(declared, targets=(Target(0.5, 2.0), Target(0.5, 3.0))).write(tmp_path)
    (cell,) = declared.cells()
    described = {"run": dataclasses.asdict(cell.run), **cell.settings()}
    del described["targets"]
    assert cell.differs_from(described) == []
    (stronger,) = replace(declared, targets=(Target(0.5, 2.0), Target(0.5, 3.0))).cells()
    assert stronger.differs_from(described) == ["targets.flops.strength was 2.0, is now 3.0"]


def images(count: int, seed: int) -> list[prepared.Example]:
    random = np.random.default_rng(seed)
    return [(prepared.png(random.integers(0, 256, (28, 28), np.uint8)), index % 10) for index in range(count)]


def prepare(root: Path, seed: int) -> None:
    official = data.mnist.official("mnist")
    prepared.write(official, (iter(images(60, seed)), iter(images(20, seed + 1))), False, root)


def test_a_set_that_was_prepared_anew_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("JAXSPARSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JAXSPARSE_CACHE", str(tmp_path / "cache"))
    prepare(tmp_path / "data", 0)
    declared = replace(DECLARED, run=replace(DECLARED.run, data="mnist", batch=20))
    list(grid.run(declared, tmp_path / "run"))
    (cell,) = declared.cells()
    before = records.describe(tmp_path / "run" / "cells" / cell.name)["data_fingerprint"]
    assert (
        before == data.fingerprint("mnist") == files.declared(tmp_path / "run" / "grid.json", "out")["data_fingerprint"]
    )
    marker = tmp_path / "data" / "mnist" / "prepared.json"
    content = marker.read_text()
    marker.write_text(content.replace(before, "0" * 64))  # by another process, while this one runs
    with pytest.raises(InvalidInput, match="data must be the same throughout"):
        data.load("mnist")
    marker.write_text(content)
    prepare(tmp_path / "data", 5)
    with pytest.raises(InvalidInput, match=rf"differs: data_fingerprint was {before}, is now"):
        list(grid.run(declared, tmp_path / "run"))
    with pytest.raises(InvalidInput, match=rf"{cell.name} differs: data_fingerprint was {before}, is now"):
        list(grid.train([cell], tmp_path / "run" / "cells"))
    second = replace(declared, seeds=(1,))
    list(grid.train(second.cells(), tmp_path / "run" / "cells"))  # another cell, on other images
    with pytest.raises(InvalidInput, match="dir must be a grid of cells that had the same images of mnist"):
        report.table.summarize(tmp_path / "run")


def test_embedded_sets_are_told_apart() -> None:
    names = ("digits", "cluttered-digits-12-0-200", "cluttered-digits-12-1-200", "shapes-16x16x1-150")
    assert len({data.fingerprint(name) for name in names}) == len(names)
    assert data.fingerprint("digits") == data._fingerprint_of_embedded.__wrapped__("digits")
