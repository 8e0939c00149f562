"""Kinds and masks of parameters, whatever tree holds them."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxsparse import models, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.trees import Kind

PLAIN = {
    "conv": {"kernel": jnp.zeros((3, 3, 1, 2)), "bias": jnp.zeros(2)},
    "norm": {"scale": jnp.zeros(2), "bias": jnp.zeros(2)},
    "slope": jnp.zeros(()),
}


def test_kinds_of_plain_dicts() -> None:
    assert trees.kinds(PLAIN) == {
        "conv": {"kernel": Kind.KERNEL, "bias": Kind.BIAS},
        "norm": {"scale": Kind.SCALE, "bias": Kind.SHIFT},
        "slope": Kind.OTHER,
    }


def test_kinds_of_nnx_states() -> None:
    state = nnx.state(models.MLP(rngs=nnx.Rngs(0)), nnx.Param)
    expected = {
        "head/bias": Kind.BIAS,
        "head/kernel": Kind.KERNEL,
        "hidden/0/linear/kernel": Kind.KERNEL,
        "hidden/0/norm/bias": Kind.SHIFT,
        "hidden/0/norm/scale": Kind.SCALE,
    }
    for tree in (state, nnx.as_pure(state), nnx.to_pure_dict(state)):
        names = trees.flatten(tree)
        assert dict(zip(names, jax.tree.leaves(trees.kinds(tree)), strict=True)) == expected


def test_masks_have_the_trees_structure() -> None:
    mask = trees.of_kind("kernel", Kind.SHIFT)(PLAIN)
    assert jax.tree.structure(mask) == jax.tree.structure(PLAIN)
    assert [name for name, chosen in trees.flatten(mask).items() if chosen] == ["conv/kernel", "norm/bias"]


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kernels"):
        trees.of_kind("kernels")


def test_choices_of_kinds() -> None:
    assert trees.choice("all") == set(Kind)
    assert trees.choice("kernels") == {Kind.KERNEL}
    assert trees.choice("kernels+shifts") == {Kind.KERNEL, Kind.SHIFT}
    for text in ("", "kernel", "kernels+kernels", "kernels+", "all+kernels"):
        with pytest.raises(InvalidInput, match=r"^regularize must be all, or some of kernels biases scales shifts"):
            trees.choice(text)


def test_size() -> None:
    assert trees.size(PLAIN) == 18 + 2 + 2 + 2 + 1
