"""Records: what is written is read back, appears whole or not at all, and nothing unpickles."""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxsparse import export, files, records
from jaxsparse.checks import InvalidInput, plain
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.train import network

RUN = Run(widths=(3, 4), milestones=(5,), epochs=10, measure_every=5, thresholds=Thresholds(norm=0.5))


OWN = "from jaxsparse import owners; print(owners.own(), end='')"


def record(name: str = "adam-l2-0.1-seed0", status: str = "done", error: float = 2.0, seed: int = 0) -> records.Record:
    measured = (
        "train_loss",
        "test_loss",
        "test_error_silenced",
        "sparsity_scale",
        "sparsity_activation",
        "sparsity_norm",
    )
    history = {
        "epochs": [5, 10],
        "steps": [50, 100],
        "test_error": [9.0, error],
        "params": [100, 100],
        "params_alive": [100, 60],
        "gamma": [np.ones(3, np.float32), np.zeros(3, np.float32)],
        **{column: [1.0, 0.5] for column in measured},
    }
    settings = {"regularizer": "l2", "strength": 0.1, "seed": seed, "learning_rate": 1e-3, "constants": {"b1": 0.9}}
    return records.Record(name, RUN, settings, status, "", 1.5, history, {"a/kernel": np.arange(6.0).reshape(2, 3)})


def test_round_trip(tmp_path: Path) -> None:
    folder = records.write(record(), tmp_path)
    assert folder == tmp_path / "adam-l2-0.1-seed0"
    described = records.describe(folder)
    assert records.run_of(described) == RUN
    assert {"jax", "flax", "optax", "device", "python"} <= set(described["versions"])
    np.testing.assert_array_equal(records.weights(folder)["a/kernel"], [[0, 1, 2], [3, 4, 5]])
    table = records.history(tmp_path, ["test_error", "gamma"])
    assert table["test_error"].to_pylist() == [9.0, 2.0]
    assert table["gamma"].to_pylist() == [[1.0] * 3, [0.0] * 3]


def test_a_checkout_that_is_not_installed_writes_records_and_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == "jaxsparse":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    described = records.describe(records.write(record(), tmp_path))
    assert described["versions"]["jaxsparse"] == declared["project"]["version"]
    run = RUN
    card = export.Card.of_run(described).metadata(network(run, jax.random.key(0)))
    assert json.loads(card["version"]) == declared["project"]["version"]


def test_results_are_the_last_epochs(tmp_path: Path) -> None:
    for seed in (1, 0):
        records.write(record(f"cell{seed}", error=seed + 0.5, seed=seed), tmp_path)
    table = records.results(tmp_path)
    assert table.column_names == ["cell", *records.COLUMNS]
    assert table["seed"].to_pylist() == [0, 1]
    assert table["test_error"].to_pylist() == [0.5, 1.5]
    assert table["epochs"].to_pylist() == [10, 10]
    assert table["params_alive"].to_pylist() == [60, 60]
    assert table["test_error_top5"].to_pylist() == [None, None]  # as in records of older versions


def test_a_run_travels(tmp_path: Path) -> None:
    sent = records.write(record(), tmp_path / "there")
    come = records.unpack(records.packed(sent), tmp_path / "here" / sent.name)
    assert records.packed(come) == records.packed(sent)
    assert records.finished(tmp_path / "here") == {sent.name: "done"}
    assert records.unpack({"../escaped": b"1"}, come) == come
    assert records.packed(come) == records.packed(sent), "a finished run stays"
    other = records.unpack({"../escaped": b"1"}, tmp_path / "here" / "other")
    assert records.packed(other) == {"escaped": b"1"}, "nothing beside it"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [come.name, "other"]


def test_rewriting_replaces(tmp_path: Path) -> None:
    records.write(record(status="failed"), tmp_path)
    records.write(record(error=7.0), tmp_path)
    assert records.finished(tmp_path) == {"adam-l2-0.1-seed0": "done"}
    assert records.results(tmp_path)["test_error"].to_pylist() == [7.0]


def test_interrupted_write_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write(record("whole"), tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "sync", killed)
        patch.setattr(records, "remove", lambda path: None)  # a killed process cleans up nothing
        with pytest.raises(KeyboardInterrupt):
            records.write(record("torn"), tmp_path)
    (torn,) = tmp_path.glob("torn*")
    torn.rename(tmp_path / "torn.00000000-1-1.0.partial")  # of another machine, whose clock need not be ours
    (tmp_path / "old.partial").mkdir()  # of an earlier version
    assert set(records.finished(tmp_path)) == {"whole"}
    assert records.results(tmp_path).num_rows == 1
    records.clear_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["torn.00000000-1-1.0.partial", "whole"]
    os.utime(tmp_path / "torn.00000000-1-1.0.partial", (0, 0))
    mine = files.partial_of(tmp_path / "mine")
    mine.touch()
    gone = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, check=True).stdout
    (tmp_path / f"theirs.{gone}.0.partial").touch()
    records.clear_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, "whole"]


