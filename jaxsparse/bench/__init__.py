"""Timing of what the project runs, on the machine at hand."""

from jaxsparse.bench.decay import decay
from jaxsparse.bench.grid import grid
from jaxsparse.bench.measuring import measure
from jaxsparse.bench.precision import precision
from jaxsparse.bench.scale import scale
from jaxsparse.bench.shrink import shrink
from jaxsparse.bench.step import step
from jaxsparse.bench.timing import Work

__all__ = ["Work", "decay", "grid", "measure", "precision", "scale", "shrink", "step"]
