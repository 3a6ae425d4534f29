# SPDX-License-Identifier: Apache-2.0
"""Float graphs for tests: a builder for small ones by hand, and random ones that nobody thought of.

The builder computes every tensor on a handful of samples while the graph grows, so that gates can be
given thresholds at which they open on some samples and close on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.graph.evaluate import OPERATORS
from acsgen.graph.ir import Graph, Tensor, make_graph
from acsgen.graph.ops import (
    Add,
    ApplyMask,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    MaxPool,
    Op,
    Padding,
    Pair,
    Relu,
    Shape,
    Shuffle,
)

Rng = np.random.Generator
Float = NDArray[np.float32]
Partition = tuple[int, ...]

#: Samples on which a graph is computed while it grows, and which calibrate it.
SAMPLES = 12


class Builder:
    """Grows a float graph. Every method appends an operator and returns the name of its output."""

    def __init__(self, rng: Rng, shape: Shape, name: str = "net") -> None:
        self.rng = rng
        self.graph_name = name
        self.ops: list[Op] = []
        self.values: dict[str, Float] = {"x": varied(rng, SAMPLES, shape)}

    @property
    def samples(self) -> Float:
        """The inputs on which the graph was computed: (SAMPLES, *shape)."""
        return self.values["x"]

    def graph(self, output: str) -> Graph:
        return make_graph(self.graph_name, Tensor("x", self.shape("x")), output, self.ops)

    def shape(self, tensor: str) -> Shape:
        return self.values[tensor].shape[1:]

    def channels(self, tensor: str) -> int:
        return self.shape(tensor)[-1]

    def put(self, kind: type[Op], *inputs: str, **fields: Any) -> str:
        """Any operator, called after its class and its place."""
        name = f"{kind.__name__.lower()}{len(self.ops)}"
        op = kind(name, inputs, name, **fields)
        self.ops.append(op)
        self.values[name] = OPERATORS[kind](op, *(self.values[i] for i in inputs))
        return name

    def conv(
        self,
        source: str,
        channels: int,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        *,
        dilation: Pair = (1, 1),
        same: bool = True,
        padding: Padding | None = None,
        groups: int = 1,
        activation: str = "none",
        partition: Partition | None = None,
    ) -> str:
        depth = self.channels(source) // groups
        return self.put(
            Conv2D,
            source,
            weights=self._weights((channels, *kernel, depth), depth * prod(kernel)),
            bias=self._bias(channels),
            stride=stride,
            padding=padding or self._padding(source, kernel, stride, dilation, same),
            dilation=dilation,
            groups=groups,
            activation=activation,
            partition=partition,
        )

    def dgconv(self, source: str, partition: Partition, kernel: Pair = (3, 3), stride: Pair = (1, 1)) -> str:
        return self.conv(source, len(partition), kernel, stride, partition=partition)

    def depthwise(
        self,
        source: str,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        *,
        dilation: Pair = (1, 1),
        same: bool = True,
        padding: Padding | None = None,
        activation: str = "none",
    ) -> str:
        channels = self.channels(source)
        return self.put(
            DepthwiseConv2D,
            source,
            weights=self._weights((*kernel, channels), prod(kernel)),
            bias=self._bias(channels),
            stride=stride,
            padding=padding or self._padding(source, kernel, stride, dilation, same),
            dilation=dilation,
            activation=activation,
        )

    def dense(self, source: str, outputs: int, activation: str = "none") -> str:
        """Reads an image without a Flatten, too."""
        inputs = prod(self.shape(source))
        return self.put(
            Dense,
            source,
            weights=self._weights((outputs, inputs), inputs),
            bias=self._bias(outputs),
            activation=activation,
        )

    def batch_norm(self, source: str) -> str:
        channels = self.channels(source)
        scale = self.rng.choice([-1.0, 1.0], channels) * self.rng.uniform(0.5, 1.5, channels)
        return self.put(BatchNorm, source, scale=scale.astype(np.float32), offset=self._bias(channels))

    def relu(self, source: str, activation: str = "relu") -> str:
        return self.put(Relu, source, activation=activation)

    def add(self, a: str, b: str, activation: str = "none") -> str:
        return self.put(Add, a, b, activation=activation)

    def pool(
        self,
        source: str,
        kind: type[MaxPool] | type[AvgPool] = MaxPool,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        same: bool = False,
        padding: Padding | None = None,
    ) -> str:
        padding = padding or self._padding(source, kernel, stride, (1, 1), same)
        return self.put(kind, source, kernel=kernel, stride=stride, padding=padding)

    def global_pool(self, source: str, kind: type[MaxPool] | type[AvgPool] = AvgPool) -> str:
        """(H, W, C) to (1, 1, C)."""
        size = self.shape(source)[:2]
        return self.put(kind, source, kernel=size, stride=size)

    def flatten(self, source: str) -> str:
        return self.put(Flatten, source)

    def shuffle(self, source: str, order: Sequence[int]) -> str:
        return self.put(Shuffle, source, order=tuple(order))

    def features(self, source: str) -> str:
        """One number per channel: (H, W, C) or (C,) to (C,)."""
        return source if len(self.shape(source)) == 1 else self.flatten(self.global_pool(source))

    def gate(self, source: str, groups: int) -> str:
        """The mask of a gate that looks at `source`: closed altogether on some samples, open on others.

        The logits of a sample have much in common, and every threshold lies in the widest gap in the
        middle half of its logits, so that rounding decides nothing.
        """
        features = self.features(source)
        count = self.channels(features)
        common, own = self.rng.normal(0, 1, count), self.rng.normal(0, 1, (groups, count))
        weights = ((common + 0.5 * own) / np.sqrt(count)).astype(np.float32)
        bias = np.array([self._threshold(v) for v in (self.values[features] @ weights.T).T], np.float32)
        return self.gate_on(self.logits(features, weights, bias))

    def logits(self, features: str, weights: Float, bias: Float) -> str:
        return self.put(Dense, features, weights=weights, bias=bias)

    def gate_on(self, logits: str) -> str:
        return self.put(Gate, logits)

    def mask(self, source: str, mask: str, partition: Partition | None = None) -> str:
        """partition: by default contiguous ranges."""
        groups = self.channels(mask)
        return self.put(ApplyMask, source, mask, partition=partition or in_order(self.channels(source), groups))

    def _threshold(self, logits: Float) -> float:
        ordered = np.sort(logits)
        quarter = len(ordered) // 4
        at = quarter + int(np.diff(ordered)[quarter:-quarter].argmax())
        gap = ordered[at + 1] - ordered[at]
        if gap > 1e-3:
            return -float(ordered[at] + ordered[at + 1]) / 2
        return -float(ordered[at]) + float(self.rng.choice([-0.5, 0.5]))

    def _padding(self, source: str, kernel: Pair, stride: Pair, dilation: Pair, same: bool) -> Padding:
        height, width, _ = self.shape(source)
        return Padding.same((height, width), kernel, stride, dilation) if same else Padding()

    def _weights(self, shape: Shape, inputs: int) -> Float:
        return self.rng.normal(0, 1 / np.sqrt(inputs), shape).astype(np.float32)

    def _bias(self, channels: int) -> Float:
        return self.rng.normal(0, 0.3, channels).astype(np.float32)


def varied(rng: Rng, count: int, shape: Shape) -> Float:
    """Inputs that differ in brightness and contrast, not only in noise."""
    ones = (1,) * (len(shape) - 1)
    contrast = rng.uniform(0.3, 1.5, (count, *ones, 1))
    brightness = rng.normal(0, 1, (count, *ones, shape[-1]))
    return (rng.normal(0, 1, (count, *shape)) * contrast + brightness).astype(np.float32)


def in_order(channels: int, groups: int) -> Partition:
    """Group g is the g-th range of channels."""
    return tuple(c * groups // channels for c in range(channels))


def mixed(rng: Rng, channels: int, groups: int) -> Partition:
    """Equal groups of channels that lie anywhere."""
    return tuple(rng.permutation(in_order(channels, groups)).tolist())


def relabelled(rng: Rng, partition: Partition) -> Partition:
    """The same groups by other numbers."""
    names = rng.permutation(max(partition) + 1)
    return tuple(int(names[g]) for g in partition)


def merged(rng: Rng, partition: Partition, groups: int, adjacent: bool) -> Partition:
    """Coarser: unions of groups, adjacent ones or any."""
    count = max(partition) + 1
    union = in_order(count, groups) if adjacent else mixed(rng, count, groups)
    return relabelled(rng, tuple(union[g] for g in partition))


def split(rng: Rng, partition: Partition, parts: int) -> Partition:
    """Finer: every group cut into `parts` equal ones."""
    result = np.zeros(len(partition), int)
    for g in range(max(partition) + 1):
        members = np.flatnonzero(np.array(partition) == g)
        result[rng.permutation(members)] = g * parts + np.arange(len(members)) % parts
    return relabelled(rng, tuple(result.tolist()))


@dataclass(frozen=True)
class RandomGraph:
    """A graph, samples (SAMPLES, *input shape) to calibrate it, and the names of what was built in."""

    graph: Graph
    samples: Float
    scenes: frozenset[str]


def random_graph(seed: int) -> RandomGraph:
    """Two to four scenes one after another, between a stem and a head; the same for the same seed."""
    rng = np.random.default_rng(seed)
    author = _Author(rng)
    tensor = author.stem()
    for scene in rng.choice(len(SCENES), int(rng.integers(2, 5)), replace=False):
        tensor = author.play(SCENES[scene], tensor)
    tensor = author.play(HEADS[rng.integers(len(HEADS))], tensor)
    return RandomGraph(author.graph(tensor), author.samples, frozenset(author.scenes))


class _Author(Builder):
    """Draws scenes: pieces of a network, from one image to the next."""

    def __init__(self, rng: Rng) -> None:
        size = int(rng.integers(6, 13))
        other = size if rng.random() < 0.6 else int(rng.integers(6, 21))
        super().__init__(rng, (size, other, int(rng.choice([1, 3, 4, 8]))), f"random{rng.integers(1000)}")
        self.scenes: set[str] = set()

    def play(self, scene: Callable[[_Author, str], str], tensor: str) -> str:
        self.scenes.add(scene.__name__)
        return scene(self, tensor)

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def one_of(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def stem(self) -> str:
        """Most networks begin with a convolution; some with what needs the input's channels in order."""
        channels = self.channels("x")
        if channels > 1 and self.chance(0.3):
            self.scenes.add("grouped_at_the_input")
            groups = self.one_of(*divisors(channels)[1:])
            if self.chance():
                return self.widen(self.conv("x", channels * self.one_of(1, 2), groups=groups))
            return self.widen(self.finish(self.dgconv("x", mixed(self.rng, channels, groups))))
        if channels > 1 and self.chance(0.2):
            self.scenes.add("mask_at_the_input")
            groups = self.groups(channels)
            return self.widen(self.mask("x", self.gate("x", groups), mixed(self.rng, channels, groups)))
        return self.widen("x")

    def widen(self, tensor: str) -> str:
        """To a number of channels that has groups."""
        return self.finish(self.any_conv(tensor, self.one_of(8, 12, 16, 16, 24)))

    def any_conv(self, tensor: str, channels: int, shrink: bool = True) -> str:
        """A plain convolution; without `shrink` the image keeps its size."""
        height, width, _ = self.shape(tensor)
        kernel = self.one_of((1, 1), (3, 3), (3, 3), (1, 3), (5, 5) if channels <= 12 else (3, 1))
        dilation = self.one_of((2, 2), (1, 2)) if self.chance(0.15) else (1, 1)
        big = min(height, width) >= 6
        stride = self.one_of((2, 2), (1, 2)) if shrink and big and self.chance(0.3) else (1, 1)
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
        choices = divisors(channels)
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
        big = min(self.shape(tensor)[:2]) >= 6
        kernel = self.one_of((3, 3), (3, 3), (1, 3), (5, 5))
        return self.depthwise(
            tensor,
            kernel,
            (2, 2) if big and self.chance(0.3) else (1, 1),
            dilation=(2, 2) if self.chance(0.15) else (1, 1),
            padding=self.any_padding(kernel) if big and self.chance(0.2) else None,
            activation=self.one_of("none", "relu", "relu6"),
        )

    def any_pool(self, tensor: str) -> str:
        kind = self.one_of(MaxPool, AvgPool)
        if min(self.shape(tensor)[:2]) < 4 or self.chance(0.4):
            return self.pool(tensor, kind, (3, 3), (1, 1), same=True)
        kernel = self.one_of((2, 2), (3, 3), (2, 3))
        padding = self.any_padding((kernel[0] - 1, kernel[1] - 1)) if self.chance(0.2) else None
        return self.pool(tensor, kind, kernel, (2, 2), same=self.chance(), padding=padding)


