# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of a network, in total and as a function of its masks.

Counted is what the compiler executes: every convolution (grouped ones as grouped) and dense
layer, gates included; pools, adds, BN, ReLU and mask multiplications count nothing. A closed
mask bit saves

- the outputs of the convolution in front of the mask,
- where that convolution is grouped, the inputs that only closed outputs read, and so the outputs
  of the convolution in front of it,
- the masked inputs of the convolutions behind the mask.

Traced are chains of BN, ReLU, `Activation`, `Dropout` and `ApplyMask` whose tensors have one
reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from acsgen.nn.layers import ApplyMask, DGConv2D, u_matrix

__all__ = ["MacTable", "MacTerm", "mac_table"]

_TRANSPARENT = (
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Dropout,
    ApplyMask,
)


@dataclass(frozen=True)
class MacTerm:
    """MACs of one layer that depend on the same masks.

    `weight` has one axis per name in `gates`: executed are `weight` (no gate),
    `sum_i m[i] * weight[i]` (one) or `sum_ij m0[i] * m1[j] * weight[i, j]` (two).
    """

    layer: str
    gates: tuple[str, ...]
    weight: np.ndarray


@dataclass(frozen=True)
class MacTable:
    """MACs of a network: `terms` in graph order, `gates` the mask layers' names and sizes."""

    terms: tuple[MacTerm, ...]
    gates: Mapping[str, int]

    @property
    def dense(self) -> int:
        """MACs with every mask bit on."""
        return int(sum(term.weight.sum() for term in self.terms))

    @property
    def fixed(self) -> int:
        """MACs that no mask can save."""
        return int(sum(term.weight.sum() for term in self.terms if not term.gates))

    @property
    def skippable(self) -> float:
        """Share (0..1) of the dense MACs that masks can save."""
        return 1.0 - self.fixed / self.dense

    def layers(self) -> dict[str, int]:
        """Dense MACs of each layer."""
        result: dict[str, int] = {}
        for term in self.terms:
            result[term.layer] = result.get(term.layer, 0) + int(term.weight.sum())
        return result

    def executed(self, masks: Mapping[str, Any]) -> Any:
        """(B,) MACs of each input, float64 from arrays, differentiable float32 from tensors.

        `masks`: gate layer name -> (B, G) tensor or array of zeros and ones.
        """
        # float64 counts exactly; a float32 tensor would not beyond 16.7 M.
        numeric = all(isinstance(mask, np.ndarray) for mask in masks.values())
        total: Any = float(self.fixed)
        for term in self.terms:
            weight = term.weight.astype(np.float64 if numeric else np.float32)
            if len(term.gates) == 1:
                product = masks[term.gates[0]] * weight
            elif len(term.gates) == 2:
                first, second = (masks[name] for name in term.gates)
                product = first @ weight if numeric else ops.matmul(first, weight)
                product = product * second
            else:
                continue
            total = total + (product.sum(axis=-1) if numeric else ops.sum(product, axis=-1))
        return total


@dataclass(frozen=True)
class _Control:
    """Which mask bit decides whether a channel is needed."""

    gate: str
    channel_group: tuple[int, ...]


