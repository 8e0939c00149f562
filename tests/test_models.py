"""Networks: parameter counts of the papers, initialisation, shapes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxsparse import layers, models, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.config import Run
from jaxsparse.trees import Kind


def parameters(build) -> dict[str, jax.Array]:
    return trees.flatten(nnx.state(nnx.eval_shape(build), nnx.Param))


def some_widths(name: str, fewer: tuple[int, ...]) -> tuple[int, ...]:
    """As few as a network can do with, and not all alike."""
    own = models.widths_of(name)
    return (
        fewer
        if name.startswith(("mlp", "basicnet", "vgg", "batranet"))
        else (*fewer, *fewer[:1] * len(own))[: len(own)]
    )


def output_shape(build, shape: tuple[int, int, int]) -> tuple[int, ...]:
    return nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))(jnp.ones((2, *shape)))).shape


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


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # Liu et al. 2017, table 1: 20.04 M
        (lambda: models.VGG(19, 10, rngs=nnx.Rngs(0)), 20_035_018),
        # Retsinas et al. 2020, table 2: 11.012 M
        (lambda: models.WRN(16, 8, 100, rngs=nnx.Rngs(0)), 11_012_036),
        # The 36.5 M of Zagoruyko and Komodakis 2016, table 5, as their public implementations count them, and biases
        (lambda: models.WRN(28, 10, 10, rngs=nnx.Rngs(0)), 36_479_194 + 16 + (9 * 160 + 9 * 320 + 9 * 640)),
        # Those of torchvision, vgg16 138,357,544 and vgg11 132,863,336, with gamma and beta in place of a bias for each
        # of the 4,224 or 2,752 channels and 8,192 hidden units.
        (lambda: models.VGG(16, 1000, shape=(224, 224, 3), rngs=nnx.Rngs(0)), 138_357_544 + 4_224 + 8_192),
        (lambda: models.VGG(11, 1000, shape=(224, 224, 3), rngs=nnx.Rngs(0)), 132_863_336 + 2_752 + 8_192),
        # torchvision's alexnet and resnet50
        (lambda: models.AlexNet(1000, rngs=nnx.Rngs(0)), 61_100_840),
        (lambda: models.ResNet50(1000, rngs=nnx.Rngs(0)), 25_557_032),
    ],
    ids=[
        "vgg-19 on CIFAR-10",
        "wrn-16-8 on CIFAR-100",
        "wrn-28-10 on CIFAR-10",
        "vgg-16 on ImageNet",
        "vgg-11 on ImageNet",
        "alexnet on ImageNet",
        "resnet-50 on ImageNet",
    ],
)
def test_parameters_of_the_sources(network, expected: int) -> None:
    assert sum(leaf.size for leaf in parameters(network).values()) == expected


@pytest.mark.parametrize(("name", "side"), [("wrn-10-1", 12), ("resnet-50", 80), ("alexnet", 12), ("alexnet", 80)])
def test_any_widths_and_two_sizes_of_images(name: str, side: int) -> None:
    """Small images and large ones; widths that fit together nowhere by themselves, as a shrunk network has them."""
    widths = tuple(3 + index % 4 for index in range(len(models.widths_of(name))))
    head = {"head": (5,)} if name == "alexnet" else {}
    build = functools.partial(models.build, name, shape=(side, side, 3), classes=7, widths=widths, **head)
    assert output_shape(build, (side, side, 3)) == (2, 7)


def test_a_bottleneck_halves_the_image_in_its_3x3_convolution() -> None:
    """As torchvision's; He et al. 2016 have it in the first 1x1."""
    model = nnx.eval_shape(lambda: models.ResNet50(10, rngs=nnx.Rngs(0)))
    strides = [block.linear.strides for block in model.inner]
    assert [index for index, stride in enumerate(strides) if stride == 2] == [2 * n + 1 for n in (3, 7, 13)]
    assert [index for index, one in enumerate(model.shortcuts) if one is not None] == [0, 3, 7, 13]


