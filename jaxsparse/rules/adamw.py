"""AdamW by its own name: Adam, with the libraries' constants. Its decay is the regularizer `wd-lr`."""

from __future__ import annotations

from dataclasses import replace

from jaxsparse.rules.adam import RULE as ADAM
from jaxsparse.rules.rule import Look

RULE = replace(ADAM, name="adamw", label="AdamW", papers={}, look=Look("#D55E00", (0, (5, 1.5))))
"""Loshchilov and Hutter 2019, algorithm 2, without the decay, as every rule here: with a coupled penalty it is Adam."""
