"""Several processes in one folder: each cell is trained once, and a dead owner's are taken over."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forking import Forking, until
from test_faults_kills import contents, stamps, trains

from jaxsparse import grid, owners, records
from jaxsparse.config import Run
from jaxsparse.grid import claims as claiming
from jaxsparse.grid import running
from jaxsparse.grid.claims import Claims

SMALL = Run(widths=(8,), epochs=4, batch=200, measure_every=2)
CELLS = grid.Declaration(SMALL, ("adam",), ("l2",), (0.1,), tuple(range(6))).cells()


def dead_owner() -> str:
    code = "from jaxsparse import owners; print(owners.own(), end='')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_owners() -> None:
    assert owners.is_gone(owners.own()) is False
    assert owners.is_gone(dead_owner()) is True
    place, process, born = owners.own().split("-")
    assert owners.is_gone(f"{place}-{process}-{int(born) + 1}") is True, "the number was given to another process"
    assert owners.is_gone(f"00000000-{process}-{born}") is None
    for text in ("", "-", "x", f"{place}-x-1"):
        assert owners.is_gone(text) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the table
        assert owners.is_gone(f"{place}-{child.pid}-{born}") is True


def test_a_claim_is_one_owners(tmp_path: Path) -> None:
    with Claims() as ours, Claims() as theirs:
        assert ours.take(tmp_path, "a")
        assert not theirs.take(tmp_path, "a")
        assert not ours.take(tmp_path, "a")
        assert theirs.take(tmp_path, "a.claim-1")
        assert (ours.others(tmp_path), ours.holds(tmp_path, "a"), theirs.holds(tmp_path, "a")) == (
            {"a", "a.claim-1"},
            True,
            False,
        )
        ours.release(tmp_path, "a")
        assert theirs.take(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_of_many_takers_one_gets_it(tmp_path: Path) -> None:
    """Threads with claims of their own, 200 times; half of them find the claim of an owner that died."""
    gone = dead_owner()
    with ThreadPoolExecutor(8) as pool:
        for race in range(200):
            folder = tmp_path / str(race)
            folder.mkdir()
            if race % 2:
                (folder / "cell.claim-3").write_text(gone)
            takers = [Claims() for _ in range(8)]
            start = threading.Barrier(8)

            def take(one: Claims, start: threading.Barrier = start, folder: Path = folder) -> bool:
                start.wait()
                return one.take(folder, "cell")

            assert sum(pool.map(take, takers)) <= 1
            assert sum(one.holds(folder, "cell") for one in takers) <= 1
            if not any(one.holds(folder, "cell") for one in takers):  # all stepped back: the next one gets it
                assert takers[0].take(folder, "cell")


def test_claims_of_another_machine_are_dead_once_they_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time that passes here: the clocks of two machines need not agree."""
    monkeypatch.setattr(claiming, "DEAD_SECONDS", 0.3)
    claim = tmp_path / "cell.claim-1"
    claim.write_text("00000000-1-1")
    os.utime(claim, (0, 0))
    with Claims() as ours:
        for _ in range(4):
            assert not ours.take(tmp_path, "cell")
            time.sleep(0.1)
            os.utime(claim)
        assert not ours.take(tmp_path, "cell")
        time.sleep(0.4)
        assert ours.take(tmp_path, "cell")
        assert [path.name for path in tmp_path.iterdir()] == ["cell.claim-2"]


def test_held_claims_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "BEAT_SECONDS", 0.05)
    with Claims() as ours:
        ours.take(tmp_path, "cell")
        (claim,) = tmp_path.iterdir()
        os.utime(claim, (0, 0))
        time.sleep(0.5)
        assert claim.stat().st_mtime > 0