def test_thinned_widths() -> None:
    """Retsinas et al. 2020, equation 12: rounded down, and about the wanted share of the parameters."""
    assert models.thinned((16, 128, 5), 0.3) == (8, 70, 2)
    assert models.thinned((1, 2), 0.01) == (1, 1)
    widths = models.thinned(models.widths_of("wrn-16-8"), 0.15)
    found = parameters(lambda: models.WRN(16, 8, 100, widths=widths, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in found.values()) == pytest.approx(0.15 * 11_012_036, rel=0.01)
    with pytest.raises(InvalidInput, match="share must be in"):
        models.thinned((3,), 1.5)


def test_vgg_16_has_the_papers_widths() -> None:
    """Mehta et al. 2019, table 7."""
    widths = models.widths_of("vgg-16")
    assert widths == (64, 64, 128, 128, 256, 256, 256, *(512,) * 6)
    assert sum(widths) == 4224


HEADS = {
    ("basicnet", 32, 10): (256,),
    ("basicnet", 32, 100): (256,),
    ("basicnet", 64, 200): (512, 256),
    ("basicnet", 224, 1000): (4096, 2048),
    ("vgg-11", 32, 100): (512,),
    ("vgg-16", 32, 10): (512,),
    ("vgg-16", 64, 200): (512, 256),
    ("vgg-16", 224, 1000): (4096, 4096),
    ("vgg-19", 32, 100): (),
}


@pytest.mark.parametrize(("name", "side", "classes"), HEADS)
def test_heads_of_the_paper(name: str, side: int, classes: int) -> None:
    """Mehta et al. 2019, section 5; on ImageNet what they see is not averaged over the whole image."""
    widths = models.widths_of(name)
    found = parameters(
        lambda: models.build(name, shape=(side, side, 3), classes=classes, widths=widths, rngs=nnx.Rngs(0))
    )
    hidden = [leaf.shape for key, leaf in found.items() if key.startswith("hidden") and key.endswith("kernel")]
    features = 512 * {("basicnet", 224): 6 * 6, ("vgg-16", 224): 7 * 7}.get((name, side), 1)
    sizes = (features, *HEADS[name, side, classes], classes)
    assert [*hidden, found["head/kernel"].shape] == list(itertools.pairwise(sizes))


@pytest.mark.parametrize("name", ["basicnet", "vgg-16"])
@pytest.mark.parametrize("head", [(), (5,), (5, 3)])
def test_other_heads(name: str, head: tuple[int, ...]) -> None:
    build = functools.partial(models.build, name, shape=(8, 8, 1), classes=7, widths=(4, 6), head=head)
    model = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
    assert [block.norm.num_features for block in model.hidden] == list(head)
    assert output_shape(build, (8, 8, 1)) == (2, 7)


def test_mlp_has_the_parameters_of_its_layers() -> None:
    found = parameters(lambda: models.MLP(10, shape=(8, 8, 1), widths=(300, 50), rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in found.values()) == 64 * 300 + 2 * 300 + 300 * 50 + 2 * 50 + 50 * 10 + 10


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-11", "wrn-10-1", "alexnet", "batranet"])
def test_initialisation(name: str) -> None:
    """Xavier with the ReLU gain: variance 2 * 2 / (fan_in + fan_out); gamma 1, beta 0, biases 0."""
    model = models.build(name, shape=(8, 8, 3), classes=10, widths=models.widths_of(name, 0.5), rngs=nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    for (name, leaf), kind in zip(trees.flatten(params).items(), jax.tree.leaves(trees.kinds(params)), strict=True):
        if kind == Kind.KERNEL:
            window = np.prod(leaf.shape[:-2])
            expected = 4 / (window * (leaf.shape[-2] + leaf.shape[-1]))
            deviation = np.sqrt(0.8 / leaf.size)  # of the variance of so many uniform numbers, relative to it
            assert float(jnp.var(leaf)) == pytest.approx(expected, rel=4 * deviation), name
        else:
            np.testing.assert_array_equal(leaf, 1.0 if kind == Kind.SCALE else 0.0, err_msg=name)


@pytest.mark.parametrize("name", models.names())
def test_takes_images_of_any_shape_and_any_widths(name: str) -> None:
    widths = some_widths(name, (4, 6, 5))
    build = functools.partial(models.build, name, shape=(16, 12, 3), classes=7, widths=widths)
    assert output_shape(build, (16, 12, 3)) == (2, 7)


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


@pytest.mark.parametrize(
    ("depth", "side", "expected"),
    [
        (11, 32, [1, 2, 4, 6, 8]),
        (16, 32, [2, 4, 7, 10, 13]),
        (16, 64, [2, 4, 7, 10, 13]),
        (16, 8, [7, 10, 13]),
        (16, 12, [7, 10, 13]),
        (16, 1, []),
        (19, 32, [2, 4, 8, 12]),
        (19, 8, [8, 12]),
    ],
)
def test_pools_of_vgg(depth: int, side: int, expected: list[int]) -> None:
    widths = (2,) * len(models.VGG.widths_of(depth))
    build = functools.partial(models.VGG, depth, shape=(side, side, 3), widths=widths, head=())
    model = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
    assert [number for number, block in enumerate(model.convolutions, start=1) if block.pool] == expected
    assert output_shape(build, (side, side, 3)) == (2, 10)


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-11", "wrn-10-1", "resnet-50"])
def test_activation_and_initial_beta_reach_every_block(name: str) -> None:
    widths = some_widths(name, (4,))
    build = functools.partial(models.build, name, shape=(4, 4, 1), classes=3, widths=widths)
    model = build(activation=jnp.tanh, initial_beta=-0.25, rngs=nnx.Rngs(0))
    modules = [module for _, module in nnx.iter_modules(model)]
    norms = [module for module in modules if isinstance(module, layers.BatchNorm)]
    assert norms
    for norm in norms:
        np.testing.assert_array_equal(norm.bias[...], -0.25)
        np.testing.assert_array_equal(norm.scale[...], 1.0)
    assert {module.activation for module in modules if hasattr(module, "activation")} == {jnp.tanh}
    x = jax.random.normal(jax.random.key(0), (9, 4, 4, 1))
    assert not np.allclose(model(x), build(initial_beta=-0.25, rngs=nnx.Rngs(0))(x))


def test_wrn_is_its_formula() -> None:
    """In evaluation mode, from the paper's figure 1 and XLA's own convolutions; the shapes of some blocks do not
    change, of others they do."""
    widths = (3, 4, 5, 6, 5, 4, 7, 3, 7, 2, 6, 5, 6)
    build = functools.partial(models.WRN, classes=4, shape=(8, 8, 2), widths=widths)
    model = nnx.jit(lambda: build(rngs=nnx.Rngs(0)))()
    model.eval()
    params = trees.flatten(nnx.state(model, nnx.Param))

    def convolved(x: jax.Array, name: str, stride: int = 1) -> jax.Array:
        kernel = params[f"{name}/kernel"]
        side = kernel.shape[0] // 2
        y = lax.conv_general_dilated(
            x, kernel, (stride,) * 2, ((side, side),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + params[f"{name}/bias"].reshape(1, 1, 1, -1)

    def normal(x: jax.Array) -> jax.Array:
        return jnp.maximum(x / np.sqrt(1 + 1e-5), 0)  # as at the start: mean 0, variance 1, gamma 1, beta 0

    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 2))
    x = convolved(images, "first")
    for block, stride in enumerate((1, 1, 2, 1, 2, 1)):
        y = normal(x)
        shortcut = convolved(y, f"shortcuts/{block}", stride) if f"shortcuts/{block}/kernel" in params else x
        x = shortcut + convolved(normal(convolved(y, f"inner/{block}/linear", stride)), f"outer/{block}")
    expected = normal(x).mean((1, 2)) @ params["head/kernel"] + params["head/bias"][None]
    np.testing.assert_allclose(nnx.jit(model)(images), expected, rtol=1e-4, atol=1e-5)
    assert [name for name in params if name.startswith("shortcuts") and name.endswith("bias")] == [
        f"shortcuts/{block}/bias" for block in (0, 2, 4)
    ]


def test_widths_of_what_is_alive() -> None:
    assert models.widths_alive(Run(widths=(5, 6)), (0, 2)) == (0, 2)
    assert models.widths_alive(Run(model="wrn-16-8", width=0.125), (1, 2, 3, 4, 5, 6)) == (
        *(2, 1, 16, 2, 16),
        *(3, 32, 4, 32),
        *(5, 64, 6, 64),
    )


@pytest.mark.parametrize(("shape", "classes"), [((32, 32, 3), 10), ((8, 8, 1), 10), ((64, 64, 3), 200)])
def test_batranet_has_a_tenth_in_its_convolutions(shape: tuple[int, int, int], classes: int) -> None:
    """Batra et al. 2024, section 2.2: 12 filters, on colour images 36 channels."""
    found = parameters(lambda: models.BatraNet(classes, shape=shape, rngs=nnx.Rngs(0)))
    kernels = [leaf.shape for name, leaf in found.items() if leaf.ndim == 4]
    assert sum(kernel[-1] for kernel in kernels) == 12
    assert sum(kernel[-1] * kernel[-2] for kernel in kernels) == (36 if shape[-1] == 3 else 30)
    inside = sum(leaf.size for name, leaf in found.items() if name.startswith("convolutions"))
    total = sum(leaf.size for leaf in found.values())
    # the dense layer has a whole number of units, and at least one
    unit = found["hidden/0/kernel"].shape[0] + 1 + classes
    assert abs(total - 10 * inside) <= unit / 2 or found["hidden/0/bias"].size == 1


def test_batranet_is_its_formula() -> None:
    model = models.BatraNet(5, shape=(9, 8, 2), widths=(3, 4, 2), activation=jnp.tanh, rngs=nnx.Rngs(0))
    x = images = jax.random.normal(jax.random.key(0), (2, 9, 8, 2))
    for number, layer in enumerate(model.convolutions, start=1):
        layer.bias[...] = jnp.full(layer.bias.shape, 0.1 * number)
        x = lax.conv_general_dilated(
            x, layer.kernel[...], (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jnp.tanh(x + 0.1 * number)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") if number == 2 else x
    (hidden,) = model.hidden
    x = jnp.tanh(x.reshape(2, 4 * 4 * 2) @ hidden.kernel[...])
    np.testing.assert_allclose(model(images), x @ model.head.kernel[...], rtol=1e-4, atol=1e-5)


def test_activation_of_a_run() -> None:
    assert models.activation_of(Run()) == layers.Rectifier(0.0)
    assert models.activation_of(Run(activation="leaky-relu", slope=0.1)) == layers.Rectifier(0.1)


def test_bad_input() -> None:
    names = "mlp basicnet vgg-11 vgg-16 vgg-19 wrn-10-1 wrn-16-3 wrn-16-8 resnet-50 alexnet batranet"
    with pytest.raises(InvalidInput, match=rf"model must be one of {names}, got '\.\./mlp'"):
        models.widths_of("../mlp")
    with pytest.raises(InvalidInput, match="image sides must be >= 8 for 7 convolutions"):
        models.BasicNet(shape=(4, 4, 1), rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="depth must be one of 11 16 19, got 13"):
        models.VGG(13, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="widths must be at most 8 numbers"):
        models.VGG(11, widths=(1,) * 9, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="depth must be 10, 16, 22"):
        models.WRN(12, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="widths must be 13 numbers"):
        models.WRN(widths=(1,) * 12, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="head must be left out for a wide"):
        models.WRN(head=(5,), rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="head must be left out for mlp"):
        models.MLP(head=(5,), rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="widths must be at most 4 numbers"):
        models.BatraNet(widths=(3,) * 5, rngs=nnx.Rngs(0))
    with pytest.raises(InvalidInput, match="initial-beta must be left out for batranet"):
        models.BatraNet(initial_beta=1.0, rngs=nnx.Rngs(0))


def test_widths() -> None:
    assert models.widths_of("basicnet", 0.25) == (16, 32, 32, 64, 64, 128, 128)
    assert models.widths_of("mlp", 1.0, (7, 8)) == (7, 8)
    assert models.widths_of("mlp", 1e-9) == (1,)
