"""Muon: momentum of which a matrix keeps the directions alone; what is no matrix is Adam's."""

from __future__ import annotations

from typing import Any

import jax
from optax.contrib import MuonDimensionNumbers, muon

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE
from jaxsparse.rules.rule import Chain, Look, Rule, in_one_form
from jaxsparse.trees import Kind, Tree, of_kind

RMS = 0.2
"""Of the entries of a matrix's step at a learning rate of 1: Adam's, so that both parts share a rate (Liu et al. 2025,
section 2.2)."""


def _matrices(params: Tree) -> Tree:
    """Kernels as matrices, their last axis the outputs: a convolution's with its window among the inputs."""

    def of(kernel: bool, a: Any) -> MuonDimensionNumbers | None:
        if not kernel or a.ndim < 2:
            return None
        return MuonDimensionNumbers(tuple(range(a.ndim - 1)), a.ndim - 1)

    return jax.tree.map(of, of_kind(Kind.KERNEL)(params), params)


def _chain(learning_rate: Any, beta: Any, b1: Any, b2: Any, eps: Any) -> Chain:
    return (
        muon(
            learning_rate,
            beta=beta,
            eps=eps,
            adam_b1=b1,
            adam_b2=b2,
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=RMS,
        ),
    )


RULE = Rule(
    "muon",
    in_one_form(_chain, {"beta": 0.95, "b1": 0.9, "b2": 0.999, "eps": 1e-8}),
    ranges={"beta": FRACTION, "b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    label="Muon",
    look=Look("#000000", "--"),
)
"""Jordan et al. 2024, in optax's form with Nesterov's momentum: kernels by five steps of Newton and Schulz, scales,
shifts and biases by Adam (with Nesterov's momentum too). The output layer counts as a matrix here; theirs leave it to
Adam, which the arrays do not tell."""