def mac_table(model: keras.Model) -> MacTable:
    """MAC table of a functional model with fixed input size."""
    # A layer may be part of several models: the tensors are those of this model's own graph.
    graph = {
        node.operation.name: (list(node.input_tensors), list(node.output_tensors))
        for nodes in model._nodes_by_depth.values()
        for node in nodes
    }
    consumers: dict[int, list[Any]] = {}
    producer: dict[int, Any] = {}
    for layer in model.layers:
        inputs, outputs = graph[layer.name]
        producer.update((id(tensor), layer) for tensor in outputs)
        for tensor in inputs:
            consumers.setdefault(id(tensor), []).append(layer)

    out_control: dict[str, _Control] = {}
    in_control: dict[str, _Control] = {}
    gates: dict[str, int] = {}
    for layer in model.layers:
        if not isinstance(layer, ApplyMask):
            continue
        features, mask = graph[layer.name][0]
        gate = producer[id(mask)].name
        gates[gate] = int(mask.shape[-1])
        groups = layer.channel_group

        tensor, live = features, [{int(g)} for g in groups]
        while len(consumers[id(tensor)]) == 1:
            source = producer[id(tensor)]
            if isinstance(source, _TRANSPARENT):
                tensor = graph[source.name][0][0]
                continue
            if not isinstance(source, keras.layers.Conv2D | DGConv2D):
                break
            out_control[source.name] = _Control(gate, tuple(min(bits) for bits in live))
            # An input channel is dead with its readers: with one bit, if all hang on that bit.
            needs = _connections(source) > 0
            live = [set().union(*(live[o] for o in np.flatnonzero(row))) for row in needs]
            if any(len(bits) != 1 for bits in live):
                break
            in_control[source.name] = _Control(gate, tuple(min(bits) for bits in live))
            tensor = graph[source.name][0][0]

        tensors = list(graph[layer.name][1])
        while tensors:
            for reader in consumers.get(id(tensors.pop()), []):
                if isinstance(reader, keras.layers.Conv2D | DGConv2D):
                    in_control[reader.name] = _Control(gate, tuple(groups))
                elif isinstance(reader, keras.layers.ReLU | keras.layers.Dropout):
                    tensors += graph[reader.name][1]

    terms: list[MacTerm] = []
    for layer in model.layers:
        macs = _macs(layer, graph[layer.name][1][0].shape)
        if macs is not None:
            terms += _terms(layer.name, macs, in_control.get(layer.name), out_control.get(layer.name), gates)
    return MacTable(tuple(terms), gates)


def _terms(
    name: str,
    macs: np.ndarray,
    reads: _Control | None,
    writes: _Control | None,
    gates: Mapping[str, int],
) -> list[MacTerm]:
    """Sums (C_in, C_out) MACs over the channels that the same mask bits control."""
    if reads is not None:
        macs = _sum_groups(macs, reads, gates)
    if writes is not None:
        macs = _sum_groups(macs.T, writes, gates).T
    if reads is None and writes is None:
        return [MacTerm(name, (), macs.sum())]
    if writes is None and reads is not None:
        return [MacTerm(name, (reads.gate,), macs.sum(axis=1))]
    if reads is None and writes is not None:
        return [MacTerm(name, (writes.gate,), macs.sum(axis=0))]
    assert reads is not None and writes is not None
    if reads.gate == writes.gate and not (macs - np.diag(np.diag(macs))).any():
        # m * m = m: a group that reads and writes under the same bit.
        return [MacTerm(name, (reads.gate,), np.diag(macs))]
    return [MacTerm(name, (reads.gate, writes.gate), macs)]


def _sum_groups(macs: np.ndarray, control: _Control, gates: Mapping[str, int]) -> np.ndarray:
    result = np.zeros((gates[control.gate], macs.shape[1]), np.int64)
    np.add.at(result, np.asarray(control.channel_group), macs)
    return result


def _macs(layer: keras.Layer, shape: Sequence[Any]) -> np.ndarray | None:
    """(C_in, C_out) int64 MACs of each pair of channels, None for a layer without any.

    `shape` is the output's.
    """
    if isinstance(layer, keras.layers.Conv2D | DGConv2D):
        _, rows, columns, _ = shape
        size = int(rows * columns * layer.kernel_size[0] * layer.kernel_size[1])
        return _connections(layer) * size
    if isinstance(layer, keras.layers.Dense):
        return np.full(tuple(layer.kernel.shape), int(np.prod(shape[1:-1])), np.int64)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        _, rows, columns, channels = shape
        size = int(rows * columns * layer.kernel_size[0] * layer.kernel_size[1])
        source = np.arange(channels) // layer.depth_multiplier
        return np.asarray(np.eye(source[-1] + 1, dtype=np.int64)[:, source] * size)
    return None


def _connections(layer: Any) -> np.ndarray:
    """(C_in, C_out) int64, 1 where the convolution connects the channels."""
    if isinstance(layer, DGConv2D):
        return u_matrix(layer.group_bits()).astype(np.int64)
    per_group, filters = int(layer.kernel.shape[2]), int(layer.kernel.shape[3])
    block = np.ones((per_group, filters // layer.groups), np.int64)
    return np.asarray(np.kron(np.eye(layer.groups, dtype=np.int64), block), np.int64)
