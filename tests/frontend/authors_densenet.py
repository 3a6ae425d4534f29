# SPDX-License-Identifier: Apache-2.0
"""The paper's densely connected network in PyTorch, to compare with: module names as in the authors' checkpoints.

Written from the paper. Groupings by their definition, bit by bit of the channel index; means over whole images.
Below it, a small one, its files, and what acsgen makes of them. TensorFlow is not imported before it must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from acsgen.frontend.torch import densenet

#: The small network: densenet40's form with few and narrow layers.
BLOCKS = (2, 1)


def named(**modules: nn.Module) -> nn.Sequential:
    """Modules one after the other, under these names."""
    sequence = nn.Sequential()
    for name, module in modules.items():
        sequence.add_module(name, module)
    return sequence


class Grouped(nn.Module):
    """3x3 convolution that connects channels which agree in every bit of their index whose scalar is not > 0."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(channels.bit_length() - 1))
        self.register_buffer("D", torch.eye(2))
        self.register_buffer("I", torch.ones(2, 2))
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bits, channels = len(self.gate), self.conv.in_channels
        together = torch.ones(channels, channels)
        for out in range(channels):
            for into in range(channels):
                for k, scalar in enumerate(self.gate.tolist()):
                    bit = bits - 1 - k
                    if scalar <= 0 and (out >> bit) & 1 != (into >> bit) & 1:
                        together[out, into] = 0
        weight = self.conv.weight * together[:, :, None, None]
        return functional.conv2d(x, weight, stride=self.conv.stride, padding=1)


class GateNetwork(nn.Module):
    """Features to a mask, one bit for each new channel of the next layer."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 1, stride=2, bias=False)
        self.conv2 = Grouped(hidden, stride=2)
        self.se = nn.Module()  # never called, but in the files
        squeezed = max(1, hidden // 16)
        self.se.fc = nn.Sequential(
            nn.Linear(hidden, squeezed, bias=False), nn.ReLU(), nn.Linear(squeezed, hidden, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv3 = Grouped(hidden, stride=1)
        self.linear_layer = nn.Conv2d(hidden, hidden, 1)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, hidden, 1, 1)."""
        x = self.conv3(functional.relu(self.bn1(self.conv2(self.conv1(x)))))
        return self.linear_layer(x.mean(dim=(2, 3), keepdim=True))


class DenseNet(nn.Module):
    """densenet40 by default; `growth` must be a power of two, the width of the gates as well."""

    def __init__(
        self,
        blocks: Sequence[int] = (6, 6, 6),
        stem: int = 64,
        growth: int = 32,
        bottleneck: int = 64,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.base_layer = named(
            conv0=nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = stem
        for b, count in enumerate(blocks):
            for i in range(count):
                layer = named(
                    norm1=nn.BatchNorm2d(channels),
                    relu1=nn.ReLU(),
                    conv1=nn.Conv2d(channels, bottleneck, 1, bias=False),
                    norm2=nn.BatchNorm2d(bottleneck),
                    relu2=nn.ReLU(),
                    conv2=nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False),
                )
                self.add_module(f"denseblock{b}_{i}", nn.Sequential(named(dense_module=layer)))
                channels += growth
                self.add_module(f"denseblock{b}_{i}_gate", GateNetwork(channels, growth))
            transition = named(
                norm=nn.BatchNorm2d(channels),
                relu=nn.ReLU(),
                conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                pool=nn.AvgPool2d(2),
            )
            self.add_module(f"trans{b}", named(trans_module=transition))
            channels //= 2
        self.bn_norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, 3, H, W) to the class logits and, for every mask that is applied, the gate's logits (B, growth)."""
        x = self.base_layer(x)
        decisions: list[torch.Tensor] = []
        gate: Any = None
        seen = x  # what the gate reads
        for b, count in enumerate(self.blocks):
            for i in range(count):
                new = self.get_submodule(f"denseblock{b}_{i}")(x)
                if gate is not None:
                    decisions.append(gate.logits(seen).flatten(1))
                    new = new * (torch.sigmoid(decisions[-1]) > 0.5).float()[:, :, None, None]
                x = seen = torch.cat([x, new], dim=1)
                gate = self.get_submodule(f"denseblock{b}_{i}_gate")
            x = self.get_submodule(f"trans{b}")(x)
        x = functional.relu(self.bn_norm(x)).mean(dim=(2, 3))
        return self.classifier(x), decisions


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Every value of the state drawn anew, statistics of the batch normalisations and grouping scalars as well."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=draw))

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.running_var, 0.2, 1.5)  # below 1e-3 a wrong epsilon would show even more
                uniform(module.bias, -0.3, 0.5)
                uniform(module.running_mean, -0.3, 0.3)
                module.num_batches_tracked.fill_(7)
            elif isinstance(module, Grouped):
                uniform(module.gate, -1e-8, 1e-8)
                module.gate[0] = 0.0  # counts as 0: strictly above zero is 1
            elif isinstance(module, nn.Conv2d | nn.Linear):
                deviation = (2 / module.weight[0].numel()) ** 0.5
                module.weight.copy_(deviation * torch.randn(module.weight.shape, generator=draw))
                if module.bias is not None:
                    uniform(module.bias, -0.5, 0.5)
    return network.eval()


def small_network(seed: int = 1) -> Any:
    return randomise(DenseNet(BLOCKS, stem=8, growth=8, bottleneck=16, classes=4), seed)


def _build_small(input_shape: tuple[int, int, int], classes: int) -> Any:
    from acsgen.nn.zoo import densenet40

    widths = {"blocks": BLOCKS, "stem": 8, "growth": 8, "bottleneck": 16, "gate_hidden": 8}
    return densenet40(input_shape, classes=classes, **widths)


#: How acsgen reads the small network.
SMALL = densenet(BLOCKS, _build_small)


def save(path: Path, state: Any, parallel: bool = False, arch: Any = "densenet40", **options: Any) -> Path:
    """A file as the authors' training writes it."""
    prefixed = {f"module.{key}": value for key, value in state.items()} if parallel else state
    torch.save({"epoch": 3, "arch": arch, "state_dict": prefixed, "best_prec1": 91.5}, path, **options)
    return path
