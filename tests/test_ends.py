"""How commands end: signals, a full disk, a closed pipe, a narrow encoding; limits and paths before any work."""

import errno
import gc
import gzip
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxsparse import data, files, grid, records, stopping
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Run
from jaxsparse.data import archives, images, mnist, objectnet3d, tinyimagenet
from jaxsparse.grid import checkpoint

JAXSPARSE = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under: nohup has it ignored
from jaxsparse.cli import main
sys.exit(main())
"""
LONG = [
    *("grid", "--optimizers", "adam", "--regularizers", "none", "l2", "--strengths", "0.01", "--seeds", "1"),
    *("--epochs", "2000", "--batch", "64", "--widths", "60", "--measure-every", "10"),
]


def started(*flags: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", JAXSPARSE, *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def contents(folder: Path) -> dict[str, Any]:
    columns = ["train_loss", "train_loss_by_epoch", "test_error", "gamma", "activation"]
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("cells/*/weights.safetensors")}
    return {**weights, "history": str(records.history(folder, columns).to_pylist())}


def in_training(process: subprocess.Popen[str], out: Path) -> None:
    deadline = time.monotonic() + 200
    while process.poll() is None and not list(out.glob("cells/*.claim-*")) and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*LONG, "--out", str(out)]) == 0
    return contents(out)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.faults)])
def test_a_signal_in_training(number: signal.Signals, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """One line, the right status, a checkpoint of each cell in training, no claim left; then the very same bits."""
    out = tmp_path / "run"
    process = started(*LONG, "--out", str(out))
    in_training(process, out)
    time.sleep(1)
    process.send_signal(number)
    begun = time.monotonic()
    _, err = process.communicate()
    assert process.returncode == 128 + number
    assert time.monotonic() - begun < 20
    assert err == f"jaxsparse: stopped by {number.name}; the same command goes on where it was\n"
    left = sorted(path.name for path in (out / "cells").iterdir())
    assert left == ["adam-l2-0.01-seed0.checkpoint", "adam-none-seed0.checkpoint"]
    epochs = [int(path.name.split("-")[1]) for path in out.glob("cells/*.checkpoint/*")]
    assert len(epochs) == 2
    assert all(0 < epoch < 2000 for epoch in epochs)
    seen: list[int] = []
    load = checkpoint.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checkpoint, "load", lambda *all_: (found := load(*all_), seen.append(len(found.reached.losses)))[0]
        )
        assert main([*LONG, "--out", str(out)]) == 0
    assert sorted(seen) == sorted(epochs)
    assert contents(out) == undisturbed
    assert not list(out.glob("cells/*.checkpoint"))


class _WithFinalizer:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0)


def _in_a_finalizer() -> None:
    _WithFinalizer()


def _in_garbage_collection() -> None:
    def callback(phase: str, info: dict[str, int]) -> None:
        del info
        if phase == "start":
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0)

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.parametrize("arrive", [_in_a_finalizer, _in_garbage_collection])
def test_a_signal_where_exceptions_are_ignored(arrive: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> None:
    """It ends what is going on a moment later, and no traceback is printed."""

    @stopping.watching()
    def work() -> None:
        arrive()
        time.sleep(5)

    with pytest.raises(stopping.Stopped, match="15"):
        work()
    assert capfd.readouterr().err == ""


def test_checkpoints_are_written_while_a_training_takes_long(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two cells that came to different epochs; the last of one is damaged: the one before is taken."""
    monkeypatch.setattr(checkpoint, "PACE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1.0)
    out, saved, save = tmp_path / "run", [], checkpoint.save

    def killed(folder: Path, cell: grid.Cell, kept: checkpoint.Kept) -> None:
        save(folder, cell, kept)
        saved.append(cell.name)
        if len(saved) == 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        assert main([*LONG, "--out", str(out)]) == 130
    newest = max(out.glob("cells/adam-l2*.checkpoint/*"), key=lambda path: int(path.name.split("-")[1]))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert main([*LONG, "--out", str(out)]) == 0
    assert contents(out) == undisturbed


@pytest.mark.parametrize("name", ["jaxsparse", "elsewhere"])
def test_ctrl_c_while_importing(name: str) -> None:
    """The command ends at once; who imports the package has Python's own exception."""
    package = str(Path(grid.__file__).parents[1])  # without what its `__init__` imports
    code = f"""
import signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a foreground, wherever these tests run
sys.argv[0] = "/x/{name}"
sys.modules["jaxsparse"] = package = types.ModuleType("jaxsparse")
package.__path__ = [{package!r}]
import jaxsparse.starting
print("ready", flush=True)
time.sleep(60)"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert ("Traceback" in err) == (name == "elsewhere")
    assert process.returncode == -signal.SIGINT


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


QUICK = ["grid", "--optimizers", "sgd", "adam", "--regularizers", "none", "--seeds", "1", "--epochs", "4"]
QUICK += ["--batch", "200", "--widths", "8", "--measure-every", "2"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The second record does not fit: the first stays, and the command goes on once there is room."""
    out, written, write, one_at_a_time = tmp_path / "run", [], records._appear, threading.Lock()

    def appear(found: Any, run: Path) -> Path:
        with one_at_a_time:
            written.append(run)
            if len(written) == 2:
                monkeypatch.setattr(records, "sync", full)
            return write(found, run)

    with monkeypatch.context():
        monkeypatch.setattr(records, "_appear", appear)
        assert main([*QUICK, "--out", str(out)]) == 2
        monkeypatch.undo()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"jaxsparse: .*seed0 can't be written \(No space left on device\): what was finished is kept", line)
    assert [path.name for path in (out / "cells").iterdir() if path.suffix != ".checkpoint"] == [written[0].name]
    assert main([*QUICK, "--out", str(out)]) == 0
    assert set(records.finished(out / "cells").values()) == {"done"}