def test_a_grid_waits_for_others_and_takes_over_from_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell's owner is dead; one's lives, and dies after a while; another's finishes it."""
    monkeypatch.setattr(running, "WAIT_SECONDS", 0.05)
    (tmp_path / f"{CELLS[0].name}.claim-1").write_text(dead_owner())
    other = Claims()
    for cell in CELLS[1:3]:
        assert other.take(tmp_path, cell.name)
    waited = 0
    for step in grid.train(CELLS, tmp_path):
        if step.finished == 4:
            waited += 1
            assert not records.is_finished(tmp_path / CELLS[1].name)
        if waited == 20:
            list(running.train_here([grid.Job(CELLS[2], tmp_path)], step))
            before = (tmp_path / CELLS[2].name).stat().st_ino
            for cell in CELLS[1:3]:
                other.release(tmp_path, cell.name)
    assert waited >= 20
    assert (step.finished, step.cells) == (6, 6)
    assert set(records.finished(tmp_path).values()) == {"done"}
    assert (tmp_path / CELLS[2].name).stat().st_ino == before, "what the other one finished was not trained again"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(cell.name for cell in CELLS)


def test_who_was_taken_for_dead_does_not_write(tmp_path: Path) -> None:
    """A claim that was taken over while its owner slept: what it then comes with is not written over the other's."""
    (cell, *_) = CELLS
    with Claims() as ours:
        told = running.train_here([grid.Job(cell, tmp_path)], grid.Progress(1, 0, (), 0, 0, 0, ()), ours)
        next(told)
        (tmp_path / f"{cell.name}.claim-2").write_text(owners.own())
        *_, last = told
    assert [end.name for end in last.ended] == [cell.name]
    assert [path.name for path in tmp_path.iterdir()] == [f"{cell.name}.claim-2"]


def test_a_finished_run_is_never_replaced(tmp_path: Path) -> None:
    list(grid.train(CELLS[:1], tmp_path))
    run = tmp_path / CELLS[0].name
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    list(running.train_here([grid.Job(CELLS[0], tmp_path)], grid.Progress(1, 0, (), 0, 0, 0, ())))  # without claims
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [run.name]


def test_two_grids_in_one_process_share_the_cells(tmp_path: Path) -> None:
    """Each cell is trained by one of them, and both end when all are there."""
    ended: list[list[str]] = [[], []]

    def work(number: int) -> None:
        steps: Iterator[grid.Progress] = grid.train(CELLS, tmp_path)
        for step in steps:
            ended[number] += [end.name for end in step.ended]
        assert step.finished == step.cells == 6

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert sorted(ended[0] + ended[1]) == sorted(cell.name for cell in CELLS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(cell.name for cell in CELLS)


def test_three_workers_share_a_grid_and_one_is_killed(tmp_path: Path) -> None:
    """Each of 12 cells once, bits as alone; a grid with a third seed then trains a third more."""
    flags = ["grid", "--optimizers", "adam", "sgd", "--regularizers", "none", "l2", "wd", "--strengths", "0.01"]
    flags += ["--epochs", "60", "--batch", "64", "--widths", "16", "--measure-every", "10"]
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    with Forking(tmp_path) as forking:
        workers = [
            forking.start(*flags, "--seeds", "2", "--out", str(shared), *["--worker"] * (n > 0)) for n in range(3)
        ]
        assert until(lambda: workers[1].is_over() or trains(workers[1], shared), 120)
        if not workers[1].is_over():
            os.kill(workers[1].pid, signal.SIGKILL)
        assert [workers[0].wait(), workers[2].wait()] == [0, 0], workers[0].told() + workers[2].told()
        assert "Traceback" not in "".join(worker.told() for worker in workers)
        assert forking.start(*flags, "--seeds", "2", "--out", str(alone)).wait() == 0
        assert len(list((shared / "cells").glob("*/run.json"))) == 12
        assert contents(shared) == contents(alone)
        before = stamps(shared)
        more = forking.start(*flags, "--seeds", "3", "--out", str(shared))
        assert more.wait() == 0
    assert "18 of 18 cells, 6 trained here" in more.told()
    assert before.items() <= stamps(shared).items()
