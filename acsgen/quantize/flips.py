# SPDX-License-Identifier: Apache-2.0
"""How often int8 decides differently: mask bits of the float graph against those of the int8 golden model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.errors import AcsgenError
from acsgen.golden.interpreter import quantize_input, run
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate
from acsgen.quantize import quantize


@dataclass(frozen=True)
class Flips:
    """Mask bits that differ between two runs of a network on the same images. Shares are 0..1.

    gates: of each gate's bits, by the name of its mask. bits: of all mask bits. any_bit: of the images,
    those with at least one. Accuracies are None where labels were not given.
    """

    images: int
    gates: Mapping[str, float]
    bits: float
    any_bit: float
    float_accuracy: float | None = None
    int8_accuracy: float | None = None


def count_flips(floating: Mapping[str, NDArray[Any]], quantised: Mapping[str, NDArray[Any]]) -> Flips:
    """The bits that differ between two sets of masks, each a mapping from a mask's name to 0s and 1s (N, G).

    Names are taken from `floating`, which has at least one.
    """
    differs = {name: np.asarray(mask != quantised[name]) for name, mask in sorted(floating.items())}
    every = np.concatenate(list(differs.values()), axis=1)
    return Flips(
        images=len(every),
        gates={name: float(flipped.mean()) for name, flipped in differs.items()},
        bits=float(every.mean()),
        any_bit=float(every.any(axis=1).mean()),
    )


def flips(
    network: Graph,
    images: NDArray[np.float32],
    calibration: NDArray[np.float32],
    labels: NDArray[np.integer[Any]] | None = None,
) -> Flips:
    """What quantising a float graph does to its masks and, given labels (N,), to its accuracy.

    network: from `acsgen.frontend.keras`. images: float32 (N, *input shape), better none that the network was
    trained on. calibration: float32 (M, *input shape), as for `acsgen.quantize.quantize`.
    Raises AcsgenError if the network has no gate, or cannot be quantised.
    """
    if not network.gates:
        raise AcsgenError(f"graph '{network.name}' has no gate, and so no mask bits that int8 could flip")
    return compare(network, quantize(network, calibration), images, labels)


def compare(
    network: Graph,
    graph: Graph,
    images: NDArray[np.float32],
    labels: NDArray[np.integer[Any]] | None = None,
) -> Flips:
    """As `flips`, of a float graph and the int8 graph that it became; without a gate no bit flips."""
    masks = [gate.output for gate in graph.gates]
    floating = evaluate(network, images, keep=(network.output, *masks))
    quantised = run(graph, quantize_input(graph, images), keep=(graph.output, *masks))
    counted = (
        count_flips({name: floating[name] for name in masks}, quantised) if masks else Flips(len(images), {}, 0, 0)
    )
    if labels is None:
        return counted
    return replace(
        counted,
        float_accuracy=accuracy(floating[network.output], labels),
        int8_accuracy=accuracy(quantised[graph.output], labels),
    )


def accuracy(logits: NDArray[Any], labels: NDArray[np.integer[Any]]) -> float:
    """Share (0..1) of the samples whose largest logit, of any shape (N, ...), is the labelled one."""
    return float((logits.reshape(len(logits), -1).argmax(axis=1) == labels).mean())
