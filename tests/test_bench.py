"""Benchmarks: what is counted, and that they come to an end; never how fast anything is."""

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsparse import bench, data
from jaxsparse.bench import profile, roofline, timing, torch_table
from jaxsparse.bench.architectures import ARCHITECTURES
from jaxsparse.bench.shrink import of_architectures
from jaxsparse.bench.step import _torch_workers
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.commands.bench import Architectures, Torch
from jaxsparse.data import noise
from jaxsparse.shrinking import dead_by_scale
from jaxsparse.trees import flatten

MLP = bench.Work("mlp", 0.02, "8x8x1", 64)


def test_operations_are_those_of_the_products() -> None:
    """Forward, and twice that backward; a multiplication and an addition are two."""
    assert bench.Work("mlp", 1.0, "8x8x1", 64).operations() == 3 * 2 * 64 * (64 * 300 + 300 * 10)
    sides, channels = (32, 32, 16, 16, 8, 8, 4), (3, 64, 128, 128, 256, 256, 512, 512)
    kernels = (5, 3, 3, 3, 3, 3, 3)
    layers = zip(sides, kernels, channels, channels[1:], strict=False)
    macs = sum(side**2 * kernel**2 * inputs * outputs for side, kernel, inputs, outputs in layers)
    assert bench.Work("basicnet", 1.0, "32x32x3", 2).operations() == 3 * 2 * 2 * (macs + 512 * 256 + 256 * 10)


def test_as_many_random_images_as_asked_for() -> None:
    assert data.describe(noise.name("4x4x1")).train_size == noise.TRAIN_SIZE
    assert data.load(noise.name("4x4x1", 700)).train.images.shape == (700, 4, 4, 1)
    with pytest.raises(InvalidInput, match="image must be a shape without zeros"):
        data.describe("noise-4x4x1-0")


def test_rates_of_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 0.0)
    monkeypatch.setattr(roofline, "_best", lambda call: 0.5 if call().ndim == 3 else 0.25)
    found = roofline.roofline(2)
    assert found.operations == 2 * 2 * 1024**3 / 0.5
    assert found.bytes == 3 * 2 * 4 * 2**24 / 0.25


def test_operations_know_where_they_come_from() -> None:
    def train(w: jax.Array, x: jax.Array) -> jax.Array:
        return w - 0.1 * jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)

    program = jax.jit(train).lower(jnp.ones((8, 3)), jnp.ones((9, 8))).compile().as_text()
    found = set(profile.operations(program).values())
    assert {("forward", "dot_general"), ("gradient", "dot_general")} <= found
    assert {part for part, _ in found} == {"forward", "gradient", "elsewhere"}


def test_time_goes_to_what_an_instruction_came_from() -> None:
    product, update = profile.Operation("forward", "dot_general"), profile.Operation("elsewhere", "sub")
    events = [("dot.1", 100.0), ("fusion", 300.0), ("while", 1e6), ("dot.2", 400.0), ("dot.1", 100.0)]
    found = profile.spent(events, {"dot.1": product, "dot.2": product, "fusion": update}, steps=2)
    assert found == [(product, 0.3, 1.5), (update, 0.15, 0.5)]


