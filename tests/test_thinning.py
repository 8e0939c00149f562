"""Training that removes its dead units on the way, against training that keeps them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest

import jaxsparse as js
from jaxsparse import grid, records, sparsity
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Hyper, Run
from jaxsparse.criteria import Thresholds
from jaxsparse.grid import Cell, running, thinning
from jaxsparse.grid.thinning import Pace, Places
from jaxsparse.train import Row

RUN = Run(
    widths=(30,),
    optimizer="adam",
    regularizer="l2",
    epochs=60,
    measure_every=10,
    thresholds=Thresholds(scale=0.5),
)
"""Under strong L2 units go below this threshold within seconds."""


def cell(**settings: Any) -> Cell:
    return Cell(replace(RUN, **settings), Hyper(1e-2, 5e-2, {"b1": 0.9, "b2": 0.99, "eps": 1e-8}), 0, "l2")


def trained(folder: Path, **settings: Any) -> tuple[Path, dict[str, list[Any]]]:
    one = cell(**settings)
    list(grid.train([one], folder))
    return folder / one.name, pyarrow.parquet.read_table(folder / one.name / "history.parquet").to_pydict()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    root = tmp_path_factory.mktemp("thinning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running.thinning, "train", partial(thinning.train, pays=lambda *_: True))
        yield trained(root / "plain"), trained(root / "thinning", shrink_every=20)


def test_the_same_until_the_first_removal(both: tuple[Any, Any]) -> None:
    (_, plain), (_, thinning) = both
    for name in ("train_loss", "gamma", "activation", "test_error"):
        np.testing.assert_allclose(thinning[name][0], plain[name][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(thinning[name][1], plain[name][1], rtol=1e-3, atol=1e-4)


def test_removed_units_stay_removed_and_the_others_keep_their_places(both: tuple[Any, Any]) -> None:
    _, (folder, history) = both
    gamma = np.asarray(history["gamma"])
    assert gamma.shape == (6, 30)
    gone = gamma == 0
    assert gone[-1].any(), "the test needs a removal"
    assert not gone[-1].all()
    assert not gone[1].any()
    assert (gone[1:] >= gone[:-1]).all()
    for before, after in ((1, 2), (3, 4)):
        small = np.abs(gamma[before]) < RUN.thresholds.scale
        removed = gone[after] & ~gone[before]
        assert (small[removed]).all()
        assert (removed == (small & ~gone[before])).all()
    assert history["params"] == [30 * 64 + 2 * 30 + 30 * 10 + 10] * 6
    weights = records.weights(folder)
    left = int((~gone[-1]).sum())
    assert weights["hidden/0/linear/kernel"].shape == (64, left)
    np.testing.assert_array_equal(weights["hidden/0/norm/scale"], gamma[-1][~gone[-1]].astype(np.float32))


def test_the_small_network_loads_and_is_as_good_as_recorded(both: tuple[Any, Any]) -> None:
    _, (folder, history) = both
    dataset = js.data.load("digits")
    model = js.load(folder)
    logits = model(js.data.preprocess(dataset, dataset.test.images))
    error = 100 * float(jnp.mean(logits.argmax(-1) != dataset.test.labels))
    assert error == pytest.approx(history["test_error"][-1], abs=0.01)


def test_rows_are_widened() -> None:
    units = sparsity.Units(*(np.asarray([1.0, 2.0]) * factor for factor in (1, 2, 3, 4)))
    nothing = np.zeros(())
    row = Row(np.zeros(3), nothing, nothing, nothing, (), sparsity.Observation({"layer": units}, nothing, nothing))
    wide = Places({"layer": 5}, {"layer": np.asarray([1, 4])}).widened(row).measured.units["layer"]
    np.testing.assert_array_equal(wide.gamma, [0, 1, 0, 0, 2])
    np.testing.assert_array_equal(wide.norm, [0, 4, 0, 0, 8])


def test_when_a_removal_pays() -> None:
    """Compiling takes 10 seconds, an interval 2: half of the units over 20 intervals are the 20 seconds asked for."""
    pace = Pace.of([12.0, 2.5, 2.0, 3.0])
    assert pace == Pace(10.0, 2.0)
    assert not pace.pays(0.5, 20)
    assert pace.pays(0.5, 21)
    assert not pace.pays(0.0, 1000)


def test_a_layer_is_never_removed_whole(tmp_path: Path) -> None:
    folder, history = trained(tmp_path, shrink_every=10, epochs=20, thresholds=Thresholds(scale=1e3))
    assert records.describe(folder)["status"] == "done"
    assert (np.asarray(history["gamma"]) != 0).all()


def test_the_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["train", "--epochs", "20", "--measure-every", "5", "--out", str(tmp_path / "run")]
    assert main([*flags, "--shrink-every", "7"]) == 2
    assert "shrink-every must be 0 or a multiple of measure-every (5), got 7" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(InvalidInput, match="shrink-every"):
        cell(shrink_every=-10)
