"""Convolution, dense layers, batch normalisation, activation functions and max-pooling, fast on a CPU too.

Accelerators run `jax.lax` convolutions and their standard gradients well, and there `convolution` is just that, unless
many networks are packed into one program (`convolutions_as_products`). On a CPU six things are worth knowing.

**Layout.** XLA:CPU has a fast kernel for one layout only: images [N, H, W, C], kernel [KH, KW, C, D], result
[N, H, W, D], in HLO's letters `b01f_01io->b01f`. A pass rewrites other layouts to this one, but in the entry
computation alone (openxla/xla, `xla/service/cpu/conv_canonicalization.cc`; jax issue 12868). The standard gradient
has other layouts, and inside `jax.lax.scan` it falls back to a naive loop, 35 to 80 times slower. The gradients in
`convolution` are convolutions in the fast layout, with the transposes outside.

**Fewer multiplications.** A 3x3 convolution with stride 1 is what these networks spend their time in. Winograd's
algorithm along the columns (`winograd`) needs 6 products where the plain sum needs 12, for the result, for the gradient
of its input, and for the gradient of the kernel alike; along the rows it stays a plain convolution. (In both dimensions
it would save a little more, but make the data four times as large in between, not one and a half times.)

**Few pixels.** Where an image is no larger than what a window sees, XLA:CPU takes the naive loop even in the fast
layout. Images of at most four pixels are rows of one matrix product instead, on which a VGG spends most of its layers
(512 channels of 2x2 pixels: 426 ms before, on one core).

**Memory.** What does not fit into the cache costs more than arithmetic, so such work goes by chunks of images, and
`BatchNorm.activated` does normalisation, rectifier and pooling with one closed-form gradient that keeps nothing but the
convolution's output and recomputes the rest.

**Windows.** Max-pooling as the maximum of four strided slices beats a window reduction and its scatter gradient.

**Narrow products.** A product [C, N] x [N, D] with few columns D, such as the gradient of a classifier's kernel, fills
no vector registers. `product` computes its transpose, [D, N] x [N, C]; XLA would turn it round again but for a barrier.

Shapes are written as suffixes: N images, H rows, W columns, C channels in, D channels out; KH and KW kernel size.
"""

from jaxsparse.layers.activations import ACTIVATIONS, Activation, Rectifier, activation
from jaxsparse.layers.convolution import Conv, convolution
from jaxsparse.layers.dropout import dropout
from jaxsparse.layers.linear import Linear, product
from jaxsparse.layers.normalisation import RELU, BatchNorm
from jaxsparse.layers.pooling import max_pool
from jaxsparse.layers.products import convolutions_as_products

__all__ = [
    "ACTIVATIONS",
    "RELU",
    "Activation",
    "BatchNorm",
    "Conv",
    "Linear",
    "Rectifier",
    "activation",
    "convolution",
    "convolutions_as_products",
    "dropout",
    "max_pool",
    "product",
]
