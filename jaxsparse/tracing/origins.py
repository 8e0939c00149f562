"""Which element of a parameter stands at which position of a value that was made from it.

A coordinate of the parameter is a sum of numbers, one from each axis of the value, and an offset. Transposing,
slicing, splitting and joining axes keep this form, as does summing over an axis: its numbers then belong to an axis
that is gone, and a position stands for several elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsparse.tracing.program import Step

Numbers = dict[tuple[int, int], np.ndarray]
"""By axis of the parameter and axis of the value (negative: gone): what each position adds to the coordinate."""


@dataclass(frozen=True)
class Origin:
    """Where the elements of a value with the given shape come from."""

    name: str
    shape: tuple[int, ...]
    """of the value"""
    offsets: tuple[int, ...]
    """by axis of the parameter"""
    numbers: Numbers

    @classmethod
    def of(cls, name: str, shape: Sequence[int]) -> Origin:
        """Of the parameter itself."""
        own = {(axis, axis): np.arange(size) for axis, size in enumerate(shape)}
        return cls(name, tuple(shape), (0,) * len(shape), own)

    @property
    def axes(self) -> frozenset[int]:
        """Axes of the value along which the elements differ."""
        return frozenset(axis for _, axis in self.numbers if axis >= 0)

    def owner(self, shape: Sequence[int], units: np.ndarray) -> np.ndarray:
        """Of each element of the parameter (with this shape) its unit, or -1.

        Args:
          units: number of the unit at each position of the value, -1 for none; one for each axis that is broadcast.
        """
        simple = self._simple(shape, units)
        if simple is not None:
            return simple
        lengths = {axis: len(values) for (_, axis), values in self.numbers.items()}
        every = sorted(axis for axis, length in lengths.items() if axis < 0 or units.shape[axis] != length)
        place = {axis: axis for axis in range(units.ndim)} | {axis: units.ndim + at for at, axis in enumerate(every)}
        whole = [*units.shape, *(lengths[axis] for axis in every)]
        index = [np.full([1] * len(whole), offset) for offset in self.offsets]
        for (own, axis), values in self.numbers.items():
            index[own] = index[own] + values.reshape([-1 if at == place[axis] else 1 for at in range(len(whole))])
        owner = np.full(tuple(shape), -1)
        if index:
            owner[tuple(np.broadcast_to(each, whole) for each in index)] = units.reshape(
                [*units.shape, *[1] * len(every)]
            )
        return owner

    def _simple(self, shape: Sequence[int], units: np.ndarray) -> np.ndarray | None:
        """The owner, in no memory, where whole axes of the parameter are those of the value, or gone."""
        whole = all(np.array_equal(values, np.arange(shape[own])) for (own, _), values in self.numbers.items())
        long = [axis for axis in range(units.ndim) if units.shape[axis] > 1]
        along = [own for own, axis in self.numbers if axis in long]
        once = len({own for own, _ in self.numbers}) == len(self.numbers) == len(shape)
        if not (whole and once and len(along) == 1 and len(long) == 1) or any(self.offsets):
            return None
        if any(axis >= 0 and axis not in long and len(values) > 1 for (_, axis), values in self.numbers.items()):
            return None
        row = units.ravel().reshape([-1 if axis == along[0] else 1 for axis in range(len(shape))])
        return np.broadcast_to(row, tuple(shape))

    def moved(self, step: Step, shape: tuple[int, ...], output: int = 0) -> Origin | None:
        """Of a step that moves numbers around; None where the form is lost."""
        name, params = step.name, step.params
        if name in ("reshape",):
            return self._reshaped(shape)
        if name == "transpose":
            places = {old: new for new, old in enumerate(params["permutation"])}
            return self._at(places, shape)
        if name == "broadcast_in_dim":
            return self._at(dict(enumerate(params["broadcast_dimensions"])), shape)
        if name == "expand_dims":
            there = [axis for axis in range(len(shape)) if axis not in {d % len(shape) for d in params["dimensions"]}]
            return self._at(dict(enumerate(there)), shape)
        if name == "squeeze":
            gone = {axis % len(self.shape) for axis in params["dimensions"]}
            return self._at(
                {old: new for new, old in enumerate(a for a in range(len(self.shape)) if a not in gone)}, shape
            )
        if name == "rev":
            return self._picked({axis: slice(None, None, -1) for axis in params["dimensions"]}, shape)
        if name == "slice":
            strides = params["strides"] or (1,) * len(shape)
            bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
            return self._picked({axis: slice(*bound) for axis, bound in enumerate(bounds)}, shape)
        if name == "split":
            start = sum(params["sizes"][:output])
            return self._picked({params["axis"]: slice(start, start + params["sizes"][output])}, shape)
        return None

    def repeated(self, shape: tuple[int, ...]) -> Origin | None:
        """Of a value of this shape, in which axes of length one are repeated."""
        if len(shape) != len(self.shape):
            return None
        return self if shape == self.shape else self._at({axis: axis for axis in range(len(shape))}, shape)

    def product(self, kept: dict[int, int], shape: tuple[int, ...]) -> Origin:
        """Of a product of arrays: `kept` gives the axes that come out; over the others it sums."""
        lost = min((axis for _, axis in self.numbers), default=0)
        places = {axis: kept.get(axis, min(lost, 0) - 1 - axis) for axis in range(len(self.shape))}
        numbers = {(own, places.get(axis, axis)): values for (own, axis), values in self.numbers.items()}
        return Origin(self.name, shape, self.offsets, numbers)

    def _at(self, places: dict[int, int], shape: tuple[int, ...]) -> Origin | None:
        """Axes elsewhere; those left out have length one."""
        numbers, offsets = {}, list(self.offsets)
        for (own, axis), values in self.numbers.items():
            if axis < 0 or (axis in places and shape[places[axis]] == len(values)):
                numbers[own, places.get(axis, axis)] = values
            elif len(values) == 1:
                offsets[own] += int(values[0])
            else:
                return None
        return Origin(self.name, shape, tuple(offsets), numbers)

    def _picked(self, where: dict[int, slice], shape: tuple[int, ...]) -> Origin:
        numbers: Numbers = {}
        for (own, axis), values in self.numbers.items():
            numbers[own, axis] = values[where.get(axis, slice(None))]
        return Origin(self.name, shape, self.offsets, numbers)

    def _reshaped(self, shape: tuple[int, ...]) -> Origin | None:
        numbers: Numbers = {key: values for key, values in self.numbers.items() if key[1] < 0}
        offsets = list(self.offsets)
        if 0 in shape:
            return None
        for old, new in _blocks(self.shape, shape):
            sizes = [self.shape[axis] for axis in old]
            for own in {own for own, axis in self.numbers if axis in old}:
                total = np.zeros(sizes, int)
                for at, axis in enumerate(old):
                    if (own, axis) in self.numbers:
                        total = total + self.numbers[own, axis].reshape(
                            [-1 if other == at else 1 for other in range(len(old))]
                        )
                total = total.reshape([shape[axis] for axis in new])
                corner = total[(0,) * len(new)]
                offsets[own] += int(corner)
                again = np.zeros_like(total)
                for at, axis in enumerate(new):
                    line = total[tuple(slice(None) if other == at else 0 for other in range(len(new)))] - corner
                    again = again + line.reshape([-1 if other == at else 1 for other in range(len(new))])
                    if line.any() or (total.size == 1 and at == 0):
                        numbers[own, axis] = line
                if not np.array_equal(again + corner, total):
                    return None
        return Origin(self.name, shape, tuple(offsets), numbers)


def _blocks(one: Sequence[int], other: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes of both shapes that hold the same numbers."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(one) or j < len(other):
        old, new = [], []
        if i < len(one):
            old.append(i)
            i += 1
        if j < len(other):
            new.append(j)
            j += 1

        def length(shape: Sequence[int], axes: list[int]) -> int:
            return math.prod(shape[axis] for axis in axes)

        while length(one, old) != length(other, new):
            if length(one, old) < length(other, new):
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        found.append((old, new))
    return found


def same(one: Origin, other: Origin) -> bool:
    """Whether both are the same elements of the same parameter, in the same order."""

    def key(origin: Origin) -> Any:
        return (
            origin.name,
            origin.offsets,
            sorted((own, min(axis, 0), values.tobytes()) for (own, axis), values in origin.numbers.items()),
        )

    return key(one) == key(other)
