# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of a Keras network, in total and as a function of its masks.

Counted is what the compiler executes, taken from its own plan of the network: every convolution
(grouped ones as grouped) and dense layer, gates included; pools, adds, BN, ReLU and masks count
nothing. So a budget in training is the budget that the firmware keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from acsgen.frontend.keras import read_model
from acsgen.plan import plan
from acsgen.plan.lists import Bits, gates_in
from acsgen.quantize import prepare

__all__ = ["MacTable", "MacTerm", "mac_table"]


@dataclass(frozen=True)
class MacTerm:
    """MACs of one operator with all gates open, and the lists whose densities (share of active
    groups) they are multiplied by: none, that of the outputs, that of the inputs, or both.
    when: without an active group in any of these lists there are none at all."""

    layer: str
    lists: tuple[str, ...]
    macs: int
    when: tuple[str, ...] = ()


@dataclass(frozen=True)
class MacTable:
    """MACs of a network: `terms` in running order, `gates` the gate layers' names and sizes.

    lists: what the groups of each list hang on; a gate's own list has the gate's name. waiting: gates that decide only
    where one of others has opened a group, in the order in which they decide; else their masks are closed.
    """

    terms: tuple[MacTerm, ...]
    gates: Mapping[str, int]
    lists: Mapping[str, Bits]
    waiting: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def dense(self) -> int:
        """MACs with every mask bit on."""
        return sum(term.macs for term in self.terms)

    @property
    def fixed(self) -> int:
        """MACs that no mask can save: those with every gate closed."""
        closed = {name: np.zeros((1, groups)) for name, groups in self.gates.items()}
        return int(np.ravel(self.executed(closed))[0])

    @property
    def skippable(self) -> float:
        """Share (0..1) of the dense MACs that masks can save."""
        return 1.0 - self.fixed / self.dense

    def layers(self) -> dict[str, int]:
        """Dense MACs of each layer that has any."""
        return {term.layer: term.macs for term in self.terms if term.macs}

    def executed(self, masks: Mapping[str, Any]) -> Any:
        """(B,) MACs of each input, float64 from arrays, differentiable float32 from tensors; () if none can be saved.

        `masks`: gate layer name -> (B, G) tensor or array of zeros and ones.
        """
        # float64 counts exactly; a float32 tensor would not beyond 16.7 M.
        numeric = all(isinstance(mask, np.ndarray) for mask in masks.values())
        masks = dict(masks)
        for gate, others in self.waiting:
            masks[gate] = masks[gate] * _any_open([self.lists[name] for name in others], masks)[..., None]
        density = {name: _density(bits, masks, numeric) for name, bits in self.lists.items()}
        total: Any = float(sum(term.macs for term in self.terms if not (term.lists or term.when)))
        for term in self.terms:
            if term.lists or term.when:
                share: Any = float(term.macs)
                for name in term.lists:
                    share = share * density[name]
                if term.when:
                    share = share * _any_open([self.lists[name] for name in term.when], masks)
                total = total + share
        return np.rint(total) if numeric else total


def _density(bits: Bits, masks: Mapping[str, Any], numeric: bool) -> Any:
    """Share of the groups that are active, (B,): the mean over bits of masks (B, G), and over what is always there."""
    total: Any = float(bits.count(None))
    for gate in gates_in(bits):
        mask = masks[gate].astype(np.float64) if numeric else masks[gate]
        times = np.bincount([bit[1] for bit in bits if bit and bit[0] == gate], minlength=int(mask.shape[-1]))
        counted = mask @ times if numeric else ops.sum(mask * times.astype(np.float32), axis=-1)
        total = total + counted
    return total / len(bits)


def _any_open(lists: list[Bits], masks: Mapping[str, Any]) -> Any:
    """1 where any bit of these lists is open, else 0: (B,); differentiable in every bit."""
    all_closed: Any = 1.0
    for name, index in dict.fromkeys(bit for bits in lists for bit in bits if bit):
        all_closed = all_closed * (1.0 - masks[name][..., index])
    return 1.0 - all_closed


def mac_table(model: keras.Model) -> MacTable:
    """MAC table of a functional model with fixed input size.

    Raises AcsgenError where the compiler does not support a layer.
    """
    planned = plan(prepare(read_model(model)))
    names = {op.output: op.name for op in planned.graph.ops}
    terms = tuple(
        MacTerm(names[term.output], tuple(name for name in (term.active, term.joined) if name), term.macs, term.when)
        for term in planned.terms
        if term.output in names
    )
    conditions = [*(when for _, when in planned.waiting), *(term.when for term in terms)]
    used = dict.fromkeys(name for lists in (*conditions, *(term.lists for term in terms)) for name in lists)
    gates = {slot.mask: slot.groups for slot in planned.gates}
    return MacTable(terms, gates, {name: planned.bits(name) for name in used}, planned.waiting)
