# SPDX-License-Identifier: Apache-2.0
"""A builder that draws pieces of a network at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from acsgen.graph.ops import (
    AvgPool,
    Conv2D,
    Flatten,
    Gate,
    MaxPool,
    Padding,
    Pair,
)
from tests.graphs.builder import Builder, Float, Partition, Rng, merged, mixed, relabelled, split


class Author(Builder):
    """Draws scenes: pieces of a network, from one image to the next."""

    def __init__(self, rng: Rng) -> None:
        size = int(rng.integers(6, 13))
        other = size if rng.random() < 0.6 else int(rng.integers(6, 21))
        shape = (size, other) if rng.random() < 0.8 else (size * other,)
        super().__init__(rng, (*shape, int(rng.choice([1, 3, 4, 8]))), f"random{rng.integers(1000)}")
        self.scenes: set[str] = set()

    def play(self, scene: Callable[[Author, str], str], tensor: str) -> str:
        self.scenes.add(scene.__name__)
        return scene(self, tensor)

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def stem(self) -> str:
        """Most networks begin with a convolution; some with what needs the input's channels in order."""
        source, channels = "x", self.channels("x")
        if len(self.shape("x")) == 2:
            self.scenes.add("signal")
            source = self.reshape("x", (1, *self.shape("x")))
        if self.chance(0.15):
            self.scenes.add("scaled_input")
            source = self.batch_norm(source)
        if channels > 1 and self.chance(0.3):
            self.scenes.add("grouped_at_the_input")
            groups = self.one_of(*divisors(channels)[1:])
            if self.chance():
                kernel = self.flat(source, (3, 3))
                return self.widen(self.conv(source, channels * self.one_of(1, 2), kernel, groups=groups))
            return self.widen(self.finish(self.dgconv(source, mixed(self.rng, channels, groups))))
        if channels > 1 and self.chance(0.2):
            self.scenes.add("mask_at_the_input")
            groups = self.groups(channels)
            return self.widen(self.mask(source, self.gate(source, groups), mixed(self.rng, channels, groups)))
        return self.widen(source)

    def curtain(self, tensor: str) -> str:
        """What is a signal at the end leaves as one."""
        shape = self.shape(tensor)
        return self.reshape(tensor, shape[1:]) if len(shape) == 3 and shape[0] == 1 and self.chance(0.8) else tensor

    def flat(self, tensor: str, pair: Pair) -> Pair:
        """A kernel or a stride for `tensor`, which may be a signal."""
        return (1, pair[1]) if self.shape(tensor)[0] == 1 else pair

    def side(self, tensor: str) -> int:
        """The shorter side of an image, the length of a signal."""
        height, width, _ = self.shape(tensor)
        return width if height == 1 else min(height, width)

    def widen(self, tensor: str) -> str:
        """To a number of channels that has groups."""
        return self.finish(self.any_conv(tensor, self.one_of(8, 12, 16, 16, 24)))

    def any_conv(self, tensor: str, channels: int, shrink: bool = True) -> str:
        """A plain convolution; without `shrink` the image keeps its size."""
        kernel = self.flat(tensor, self.one_of((1, 1), (3, 3), (3, 3), (1, 3), (5, 5) if channels <= 12 else (3, 1)))
        dilation = self.one_of((2, 2), (1, 2)) if self.chance(0.15) else (1, 1)
        big = self.side(tensor) >= 6
        stride = self.flat(tensor, self.one_of((2, 2), (1, 2))) if shrink and big and self.chance(0.3) else (1, 1)
        same = not (shrink and big and dilation == (1, 1) and self.chance(0.25))
        padding = self.any_padding(kernel) if shrink and big and self.chance(0.2) else None
        activation = self.one_of("none", "none", "relu", "relu6")
        return self.conv(
            tensor, channels, kernel, stride, dilation=dilation, same=same, padding=padding, activation=activation
        )

    def any_padding(self, kernel: Pair) -> Padding:
        """Half a kernel to a whole one, differently on every side."""
        top, bottom, left, right = (int(self.rng.integers(k // 2, k + 1)) for k in np.repeat(kernel, 2))
        return Padding(top, bottom, left, right)

    def finish(self, tensor: str) -> str:
        """What often stands behind a convolution."""
        if self.chance():
            tensor = self.batch_norm(tensor)
        return self.relu(tensor, self.one_of("relu", "relu6")) if self.chance() else tensor

    def groups(self, channels: int) -> int:
        """Of a mask: few, several, one per channel, rarely a single one."""
        choices = [d for d in divisors(channels) if d <= 128]
        return 1 if self.chance(0.1) else int(self.one_of(*choices[1:]))

    def new_mask(self, tensor: str, look_at: str) -> tuple[str, Partition]:
        """A gate that looks at one tensor, rarely an older one, and groups for the channels of another."""
        known = [op.output for op in self.ops if isinstance(op, Gate)]
        known = [mask for mask in known if self.channels(tensor) % self.channels(mask) == 0]
        if known and self.chance(0.2):
            mask = str(self.one_of(*known))
            return mask, mixed(self.rng, self.channels(tensor), self.channels(mask))
        groups = self.groups(self.channels(tensor))
        return self.gate(look_at, groups), mixed(self.rng, self.channels(tensor), groups)

    def gate(self, source: str, groups: int) -> str:
        """Some gates have a network of their own, with learned groups."""
        if len(self.shape(source)) == 3 and self.chance(0.25):
            inner = self.conv(source, 8, (1, 1), (2, 2))
            source = self.relu(self.batch_norm(self.dgconv(inner, mixed(self.rng, 8, self.one_of(2, 4)))))
        return super().gate(source, groups)

    def logits(self, features: str, weights: Float, bias: Float) -> str:
        """By a Dense, or by a 1x1 convolution of what was pooled."""
        producer = next(op for op in self.ops if op.output == features) if features != "x" else None
        if isinstance(producer, Flatten) and self.shape(producer.inputs[0])[:2] == (1, 1) and self.chance():
            return self.flatten(self.put(Conv2D, producer.inputs[0], weights=weights[:, None, None, :], bias=bias))
        return super().logits(features, weights, bias)

    def related(self, partition: Partition) -> Partition:
        """Groups for a learned grouping beside a mask: the same, finer, coarser, or foreign."""
        count = max(partition) + 1
        size = len(partition) // count
        kind = self.one_of("equal", "finer", "coarser", "coarser", "foreign")
        if kind == "finer" and size > 1:
            return split(self.rng, partition, self.one_of(*divisors(size)[1:]))
        if kind == "coarser" and count > 1:
            return merged(self.rng, partition, self.one_of(*divisors(count)[:-1]), self.chance())
        if kind == "foreign":
            return mixed(self.rng, len(partition), self.one_of(*divisors(len(partition))))
        return relabelled(self.rng, partition)

    def group_worker(self, tensor: str, partition: Partition) -> str:
        """Something that works on groups of channels by themselves and keeps the number of channels."""
        kind = self.one_of("dgconv", "dgconv", "conv", "depthwise", "batch_norm", "pool", "relu")
        if kind == "dgconv":
            return self.dgconv(tensor, self.related(partition), self.one_of((1, 1), (3, 3)))
        if kind == "conv":
            return self.conv(tensor, len(partition), groups=self.one_of(*divisors(len(partition))[1:]))
        if kind == "depthwise":
            return self.any_depthwise(tensor)
        if kind == "batch_norm":
            return self.batch_norm(tensor)
        return self.any_pool(tensor) if kind == "pool" else self.relu(tensor, self.one_of("relu", "relu6"))

    def any_depthwise(self, tensor: str) -> str:
        big = self.side(tensor) >= 6
        kernel = self.flat(tensor, self.one_of((3, 3), (3, 3), (1, 3), (5, 5)))
        return self.depthwise(
            tensor,
            kernel,
            self.flat(tensor, (2, 2)) if big and self.chance(0.3) else (1, 1),
            dilation=(2, 2) if self.chance(0.15) else (1, 1),
            padding=self.any_padding(kernel) if big and self.chance(0.2) else None,
            activation=self.one_of("none", "relu", "relu6"),
        )

    def any_pool(self, tensor: str) -> str:
        kind = self.one_of(MaxPool, AvgPool)
        if self.side(tensor) < 4 or self.chance(0.4):
            return self.pool(tensor, kind, self.flat(tensor, (3, 3)), (1, 1), same=True)
        kernel = self.flat(tensor, self.one_of((2, 2), (3, 3), (2, 3)))
        padding = self.any_padding((kernel[0] - 1, kernel[1] - 1)) if self.chance(0.2) else None
        return self.pool(tensor, kind, kernel, self.flat(tensor, (2, 2)), same=self.chance(), padding=padding)

    def any_pad(self, tensor: str) -> str:
        """Zeros on some sides."""
        return self.pad(tensor, Padding(*self.rng.integers(0, 3, 4).tolist()))


def divisors(number: int) -> list[int]:
    """Ascending, from 1 to the number itself."""
    return [d for d in range(1, number + 1) if number % d == 0]
