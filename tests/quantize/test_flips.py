# SPDX-License-Identifier: Apache-2.0
"""Mask bits that int8 flips are counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate
from acsgen.quantize import quantize
from acsgen.quantize.flips import Flips, count_flips, flips
from tests.graphs import Builder


def gated(seed: int = 2) -> tuple[Graph, np.ndarray]:
    """A network with two gates, and its calibration samples."""
    b = Builder(np.random.default_rng(seed), (6, 6, 4))
    x = b.mask(b.conv("x", 8, activation="relu"), b.gate("x", 4))
    y = b.mask(b.conv(x, 8), b.gate(x, 2))
    return b.graph(b.dense(b.flatten(b.global_pool(y)), 3)), b.samples


def test_by_hand() -> None:
    floating = {"b": np.array([[0, 1], [1, 1], [0, 0]]), "a": np.array([[1.0], [1.0], [0.0]])}
    int8 = {"a": np.array([[1], [0], [0]], np.uint8), "b": np.array([[1, 0], [1, 1], [0, 0]], np.uint8)}
    assert count_flips(floating, int8) == Flips(
        images=3, gates={"a": 1 / 3, "b": 2 / 6}, bits=3 / 9, any_bit=2 / 3, float_accuracy=None, int8_accuracy=None
    )


def test_of_a_network() -> None:
    """Against a loop over single images and bits."""
    network, samples = gated()
    rng = np.random.default_rng(5)
    # Coarse calibration, so that bits do flip.
    images = (samples[rng.integers(0, len(samples), 60)] + rng.normal(0, 0.05, (60, 6, 6, 4))).astype(np.float32)
    labels = rng.integers(0, 3, 60)
    found = flips(network, images, samples * 20, labels)

    graph = quantize(network, samples * 20)
    masks = sorted(gate.output for gate in graph.gates)
    counted, size, hit, right = dict.fromkeys(masks, 0), dict.fromkeys(masks, 0), 0, [0, 0]
    for image, label in zip(images, labels, strict=True):
        one = evaluate(network, image[None])
        other = run(graph, quantize_input(graph, image[None]))
        differing = 0
        for name in masks:
            for bit, int8_bit in zip(one[name][0], other[name][0], strict=True):
                counted[name] += int(bit) != int(int8_bit)
                differing += int(bit) != int(int8_bit)
                size[name] += 1
        hit += differing > 0
        right[0] += int(one[network.output][0].argmax()) == label
        right[1] += int(other[graph.output][0].argmax()) == label
    assert 0 < hit < 60
    assert found.images == 60
    assert found.gates == {name: pytest.approx(counted[name] / size[name]) for name in masks}
    assert found.bits == pytest.approx(sum(counted.values()) / sum(size.values()))
    assert found.any_bit == pytest.approx(hit / 60)
    assert (found.float_accuracy, found.int8_accuracy) == (right[0] / 60, right[1] / 60)
    assert flips(network, images, samples * 20).int8_accuracy is None


def test_a_network_without_gates_is_refused() -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    network = b.graph(b.dense(b.flatten(b.conv("x", 4)), 3))
    with pytest.raises(AcsgenError, match="'net' has no gate"):
        flips(network, b.samples, b.samples)
