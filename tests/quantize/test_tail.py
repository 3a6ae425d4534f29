# SPDX-License-Identifier: Apache-2.0
"""Collapsed tails of gates: the same logits from fewer multiplications."""

from __future__ import annotations

import numpy as np
import pytest

from acsgen.graph import AvgPool, Conv2D, Gate, Graph
from acsgen.graph.evaluate import evaluate
from acsgen.graph.ops import Padding, Pair
from acsgen.quantize.tail import collapse_tails
from tests.graphs import Builder, mixed


def logits_of(graph: Graph) -> str:
    return next(op.inputs[0] for op in graph.ops if isinstance(op, Gate))


def gated(
    seed: int,
    kernel: Pair = (3, 3),
    padding: Padding | None = None,
    groups: int = 1,
    learned: bool = False,
    last: str = "dense",
    activation: str = "none",
    shape: tuple[int, ...] = (7, 6, 8),
) -> tuple[Graph, Builder]:
    """A gate with a convolution, a global mean and logits at its end."""
    b = Builder(np.random.default_rng(seed), shape)
    partition = mixed(b.rng, 8, 4) if learned else None
    conv = b.conv("x", 8, kernel, padding=padding, groups=groups, partition=partition, activation=activation)
    pooled = b.global_pool(conv)
    logits = b.dense(b.flatten(pooled), 4) if last == "dense" else b.flatten(b.conv(pooled, 4, (1, 1)))
    return b.graph(b.mask(b.conv("x", 8), b.gate_on(logits))), b


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel": (1, 3)},
        {"kernel": (5, 5)},
        {"padding": Padding()},
        {"padding": Padding(2, 0, 1, 2)},
        {"groups": 2},
        {"learned": True},
        {"last": "conv"},
        {"shape": (9, 9, 8), "kernel": (2, 4)},
    ],
)
def test_logits_are_the_same(arguments: dict[str, object]) -> None:
    """Whatever the kernel, the padding and the groups: borders count for the pixels at which a tap is inside."""
    graph, b = gated(3, **arguments)  # type: ignore[arg-type]
    collapsed = collapse_tails(graph)
    name = logits_of(graph)
    assert logits_of(collapsed) == name and len(collapsed.ops) <= len(graph.ops) - 1
    before, after = (evaluate(g, b.samples, keep=[name])[name] for g in (graph, collapsed))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    assert collapsed.macs() < graph.macs()


def test_a_3x3_tail_becomes_nine_means_a_channel() -> None:
    collapsed = collapse_tails(gated(0)[0])
    pool = next(op for op in collapsed.ops if isinstance(op, AvgPool))
    assert collapsed.shape(pool.output) == (3, 3, 8)
    assert sum(isinstance(op, Conv2D) for op in collapsed.ops) == 1


@pytest.mark.parametrize("arguments", [{"activation": "relu"}, {"shape": (1, 1, 8)}])
def test_others_stay(arguments: dict[str, object]) -> None:
    """An activation between, or an image that is smaller than the kernel."""
    graph, _ = gated(1, **arguments)  # type: ignore[arg-type]
    assert len(collapse_tails(graph).ops) == len(graph.ops)


def test_a_classifier_keeps_its_tail() -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    graph = b.graph(b.dense(b.features(b.conv("x", 8)), 3))
    assert collapse_tails(graph) is graph
