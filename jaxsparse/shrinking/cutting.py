"""The smaller arrays: kept positions of every axis, for parameters and for whatever mirrors them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.config import InvalidInput
from jaxsparse.trees import Tree, flatten

Model = TypeVar("Model", bound=nnx.Module)


@dataclass(frozen=True)
class Cut:
    """Which positions of which axes stay."""

    shapes: Mapping[str, tuple[int, ...]]
    """of the parameters and running statistics before, by name"""
    kept: Mapping[str, tuple[np.ndarray, ...]]
    """of the same, the kept positions along each axis"""

    def leaf(self, name: str, array: Any) -> Any:
        """One array that mirrors the parameter of this name."""
        if all(len(kept) == size for kept, size in zip(self.kept[name], np.shape(array), strict=True)):
            return array
        return jnp.asarray(np.asarray(array)[np.ix_(*self.kept[name])])

    def apply(self, tree: Tree) -> Tree:
        """The same cut of a tree that mirrors the parameters: gradients, masks, or an optimizer's state.

        A leaf mirrors a parameter if its path ends with the parameter's name (`0/mu/hidden/0/linear/kernel`); scalars
        and leaves of other names stay as they are. This holds for the state of every optax optimizer that keeps
        arrays like the parameters, wrapped (chained, masked, partitioned) or not, so that training goes on:

            smaller, report = js.shrink(model, example)
            optimizer_state = report.cut.apply(optimizer_state)

        Raises:
          InvalidInput: for a leaf with the name of a parameter but another shape, such as a factored moment.
        """
        leaves = []
        for path, leaf in flatten(tree).items():
            name = self._named(path)
            if name is None or np.ndim(leaf) == 0:
                leaves.append(leaf)
                continue
            if np.shape(leaf) != self.shapes[name]:
                raise InvalidInput(f"{path} must have the shape of {name}, {self.shapes[name]}, got {np.shape(leaf)}")
            leaves.append(self.leaf(name, leaf))
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    def _named(self, path: str) -> str | None:
        parts = path.split("/")
        names = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((name for name in names if name in self.shapes), None)


def replace_arrays(model: Model, arrays: Mapping[str, Any]) -> Model:
    """A copy of a model with other arrays, perhaps of other sizes, and the sizes that its modules state set to theirs.

    Args:
      arrays: by name. One that the model lacks must be the `bias` of a module of the model, which then gets it.

    Raises:
      InvalidInput: where an array is missing.
    """
    graph, state = nnx.split(model)
    names = list(flatten(state))
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InvalidInput(f"weights must hold every array of the model, {missing[0]!r} is missing")
    leaves = [arrays[name] for name in names]
    copy = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves), copy=True)
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(copy)}
    for name in arrays.keys() - set(names):
        module: Any = modules[name.rpartition("/")[0]]
        module.bias, module.use_bias = nnx.Param(jnp.asarray(arrays[name])), True
    for module in modules.values():
        _state_sizes(module)
    return copy


def _state_sizes(module: Any) -> None:
    """Sets the sizes that flax's modules state beside their arrays."""
    if isinstance(module, nnx.Linear):
        module.in_features, module.out_features = module.kernel.shape
    elif isinstance(module, nnx.Conv):
        depthwise = 1 < module.feature_group_count == module.in_features == module.out_features
        *_, inputs, outputs = module.kernel_shape = module.kernel.shape
        if depthwise:
            module.feature_group_count = outputs
        module.in_features, module.out_features = inputs * module.feature_group_count, outputs
    elif isinstance(module, nnx.ConvTranspose):
        *_, inputs, outputs = module.kernel_shape = module.kernel.shape
        if module.transpose_kernel:
            inputs, outputs = outputs, inputs
        module.in_features, module.out_features = inputs, outputs
    elif isinstance(module, nnx.BatchNorm):
        module.num_features = module.mean.shape[-1]
