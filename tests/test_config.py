"""Static settings refuse what can't be trained, in one line that names the field."""

import pytest

from jaxsparse.checks import InvalidInput
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0.0),
        ("width", float("nan")),
        ("widths", (3, 0)),
        ("head", (256, 0)),
        ("slope", 1.0),
        ("slope", float("nan")),
        ("initial_beta", float("inf")),
        ("gamma_rate", 0.0),
        ("beta_rate", float("nan")),
        ("epochs", 0),
        ("batch", 0),
        ("factor", 0.0),
        ("factor", 1.5),
        ("milestones", (5, 5)),
        ("milestones", (0,)),
        ("milestones", (2000,)),
        ("measure_every", 0),
        ("measure_every", 3),
    ],
)
def test_run_names_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^{field.replace('_', '-')} must be .*got .*$") as raised:
        Run(**{field: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [-1e-3, float("nan"), float("inf")])
def test_thresholds(value: float) -> None:
    with pytest.raises(InvalidInput, match="threshold of norm"):
        Thresholds(norm=value)


def test_run_is_hashable_and_counts_its_points() -> None:
    assert hash(Run()) == hash(Run())
    assert Run(epochs=6, measure_every=2).points == 3
