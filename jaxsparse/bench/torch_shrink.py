"""ResNet-18 and VGG-16 in PyTorch, and dead channels out of them with Torch-Pruning (extra `torch-pruning`).

The networks are written from torchvision's tables, with its names; `bench.architectures` has the same in JAX.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch_pruning
from torch import nn

CONFIGURATION = (2, 2, 3, 3, 3)
"""Convolutions of VGG-16 before each of its pools."""


class BasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            shorter = nn.Conv2d(inplanes, planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(shorter, nn.BatchNorm2d(planes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + identity)


class ResNet18(nn.Module):
    def __init__(self, widths: tuple[int, ...], classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = widths[0]
        for number, planes in enumerate(widths, start=1):
            blocks = [BasicBlock(before, planes, 1 if number == 1 else 2), BasicBlock(planes, planes, 1)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            before = planes
        self.fc = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class VGG16(nn.Module):
    def __init__(self, widths: tuple[int, ...], hidden: int, pixels: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        channels, left = 3, list(widths)
        for times in CONFIGURATION:
            for _ in range(times):
                layers += [nn.Conv2d(channels, left[0], 3, padding=1), nn.BatchNorm2d(left[0]), nn.ReLU()]
                channels = left.pop(0)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        first, second = nn.Linear(channels * pixels, hidden), nn.Linear(hidden, hidden)
        last = nn.Linear(hidden, classes)
        self.classifier = nn.Sequential(first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


NAMES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var", "kernel": "weight"}


def network(name: str, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """The network with the arrays of that of `bench.architectures`, in evaluation mode."""
    kernels = {path: array for path, array in arrays.items() if path.endswith("kernel")}
    if name == "resnet-18":
        widths = tuple(kernels[f"layer{number}/0/conv1/kernel"].shape[-1] for number in range(1, 5))
        made: nn.Module = ResNet18(widths, len(arrays["fc/bias"]))
    else:
        convolutions = sorted((path for path in kernels if path.startswith("features")), key=_position)
        widths = tuple(kernels[path].shape[-1] for path in convolutions)
        inputs, hidden = kernels["classifier/layers/0/kernel"].shape
        made = VGG16(widths, hidden, inputs // widths[-1], len(arrays["classifier/layers/6/bias"]))
    state = made.state_dict()
    for path, array in arrays.items():
        holder, _, last = path.replace("/layers", "").rpartition("/")
        own = f"{holder.replace('/', '.')}.{NAMES[last]}"
        if own == "classifier.0.weight":  # a flattened image has its channels first there
            pixels = array.shape[0] // widths[-1]
            array = array.reshape(pixels, widths[-1], -1).swapaxes(0, 1).reshape(array.shape)
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[own].copy_(torch.tensor(np.ascontiguousarray(array)))
    made.load_state_dict(state)
    return made.eval()


def _position(path: str) -> int:
    return int(path.split("/")[2])


def pruned(made: nn.Module, dead: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> nn.Module:
    """A copy without the dead channels: of each group of channels that depend on each other those that are dead in all
    layers of it, as far as it says which are dead."""
    smaller = copy.deepcopy(made)
    modules = dict(smaller.named_modules())
    by_module = _by_module(dead, modules)
    graph = torch_pruning.DependencyGraph().build_dependency(smaller, example_inputs=_example(shape))
    for group in list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear])):
        root, function = group[0].dep.target.module, group[0].dep.handler
        masks = [
            by_module[item.dep.target.module]
            for item in group
            if item.dep.target.module in by_module and graph.is_out_channel_pruning_fn(item.dep.handler)
        ]
        chosen = np.flatnonzero(np.logical_and.reduce(masks)) if masks else np.zeros(0, int)
        if len(chosen):
            graph.get_pruning_group(root, function, idxs=chosen.tolist()).prune()
    return smaller


def _by_module(dead: Mapping[str, np.ndarray], modules: Mapping[str, nn.Module]) -> dict[nn.Module, np.ndarray]:
    """What is dead of each convolution and dense layer; a layer may be named after the `Sequential` that it begins."""
    found = {}
    for name, mask in dead.items():
        module = modules[name.replace("/layers", "").replace("/", ".")]
        found[module[0] if isinstance(module, nn.Sequential) else module] = mask
    return found


def _example(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(1, shape[-1], *shape[:-1])


def counts(made: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """`parameters`, and `macs` of convolutions and dense layers for one image."""
    found: list[int] = []

    def count(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        found.append(output.numel() * module.weight[0].numel())

    hooks = [each.register_forward_hook(count) for each in made.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    with torch.inference_mode():
        made(_example(shape))
    for hook in hooks:
        hook.remove()
    return {"parameters": sum(each.numel() for each in made.parameters()), "macs": sum(found)}


def outputs(made: nn.Module, images: np.ndarray) -> np.ndarray:
    """Of images `[n, height, width, channels]`."""
    with torch.inference_mode():
        return made(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()


def stopwatch(made: nn.Module, one: np.ndarray, batch: int) -> Callable[[], float]:
    """A function that evaluates the network on so many copies of an image, and tells the seconds; warm."""
    images = torch.tensor(one.transpose(0, 3, 1, 2).repeat(batch, 0))

    def seconds() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            made(images)
        return time.perf_counter() - start

    seconds()
    return seconds
