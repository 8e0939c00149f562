"""Grids over a Ray cluster: `jaxsparse grid --engine ray`."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxsparse import records
from jaxsparse.cli import main

MAIN = [sys.executable, "-c", "import sys; from jaxsparse.cli import main; sys.exit(main())"]
GRID = ["grid", "--optimizers", "sgd", "--regularizers", "none", "l2", "--strengths", "0.01", "--seeds", "2"]
SIZE = ["--epochs", "400", "--batch", "64", "--widths", "16", "--measure-every", "4"]


def workers(root: int) -> list[int]:
    """Processes below `root` in which Ray trains a cell."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, after = (folder / "stat").read_text().rpartition(") ")
            found[int(folder.name)] = int(after.split()[1]), (folder / "cmdline").read_text()
        except OSError:
            continue  # it has just ended

    def below(process: int) -> bool:
        return process == root or (process in found and below(found[process][0]))

    return [process for process, (_, command) in found.items() if "ray::_train_cell" in command and below(process)]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
def test_lost_worker_costs_no_cell(tmp_path: Path) -> None:
    """A cluster of two workers, one of which is killed in the middle of a cell: every cell ends, with the figures that
    training without Ray gives."""
    subprocess.run([*MAIN, *GRID, *SIZE, "--out", str(tmp_path / "here")], check=True, capture_output=True)
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    out = ["--out", str(tmp_path / "ray")]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(
            [*MAIN, *GRID, *SIZE, "--engine", "ray", *out], stdout=log, stderr=log, env=environment
        )
        try:
            deadline = time.monotonic() + 120
            while len(victims := workers(driver.pid)) < 2 and time.monotonic() < deadline and driver.poll() is None:
                time.sleep(0.2)
            assert len(victims) == 2
            time.sleep(4)  # into the training
            assert victims[0] in workers(driver.pid)
            os.kill(victims[0], signal.SIGKILL)
            assert driver.wait(timeout=200) == 0, (tmp_path / "log").read_text()
        finally:
            driver.kill()
            driver.wait()
    cells = tmp_path / "ray" / "cells"
    assert len(records.finished(cells)) == 4
    assert set(records.finished(cells).values()) == {"done"}
    assert not list(cells.glob("*.partial"))
    for cell in cells.iterdir():
        theirs = records.weights(tmp_path / "here" / "cells" / cell.name)
        for name, leaf in records.weights(cell).items():
            np.testing.assert_allclose(leaf, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert "4 of 4 cells" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "slurm"], "engine must be one of here ray"),
        (["--address", "auto"], "address must be left out without --engine ray"),
        (["--engine", "ray", "--packing", "vmap"], "packing must be left out with --engine ray"),
        (["--engine", "ray", "--devices-per-cell", "2"], "devices-per-cell must be left out with --engine ray"),
        (["--packing", "many"], "packing must be one of sequential pairs map vmap products probe"),
    ],
)
def test_bad_input(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GRID, *SIZE, *flags, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*GRID, *SIZE, "--engine", "ray", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'jaxsparse[ray]'" in capsys.readouterr().err
