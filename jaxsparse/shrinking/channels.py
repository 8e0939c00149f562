"""Which channels must go together.

Along every axis of every value each position has a label: the number of a *channel*, or

    FIXED   it can't be removed (an axis of the input, of the output, of a window; a number of the model's code)
    FREE    it is the same at all positions, however many there are (a broadcast scalar)

Every position of every axis of every parameter starts as a channel of its own. Where two axes meet - added, multiplied,
summed against each other - their channels become one (union-find), and a channel that meets a fixed position is
*pinned*: it stays, for the reason that is written down. A convolution's output channel, the normalisation behind it,
what flattening spreads over h*w positions and the kernel rows that read them thus end as one channel, and removing it
means leaving out its positions everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jaxsparse.tracing.operations import ELEMENTWISE, KNOWN, REDUCTIONS, WINDOWS, contracted, looked_up
from jaxsparse.tracing.program import Program, Step

FIXED, FREE = 0, -1
PARTS = 8
"""Most parts of one size that an axis of channels is cut into."""
APART = "a reshape takes the axis of the channels apart"

Labels = list[np.ndarray]
"""One array of labels an axis."""


class Channels:
    """The channels of a program.

    Attributes:
      labels: of every value, one array an axis.
      reasons: of pinned channels, by number of any of their members.
      unknown: names of the primitives that no rule knows, with how often each occurs.
    """

    def __init__(self, program: Program, removable: Sequence[bool], alive: Callable[[int], np.ndarray]):
        """`removable`: for every parameter, whether its axes may be cut at all; `alive`: booleans by number of a value,
        the elements that do something."""
        self._alive = alive
        self._parent = np.zeros(1, int)
        self.reasons: dict[int, str] = {}
        self.unknown: dict[str, int] = {}
        self.labels: list[Labels] = [[] for _ in program.shapes]
        for (name, number), free in zip(program.names.items(), removable, strict=True):
            del name
            shape = program.shapes[number]
            self.labels[number] = [self._new(size) for size in shape] if free else _fixed(shape)
        for number in program.inputs:
            self.labels[number] = _fixed(program.shapes[number])
        for number, constant in program.constants.items():
            shape = program.shapes[number]
            uniform = constant is not None and np.size(constant) > 0 and bool(np.all(constant == np.ravel(constant)[0]))
            self.labels[number] = [np.full(size, FREE if uniform else FIXED) for size in shape]
        for step in program.steps:
            shapes = [program.shapes[number] for number in step.outputs]
            outputs = self._step(step, [self.labels[number] for number in step.inputs], shapes)
            for number, labels in zip(step.outputs, outputs, strict=True):
                self.labels[number] = labels
        for number in program.outputs:
            self.pin(self.labels[number], "the model's output")

    @property
    def count(self) -> int:
        """Channels are numbered from 1 to below this."""
        return len(self._parent)

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The number that stands for each label's channel (`FIXED` and `FREE` stay)."""
        roots = np.maximum(labels, 0)
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            self._parent[roots] = self._parent[above]
            roots = above
        return np.where(labels > 0, roots, labels)

    def pin(self, labels: Labels | np.ndarray, reason: str) -> None:
        """These channels stay."""
        for axis in [labels] if isinstance(labels, np.ndarray) else labels:
            for channel in np.unique(axis[axis > 0]):
                self.reasons.setdefault(int(channel), reason)

    def pinned(self) -> dict[int, str]:
        """Reason by the number that stands for the channel."""
        found: dict[int, str] = {}
        for channel, reason in self.reasons.items():
            found.setdefault(int(self.find(np.array([channel]))[0]), reason)
        return found

    def _new(self, size: int) -> np.ndarray:
        fresh = np.arange(self.count, self.count + size)
        self._parent = np.concatenate([self._parent, fresh])
        return fresh

    def _meet(self, one: np.ndarray, other: np.ndarray, reason: str) -> np.ndarray:
        """Labels of an axis that two axes share."""
        if (one == FREE).all():
            return other
        if (other == FREE).all():
            return one
        both = (one > 0) & (other > 0)
        pairs = np.stack([self.find(one[both]), self.find(other[both])], 1)
        for pair in pairs[pairs[:, 0] != pairs[:, 1]]:
            a, b = self.find(pair)
            self._parent[max(a, b)] = min(a, b)
        self.pin(one[(one > 0) & (other <= 0)], reason)
        self.pin(other[(other > 0) & (one <= 0)], reason)
        return np.where(one > 0, one, np.where(other > 0, other, FIXED))

    def _all_meet(self, operands: Sequence[Labels], reason: str) -> Labels:
        """Labels of elementwise operands; scalars go with anything, and an axis of length 1 is repeated."""
        most = max(len(labels) for labels in operands)
        found: Labels = []
        for axes in zip(*(labels for labels in operands if len(labels) == most), strict=True):
            length = next((len(axis) for axis in axes if len(axis) != 1), 1)
            whole = [axis for axis in axes if len(axis) == length]
            self.pin([axis for axis in axes if len(axis) != length], "an axis of one channel is repeated")
            shared = whole[0]
            for axis in whole[1:]:
                shared = self._meet(shared, axis, reason)
            found.append(shared)
        return found

    def _step(self, step: Step, operands: list[Labels], shapes: list[tuple[int, ...]]) -> list[Labels]:
        name, params = step.name, step.params
        rows = looked_up(step, [len(axis) for axis in operands[0]]) if name == "gather" else None
        if name not in KNOWN or (name == "gather" and rows is None):
            return self._unknown(step, operands, shapes)
        if name == "optimization_barrier":
            return operands
        if name in ELEMENTWISE:
            return [self._all_meet(operands, f"meets positions that cannot be removed ({name})")]
        if rows is not None:
            self.pin([operands[0][rows], *operands[1]], "rows are looked up along it")
            found = _fixed(shapes[0])
            for axis, place in zip(
                _rest([rows], len(operands[0])), params["dimension_numbers"].offset_dims, strict=True
            ):
                found[place] = operands[0][axis]
            return [found]
        if name == "iota":
            return [_fixed(shapes[0])]
        if name == "concatenate":
            return [self._concatenate(operands, params["dimension"])]
        first = operands[0]
        if name == "reshape":
            return [self._reshape(first, shapes[0], step.inputs[0])]
        if name == "dot_general":
            return [self._dot(step, *operands)]
        if name == "conv_general_dilated":
            return [self._convolution(step, *operands, shape=shapes[0])]
        if name == "broadcast_in_dim":
            return [self._broadcast(first, params["broadcast_dimensions"], shapes[0])]
        if name == "transpose":
            return [[first[axis] for axis in params["permutation"]]]
        if name == "squeeze":
            gone = {axis % len(first) for axis in params["dimensions"]}
            self.pin([first[axis] for axis in gone], "an axis of one channel is dropped")
            return [[labels for axis, labels in enumerate(first) if axis not in gone]]
        if name == "expand_dims":
            return [self._broadcast(first, _rest(params["dimensions"], len(shapes[0])), shapes[0])]
        if name == "rev":
            return [[a[::-1] if axis in params["dimensions"] else a for axis, a in enumerate(first)]]
        if name == "slice":
            strides = params["strides"] or (1,) * len(first)
            bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
            return [self._cut(first, [slice(*bound) for bound in bounds])]
        if name == "split":
            parts = np.split(first[params["axis"]], np.cumsum(params["sizes"])[:-1])
            self._cut_alike(first[params["axis"]], len(parts[0]), all(len(p) == len(parts[0]) for p in parts))
            return [[part if axis == params["axis"] else a for axis, a in enumerate(first)] for part in parts]
        if name == "pad":
            return [[self._pad(a, *padding) for a, padding in zip(first, params["padding_config"], strict=True)]]
        if name == "dynamic_slice":
            cut = [a for a, size in zip(first, shapes[0], strict=True) if len(a) != size]
            self.pin(cut, "sliced at places that the model's code states")
            return [[a if len(a) == size else np.full(size, FIXED) for a, size in zip(first, shapes[0], strict=True)]]
        if name in REDUCTIONS:
            gone = params["axes"]
            self.pin([first[axis] for axis in gone], f"{name.removeprefix('reduce_')} over the channels (normalised?)")
            return [[labels for axis, labels in enumerate(first) if axis not in gone]]
        assert name in WINDOWS
        sizes = params["window_dimensions"]
        moved = [len(a) != n or size != 1 for a, n, size in zip(first, shapes[0], sizes, strict=True)]
        self.pin([a for a, window in zip(first, moved, strict=True) if window], "pooled over the channels")
        return [[np.full(n, FIXED) if window else a for a, window, n in zip(first, moved, shapes[0], strict=True)]]

    def _unknown(self, step: Step, operands: list[Labels], shapes: list[tuple[int, ...]]) -> list[Labels]:
        self.unknown[step.name] = self.unknown.get(step.name, 0) + 1
        for labels in operands:
            self.pin(labels, f"goes into an operation that is not known here ({step.name})")
        return [_fixed(shape) for shape in shapes]

    def _dot(self, step: Step, one: Labels, other: Labels) -> Labels:
        summed = contracted(step, [len(axis) for axis in one])
        (*batch_one,), (*batch_other,) = step.params["dimension_numbers"][1]
        for a, b in summed:
            self._meet(one[a], other[b], "meets positions that cannot be removed (matrix product)")
        batch = [
            self._meet(one[a], other[b], "meets positions that cannot be removed (matrix product)")
            for a, b in zip(batch_one, batch_other, strict=True)
        ]
        rest_one = [one[a] for a in _rest([a for a, _ in summed] + batch_one, len(one))]
        rest_other = [other[b] for b in _rest([b for _, b in summed] + batch_other, len(other))]
        return [*batch, *rest_one, *rest_other]

    def _convolution(self, step: Step, images: Labels, kernel: Labels, shape: tuple[int, ...]) -> Labels:
        numbers, groups = step.params["dimension_numbers"], step.params["feature_group_count"]
        (batch, feature, *space), (output, source, *window) = numbers.lhs_spec, numbers.rhs_spec
        self.pin([images[axis] for axis in space] + [kernel[axis] for axis in window], "a window of a convolution")
        meeting = "meets positions that cannot be removed (convolution)"
        channels = kernel[output]
        if step.params["batch_group_count"] != 1:
            self.pin([*images, *kernel], "goes through a convolution in batch groups")
        elif groups == 1:
            self._meet(images[feature], kernel[source], meeting)
        elif groups == len(images[feature]):  # depthwise: each channel by itself, with all that comes of it
            self.pin([kernel[source]], "a window of a convolution")
            channels = self._meet(np.repeat(images[feature], len(channels) // groups), channels, meeting)
        else:  # as many go from each group: what is at the same place in them goes together
            beside = "meets positions that cannot be removed (convolution in groups)"
            for axis in (images[feature], channels):
                first, *others = np.split(axis, groups)
                for group in others:
                    self._meet(first, group, beside)
            self._meet(images[feature][: len(kernel[source])], kernel[source], meeting)
        found = _fixed(shape)
        found[numbers.out_spec[0]], found[numbers.out_spec[1]] = images[batch], channels
        return found

    def _concatenate(self, operands: list[Labels], along: int) -> Labels:
        pieces = [np.where(labels[along] == FREE, FIXED, labels[along]) for labels in operands]
        found = []
        for axis in range(len(operands[0])):
            if axis == along:
                free = all((labels[axis] == FREE).all() for labels in operands)
                found.append(np.concatenate([labels[axis] for labels in operands] if free else pieces))
                continue
            shared = operands[0][axis]
            for labels in operands[1:]:
                shared = self._meet(shared, labels[axis], "concatenated beside positions that cannot be removed")
            found.append(shared)
        return found

    def _broadcast(self, labels: Labels, dimensions: Sequence[int], shape: tuple[int, ...]) -> Labels:
        found = [np.full(size, FREE) for size in shape]
        for source, axis in zip(labels, dimensions, strict=True):
            if len(source) == shape[axis]:
                found[axis] = source
            else:
                self.pin([source], "an axis of one channel is repeated")
        return found

    def _cut(self, labels: Labels, where: list[slice]) -> Labels:
        for axis, part in zip(labels, where, strict=True):
            size = len(axis[part])
            if size != len(axis):
                self._cut_alike(axis, size, size > 0 and part.step == 1 and part.start % size == 0)
        return [axis[part] for axis, part in zip(labels, where, strict=True)]

    def _cut_alike(self, axis: np.ndarray, size: int, alike: bool) -> None:
        """An axis that is cut into parts of one size, as halves: what is at the same place in each goes together, so
        that they stay alike. Whether the code states the size or takes a share, the check at the end finds out."""
        if alike and size > 1 and len(axis) % size == 0 and len(axis) // size <= PARTS:
            for part in np.split(axis, len(axis) // size)[1:]:
                self._meet(axis[:size], part, "sliced beside positions that cannot be removed")
        else:
            self.pin([axis], "sliced at places that the model's code states")

    def _pad(self, labels: np.ndarray, low: int, high: int, interior: int) -> np.ndarray:
        if low == high == interior == 0:
            return labels
        spread = np.full(len(labels) + max(len(labels) - 1, 0) * interior, FIXED)
        spread[:: interior + 1] = np.maximum(labels, FIXED)
        padded = np.pad(spread, (max(low, 0), max(high, 0)), constant_values=FIXED)
        return padded[max(-low, 0) : len(padded) - max(-high, 0)]

    def _reshape(self, labels: Labels, shape: tuple[int, ...], number: int) -> Labels:
        """Follows each axis of channels on its own; one that is taken apart, as into heads, see `_parted`."""
        sizes = tuple(map(len, labels))
        free = all((axis == FREE).all() for axis in labels)
        found = [np.full(size, FREE if free else FIXED) for size in shape]
        for axis, source in enumerate(labels):
            if not (source > 0).any():
                continue
            index = tuple(slice(None) if other == axis else None for other in range(len(sizes)))
            moved = np.broadcast_to(source[index], sizes).reshape(shape)
            target = _only_axis(moved, last=axis == len(sizes) - 1)
            if target is None:
                target = self._parted(moved, self._idle(number, axis, index).reshape(shape))
            if target is None:
                self.pin(source, APART)
                continue
            if (found[target] > 0).any():
                self.pin(labels, APART)
                return _fixed(shape)
            first = tuple(slice(None) if other == target else 0 for other in range(len(shape)))
            found[target] = moved[first]
        return found

    def _idle(self, number: int, axis: int, index: tuple[slice | None, ...]) -> np.ndarray:
        """Whether nothing at a position of an axis does anything, repeated to the value's shape."""
        alive = self._alive(number)
        idle = ~np.asarray(alive.any(tuple(other for other in range(alive.ndim) if other != axis)))
        return np.broadcast_to(idle[index], alive.shape)

    def _parted(self, moved: np.ndarray, idle: np.ndarray) -> int | None:
        """Of the axes that channels are taken apart into, the one along which most of them do nothing in whole parts,
        as an attention's heads or the channels of a flattened image; each part is one channel from now on. None where
        no part is idle whole.

        Args:
          moved: the channel of each element.
          idle: whether the element's channel does nothing.
        """
        parted = [axis for axis in range(moved.ndim) if moved.size and (moved != moved.take([0], axis)).any()]
        if not parted:
            return None
        rest = [tuple(other for other in range(moved.ndim) if other != axis) for axis in range(moved.ndim)]
        gain = {axis: idle.all(rest[axis]).mean() for axis in parted}
        best = max(parted, key=lambda axis: gain[axis])
        if not gain[best]:
            return None
        parts = np.moveaxis(moved, best, 0).reshape(moved.shape[best], -1)
        for members in parts:
            same = np.unique(members)
            self._meet(np.full(len(same) - 1, same[0]), same[1:], APART)
        return best


def _only_axis(array: np.ndarray, last: bool) -> int | None:
    """The axis along which alone an array changes. One that does not change at all came from a single channel: its
    axis is taken to be the last one, as it was before."""
    if array.size == 0:
        return None
    moving = [axis for axis in range(array.ndim) if (array != array.take([0], axis)).any()]
    if not moving and array.ndim and last:
        return array.ndim - 1
    return moving[0] if len(moving) == 1 else None


def _fixed(shape: Sequence[int]) -> Labels:
    return [np.full(size, FIXED) for size in shape]


def _rest(gone: Sequence[int], count: int) -> list[int]:
    return [axis for axis in range(count) if axis not in gone]