def divisors(number: int) -> list[int]:
    """Ascending, from 1 to the number itself."""
    return [d for d in range(1, number + 1) if number % d == 0]


# --- scenes: what may come in the middle of a network -----------------------------------------------


def plain(a: _Author, x: str) -> str:
    return a.finish(a.any_conv(x, a.one_of(8, 16, 24)))


def depthwise_and_pool(a: _Author, x: str) -> str:
    return a.relu(a.any_pool(a.finish(a.any_depthwise(x))), a.one_of("relu", "relu6"))


def learned_groups(a: _Author, x: str) -> str:
    partition = mixed(a.rng, a.channels(x), a.one_of(*divisors(a.channels(x))))
    return a.finish(a.dgconv(x, partition))


def explicit_shuffle(a: _Author, x: str) -> str:
    return a.shuffle(a.any_pool(x), a.rng.permutation(a.channels(x)).tolist())


def residual(a: _Author, x: str) -> str:
    """A branch around the input, and a BatchNorm behind the sum, which cannot be folded."""
    branch = a.conv(a.finish(a.any_conv(x, a.one_of(4, 8), shrink=False)), a.channels(x), (1, 1))
    one, other = a.one_of((x, branch), (branch, x))
    total = a.add(one, other, a.one_of("none", "relu", "relu6"))
    return a.relu(a.batch_norm(total)) if a.chance() else total


