"""One weight under Adam with L2 alone, in numbers without a smallest one.

Where the loss gradient is zero the moments of Adam fall with the weight, and the second one is a square. At a strength
of 5e-4 and b2 = 0.999 a weight dives to 1e-402 before it is thrown back and oscillates at 7e-5. float64 ends at 1e-308
(XLA takes denormals for zero; NumPy goes on to 5e-324), so there it sticks near 1e-304 for ever. Decimal numbers have
an exponent of eighteen digits.
"""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from typing import NamedTuple

import numpy as np

DIGITS = 28
"""Of the arithmetic."""
_LN10 = math.log(10)


class Path(NamedTuple):
    """A weight before the first step and after each, `[steps + 1]`, by sign and logarithm: its magnitude may be smaller
    than any float."""

    sign: np.ndarray
    """1, -1 or 0"""
    log: np.ndarray
    """natural logarithm of the magnitude; -inf for 0"""

    @property
    def sign_changes(self) -> np.ndarray:
        """`[steps]`: whether each step changed the sign."""
        return np.diff(self.sign) != 0


def adam(
    steps: int,
    *,
    init: float,
    learning_rate: float,
    strength: float | Decimal,
    b1: float,
    b2: float,
    eps: float | Decimal,
) -> Path:
    """The path of a weight > 0 under Adam with coupled L2 and no gradient of the loss.

    `g = strength w; m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; w <- w - learning_rate (m / (1 - b1^t)) /
    (sqrt(v / (1 - b2^t)) + eps)`: Kingma and Ba 2015, Algorithm 1, as in the conventions `torch` and `paper`.
    """
    with decimal.localcontext(decimal.Context(DIGITS, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)):
        rate, pull, first, second, floor = map(Decimal, (learning_rate, strength, b1, b2, eps))
        w, m, v, power1, power2 = Decimal(init), Decimal(0), Decimal(0), Decimal(1), Decimal(1)
        path = [_told(w)]
        for _ in range(steps):
            g = pull * w
            m = first * m + (1 - first) * g
            v = second * v + (1 - second) * g * g
            power1, power2 = first * power1, second * power2
            w -= rate * (m / (1 - power1)) / ((v / (1 - power2)).sqrt() + floor)
            path.append(_told(w))
    sign, log = np.asarray(path).T
    return Path(sign, log)


def _told(w: Decimal) -> tuple[float, float]:
    """Sign, and logarithm of the magnitude."""
    if not w:
        return 0.0, -math.inf
    exponent = w.adjusted()
    mantissa = float(w.scaleb(-exponent))
    return math.copysign(1.0, mantissa), math.log(abs(mantissa)) + exponent * _LN10
