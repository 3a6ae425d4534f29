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
from acsgen.quantize import prepare

__all__ = ["MacTable", "MacTerm", "mac_table"]


@dataclass(frozen=True)
class MacTerm:
    """MACs of one operator with all gates open, and the gates whose densities (share of open
    groups) they are multiplied by: none, that of the outputs, that of the inputs, or both."""

    layer: str
    gates: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class MacTable:
    """MACs of a network: `terms` in running order, `gates` the gate layers' names and sizes."""

    terms: tuple[MacTerm, ...]
    gates: Mapping[str, int]

    @property
    def dense(self) -> int:
        """MACs with every mask bit on."""
        return sum(term.macs for term in self.terms)

    @property
    def fixed(self) -> int:
        """MACs that no mask can save."""
        return sum(term.macs for term in self.terms if not term.gates)

    @property
    def skippable(self) -> float:
        """Share (0..1) of the dense MACs that masks can save."""
        return 1.0 - self.fixed / self.dense

    def layers(self) -> dict[str, int]:
        """Dense MACs of each layer that has any."""
        return {term.layer: term.macs for term in self.terms if term.macs}

    def executed(self, masks: Mapping[str, Any]) -> Any:
        """(B,) MACs of each input, float64 from arrays, differentiable float32 from tensors.

        `masks`: gate layer name -> (B, G) tensor or array of zeros and ones.
        """
        # float64 counts exactly; a float32 tensor would not beyond 16.7 M.
        numeric = all(isinstance(mask, np.ndarray) for mask in masks.values())
        density = {
            name: mask.mean(axis=-1, dtype=np.float64) if numeric else ops.mean(mask, axis=-1)
            for name, mask in masks.items()
        }
        total: Any = float(self.fixed)
        for term in self.terms:
            if term.gates:
                share: Any = float(term.macs)
                for gate in term.gates:
                    share = share * density[gate]
                total = total + share
        return np.rint(total) if numeric else total


def mac_table(model: keras.Model) -> MacTable:
    """MAC table of a functional model with fixed input size.

    Raises AcsgenError where the compiler does not support a layer.
    """
    planned = plan(prepare(read_model(model)))
    return MacTable(
        tuple(
            MacTerm(step.op.name, tuple(gate for gate in (step.active, step.joined) if gate), step.macs)
            for step in planned.steps
        ),
        {slot.mask: slot.groups for slot in planned.gates},
    )