def far_sum(a: _Author, x: str) -> str:
    """Adds something of the same shape from far back, which lives until here."""
    inner = a.conv(x, 8, groups=a.one_of(*(d for d in divisors(8) if a.channels(x) % d == 0)))
    same = [name for name in a.values if a.shape(name) == a.shape(inner)]
    return a.add(inner, a.one_of(*same))


def widening_groups(a: _Author, x: str) -> str:
    """Grouped convolutions with another number of channels at either end."""
    groups = a.one_of(*(d for d in divisors(8) if a.channels(x) % d == 0))
    inner = a.conv(x, 16, groups=groups)
    mask, partition = a.new_mask(inner, x)
    if a.chance():
        partition = in_order(16, max(partition) + 1)
    return a.conv(a.mask(inner, mask, partition), 8, (1, 1), groups=a.one_of(1, 2, 4, 8))


def gated_by_input(a: _Author, x: str) -> str:
    inner = a.finish(a.any_conv(x, a.one_of(8, 12, 16)))
    mask, partition = a.new_mask(inner, x)
    return a.mask(inner, mask, partition)


def gated_by_itself(a: _Author, x: str) -> str:
    """The gate looks at what it masks, so that nothing may be skipped."""
    inner = a.finish(a.any_conv(x, a.one_of(8, 12, 16)))
    mask, partition = a.new_mask(inner, inner)
    return a.mask(inner, mask, partition)


