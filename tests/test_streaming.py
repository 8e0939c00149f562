"""Training on data that do not fit on the device: as with all of it there, and killed and resumed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from flax import nnx
from test_data_published import write_imagenet

from jaxsparse import data, grid, models, records, selectivity, sparsity
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Hyper, Run
from jaxsparse.data.streaming import Batch
from jaxsparse.grid import Cell, checkpoint, streaming
from jaxsparse.losses import evaluate
from jaxsparse.train import make_train, network

RUN = Run(widths=(9,), optimizer="adam", regularizer="l2", epochs=2, batch=200, measure_every=2)
HYPER = Hyper(1e-2, 1e-2, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})


@cache
def digits() -> data.Dataset:
    return data.load("digits")


@dataclass(frozen=True)
class FromMemory:
    """A split of the digits as a stream."""

    split: str

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        split = getattr(digits(), self.split)
        return np.asarray(split.images), np.asarray(split.labels)

    def __len__(self) -> int:
        return len(self._arrays()[1])

    def batches(self, size: int) -> Iterator[Batch]:
        images, labels = self._arrays()
        for start in range(0, len(labels), size):
            yield {"image": images[start : start + size], "label": labels[start : start + size]}


class InOrder:
    """The training images in the order of a training that has all of them on the device."""

    def __init__(self, size: int, seed: int):
        self.size, self.key, self.place = size, jax.random.fold_in(jax.random.key(seed), 1), 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        images, labels = FromMemory("train")._arrays()
        epoch, step = divmod(self.place, len(labels) // self.size)
        order = np.asarray(data.shuffled(self.key, jnp.asarray(epoch), len(labels)))
        chosen = order[step * self.size : (step + 1) * self.size]
        self.place += 1
        return {"image": images[chosen], "label": labels[chosen]}

    def get_state(self) -> Any:
        return {"place": self.place}

    def set_state(self, state: Any) -> None:
        self.place = state["place"]


@cache
def stream(pixels: str = "standardised") -> data.Stream:
    one = data.load("digits", pixels)
    return data.Stream(one.mean, one.deviation, FromMemory("train"), FromMemory("test"), InOrder, one.description)


def close(one: Any, other: Any, **tolerance: float) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.mark.parametrize("pixels", data.PIXELS)
def test_the_same_batches_train_the_same_network(pixels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "stream", lambda name, pixels: stream(pixels))
    run = replace(RUN, pixels=pixels)
    ((state, row),) = streaming.train(Cell(run, HYPER, 3, "l2"), tmp_path)
    training = make_train(run, sparsity.observation(run.thresholds, models.features_of(run.model)))
    expected = jax.jit(training)(HYPER, jax.random.key(3), data.load("digits", pixels))
    close(row.train_loss, expected[1].train_loss, rtol=1e-6)
    close(row, expected[1], rtol=1e-4, atol=1e-5)
    close(state, jax.tree.map(lambda a: a[None], expected[0]), rtol=1e-4, atol=1e-5)
    assert float(expected[1].test_error_top5[0]) < float(expected[1].test_error[0])


def test_universality() -> None:
    model = network(replace(RUN, model="basicnet", widths=(3,)), jax.random.key(0))
    model.eval()
    expected = selectivity.observe(model, digits(), "convolutions")
    found = selectivity.observe(model, stream(), "convolutions")
    assert list(found) == list(expected)
    close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("classes", [3, 5, 12])
def test_errors(classes: int) -> None:
    """Against NumPy's sort, on a data set whose size is no multiple of any batch."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (137, 1, 2, 1), np.uint8)
    split = data.Split(jnp.asarray(images), jnp.asarray(random.integers(0, classes, 137), jnp.int32))
    dataset = replace(digits(), train=split, test=split)
    weights = random.normal(size=(2, classes)).astype(np.float32)

    class Linear(nnx.Module):
        def __init__(self) -> None:
            self.weights = nnx.Param(jnp.asarray(weights))

        def __call__(self, x: jax.Array) -> jax.Array:
            return x.reshape(x.shape[0], -1) @ self.weights[...]

    found = evaluate(Linear(), dataset, split)
    logits = np.asarray(data.preprocess(dataset, split.images), float).reshape(-1, 2) @ weights.astype(float)
    order, labels = np.argsort(-logits, axis=1), np.asarray(split.labels)[:, None]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert float(found.loss) == pytest.approx(-np.take_along_axis(log_p, labels, 1).mean(), rel=1e-5)
    assert float(found.error) == pytest.approx(100 * (order[:, :1] != labels).mean(), abs=1e-3)
    assert float(found.error_top5) == pytest.approx(100 * (order[:, :5] != labels).all(1).mean(), abs=1e-3)
    assert (float(found.error_top5) == 0) == (classes <= 5)


