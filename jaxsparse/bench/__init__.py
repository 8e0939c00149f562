"""Timing of what the project runs, on the machine at hand."""

from jaxsparse.bench.decay import decay
from jaxsparse.bench.shrink import shrink
from jaxsparse.bench.step import step

__all__ = ["decay", "shrink", "step"]