def gated_bottleneck(a: _Author, x: str) -> str:
    """1x1, learned groups, mask, 1x1, around it a sum: the form that pays best."""
    width = a.one_of(8, 16)
    groups = a.groups(width)
    mask, partition = a.gate(x, groups), mixed(a.rng, width, groups)
    inner = a.relu(a.batch_norm(a.conv(x, width, (1, 1))))
    inner = a.relu(a.batch_norm(a.dgconv(inner, a.related(partition))))
    inner = a.conv(a.mask(inner, mask, partition), a.channels(x), (1, 1))
    return a.add(x, inner, "relu")


def one_gate_in_a_row(a: _Author, x: str) -> str:
    """The same mask before and behind what works on groups by themselves."""
    width = a.one_of(8, 16)
    inner = a.any_conv(x, width)
    mask, partition = a.new_mask(inner, x)
    inner = a.mask(inner, mask, partition)
    for _ in range(a.one_of(1, 2)):
        inner = a.group_worker(inner, partition)
    return a.mask(inner, mask, partition)


def two_gates_in_a_row(a: _Author, x: str) -> str:
    """A masked tensor goes into a convolution whose output another gate masks."""
    first = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(first, x)
    first = a.mask(first, mask, partition)
    second = a.group_worker(first, partition) if a.chance() else a.any_conv(first, a.one_of(8, 16))
    mask, partition = a.new_mask(second, a.one_of(x, first))
    return a.mask(second, mask, partition)


