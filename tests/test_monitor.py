"""The monitor in loops of a person's own, and loggers."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse import loggers, records, report
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.criteria import Thresholds

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.norm(self.first(x))))


def with_scales(*scales: float) -> Net:
    model = Net(rngs=nnx.Rngs(0))
    model.norm.scale[...] = jnp.asarray([*scales, *[1.0] * (8 - len(scales))])
    return model


def test_numbers_by_step(tmp_path: Path) -> None:
    """Against a count by hand: unit 0 dies, then 1 dies and 0 comes back."""
    told: list[tuple[int, Mapping[str, float]]] = []
    monitor = js.Monitor(with_scales(), X, every=10, out=tmp_path, to=[lambda *both: told.append(both)], seed=3)
    assert monitor(0, with_scales()) is not None
    assert monitor(5, with_scales(0.0)) is None
    monitor(10, with_scales(0.0), train_loss=0.5, pace=7)
    monitor(20, with_scales(1.0, 0.0), train_loss=0.25, test_error=12.5)
    assert [step for step, _ in told] == [0, 10, 20]
    numbers = [one for _, one in told]
    assert [one["dead/scale"] for one in numbers] == [0.0, 12.5, 12.5]
    assert [one["dead/scale/first"] for one in numbers] == [0.0, 12.5, 12.5]
    assert [one["deaths/scale"] for one in numbers] == [0.0, 1.0, 1.0]
    assert [one["births/scale"] for one in numbers] == [0.0, 0.0, 1.0]
    assert (numbers[1]["train_loss"], numbers[1]["pace"]) == (0.5, 7.0)
    assert not list((tmp_path / "cells").iterdir())
    monitor.close()
    assert monitor(30, with_scales()) is None
    run = tmp_path / "cells" / "own-none-seed3"
    history = records.epochs_of(run).to_pydict()
    assert history["steps"] == [0, 10, 20]
    assert history["sparsity_scale"] == [0.0, 12.5, 12.5]
    np.testing.assert_array_equal(history["train_loss"], [np.nan, 0.5, 0.25])
    np.testing.assert_array_equal(history["gamma"][2], [1, 0, 1, 1, 1, 1, 1, 1])
    dead = 7 * (6 + 1 + 2) + 7 * 2 + 2
    assert history["params"] == [8 * 9 + 8 * 2 + 2] * 3
    assert history["params_alive"] == [8 * 9 + 8 * 2 + 2, dead, dead]
    again = js.load(run, like=Net(rngs=nnx.Rngs(7)))
    np.testing.assert_array_equal(again.norm.scale[...], with_scales(1.0, 0.0).norm.scale[...])


def test_loops_are_compared_in_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for optimizer, scales in (("adam", (0.0, 0.0)), ("sgd", ())):
        settings = {"regularizer": "l2", "strength": 1e-3, "optimizer": optimizer, "data": "mine"}
        with js.Monitor(with_scales(), X, every=1, out=tmp_path, **settings) as monitor:
            for step in range(3):
                monitor(step, with_scales(*scales), test_error=3.0)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Net on mine" in page
    assert "embedded scale" not in page
    assert "over the steps of training" in page
    assert main(["results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "25.0" in out
    assert "L2 1e-3" in out
    with pytest.raises(InvalidInput, match="out must be a folder without a finished record of this name"):
        js.Monitor(with_scales(), X, out=tmp_path, optimizer="sgd", regularizer="l2", strength=1e-3)
    assert report.table.summarize(tmp_path).criterion == "scale"


def test_functions_and_their_parameters() -> None:
    def net(params: dict[str, Any], x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ params["a"]["w"]) @ params["b"]["w"]

    params = {"a": {"w": np.ones((6, 4), np.float32)}, "b": {"w": np.ones((4, 2), np.float32)}}
    monitor = js.Monitor(net, X, every=2, params=params)
    params["a"]["w"][:, :3] = 0
    found = monitor(2, params)
    assert found is not None
    assert found.percent("norm") == 75.0


def test_a_loop_that_fails_is_recorded_so(tmp_path: Path) -> None:
    def loop() -> None:
        with js.Monitor(with_scales(), X, every=1, out=tmp_path) as monitor:
            monitor(0, with_scales())
            raise ZeroDivisionError("of mine")

    with pytest.raises(ZeroDivisionError):
        loop()
    described = records.describe(tmp_path / "cells" / "own-none-seed0")
    assert (described["status"], described["message"]) == ("failed", "ZeroDivisionError: of mine")
    with js.Monitor(with_scales(), X, every=1, out=tmp_path) as monitor:  # the same again
        monitor(0, with_scales())
    assert records.describe(tmp_path / "cells" / "own-none-seed0")["status"] == "done"


def test_what_a_killed_loop_leaves(tmp_path: Path) -> None:
    monitor = js.Monitor(with_scales(), X, every=1, out=tmp_path)
    monitor._pause = 0.0
    monitor(0, with_scales())
    described = records.describe(tmp_path / "cells" / "own-none-seed0")
    assert (described["status"], described["message"]) == ("failed", "not ended yet, or killed after step 0")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"every": 0}, "every must be a whole number >= 1"),
        ({"strength": -1.0}, "strength must be a finite number >= 0"),
        ({"model": 3}, "model must be a flax.nnx.Module, or a function"),
        ({"x": []}, "batches must be at least one batch"),
        ({"only": "nothing"}, "only must be the path"),
    ],
)
def test_bad_input(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=told):
        js.Monitor(**{"model": with_scales(), "x": X, "out": tmp_path / "new", **change})
    assert not (tmp_path / "new").exists()


def test_in_an_optax_loop() -> None:
    """Measured is the network of each step, whose own loop is not changed by it."""

    def trained(monitored: bool) -> tuple[Net, list[float]]:
        model = Net(rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
        monitor = js.Monitor(model, X, every=1, thresholds=Thresholds(scale=0.99)) if monitored else None
        seen = []

        @nnx.jit
        def step(model: Net, optimizer: nnx.Optimizer) -> None:
            optimizer.update(model, nnx.grad(lambda net: (net(X) ** 2).mean())(model))

        for number in range(3):
            step(model, optimizer)
            if monitor is not None:
                found = monitor(number, model)
                assert found is not None
                assert found.percent("scale") == 100 * np.mean(np.abs(model.norm.scale[...]) < 0.99)
                seen.append(found.percent("scale"))
        return model, seen

    (one, _), (other, seen) = trained(False), trained(True)
    assert seen[-1] > 0
    for name, leaf in js.trees.flatten(nnx.state(one)).items():
        np.testing.assert_array_equal(leaf, js.trees.flatten(nnx.state(other))[name])


# Loggers


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.csv"
    log = loggers.csv(path)
    log(0, {"a": 1.0})
    loggers.csv(path)(5, {"b": 2.5})  # goes on
    with path.open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"step": "0", "a": "1.0", "b": ""}, {"step": "5", "a": "", "b": "2.5"}]
    with pytest.raises(InvalidInput, match=r"log must be a file that ends in .csv"):
        loggers.csv(tmp_path / "log.txt")


def test_tensorboard(tmp_path: Path) -> None:
    """What a process has logged is there when it has ended."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    code = "import sys; from jaxsparse import loggers; loggers.tensorboard(sys.argv[1])(7, {'dead/scale': 12.5})"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "board")], check=True)
    (path,) = (tmp_path / "board").iterdir()
    content, found = path.read_bytes(), {}
    while content:  # length, its checksum, the event, its checksum
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
    assert found == {(7, "dead/scale"): 12.5}


