"""Training from trained weights: what it starts from, what the record says, what is refused."""

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse import cli, data, grid, losses, records
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell, Engine, Start, thinning
from jaxsparse.train import make_train

RUN = Run(widths=(6,), epochs=2, measure_every=2, batch=400, optimizer="sgd", regularizer="l2")
STILL = Hyper(1e-12, 0.0, {"momentum": 0.0})
"""Moves no weight that single precision could tell."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training."""
    out = tmp_path_factory.mktemp("trained") / "first"
    flags = "train --widths 6 --epochs 4 --measure-every 2 --batch 400 --learning-rate 0.1 --optimizer sgd --seed 3"
    assert cli.main([*flags.split(), "--strength", "0.01", "--out", str(out)]) == 0
    return out


def weights(out: Path) -> dict[str, np.ndarray]:
    (run,) = (path.parent for path in out.glob("cells/*/run.json"))
    return records.weights(run)


def again(out: Path, *more: str) -> list[str]:
    """A training of the same network that hardly moves."""
    flags = "train --widths 6 --epochs 2 --batch 400 --optimizer sgd --learning-rate 1e-12 --regularizer none"
    return [*flags.split(), "--out", str(out), *more]


def same_parameters(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], rtol: float = 1e-6) -> None:
    for name, array in wanted.items():
        if "mean" not in name and "var" not in name:  # statistics move on whatever the learning rate
            np.testing.assert_allclose(found[name], array, rtol=rtol, atol=1e-9, err_msg=name)


def test_a_training_starts_from_the_weights_of_a_run(trained: Path, tmp_path: Path) -> None:
    """A run that hardly moves ends where it started: there, and not where a run from its own seed would."""
    out = tmp_path / "second"
    assert cli.main(again(out, "--start", str(trained))) == 0
    same_parameters(weights(out), weights(trained))
    scratch = tmp_path / "scratch"
    assert cli.main(again(scratch)) == 0
    assert not np.allclose(weights(scratch)["head/kernel"], weights(trained)["head/kernel"], atol=1e-2)


def test_statistics_are_taken_too(trained: Path) -> None:
    """Before the first step nothing has moved: what is measured there is the trained network."""
    engine = Engine(RUN, jax.devices()[:1])
    params, stats = Start(trained).variables(make_train(RUN))
    row = engine._measured(engine.dataset, *jax.tree.map(lambda a: a[None], (params, {}, stats, jnp.zeros(2))))
    dataset, model = data.load("digits"), js.load(trained)
    logits = np.asarray(model(data.preprocess(dataset, dataset.test.images)))
    error = 100 * np.mean(logits.argmax(-1) != np.asarray(dataset.test.labels))
    assert float(row.test_error[0]) == pytest.approx(error, abs=1e-3)


def test_the_record_says_from_what(trained: Path, tmp_path: Path) -> None:
    """The hash is of the arrays alone, written out here by hand; an export of the run has the same."""
    arrays = weights(trained)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} <f4\n".encode())
        digest.update(struct.pack(f"<{arrays[name].size}f", *arrays[name].ravel().tolist()))
    exported = tmp_path / "exported"
    assert cli.main(["export", str(trained), "--format", "safetensors", "--out", str(exported)]) == 0
    for source in (trained, exported):
        out = tmp_path / f"from-{source.name}"
        assert cli.main(again(out, "--start", str(source))) == 0
        described = json.loads(next(out.glob("cells/*/run.json")).read_text())
        assert described["start"] == source.name
        assert described["start_sha256"] == digest.hexdigest()
        assert next(out.glob("cells/*")).name == "sgd-none-started-seed0"