def masked_twice(a: _Author, x: str) -> str:
    """Two masks directly one after the other: of one gate, or of two."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    once = a.mask(inner, mask, partition)
    if a.chance(0.3):
        return a.mask(once, mask, relabelled(a.rng, partition) if a.chance() else partition)
    return a.mask(once, *a.new_mask(once, a.one_of(x, inner)))


def masked_by_two(a: _Author, x: str) -> str:
    """One tensor under two masks, and the sum of both."""
    inner = a.any_conv(x, a.one_of(8, 16))
    return a.add(a.mask(inner, *a.new_mask(inner, x)), a.mask(inner, *a.new_mask(inner, x)))


def masked_and_bare(a: _Author, x: str) -> str:
    """One reader sees a tensor masked, another as it is."""
    inner = a.any_conv(x, a.one_of(8, 16))
    masked = a.mask(inner, *a.new_mask(inner, x))
    bare = a.group_worker(inner, in_order(a.channels(inner), 4)) if a.chance() else a.relu(inner)
    return bare if a.shape(bare) != a.shape(masked) else a.add(masked, bare)


def pooled_and_masked(a: _Author, x: str) -> str:
    """A mask behind a pool or a clamp: what feeds it is skipped through it."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    inner = a.any_pool(inner) if a.chance(0.7) else a.relu(a.any_depthwise(inner))
    return a.mask(inner, mask, partition)


def masked_and_pooled(a: _Author, x: str) -> str:
    """Closed groups stay zero through pools and clamps up to a convolution."""
    inner = a.any_conv(x, a.one_of(8, 16))
    inner = a.any_pool(a.mask(inner, *a.new_mask(inner, x)))
    if a.chance():
        inner = a.relu(inner)
    return a.any_conv(inner, a.one_of(8, 16))


def masked_into_groups(a: _Author, x: str) -> str:
    """A grouped or depthwise convolution without a mask of its own: closed groups must really be zero."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    return a.group_worker(a.mask(inner, mask, partition), partition)


def masked_into_several(a: _Author, x: str) -> str:
    """A masked tensor with several readers of different kinds, one of them perhaps under the same mask."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    inner = a.mask(inner, mask, partition)
    readers = [a.group_worker(inner, partition), a.conv(inner, a.channels(inner), (1, 1))]
    if a.chance():
        readers[0] = a.mask(readers[0], mask, partition)
    same = [r for r in readers if a.shape(r) == a.shape(inner)]
    return a.add(same[0], a.one_of(inner, same[-1]))