def test_profile_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.05)  # a trace of few steps is read soon
    flags = ["--width", "0.1", "--batch", "16", "--images", "64"]
    assert main(["bench", "profile", *flags, "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["us_per_step"] > 0
    assert {"forward dot_general", "gradient dot_general", "elsewhere sort"} <= set(found)
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_a_measurement_beside_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    found = bench.measure(bench.Work("mlp", 0.02, "2x2x1", 16, images=32), rounds=1)
    dataset = data.load(noise.name("2x2x1", 32))
    assert found["images_of_a_measurement"] == 32 + len(dataset.test.labels)
    ratio = found["ms_per_measurement"] / found["ms_per_step"]
    assert found["steps_of_a_measurement"] == pytest.approx(ratio)
    assert found["share_of_a_step_an_image"] == pytest.approx(16 * ratio / found["images_of_a_measurement"])


@pytest.mark.slow
def test_grid_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.1)
    found = bench.grid(MLP, ("adam", "sgd"), ("none", "l2"), seeds=1, seconds=0.5, rounds=1)
    assert found["cells_done"] == found["cells"] == 4
    assert found["step_seconds"] > 0
    assert 0 < found["compile_seconds"] < found["wall_seconds"]
    scaled = bench.scale(MLP, rounds=1)
    assert scaled["devices"] == [1, 2]
    assert scaled["efficiency"][0] == 1.0
    assert len(scaled["split_ms_per_step"]) == 2


@pytest.mark.parametrize("python", ["false", "cat"])
def test_a_way_of_pytorch_that_does_not_run_is_left_out(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before it answers, or answers something else than seconds (`cat` fails on its arguments)."""
    monkeypatch.setattr(sys, "executable", shutil.which(python))
    with _torch_workers(["eager"], 2) as measure:
        assert measure is None


def test_architectures_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts are those of the arrays; half of the wide units of each block are gone, and as good as nothing changed."""
    with jax.numpy_rank_promotion("allow"):
        found = of_architectures(["unet"], width=1 / 16, batch=1, rounds=1)["unet"]
        model = ARCHITECTURES["unet"].made(1 / 16)
    assert found["dead"] == found["removed"] == sum(each // 2 * 2 for each in (4, 8, 16, 32, 16, 8, 4))
    assert found["parameters"][0] == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert found["macs"][1] < 0.5 * found["macs"][0]
    assert found["difference"] < 1e-5
    lines = Architectures().text({"unet": found}).splitlines()
    assert lines[2].startswith(f"| unet | {found['units']} | {found['dead']} | {found['dead']} | ")
    assert len({line.count("|") for line in lines[:3]}) == 1
    assert lines[-1] == found["processor"]
    assert main(["bench", "architectures", "--names", "alexnet"]) == 2
    assert "names must be one of resnet-18 vgg-16" in capsys.readouterr().err


PRUNING = ["bench", "shrink", "--against", "torch-pruning", "--width", "0.0625", "--batch", "1", "--rounds", "1"]


def test_a_rival_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PRUNING[:3], "torch", "--model", "resnet-18"]) == 2
    assert "against must be torch-pruning" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert main([*PRUNING, "--model", "resnet-18"]) == 2
    assert "pip install 'jaxsparse[torch-pruning]'" in capsys.readouterr().err


def test_against_torch_pruning(capsys: pytest.CaptureFixture[str]) -> None:
    """Both tools take the same channels out of ResNet-18, and neither changes what it computes."""
    pytest.importorskip("torch_pruning")
    assert main([*PRUNING, "--model", "mlp"]) == 2
    assert "model must be one of resnet-18 vgg-16" in capsys.readouterr().err
    assert main([*PRUNING, "--model", "resnet-18", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for what in ("parameters", "macs"):
        assert found["jaxsparse"][what] == found["torch-pruning"][what] < found["torch"][what] == found["jax"][what]
    assert max(found[tool]["difference"] for tool in ("jaxsparse", "torch", "torch-pruning")) < 1e-5


def test_torch_pruning_drops_constants() -> None:
    """Of VGG-16's dense units half have a bias alone: with these at zero, and only then, nothing changes."""
    pytest.importorskip("torch_pruning")
    torch_shrink = importlib.import_module("jaxsparse.bench.torch_shrink")
    architecture = ARCHITECTURES["vgg-16"]
    model, x = architecture.made(1 / 16), np.asarray(architecture.input(2))

    def change() -> float:
        state = flatten(nnx.state(model, nnx.Not(nnx.RngState)))
        theirs = torch_shrink.network("vgg-16", {name: np.asarray(leaf) for name, leaf in state.items()})
        dead = {name: np.asarray(mask) for name, mask in dead_by_scale(model, 1e-3, x).items()}
        before, after = (
            torch_shrink.outputs(each, x) for each in (theirs, torch_shrink.pruned(theirs, dead, architecture.shape))
        )
        return float(np.max(abs(after - before)) / np.max(abs(before)))

    assert change() > 1e-2
    for place in (0, 3):
        layer = model.classifier.layers[place]
        layer.bias[...] = jnp.where((layer.kernel[...] == 0).all(0), 0, layer.bias[...])
    assert change() < 1e-5


def test_a_table_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the times that the benchmark itself tells, and a work that does not run is one line."""
    told: dict[str, Any] = {
        "step": {"ms_per_step": 2.0, "torch_ms_per_step": 5.0, "ratio": 2.5, "torch_best": "eager"},
        "decay": {"million_seconds": 1.0, "ratio_million": 1.5, "torch_best": {"million": "fused, 2 threads"}},
    }

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "jaxsparse", "bench"]
        assert command[-5:] == ["--against", "torch", "--json", "--rounds", "3"]
        fails = "vgg-16" in command
        return subprocess.CompletedProcess(command, int(fails), "" if fails else json.dumps(told[command[4]]), "no")

    monkeypatch.setattr(torch_table.subprocess, "run", run)
    monkeypatch.setattr(torch_table.arguments, "check", lambda *_: None)
    found = torch_table.beside_torch(3, {"a": ("step", "--model", "mlp"), "b": ("decay",)})
    assert found["a"] == {"ms": 2.0, "torch_ms": 5.0, "ratio": 2.5, "best": "eager"}
    assert found["b"] == {"ms": 1000.0, "torch_ms": 1500.0, "ratio": 1.5, "best": "fused, 2 threads"}
    shown = Torch().text(found)
    assert "| a | 2 ms | 5 ms | 2.50 | eager |" in shown
    assert str(found["processor"]) in shown
    with pytest.raises(InvalidInput, match="bench must be one that runs: no, got 'step --model vgg-16'"):
        torch_table.beside_torch(3, {"c": ("step", "--model", "vgg-16")})


def test_python_m() -> None:
    ended = subprocess.run([sys.executable, "-m", "jaxsparse", "bench", "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert "profile" in ended.stdout