def test_the_same_start_goes_on_and_another_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    assert cli.main(again(out, "--start", str(trained))) == 0
    written = next(out.glob("cells/*/weights.safetensors")).stat().st_mtime_ns
    assert cli.main(again(out, "--start", str(trained))) == 0
    assert next(out.glob("cells/*/weights.safetensors")).stat().st_mtime_ns == written
    assert cli.main(again(other)) == 0
    capsys.readouterr()
    assert cli.main(again(out, "--start", str(other))) == 2
    assert "start_sha256 was" in capsys.readouterr().err
    assert cli.main(again(out)) == 2, "nor none"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ("--widths 7", "hidden/0/linear/bias is missing|head/kernel is (7,10)"),
        ("--model batranet", "a network that fits batranet, where"),
        ("--no-batch-norm", "a network that fits mlp, where"),
    ],
)
def test_what_does_not_fit_is_one_line(
    flags: str, complaint: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [*again(out, "--start", str(trained)), *flags.split()]
    if "--model" in flags:
        command = [part for part in command if part not in ("--widths", "6")]
    capsys.readouterr()
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxsparse: start must be a network that fits")
    assert any(one in said for one in complaint.split("|"))
    assert said.count("\n") == 1
    assert not out.exists()


def test_what_is_no_network_is_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(again(tmp_path / "out", "--start", str(tmp_path / "nowhere"))) == 2
    assert capsys.readouterr().err.count("\n") == 1
    broken = tmp_path / "broken"
    source = next(trained.glob("cells/*"))
    records.write_network(
        broken, records.describe(source), {name: np.nan * array for name, array in records.weights(source).items()}
    )
    with pytest.raises(InvalidInput, match=r"must be one with finite weights, got .*broken': .* is not finite"):
        Start(broken).check(make_train(RUN))
    assert not (tmp_path / "out").exists()


def test_cells_that_start_and_cells_that_do_not_are_trained_together(trained: Path, tmp_path: Path) -> None:
    cells = [Cell(RUN, STILL, seed, "none", start) for seed, start in ((0, None), (1, Start(trained)))]
    engine = Engine(RUN, jax.devices()[:1], "vmap")
    *_, (state, _) = engine.train(engine.compile(cells), cells)
    first, second = (jax.tree.map(lambda a, i=i: np.asarray(a[i]), state.params) for i in range(2))
    same_parameters(js.trees.flatten(second), flat_parameters(js.load(trained)))
    untrained = make_train(RUN).start(jax.random.key(0))[0]
    same_parameters(js.trees.flatten(first), js.trees.flatten(untrained))


def flat_parameters(model: nnx.Module) -> dict[str, Any]:
    return {name: np.asarray(leaf) for name, leaf in js.trees.flatten(nnx.state(model, nnx.Param)).items()}


def test_trainings_that_remove_units_start_there_too(trained: Path) -> None:
    cell = Cell(replace(RUN, shrink_every=2), STILL, 0, "none", Start(trained))
    *_, (state, _) = thinning.train(cell)
    found = js.trees.flatten(jax.tree.map(lambda a: a[0], state.params))
    same_parameters(found, flat_parameters(js.load(trained)))


def test_the_pure_function_takes_them(trained: Path) -> None:
    """`js.make_train(run)(hyper, key, data, start)`: with a step of its own, gradient descent from there."""
    training, dataset = js.make_train(replace(RUN, epochs=1, measure_every=1, batch=1437)), data.load("digits")
    params, stats = Start(trained).variables(training)
    hyper = Hyper(0.5, 0.0, {"momentum": 0.0})
    end, _ = jax.jit(training)(hyper, jax.random.key(0), dataset, (params, stats))

    def loss(params: Any) -> jax.Array:
        model: Any = nnx.merge(training.graph, params, stats, copy=True)
        return losses.cross_entropy(model(data.preprocess(dataset, dataset.train.images)), dataset.train.labels)

    wanted = jax.tree.map(lambda w, g: w - 0.5 * g, params, jax.jit(jax.grad(loss))(params))
    for name, leaf in js.trees.flatten(wanted).items():
        np.testing.assert_allclose(js.trees.flatten(end.params)[name], leaf, rtol=1e-4, atol=1e-6)


def test_a_start_that_vanished_fails_the_cell_alone(trained: Path, tmp_path: Path) -> None:
    cells = [Cell(RUN, STILL, seed, "none", start) for seed, start in ((0, Start(tmp_path / "no")), (1, None))]
    list(grid.train(cells, tmp_path / "cells"))
    assert set(records.finished(tmp_path / "cells").values()) == {"done", "failed"}
    described = records.describe(tmp_path / "cells" / cells[0].name)
    assert described["start"] == "no"
    assert "InvalidInput" in described["message"]