def one_mask_on_two_branches(a: _Author, x: str) -> str:
    """Two readers of one tensor that both stand under one gate, in groups of different size."""
    width = a.one_of(8, 16)
    inner = a.any_conv(x, width)
    mask, partition = a.new_mask(inner, x)
    if a.chance():
        inner = a.mask(inner, mask, partition)
    branches = [a.mask(a.group_worker(inner, partition), mask, partition) for _ in range(2)]
    one, other = branches
    return one if a.shape(one) != a.shape(other) else a.add(one, other)


def gate_on_masked_logits(a: _Author, x: str) -> str:
    """A gate whose logits another gate masks: its order of channels is fixed."""
    groups = a.one_of(2, 4)
    logits = a.dense(a.features(x), groups)
    bits = a.groups(groups)
    logits = a.mask(logits, a.gate(x, bits), mixed(a.rng, groups, bits))
    inner = a.any_conv(x, 8)
    return a.mask(inner, a.gate_on(logits), mixed(a.rng, 8, groups))


SCENES: tuple[Callable[[_Author, str], str], ...] = (
    plain,
    depthwise_and_pool,
    learned_groups,
    explicit_shuffle,
    residual,
    far_sum,
    widening_groups,
    gated_by_input,
    gated_by_itself,
    gated_bottleneck,
    one_gate_in_a_row,
    two_gates_in_a_row,
    masked_twice,
    masked_by_two,
    masked_and_bare,
    pooled_and_masked,
    masked_and_pooled,
    masked_into_groups,
    masked_into_several,
    one_mask_on_two_branches,
    gate_on_masked_logits,
)


# --- heads: how a network ends ---------------------------------------------------------------------


def classifier(a: _Author, x: str) -> str:
    return a.dense(a.features(x), a.one_of(3, 10))


def flat_classifier(a: _Author, x: str) -> str:
    """Every pixel counts; sometimes without a Flatten."""
    return a.dense(a.flatten(x) if a.chance(0.7) else x, 5)


def masked_flat_classifier(a: _Author, x: str) -> str:
    x = a.conv(x, 8, (1, 1))
    return a.dense(a.flatten(a.mask(x, *a.new_mask(x, x))), 5)


def vector_classifier(a: _Author, x: str) -> str:
    """Masks, sums and clamps on tensors without pixels."""
    hidden = a.dense(a.features(x), 12)
    hidden = a.relu(a.mask(hidden, *a.new_mask(hidden, x)))
    if a.chance():
        hidden = a.add(hidden, a.batch_norm(hidden))
    return a.dense(hidden, 4)


def masked_features(a: _Author, x: str) -> str:
    """A mask on flattened features, one per channel."""
    features = a.features(x)
    return a.dense(a.mask(features, *a.new_mask(features, x)), 6)


def masked_output(a: _Author, x: str) -> str:
    """The result itself is masked, an image or a vector."""
    result = a.conv(x, 8, (1, 1)) if a.chance() else a.dense(a.features(x), 8)
    mask, partition = a.new_mask(result, x)
    result = a.mask(result, mask, partition)
    return a.flatten(result) if a.chance(0.3) else result


def image_output(a: _Author, x: str) -> str:
    """Ends in an image, which leaves as NHWC whatever wrote it."""
    groups = a.one_of(*divisors(a.channels(x)))
    return a.conv(x, a.channels(x), groups=groups) if a.chance() else a.any_pool(x)


HEADS: tuple[Callable[[_Author, str], str], ...] = (
    classifier,
    flat_classifier,
    masked_flat_classifier,
    vector_classifier,
    masked_features,
    masked_output,
    image_output,
)
