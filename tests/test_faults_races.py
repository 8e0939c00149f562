"""Processes that race for one folder, by the hundred: `pytest -m faults`."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import Forking, until
from test_faults_kills import contents, trains

from jaxsparse import records

FLAGS = [
    *("grid", "--optimizers", "adam", "--regularizers", "none", "--seeds", "3"),
    *("--epochs", "8", "--batch", "200", "--widths", "16", "--measure-every", "4"),
]


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    with Forking(tmp_path_factory.mktemp("forking")) as server:
        yield server


@pytest.mark.parametrize(
    "races", [pytest.param(3, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.faults)]
)
def test_races_of_writers(races: int, forking: Forking, tmp_path: Path) -> None:
    """Two processes in a new folder: each cell is trained once. In every third race one is killed, and the other takes
    over; in every fourth the two ask for different grids, and one is refused."""
    assert forking.start(*FLAGS, "--out", str(tmp_path / "undisturbed")).wait() == 0
    expected = contents(tmp_path / "undisturbed")
    moments = random.Random(races)
    for race in range(races):
        out = tmp_path / "out" / str(race)
        kills, differs = race % 3 == 0, race % 4 == 1
        other = ["--momentum", "0.5", "--optimizers", "sgd"] if differs else []
        one = forking.start(*FLAGS, "--out", str(out))
        time.sleep(moments.uniform(0, 0.3) * (race % 2))
        two = forking.start(*FLAGS, *other, "--out", str(out))
        if kills and not differs:
            until(lambda one=one, out=out: one.is_over() or trains(one, out))
            time.sleep(moments.uniform(0, 0.1))
            if not one.is_over():
                os.kill(one.pid, signal.SIGKILL)
        ended = one.wait(), two.wait()
        assert "Traceback" not in one.told() + two.told()
        if differs:
            assert sorted(ended) == [0, 2], one.told() + two.told()
            assert "out must be a new folder or one of the same grid" in (one if ended[0] else two).told()
        else:
            assert ended[1] == 0, two.told()
            assert ended[0] == 0 or (kills and ended[0] == -signal.SIGKILL), one.told()
        whole, damaged = records.runs(out)
        assert not damaged
        assert {described["status"] for described in whole.values()} == {"done"}
        if not (differs and ended[0]):
            assert contents(out) == expected
        names = sorted(path.name for path in (out / "cells").iterdir() if path.suffix != ".partial")
        assert names == sorted(run.name for run in whole), "each once, and nothing else"
        assert len(names) == 3
        if not kills and not differs:  # how many each has trained, as its last line tells
            assert sum(trained(child.told()) for child in (one, two)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"out", "undisturbed"}


def trained(told: str) -> int:
    """Cells that a process wrote itself."""
    (count,) = re.findall(r"of 3 cells, (\d) trained here", told)
    return int(count)
