"""A linear recursion of order two: what SGD with coupled L2, and decoupled decay with any rule, make of a weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

CHUNK = 65536
"""Steps that are looked at together."""
_UNSTABLE = 1_000_000


@dataclass(frozen=True)
class Recursion:
    """`w_{k+1} = (2 - s) w_k - b w_{k-1}`, `s = 1 - b + h`, from w_0 and w_1.

    Written in b, the product of the roots, and h, that of their distances to 1: for a weak penalty h is tiny, and
    `1 - root = 2 h / (s + sqrt(s^2 - 4 h))` has no cancellation. Heavy ball has b = mu, Nesterov b = mu (1 - h).
    """

    first: float
    second: float
    b: float
    h: float

    @cached_property
    def s(self) -> float:
        return 1 - self.b + self.h

    @cached_property
    def discriminant(self) -> float:
        """`s^2 - 4 h`; factored where possible, which keeps its digits near the double root."""
        if self.b < 0:
            return self.s**2 - 4 * self.h
        root = math.sqrt(self.b)
        return ((1 - root) ** 2 - self.h) * ((1 + root) ** 2 - self.h)

    @cached_property
    def oscillates(self) -> bool:
        return self.discriminant < 0

    @cached_property
    def real_root(self) -> float:
        """The real root of larger modulus."""
        distance, a = math.sqrt(self.discriminant), 2 - self.s
        return 1 - 2 * self.h / (self.s + distance) if a >= 0 else (a - distance) / 2

    @cached_property
    def log_radius(self) -> float:
        """Logarithm of the larger modulus of the roots."""
        if self.oscillates:
            return math.log(self.b) / 2
        root = self.real_root
        if root > 0 and self.s > 0:
            return math.log1p(-2 * self.h / (self.s + math.sqrt(self.discriminant)))
        return math.log(abs(root)) if root else -math.inf

    @property
    def radius(self) -> float:
        return math.exp(self.log_radius)

    @property
    def radius_is_positive_root(self) -> bool:
        return not self.oscillates and self.real_root > 0

    def at(self, k: Any) -> np.ndarray:
        """w_k, for an array of k >= 0."""
        k = np.asarray(k, np.float64)
        return self._complex(k) if self.oscillates else self._real(k)

    def _complex(self, k: np.ndarray) -> np.ndarray:
        modulus, height, a = math.sqrt(self.b), math.sqrt(-self.discriminant), 2 - self.s
        angle = math.atan2(height, a)
        wave = np.sin(k * angle) * (2 * modulus / height)
        cosine = np.cos(k * angle) - a / (2 * modulus) * wave
        return np.exp(k * self.log_radius) * (self.first * cosine + self.second / modulus * wave)

    def _real(self, k: np.ndarray) -> np.ndarray:
        root = self.real_root
        if root == 0:
            return np.where(k == 0, self.first, np.where(k == 1, self.second, 0.0))
        sign = 1.0 if root > 0 else np.where(k % 2 == 0, 1.0, -1.0)
        factor = (self.second - root * self.first) / root
        return sign * np.exp(k * self.log_radius) * (self.first + factor * self._geometric_sum(k))

    def _ratio(self) -> float:
        """The smaller real root over the larger."""
        return self.b / self.real_root**2

    def _geometric_sum(self, k: np.ndarray) -> np.ndarray:
        """`1 + ratio + .. + ratio^(k-1)`: k at the double root."""
        ratio = self._ratio()
        if self.discriminant == 0:
            return k
        if ratio <= 0.5:
            return (1 - ratio**k) / (1 - ratio)
        logarithm = math.log1p(-math.sqrt(self.discriminant) / abs(self.real_root))
        return np.expm1(k * logarithm) / math.expm1(logarithm)

    def settled(self, k: int) -> bool:
        """Whether after k steps the path is a geometric sequence to all digits."""
        return not self.oscillates and (self.real_root == 0 or abs(self._ratio()) ** k < 1e-18)

    def first_below(self, threshold: float, limit: float = math.inf) -> float:
        """First k in [1, limit] with |w_k| < threshold; inf if there is none."""
        start, size = 1, 256
        while start <= limit:
            size = int(min(size, limit - start + 1))
            below = np.flatnonzero(np.abs(self.at(np.arange(start, start + size))) < threshold)
            if below.size:
                return float(start + below[0])
            start, size = start + size, min(2 * size, CHUNK)
            if self.settled(start) or (self.log_radius >= 0 and start > _UNSTABLE):
                return self._tail(threshold, start, limit)
        return math.inf

    def _tail(self, threshold: float, start: int, limit: float) -> float:
        if self.log_radius >= 0:
            return math.inf
        more = math.log(abs(float(self.at(start))) / threshold) / -self.log_radius
        if not start + more <= limit + 2:
            return math.inf
        near = start + np.maximum(np.floor(more) + np.arange(-2.0, 4.0), 0)
        near = near[np.abs(self.at(near)) < threshold]
        return float(near[0]) if near.size and near[0] <= limit else math.inf


def geometric(init: float, share: float) -> Recursion:
    """`w_t = (1 - share)^t init`."""
    return Recursion(init, init - share * init, 0.0, share)


def momentum_sgd(h: float, init: float, momentum: float, nesterov: bool | float) -> Recursion:
    """Momentum SGD with coupled L2, h = learning_rate * strength; its velocity starts at 0."""
    if nesterov:
        return Recursion(init, init - h * (1 + momentum) * init, momentum * (1 - h), h)
    return Recursion(init, init - h * init, momentum, h)
