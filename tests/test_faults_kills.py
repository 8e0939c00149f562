"""Whole grids killed and stopped at random moments, by the hundred: `pytest -m faults`."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking import Child, Forking, until

from jaxsparse import records

FLAGS = [
    *("grid", "--optimizers", "adam", "--regularizers", "none", "l2", "--strengths", "0.01", "--seeds", "3"),
    *("--epochs", "400", "--batch", "64", "--widths", "16", "--measure-every", "4"),
]
CELLS = 6


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    with Forking(tmp_path_factory.mktemp("forking")) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(forking: Forking, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert forking.start(*FLAGS, "--out", str(out)).wait() == 0
    return {**contents(out), "seconds": records.results(out)["seconds"].to_pylist()}


def contents(folder: Path) -> dict[str, Any]:
    """Weights and measurements of every cell, bit by bit."""
    columns = ["train_loss", "train_loss_by_epoch", "test_error", "sparsity_scale", "gamma", "activation"]
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("cells/*/weights.safetensors")}
    return {**weights, "history": str(records.history(folder, columns).to_pylist())}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Tells a cell from one that was trained again in its place."""
    whole, damaged = records.runs(folder)
    assert not damaged
    return {run.name: (run.stat().st_ino, run.stat().st_mtime_ns) for run in whole}


def trains(child: Child, folder: Path) -> bool:
    """Whether a process has a cell."""
    try:
        return any(f"-{child.pid}-" in claim.read_text() for claim in folder.glob("cells/*.claim-*"))
    except OSError:  # given back just now
        return True


@pytest.mark.parametrize(
    ("number", "times"),
    [
        pytest.param(signal.SIGKILL, 3, id="a few kills", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 100, id="100 kills", marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 40, id="40 stops", marks=pytest.mark.faults),
    ],
)
def test_grids_ended_at_random_moments(
    number: signal.Signals, times: int, forking: Forking, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """No finished cell is lost or trained again, the bits are those of a grid undisturbed, nothing lies elsewhere."""
    moments, ended, training, grids = random.Random(times), 0, 0, 0
    cell_seconds = float(np.mean(undisturbed["seconds"]))
    while ended < times:
        grids += 1
        out = tmp_path / "out" / f"run-{grids}"
        finished: dict[str, tuple[int, int]] = {}
        status = None
        while status != 0:
            child = forking.start(*FLAGS, "--out", str(out))
            if ended < times:
                if moments.random() < 0.8:
                    until(lambda child=child, out=out: child.is_over() or trains(child, out))
                time.sleep(moments.uniform(0, 2 * cell_seconds))
                if not child.is_over():
                    training += trains(child, out)
                    ended += 1
                    os.kill(child.pid, number)
            status = child.wait()
            now = stamps(out) if out.exists() else {}
            assert finished.items() <= now.items(), "a finished cell was lost or trained again"
            finished = now
            told = child.told()
            assert "Traceback" not in told
            assert status in (0, -number if number == signal.SIGKILL else 128 + number), told
            if number == signal.SIGTERM and status:
                assert told.splitlines()[-1] == "jaxsparse: stopped by SIGTERM; the same command goes on where it was"
                assert not list(out.glob("cells/*.claim-*"))
                assert not list(out.rglob("*.partial"))
        assert {**contents(out), "seconds": undisturbed["seconds"]} == undisturbed
        names = {path.name for path in (out / "cells").iterdir()}
        assert names == undisturbed.keys() - {"history", "seconds"}, "nothing else is left"
        assert len(names) == CELLS
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert training > 0.5 * times, "most of them are to hit trainings"
