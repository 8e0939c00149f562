"""Benchmarks: what is counted, and that they come to an end; never how fast anything is."""

import pytest

from jaxsparse import bench, data
from jaxsparse.bench import roofline, timing
from jaxsparse.config import InvalidInput
from jaxsparse.data import noise

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


@pytest.mark.slow
def test_grid_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.1)
    found = bench.grid(MLP, cells=2, rounds=1)
    assert found["cells_done"] == found["cells"] == 2
    assert found["step_seconds"] > 0
    assert 0 < found["compile_seconds"] < found["wall_seconds"]
    scaled = bench.scale(MLP, rounds=1)
    assert scaled["devices"] == [1, 2]
    assert scaled["efficiency"][0] == 1.0
    assert len(scaled["split_ms_per_step"]) == 2