def test_text_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    records.write_text(path, "old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        records.write_text(path, "new")
    assert path.read_text() == "old"


def test_statistics_that_are_not_numbers_survive(tmp_path: Path) -> None:
    records.write(record(error=math.nan), tmp_path)
    assert math.isnan(records.results(tmp_path)["test_error"].to_pylist()[0])


@pytest.mark.parametrize("text", [None, "", "{", "[1"])
def test_no_run(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    reason = "run must be the folder of a run" if text is None else r"run must be whole, .*run\.json' is damaged"
    with pytest.raises(InvalidInput, match=reason) as no:
        records.describe(tmp_path)
    assert "\n" not in str(no.value)
    with pytest.raises(InvalidInput, match="dir must be a folder with finished runs"):
        records.results(tmp_path)


def test_out_that_can_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="out must be a folder that can be written to"):
            records.writable(out)
    records.writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_belongs_to_one_declaration(tmp_path: Path) -> None:
    path, first = tmp_path / "new" / "grid.json", {"run": {"batch": 1, "none": {}}, "seeds": (0, 1)}
    records.declare(path, "grid", first)
    before = path.read_bytes()
    records.declare(path, "grid", first)
    assert files.declared(path, "out") == {"run": {"batch": 1, "none": {}}, "seeds": [0, 1]}
    told = r"one of the same grid, .* differs: run\.batch was 1, is now 2; run\.new was absent, is now 3$"
    with pytest.raises(InvalidInput, match=told):
        records.declare(path, "grid", {**first, "run": {"batch": 2, "none": {}, "new": 3}})
    assert path.read_bytes() == before
    records.declare(path, "grid", {**first, "new": 1}, {"new": 1, "seeds": 9})  # a default for what is not there


def test_settings_of_one_innermost_name_are_told_apart(tmp_path: Path) -> None:
    path, first = tmp_path / "grid.json", {"run": {"activation": "relu", "thresholds": {"activation": 1e-12}}}
    records.declare(path, "grid", first)
    with pytest.raises(InvalidInput, match=r"differs: run\.activation was relu, is now tanh$"):
        records.declare(path, "grid", {"run": {**first["run"], "activation": "tanh"}})


def test_of_two_declarations_at_the_same_time_one_counts(tmp_path: Path) -> None:
    """A hundred times eight threads, all with declarations of their own: one is written, the others see it."""

    def attempt(path: Path, number: int) -> int | str:
        try:
            records.declare(path, "grid", {"seeds": number})
        except InvalidInput as error:
            return str(error)
        return number

    with ThreadPoolExecutor(8) as pool:
        for race in range(100):
            path = tmp_path / str(race) / "grid.json"
            told = list(pool.map(lambda number, path=path: attempt(path, number), range(8)))
            (winner,) = [one for one in told if isinstance(one, int)]
            assert files.declared(path, "out") == {"seeds": winner}
            assert all(f"differs: seeds was {winner}, is now" in one for one in told if isinstance(one, str))
            assert [left.name for left in path.parent.iterdir()] == ["grid.json"]


def test_a_declaration_of_an_older_version_has_the_defaults(tmp_path: Path) -> None:
    """A grid that an older version began goes on under the same settings, and under no others."""
    path, older = tmp_path / "new" / "grid.json", {"run": {"batch": 1}}
    defaults = {"run": {"batch": 9, "kinds": ("a", "b")}}
    records.declare(path, "grid", older)
    records.declare(path, "grid", {"run": {"batch": 1, "kinds": ("a", "b")}}, defaults)
    with pytest.raises(InvalidInput, match=r"differs: run\.kinds was \['a', 'b'\], is now \['a'\]"):
        records.declare(path, "grid", {"run": {"batch": 1, "kinds": ("a",)}}, defaults)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff"])
def test_a_spoilt_declaration(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInput, match=r"out must be a folder with a readable grid\.json"):
        records.declare(tmp_path / "grid.json", "grid", {"seeds": 1})


def test_what_a_killed_run_left_does_not_fill_a_folder(tmp_path: Path) -> None:
    (tmp_path / f"grid.json{records.PARTIAL}").write_text("{")
    records.declare(tmp_path / "grid.json", "grid", {"seeds": 1})
    (tmp_path / "grid.json").rename(tmp_path / "other.json")
    with pytest.raises(InvalidInput, match="out must be a new or empty folder, or one of the same grid"):
        records.declare(tmp_path / "grid.json", "grid", {"seeds": 1})


def test_settings_of_older_and_newer_versions(tmp_path: Path) -> None:
    described = records.describe(records.write(record(), tmp_path))
    older = {name: value for name, value in described["run"].items() if name not in ("activation", "head", "slope")}
    assert records.run_of({**described, "run": older}) == RUN
    with pytest.raises(InvalidInput, match="run must be without settings that this version does not know, got 'warp'"):
        records.run_of({**described, "run": {**described["run"], "warp": 9}})


def test_functions_by_name() -> None:
    """Also one that `exec` made, which belongs to no module."""
    made: dict[str, Any] = {}
    exec("def loss(outputs, targets): return outputs - targets", made)
    made["loss"].__module__ = None
    assert plain(made["loss"]) == "loss"
    assert plain(test_functions_by_name) == f"{__name__}:test_functions_by_name"


def test_description_is_plain_json(tmp_path: Path) -> None:
    folder = records.write(record(), tmp_path)
    assert json.loads((folder / "run.json").read_text())["constants"] == {"b1": 0.9}
    assert {path.suffix for path in folder.iterdir()} == {".json", ".parquet", ".safetensors"}
