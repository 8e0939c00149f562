"""Networks: parameter counts of the papers, initialisation, shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsparse import models, trees
from jaxsparse.config import InvalidInput
from jaxsparse.trees import Kind


def parameters(build) -> dict[str, jax.Array]:
    return trees.flatten(nnx.state(nnx.eval_shape(build), nnx.Param))


def test_basicnet_has_the_papers_convolution_parameters() -> None:
    """Mehta et al. 2019, table 2: 4,649,664, which only a 5x5 first layer without convolution biases gives."""
    found = parameters(lambda: models.BasicNet(classes=10, rngs=nnx.Rngs(0)))
    kernels = {
        name: leaf for name, leaf in found.items() if name.startswith("convolutions") and name.endswith("kernel")
    }
    assert sum(kernel.size for kernel in kernels.values()) == 4_649_664
    assert [kernel.shape[-1] for kernel in kernels.values()] == [64, 128, 128, 256, 256, 512, 512]
    assert not any("linear/bias" in name for name in found)


def test_basicnet_counts_its_features() -> None:
    found = parameters(lambda: models.BasicNet(classes=100, rngs=nnx.Rngs(0)))
    scales = [leaf.size for name, leaf in found.items() if name.startswith("convolutions") and name.endswith("scale")]
    assert sum(scales) == 1856
    assert found["head/kernel"].shape == (256, 100)


def test_mlp_has_the_parameters_of_its_layers() -> None:
    found = parameters(lambda: models.MLP(10, shape=(8, 8, 1), widths=(300, 50), rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in found.values()) == 64 * 300 + 2 * 300 + 300 * 50 + 2 * 50 + 50 * 10 + 10


@pytest.mark.parametrize("name", models.names())
def test_initialisation(name: str) -> None:
    """Xavier with the ReLU gain: variance 2 * 2 / (fan_in + fan_out); gamma 1, beta 0, biases 0."""
    model = models.build(name, shape=(8, 8, 3), classes=10, widths=models.widths_of(name, 0.5), rngs=nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    for (name, leaf), kind in zip(trees.flatten(params).items(), jax.tree.leaves(trees.kinds(params)), strict=True):
        if kind == Kind.KERNEL:
            window = np.prod(leaf.shape[:-2])
            expected = 4 / (window * (leaf.shape[-2] + leaf.shape[-1]))
            assert float(jnp.var(leaf)) == pytest.approx(expected, rel=0.15), name
        else:
            np.testing.assert_array_equal(leaf, 1.0 if kind == Kind.SCALE else 0.0, err_msg=name)


@pytest.mark.parametrize("name", models.names())
def test_takes_images_of_any_shape_and_any_widths(name: str) -> None:
    model = models.build(name, shape=(16, 12, 3), classes=7, widths=(4, 6, 5), rngs=nnx.Rngs(0))
    assert model(jnp.ones((2, 16, 12, 3))).shape == (2, 7)


def test_layer_that_died_whole() -> None:
    """A network with an empty layer is built all the same: what is left is the next layer's shift."""
    found = parameters(lambda: models.MLP(10, widths=(0, 0, 5), rngs=nnx.Rngs(0)))
    assert found["hidden/1/linear/kernel"].shape == (0, 0)


def test_pools_after_2_4_6() -> None:
    model = models.BasicNet(widths=(2,) * 7, rngs=nnx.Rngs(0))
    x = jnp.ones((1, 32, 32, 3))
    sides = []
    for block in model.convolutions:
        x = block(x)
        sides.append(x.shape[1])
    assert sides == [32, 16, 16, 8, 8, 4, 4]


def test_bad_input() -> None:
    with pytest.raises(InvalidInput, match=r"model must be one of mlp basicnet, got '\.\./mlp'"):
        models.widths_of("../mlp")
    with pytest.raises(InvalidInput, match="image sides must be >= 8 for 7 convolutions"):
        models.BasicNet(shape=(4, 4, 1), rngs=nnx.Rngs(0))


def test_widths() -> None:
    assert models.widths_of("basicnet", 0.25) == (16, 32, 32, 64, 64, 128, 128)
    assert models.widths_of("mlp", 1.0, (7, 8)) == (7, 8)
    assert models.widths_of("mlp", 1e-9) == (1,)
