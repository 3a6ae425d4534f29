# SPDX-License-Identifier: Apache-2.0
"""Small int8 models for tests of what comes after quantising."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from acsgen.graph import Graph
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import AvgPool, Padding
from acsgen.quantize.acsq import save_acsq
from tests.graphs import Builder, quantize_with_logits

INPUT_SHAPE = (6, 6, 4)


def small_graph(name: str = "net", seed: int = 3) -> Graph:
    """Every kind of operator that an int8 graph can hold, with a gate over four groups."""
    b = Builder(np.random.default_rng(seed), INPUT_SHAPE, name)
    x = b.relu(b.pool(b.conv("x", 8, activation="relu6"), same=True), "relu")
    masked = b.mask(b.depthwise(b.conv(x, 8, groups=2)), b.gate(x, 4))
    summed = b.add(masked, b.shuffle(x, [1, 0, 3, 2, 5, 4, 7, 6]), activation="relu")
    joined = b.concat(summed, b.pool(b.pad(masked, Padding(1, 0, 2, 1)), AvgPool, (2, 4), (1, 1)))
    features = b.flatten(b.reshape(b.global_pool(joined), (4, 4)))
    return quantize_with_logits(b.graph(b.dense(features, 3)), b.samples)


def renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The same graph with other names of operators and tensors."""

    def new(name: str) -> str:
        return names.get(name, name)

    ops = [replace(op, name=new(op.name), inputs=tuple(map(new, op.inputs)), output=new(op.output)) for op in graph.ops]
    tensors = {new(name): replace(tensor, name=new(name)) for name, tensor in graph.tensors.items()}
    return make_graph(graph.name, tensors[new(graph.input)], new(graph.output), ops, tensors)


def write_model(folder: Path, name: str = "net", seed: int = 3) -> Path:
    """A small model's file."""
    path = folder / f"{name}.acsq"
    save_acsq(small_graph(name, seed), path)
    return path


def write_samples(path: Path, count: int = 4) -> Path:
    """Samples for the small model, with labels."""
    rng = np.random.default_rng(5)
    with path.open("wb") as stream:
        np.savez(stream, x=rng.normal(size=(count, *INPUT_SHAPE)).astype(np.float32), y=rng.integers(0, 3, count))
    return path