@pytest.mark.faults
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A small file system of its own, where the system allows it: no traceback, whole records, and then the rest."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        flags = [*QUICK, "--seeds", "8", "--widths", "100"]
        process = started(*flags, "--out", str(place / "run"))
        _, err = process.communicate()
        assert process.returncode == 2
        assert "No space left on device" in err
        assert "Traceback" not in err
        whole, damaged = records.runs(place / "run")
        assert whole
        assert not damaged
        assert len(err.splitlines()) == 1
        before = {run: run.stat().st_ino for run in whole}
        subprocess.run(["mount", "-o", "remount,size=100m", place], check=True)
        process = started(*flags, "--out", str(place / "run"))
        process.communicate()
        assert process.returncode == 0
        assert {run: run.stat().st_ino for run in whole} == before
        assert set(records.finished(place / "run" / "cells").values()) == {"done"}
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_closed_pipe(tmp_path: Path) -> None:
    out = tmp_path / "run"
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-c", JAXSPARSE, *QUICK, "--out", str(out)], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    _, err = process.communicate()
    assert process.returncode == 141
    assert err == "jaxsparse: nobody reads the output; the same command goes on where it was\n"
    assert not records.runs(out)[1]


def test_an_output_that_knows_no_plus_minus(tmp_path: Path) -> None:
    assert main([*QUICK, "--seeds", "2", "--out", str(tmp_path / "run")]) == 0
    process = started("results", str(tmp_path / "run"), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "mean ? sample" in out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["train", "--epochs", "1000000007"], "epochs must be a whole number from 1 to 1000000, got 1000000007"),
        (["grid", "--seeds", "99999999"], "seeds must be a whole number from 1 to 100000, got 99999999"),
        (["grid", "--seeds", "90000"], "seeds must be so few that a grid has at most 100000 cells, got 90000"),
        (["decay", "--seeds", "99999999"], "seeds must be a whole number from 1 to 100000"),
    ],
)
def test_limits_before_work(flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    assert main([*flags, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err
    assert time.monotonic() - begun < 5
    assert not (tmp_path / "run").exists()


def bomb(size: int) -> bytes:
    """A gzip file of zeros."""
    return gzip.compress(bytes(size), 9)


def test_archives_are_unpacked_under_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 1 << 20)
    monkeypatch.setattr(archives.read_bounded, "__defaults__", ("", 1 << 20))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(bomb(1 << 26))
    with pytest.raises(InvalidInput, match=r"train-images-idx3-ubyte\.gz must be .* with at most 1048576 bytes"):
        mnist._idx(path, 2051, 3)
    packed = tmp_path / "a.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for name, size in (("large", 1 << 26), ("small", 3)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    assert list(archives.tar_members(packed, {"small"})) == [("small", bytes(3))]
    with pytest.raises(InvalidInput, match=r"a\.tar\.gz large must be"):
        list(archives.tar_members(packed))
    with zipfile.ZipFile(tmp_path / tinyimagenet.ARCHIVE.file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny-imagenet-200/wnids.txt", bytes(1 << 26))
    with pytest.raises(InvalidInput, match=r"tiny-imagenet-200\.zip tiny-imagenet-200/wnids\.txt must be"):
        tinyimagenet.splits("tinyimagenet", tmp_path)


def huge_png(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8193, 20_000, 100_000])
def test_images_have_a_limit_of_pixels(side: int, tmp_path: Path) -> None:
    folder = tmp_path / "objectnet3d"
    for label in objectnet3d.CLASSES:
        (folder / label).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / label / f"{number}.png")
    (folder / "bed" / "3.png").write_bytes(huge_png(side))
    train, _ = objectnet3d.splits("objectnet3d", tmp_path)
    with pytest.raises(InvalidInput, match=r"objectnet3d/bed/3\.png must be .* at most 67108864 pixels") as no:
        list(train)
    assert "\n" not in str(no.value)
    with pytest.raises(InvalidInput, match="image must be a readable image"):
        images.decoded(huge_png(100), "L", "image")  # what it says is not there


def test_paths_mean_the_same_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`~`, a folder named so, names that are patterns, and a relative one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for given, meant in (
        ("~/x", tmp_path / "home" / "x"),
        (f"{tmp_path}/work/~/x", tmp_path / "work" / "~" / "x"),
        ("a[1]*?", tmp_path / "work" / "a[1]*?"),
        ("r", tmp_path / "work" / "r"),
    ):
        assert main([*QUICK, "--out", given]) == 0
        assert set(records.finished(meant / "cells").values()) == {"done"}
        capsys.readouterr()
        assert main(["results", given, "--csv"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
        assert main(["export", f"{given}/cells/sgd-none-seed0"]) == 0
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["a[1]*?", "r", "~"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "work"]


def test_data_stay_the_same_without_a_folder(tmp_path: Path) -> None:
    """A folder that can't be written to is named, with nothing trained."""
    (tmp_path / "file").touch()
    with pytest.raises(files.InvalidInput, match="out must be a folder that can be written to"):
        list(grid.train(grid.Declaration(Run(), ("sgd",), ("none",), (0.1,), (0,)).cells(), tmp_path / "file" / "x"))
    assert data.is_ready("digits")
