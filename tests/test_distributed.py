"""One training over several processes: `jaxsparse train --distributed`."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxsparse import records
from jaxsparse.cli import main

MAIN = [sys.executable, "-c", "import sys; from jaxsparse.cli import main; sys.exit(main())"]
TRAIN = ["train", "--optimizer", "sgd", "--learning-rate", "0.01", "--strength", "0.001", "--widths", "16"]
STEPS = ["--epochs", "20", "--batch", "280", "--measure-every", "1", "--milestones", "10"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """100 steps: the same losses and weights within 1e-5, written by the first process alone; and nothing is trained
    twice, although the second process sees no results."""
    subprocess.run([*MAIN, *TRAIN, *STEPS, "--out", str(tmp_path / "alone")], check=True, capture_output=True)
    joined = ["--distributed", "--coordinator", f"localhost:{free_port()}", "--processes", "2"]
    for _ in range(2):
        processes = [
            subprocess.Popen(
                [*MAIN, *TRAIN, *STEPS, *joined, "--process", str(number), "--out", str(tmp_path / f"process{number}")],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in range(2)
        ]
        try:
            outputs = [process.communicate(timeout=200)[0] for process in processes]
        finally:
            for process in processes:
                process.send_signal(signal.SIGKILL)
        assert [process.returncode for process in processes] == [0, 0], outputs
        assert "1 of 1 cells" in outputs[0]
        assert outputs[1].count("cells") == 0
        joined[2] = f"localhost:{free_port()}"
    assert not (tmp_path / "process1").exists()
    (ours,), (theirs,) = ([*(tmp_path / name / "cells").iterdir()] for name in ("process0", "alone"))
    assert records.describe(ours)["versions"]["device"].startswith("2 x")
    (told,) = ours.parent.glob("*/run.json")
    assert told.stat().st_mtime < os.stat(tmp_path / "process0" / "report.html").st_mtime
    one, two = (records.history(folder, ["train_loss", "test_loss"]).to_pylist() for folder in (theirs, ours))
    for a, b in zip(one, two, strict=True):
        assert (a["train_loss"], a["test_loss"]) == pytest.approx((b["train_loss"], b["test_loss"]), rel=0, abs=1e-5)
    assert len(one) == 20
    assert one[-1]["train_loss"] < 0.5 * one[0]["train_loss"]
    weights = records.weights(ours)
    for name, leaf in records.weights(theirs).items():
        np.testing.assert_allclose(weights[name], leaf, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process", "0"], "process must be left out without --distributed"),
        (["--distributed", "--processes", "0"], "processes must be a whole number >= 1"),
        (["--distributed", "--processes", "2"], "process must be a whole number from 0 to 1"),
        (["--distributed", "--processes", "2", "--process", "2"], "process must be a whole number from 0 to 1"),
        (["--devices-per-cell", "3"], "devices-per-cell must be at most the 2 devices"),
    ],
)
def test_bad_input(flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, *STEPS, *flags, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