def test_wandb_and_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As their documentation says they are called; neither is installed for tests."""
    told: list[Any] = []
    run = SimpleNamespace(log=lambda numbers, step: told.append((numbers, step)))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **settings: told.append(settings) or run))
    loggers.wandb(project="mine")(3, {"a": 1.0})
    assert told == [{"project": "mine"}, ({"a": 1.0}, 3)]
    told.clear()
    client = SimpleNamespace(
        create_run=lambda **settings: told.append(settings) or SimpleNamespace(info=SimpleNamespace(run_id="r")),
        log_metric=lambda run, name, value, step: told.append((run, name, value, step)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: client))
    loggers.mlflow(run_name="mine")(3, {"a": 1.0})
    assert told == [{"experiment_id": "0", "run_name": "mine"}, ("r", "a", 1.0, 3)]


def test_log_of_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["grid", "--epochs", "4", "--measure-every", "2", "--widths", "8", "--optimizers", "adam", "--seeds", "2"]
    flags += ["--regularizers", "none", "--out", str(tmp_path / "g")]
    assert main([*flags, "--log", "csv"]) == 0
    for seed in range(2):
        cell = tmp_path / "g" / "cells" / f"adam-none-seed{seed}"
        with (tmp_path / "g" / "log" / f"{cell.name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        history = records.epochs_of(cell).to_pydict()
        assert [int(row["step"]) for row in rows] == history["steps"]
        assert [float(row["test_error"]) for row in rows] == pytest.approx(history["test_error"])
        assert [float(row["dead/scale"]) for row in rows] == history["sparsity_scale"]
    capsys.readouterr()
    for name, told in (("nothing", "log must be one of tensorboard wandb mlflow csv"), ("wandb", "pip install wandb")):
        if name == "nothing" or "wandb" not in sys.modules:
            assert main([*flags[:-1], str(tmp_path / "no"), "--log", name]) == 2
            assert told in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert json.loads((tmp_path / "g" / "grid.json").read_text())["seeds"] == [0, 1]
