# SPDX-License-Identifier: Apache-2.0
"""What a network is worth: accuracy, executed MACs, and whether its masks follow the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from acsgen.nn.layers import ChannelGate
from acsgen.nn.macs import mac_table

__all__ = ["Evaluation", "Meter", "evaluate", "gate_outputs", "predict_masks"]

#: Arrays (N, ...) of each input -> arrays of each output.
_Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and cost of a network on a set of images; MACs are per image."""

    images: int
    accuracy: float
    macs_mean: float
    macs_min: int
    macs_max: int
    macs_dense: int
    patterns: int = 1  # distinct mask patterns over all gates
    dynamic_bits: float = 0.0  # share of the mask bits on for 5-95 % of the images
    accuracy_constant: float | None = None  # every gate always opens its most used groups
    accuracy_shuffled: float | None = None  # every image gets another image's masks
    density: dict[str, list[float]] = field(default_factory=dict)  # gate -> share on, per group
    macs_std: float = 0.0  # standard deviation over the images

    @property
    def share(self) -> float:
        """Mean executed share of the dense MACs."""
        return self.macs_mean / self.macs_dense

    def text(self) -> str:
        """The main figures in one line."""
        text = f"acc {self.accuracy:.4f} at {self.share:.3f} of the MACs"
        if self.patterns > 1:
            text += f", {self.patterns} patterns, {self.dynamic_bits:.2f} of the bits dynamic"
        return text


def gate_outputs(model: keras.Model) -> dict[str, Any]:
    """Gate layer name -> symbolic (B, G) mask."""
    return {
        node.operation.name: node.output_tensors[0]
        for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True)  # input first
        for node in nodes
        if isinstance(node.operation, ChannelGate)
    }


def predict_masks(model: keras.Model, images: np.ndarray, batch: int = 500) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits (N, classes) float32 and each gate's masks (N, G) float32."""
    return Meter(model, batch).predict(images)


def evaluate(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    controls: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Measures a dense or gated model once, see `Meter.evaluate`."""
    return Meter(model).evaluate(images, labels, controls, seed)


@dataclass(frozen=True)
class Meter:
    """Measures a model again and again, as its weights change, and compiles it but once. batch: images at a time."""

    model: keras.Model
    batch: int = 500

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits (N, classes) float32 and each gate's masks (N, G) float32."""
        gates, run = self._own
        logits, *masks = run([images])
        return logits, dict(zip(gates, masks, strict=True))

    def evaluate(self, images: np.ndarray, labels: np.ndarray, controls: bool = True, seed: int = 0) -> Evaluation:
        """Accuracy and MACs on these images.

        `controls` adds the two runs that tell whether the masks depend on the input: constant masks
        (each gate opens its most used groups, as many as it opens on average) and shuffled ones.
        """
        table = mac_table(self.model)
        logits, masks = self.predict(images)
        accuracy = _accuracy(logits, labels)
        if not masks:
            dense = table.dense
            return Evaluation(len(images), accuracy, dense, dense, dense, dense)
        macs = np.asarray(table.executed(masks))
        bits = np.concatenate(list(masks.values()), axis=1)
        rate = bits.mean(axis=0)
        constant = shuffled = None
        if controls:
            order = np.random.default_rng(seed).permutation(len(images))
            # A rotation along a random order: nobody keeps their own mask.
            donor = np.empty_like(order)
            donor[order] = np.roll(order, 1)
            forced = self._forced()
            constant = _accuracy(forced([images, *_constant_masks(masks).values()])[0], labels)
            shuffled = _accuracy(forced([images, *(mask[donor] for mask in masks.values())])[0], labels)
        return Evaluation(
            images=len(images),
            accuracy=accuracy,
            macs_mean=float(macs.mean(dtype=np.float64)),
            macs_min=int(macs.min()),
            macs_max=int(macs.max()),
            macs_dense=table.dense,
            patterns=len(np.unique(bits, axis=0)),
            dynamic_bits=float(((rate >= 0.05) & (rate <= 0.95)).mean()),
            accuracy_constant=constant,
            accuracy_shuffled=shuffled,
            macs_std=float(macs.std(dtype=np.float64)),
            density={name: [float(v) for v in mask.mean(axis=0)] for name, mask in masks.items()},
        )

    @cached_property
    def _own(self) -> tuple[list[str], _Run]:
        gates = gate_outputs(self.model)
        return list(gates), _compiled(keras.Model(self.model.input, [self.model.output, *gates.values()]), self.batch)

    def _forced(self) -> _Run:
        """A copy of the model, as it is now, with its masks as further inputs in place of the gates' own."""
        copy, run = self._copy
        copy.set_weights(self.model.get_weights())
        return run

    @cached_property
    def _copy(self) -> tuple[keras.Model, _Run]:
        # Cutting a graph in the middle adds nodes to its layers, after which a model cannot be saved.
        copy = keras.models.clone_model(self.model)
        copy.set_weights(self.model.get_weights())
        forced = keras.Model([copy.input, *gate_outputs(copy).values()], copy.output)
        return copy, _compiled(forced, self.batch)


def _compiled(model: keras.Model, batch: int) -> _Run:
    """The model as a function of arrays: its outputs in float32, computed batch by batch."""
    function = tf.function(lambda *x: model(x if len(x) > 1 else x[0], training=False), autograph=False)
    # By size of the batch. TensorFlow would find them too, but warns if many models are compiled.
    known: dict[int, Callable[..., Any]] = {}

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        parts = []
        for i in range(0, len(inputs[0]), batch):
            tensors = [tf.constant(array[i : i + batch]) for array in inputs]
            size = len(tensors[0])
            if size not in known:
                known[size] = function.get_concrete_function(*tensors)
            parts.append([np.asarray(t, np.float32) for t in keras.tree.flatten(known[size](*tensors))])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    return run


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def _constant_masks(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    result = {}
    for name, mask in masks.items():
        count = math.floor(mask.sum(axis=1).mean() + 0.5)
        constant = np.zeros_like(mask)
        constant[:, np.argsort(-mask.mean(axis=0), kind="stable")[:count]] = 1.0
        result[name] = constant
    return result
