# SPDX-License-Identifier: Apache-2.0
"""Which groups of which tensors a closed gate makes unnecessary."""

from __future__ import annotations

import pytest

from acsgen.graph.ops import Padding
from acsgen.plan.masks import masks_of
from tests.graphs import Builder
from tests.plan.small import Build, small_graph


def masks(build: Build) -> dict[str, str]:
    """Tensor -> what a closed group of it is; `gate:` before it where there are several gates."""
    graph = small_graph(build)
    numbers = {gate.output: i for i, gate in enumerate(graph.gates)}
    several = len(numbers) > 1
    return {
        name: (f"{numbers[mask.list]}: " if several else "") + mask.closed for name, mask in masks_of(graph).items()
    }


def masked_conv(b: Builder) -> str:
    return b.conv(b.mask(b.conv("x", 8), b.gate("x", 4)), 8)


def bottleneck(b: Builder) -> str:
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.depthwise(b.conv(b.conv("x", 8), 8, groups=4)), mask), 8)


def finer_and_coarser(b: Builder) -> str:
    """A mask of 4 groups skips through 8 groups of a convolution, not through 2."""
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.conv(b.conv(b.conv("x", 8), 8, groups=2), 8, groups=8), mask), 8)


def plain_in_between(b: Builder) -> str:
    """An ordinary convolution mixes all channels: what is before it is needed."""
    return b.conv(b.mask(b.conv(b.conv("x", 8), 8), b.gate("x", 4)), 8)


def pooled_before(b: Builder) -> str:
    mask = b.gate("x", 4)
    return b.conv(b.mask(b.relu(b.pool(b.conv("x", 8))), mask), 8)


def pooled_behind(b: Builder) -> str:
    """Zero stays zero through pools and clamps; a depthwise convolution, which has a bias, makes a constant of it."""
    return b.conv(b.depthwise(b.relu(b.pool(b.mask(b.conv("x", 8), b.gate("x", 4))))), 8)


def gate_on_what_it_masks(b: Builder) -> str:
    conv = b.conv("x", 8)
    return b.conv(b.mask(conv, b.gate(conv, 4)), 8)


def gate_behind_what_it_masks(b: Builder) -> str:
    """The gate looks at the second of two convolutions, so that neither may wait for it."""
    first = b.conv("x", 8)
    second = b.conv(first, 8, groups=4)
    return b.conv(b.mask(second, b.gate(second, 4)), 8)


def bare_reader(b: Builder) -> str:
    conv = b.conv("x", 8)
    return b.add(b.mask(conv, b.gate("x", 4)), conv)


def two_masks_on_one(b: Builder) -> str:
    conv = b.conv("x", 8)
    return b.add(b.mask(conv, b.gate("x", 4)), b.mask(conv, b.gate("x", 4)))


def one_mask_on_two(b: Builder) -> str:
    mask = b.gate("x", 4)
    conv = b.conv("x", 8)
    return b.add(b.mask(conv, mask), b.mask(b.relu(b.pool(conv, stride=(1, 1), same=True)), mask))


def two_in_a_row(b: Builder) -> str:
    """The second gate looks at what the first masks."""
    first = b.mask(b.conv("x", 8), b.gate("x", 4))
    return b.conv(b.mask(b.conv(first, 8), b.gate(first, 2)), 8)


def masked_output(b: Builder) -> str:
    return b.mask(b.conv("x", 8), b.gate("x", 4))


def joined(b: Builder) -> str:
    """The mask over all sinks to the part that has none; the other is zero already."""
    mask = b.gate("x", 4)
    return b.mask(b.concat(b.mask(b.conv("x", 8), mask), b.conv("x", 8)), mask)


def padded(b: Builder) -> str:
    return b.pool(b.pad(b.mask(b.conv("x", 8), b.gate("x", 4)), Padding(1, 1, 1, 1)))


def bare_output(b: Builder) -> str:
    """The output is read by nobody here, and whole by whoever called."""
    return b.conv(b.conv("x", 8), 8)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (masked_conv, {"conv2d0": "unused", "applymask5": "zero"}),
        (
            bottleneck,
            {"conv2d4": "unused", "conv2d5": "unused", "depthwiseconv2d6": "unused", "applymask7": "zero"},
        ),
        (finer_and_coarser, {"conv2d5": "unused", "conv2d6": "unused", "applymask7": "zero"}),
        (plain_in_between, {"conv2d1": "unused", "applymask6": "zero"}),
        (pooled_before, {"conv2d4": "unused", "maxpool5": "unused", "relu6": "unused", "applymask7": "zero"}),
        (
            pooled_behind,
            {
                "conv2d0": "unused",
                "applymask5": "zero",
                "maxpool6": "zero",
                "relu7": "zero",
                "depthwiseconv2d8": "constant",
            },
        ),
        (gate_on_what_it_masks, {"applymask5": "zero"}),
        (gate_behind_what_it_masks, {"applymask6": "zero"}),
        (bare_reader, {"applymask5": "zero"}),
        (two_masks_on_one, {"applymask5": "0: zero", "applymask10": "1: zero"}),
        (
            one_mask_on_two,
            {
                "conv2d4": "unused",
                "maxpool6": "unused",
                "relu7": "unused",
                "applymask5": "zero",
                "applymask8": "zero",
            },
        ),
        (
            two_in_a_row,
            {
                "conv2d0": "0: unused",
                "applymask5": "0: zero",
                "avgpool7": "0: zero",
                "flatten8": "0: zero",
                "conv2d6": "1: unused",
                "applymask11": "1: zero",
            },
        ),
        (masked_output, {"conv2d0": "unused", "applymask5": "zero"}),
        (
            joined,
            {
                "conv2d4": "unused",
                "applymask5": "zero",
                "conv2d6": "unused",
                "concatenate7": "unused",
                "applymask8": "zero",
            },
        ),
        (padded, {"conv2d0": "unused", "applymask5": "zero"}),
        (bare_output, {}),
    ],
)
def test_masks(build: Build, expected: dict[str, str]) -> None:
    assert masks(build) == expected
