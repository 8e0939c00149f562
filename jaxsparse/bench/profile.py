"""`jaxsparse bench profile`: which operations a training step spends its time in.

JAX's profiler gives the seconds of every instruction of the compiled program. The program's own text says of each
instruction which operation of JAX it came from, and where that stands: in the network's forward pass, in its gradient,
or elsewhere, which is the update rule, the order of the images and their preparation.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

from jaxsparse.bench.timing import Work, alone

INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = (?:\(.*?\)|\S+) ([\w-]+)\(")
"""Of a compiled program's text: name, and what it does."""
SOURCE = re.compile(r'op_name="([^"]*)"')
CONTROL = ("while", "call", "conditional", "tuple", "get-tuple-element", "parameter")
"""Instructions whose time is that of others."""
PRODUCTS = {"dot": "dot_general", "convolution": "conv_general_dilated"}
"""By instruction; XLA names a product after the transposition that it took in."""


class Operation(NamedTuple):
    """What an instruction of a compiled program came from."""

    part: str
    """forward, gradient, or elsewhere"""
    source: str
    """the operation of JAX; of several that were fused, the last one"""


class Spent(NamedTuple):
    """On the instructions that came from one operation, in a step."""

    operation: Operation
    microseconds: float
    calls: float


def operations(program: str) -> dict[str, Operation]:
    """What the instructions of a compiled program came from, by name.

    Args:
      program: its text (`compiled.as_text()`).
    """
    found = {}
    for line in program.splitlines():
        if (match := INSTRUCTION.match(line)) and match[2] not in CONTROL:
            path = source[1] if (source := SOURCE.search(line)) else ""
            part = "gradient" if "transpose(" in path else "forward" if "jvp(" in path else "elsewhere"
            found[match[1]] = Operation(part, PRODUCTS.get(match[2]) or path.rpartition("/")[2] or match[2])
    return found


def _events(trace: Path) -> Iterator[tuple[str, float]]:
    """Name and nanoseconds of every instruction in a trace; on accelerators the kernel's own name hides it."""
    for file in sorted(trace.rglob("*.xplane.pb")):
        for plane in ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    named: Mapping[Any, Any] = dict(event.stats)
                    yield str(named.get("hlo_op", event.name)), event.duration_ns


def spent(events: Iterable[tuple[str, float]], known: Mapping[str, Operation], steps: int) -> list[Spent]:
    """What so many steps spent on each operation of a program, the longest first.

    Args:
      events: name and nanoseconds of every instruction that ran.
      known: `operations` of the program.
      steps: that were traced.
    """
    took, calls = defaultdict[Operation, float](float), Counter[Operation]()
    for name, nanoseconds in events:
        if name in known:
            took[known[name]] += nanoseconds
            calls[known[name]] += 1
    longest = sorted(took, key=lambda one: took[one], reverse=True)
    return [Spent(one, 1e-3 * took[one] / steps, calls[one] / steps) for one in longest]


def profile(work: Work, out: Path | None = None) -> tuple[float, list[Spent]]:
    """Profiles the training of one network on one device (of a processor: one core).

    Args:
      work: what is trained.
      out: folder that keeps the trace, for XProf or Perfetto; nothing is kept where not given.

    Returns:
      Microseconds of a step without the profiler, and what the operations take of it.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    _, compiled, intervals, steps = alone(work)
    next(intervals)  # caches, memory
    begun = time.perf_counter()
    next(intervals)
    plain = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) if out is None else out
        with jax.profiler.trace(trace):
            next(intervals)
        return 1e6 * plain / steps, spent(_events(trace), operations(compiled.advance.as_text()), steps)
