"""The same networks and training step in PyTorch, timed in a process of its own (extra `bench`).

    python -m jaxsparse.bench.torch_step LAYOUT FORM THREADS PRECISION MODEL HEIGHTxWIDTHxCHANNELS BATCH IMAGES WIDTH ..

For every line with a number of seconds on its standard input it trains for about that long and prints the seconds of
one step. FORM is eager or compiled. It runs on the GPU where there is one. The images are there already, normalised,
and the optimizer is PyTorch's fused Adam, its fastest; bfloat16 is autocast's.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

from jaxsparse.data.noise import CLASSES
from jaxsparse.models.basicnet import POOLED


def mlp(pixels: int, widths: list[int]) -> nn.Module:
    """Fully connected network with batch normalisation before each ReLU."""
    sizes = [pixels, *widths]
    hidden = [
        layer
        for inputs, outputs in zip(sizes, widths, strict=False)
        for layer in (nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], CLASSES))


def basicnet(channels: int, widths: list[int], head: int = 256) -> nn.Module:
    """BasicNet, as in `jaxsparse.models.basicnet`."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(zip([channels, *widths], widths, strict=False), start=1):
        size = 5 if number == 1 else 3
        layers += [nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number in POOLED else []
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], head, bias=False), nn.BatchNorm1d(head)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(head, CLASSES))


def main(
    layout: str,
    form: str,
    threads: int,
    precision: str,
    model: str,
    image: str,
    batch: int,
    count: int,
    widths: list[int],
) -> None:
    """Serves measurements until its input ends."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width, channels = map(int, image.split("x"))
    net = mlp(height * width * channels, widths) if model == "mlp" else basicnet(channels, widths)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    net = net.to(device, memory_format=memory)  # pyright: ignore[reportCallIssue]
    forward = torch.compile(net) if form == "compiled" else net
    images = torch.randn(count, channels, height, width).to(device, memory_format=memory)
    labels = torch.randint(0, CLASSES, (count,), device=device)
    halved = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, (0.9, 0.99), weight_decay=1e-4, fused=True)
    cross_entropy = nn.CrossEntropyLoss()

    def epoch() -> int:
        order = torch.randperm(count, device=device)
        steps = count // batch
        for index in order[: steps * batch].view(steps, batch):
            optimizer.zero_grad()
            with halved:
                loss = cross_entropy(forward(images[index]), labels[index])
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return steps

    for line in sys.stdin:
        steps, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < float(line) or not steps:
            steps += epoch()
        print(spent / steps, flush=True)


if __name__ == "__main__":
    layout, form, threads, precision, model, image, batch, count, *widths = sys.argv[1:]
    sizes = [int(width) for width in widths]
    main(layout, form, int(threads), precision, model, image, int(batch), int(count), sizes)