FLAGS = [
    *("train", "--data", "imagenet", "--widths", "3", "--batch", "2"),
    *("--epochs", "4", "--measure-every", "2", "--milestones", "3", "--learning-rate", "0.01"),
]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the run of a training on a tiny ImageNet, which the data sets are set to."""
    root = tmp_path_factory.mktemp("imagenet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSPARSE_DATA", str(root / "data"))
        (root / "manual").mkdir()
        write_imagenet(root / "manual")
        data.prepare("imagenet", root / "manual", root / "data", unverified=True)
        assert main([*FLAGS, "--out", str(root / "whole")]) == 0
        yield root


def outcome(folder: Path) -> dict[str, Any]:
    (run,) = folder.glob("cells/*/run.json")
    history = pyarrow.parquet.read_table(run.parent / "history.parquet").drop_columns("seconds").to_pydict()
    return {"history": history, "weights": (run.parent / "weights.safetensors").read_bytes()}


def test_what_is_recorded(imagenet: Path) -> None:
    (run,) = (imagenet / "whole").glob("cells/*")  # and no checkpoint
    described = json.loads((run / "run.json").read_text())
    assert (described["status"], described["data_verified"]) == ("done", False)
    history = outcome(imagenet / "whole")["history"]
    assert history["steps"] == [6, 12]
    assert np.isfinite(history["train_loss_by_epoch"]).all()
    assert history["train_loss"][-1] < np.log(1000)
    assert history["layer_units"] == [[3]] * 2
    (row,) = records.results(imagenet / "whole").to_pylist()
    assert 0 <= row["test_error_top5"] <= row["test_error"] <= 100
    assert row["test_error_top5"] in 20 * np.arange(6)  # five images


@pytest.mark.parametrize("killed", [3, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (1, 2))])
def test_a_killed_training_goes_on_and_ends_with_the_same_bits(
    killed: int, imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the end of an epoch, in the middle of an interval or at its end; with rows that are kept or none."""
    saved: list[int] = []
    save = checkpoint.save

    def watched(folder: Path, cell: Cell, kept: checkpoint.Kept) -> None:
        save(folder, cell, kept)
        saved.append(len(kept.reached.losses))
        if saved == list(range(1, killed + 1)):
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", watched)
    command = [*FLAGS, "--out", str(tmp_path / "run")]
    assert main(command) == 130
    (kept,) = (tmp_path / "run" / "cells").glob("*.checkpoint")
    assert {int(path.name.split("-")[1]) for path in kept.iterdir()} == {killed, max(1, killed - 1)}
    assert main(command) == 0
    assert saved == [1, 2, 3, 4]  # no epoch was trained twice
    assert outcome(tmp_path / "run") == outcome(imagenet / "whole")
    assert not kept.exists()


def test_damaged_checkpoints_are_put_aside_for_the_one_before(
    imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit, a torn file, and what an earlier version left; in the end the bits of a training undisturbed."""
    cell = Cell(replace(RUN, data="imagenet", batch=2, widths=(2,), epochs=4), HYPER, 0, "l2")
    *_, expected = streaming.train(cell, tmp_path / "undisturbed")
    monkeypatch.setattr(checkpoint, "KEPT", 4)
    list(streaming.train(cell, tmp_path))
    kept = checkpoint.folder_of(tmp_path, cell.name)
    one, two, three, four = sorted(kept.iterdir())
    content = bytearray(four.read_bytes())
    content[len(content) // 2] ^= 8
    four.write_bytes(content)
    three.write_bytes(three.read_bytes()[:1000])
    (kept / "epoch-5").mkdir()
    *_, found = streaming.train(cell, tmp_path)
    close(found, expected, rtol=0, atol=0)
    for name in ("epoch-5", four.name, three.name):
        assert (kept / f"{name}.aside-1").exists()
        assert f"kept as {kept / name}.aside-1, and training goes on from the one before" in caplog.text
    assert {path for path in kept.iterdir() if ".aside" not in path.name} >= {one, two}


def test_a_checkpoint_of_another_training_is_refused(imagenet: Path, tmp_path: Path) -> None:
    cell = Cell(replace(RUN, data="imagenet", batch=2, widths=(2,)), HYPER, 0, "l2")
    next(streaming.train(cell, tmp_path))
    other = replace(cell, run=replace(cell.run, slope=0.02))
    with pytest.raises(InvalidInput, match=r"checkpoint must be of this .*run\.slope was 0\.01, is now 0\.02"):
        next(streaming.train(other, tmp_path))


def test_commands_on_a_streamed_run(imagenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(imagenet / "whole")
    assert main(["measure", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hidden/0"]["units"] == 3
    assert main([*FLAGS, "--shrink-every", "2", "--out", str(tmp_path / "no")]) == 2
    assert "shrink-every must be 0 on imagenet, which is streamed" in capsys.readouterr().err
    assert main(["prune", run, "--out", str(tmp_path / "no")]) == 2
    assert "data must be a set that fits on a device" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    with pytest.raises(InvalidInput, match="devices-per-cell must be 1 on imagenet"):
        grid.Placement(devices_per_cell=2).check(replace(RUN, data="imagenet"))
