# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware fine-tuning: a trained gated network learns to decide alike in float and in int8.

A mask bit flips where rounding moves a logit across zero. Three things keep it from that:

- A step runs the network as int8 will: weights and activations are rounded exactly where and how the compiler
  rounds them, with its own calibration, and gradients pass straight through.
- The weights end on the values that int8 has, so that float and int8 run with the same ones.
- The loss asks for a distance between logits and zero, on the side where they were (`margin_loss`).

The result is an ordinary network of the same layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from acsgen.errors import AcsgenError
from acsgen.frontend.keras import read_model
from acsgen.golden.arithmetic import INT8_MAX, INT8_MIN
from acsgen.graph import Gate, Graph
from acsgen.nn.layers import ChannelGate, DGConv2D
from acsgen.nn.losses import budget_loss, distillation_loss, mac_share
from acsgen.nn.macs import mac_table
from acsgen.nn.training.loop import Log, fit
from acsgen.nn.training.schedule import Steps
from acsgen.quantize import quantize

__all__ = [
    "Forward",
    "QatSchedule",
    "Rounding",
    "fake_quantize",
    "fake_quantize_weights",
    "fine_tune",
    "forward",
    "margin_loss",
    "rounding_of",
]


@dataclass(frozen=True)
class QatSchedule(Steps):
    """How a network is fine-tuned."""

    epochs: int = 2
    learning_rate: float = 1e-3
    distillation: float = 0.5  # weight of the network as it was against the labels
    budget_weight: float = 40.0  # holds the MACs where they were
    margin: float = 1.0  # see `margin_loss`; 0 asks for none
    margin_weight: float = 0.5


class Forward(NamedTuple):
    """What a network makes of a batch B."""

    logits: Any  # (B, classes)
    gate_logits: dict[str, Any]  # gate layer -> (B, G), before they are rounded
    masks: dict[str, Any]  # gate layer -> (B, G) of 0 and 1, with the gradient of a sigmoid of the logits


@dataclass(frozen=True)
class Rounding:
    """Where an int8 graph rounds its tensors, and to what.

    tensors: name -> variables of its scale and zero point, both float32 scalars. gates: gate layer -> the
    tensor of its logits. deferred: tensors that only gates read, which round them: a gate needs the logit
    itself too, for its gradient.
    """

    source: str
    tensors: Mapping[str, tuple[tf.Variable, tf.Variable]]
    gates: Mapping[str, str]
    deferred: frozenset[str]

    def __call__(self, tensor: str, x: Any) -> Any:
        return fake_quantize(x, *self.tensors[tensor])

    def follow(self, graph: Graph) -> None:
        """Takes scales and zero points from an int8 graph of the same network."""
        for name, (scale, zero_point) in self.tensors.items():
            scale.assign(graph.tensors[name].scale)
            zero_point.assign(graph.tensors[name].zero_point)


def fine_tune(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    calibration: np.ndarray,
    schedule: QatSchedule = QatSchedule(),
    seed: int = 0,
    log: Log = print,
) -> keras.Model:
    """A copy of a trained gated model whose masks differ less between float and int8; it costs as many MACs.

    images: (N, H, W, C) float32 in [0, 1], labels: (N,) integers; those the model was trained on.
    calibration: (M, H, W, C) float32, those that `acsgen quantize` will get. The scales follow the weights: they
    are calibrated anew after each epoch. Statistics of batch normalisation and learned groups stay as they are.
    What it brought is measured by `acsgen.quantize.flips.flips`, on images that are in neither.
    Raises AcsgenError if the compiler cannot read or quantise the model, if it is not float32 throughout, has no
    gate or ends in a softmax; see also `acsgen.nn.training.loop.fit`.
    """
    _check(model)
    tuned = keras.models.clone_model(model)
    tuned.set_weights(model.get_weights())
    for layer in tuned.layers:
        if isinstance(layer, DGConv2D):  # masks were built for these groups
            layer.set_group_bits(layer.group_bits())
    table = mac_table(model)
    # Whether a gate decides on its logits or on sums is found out afterwards: logits are what can be taught.
    rounding = rounding_of(quantize(read_model(tuned), calibration, sums=False))

    def loss(x: Any, y: Any, step: Any) -> tuple[Any, dict[str, Any]]:
        before = forward(model, x)
        now = forward(tuned, x, rounding)
        entropy = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, now.logits, from_logits=True))
        total = (1.0 - schedule.distillation) * entropy
        total += schedule.distillation * distillation_loss(now.logits, tf.stop_gradient(before.logits))
        target = tf.stop_gradient(mac_share(table, before.masks))
        total += schedule.budget_weight * budget_loss(table, now.masks, target)
        if schedule.margin:
            total += schedule.margin_weight * margin_loss(now.gate_logits, before.masks, schedule.margin)
        return total, {
            "loss": entropy,
            "acc": tf.reduce_mean(keras.metrics.sparse_categorical_accuracy(y, now.logits)),
            "macs": mac_share(table, now.masks),
        }

    def calibrate_anew(epoch: int) -> str:
        rounding.follow(quantize(read_model(tuned), calibration, sums=False))
        return "calibrated"

    fit(tuned, loss, images, labels, schedule, seed, log, calibrate_anew)
    for layer in tuned.layers:
        for kernel, rounded in _rounded_kernel(layer):
            kernel.assign(rounded)
    return tuned


def margin_loss(gate_logits: Mapping[str, Any], masks: Mapping[str, Any], margin: float) -> Any:
    """Scalar: how far logits are from being clearly on the side that `masks` says, the mean over the gates of
    max(0, 1 - s * logit / (margin * r)), s = 1 where the mask is 1, else -1, r the bit's root mean square over B.

    Both: gate layer -> (B, G). Rounding errors grow with the logits, so larger ones are not safer: through r the
    loss does not change when all of them grow. With the sides fixed by masks (those of the network before), a bit
    cannot get away from zero by no longer looking at the input.
    """
    terms = []
    for name, logits in gate_logits.items():
        rms = tf.sqrt(tf.reduce_mean(tf.square(logits), axis=0) + 1e-12)
        signed = logits * tf.stop_gradient(2.0 * masks[name] - 1.0)
        terms.append(tf.reduce_mean(tf.nn.relu(1.0 - signed / (margin * rms))))
    return tf.add_n(terms) / len(terms)


def rounding_of(graph: Graph) -> Rounding:
    """Where and how an int8 graph rounds whose gates all have their logits."""
    masks = {gate.output: gate.inputs[0] for gate in graph.gates}

    def variable(value: float) -> tf.Variable:
        return tf.Variable(value, dtype=tf.float32, trainable=False)

    return Rounding(
        source=graph.input,
        tensors={
            name: (variable(tensor.scale), variable(tensor.zero_point))
            for name, tensor in graph.tensors.items()
            if tensor.scale is not None
        },
        gates=masks,
        deferred=frozenset(
            name for name in masks.values() if all(isinstance(op, Gate) for op in graph.consumers(name))
        ),
    )


def fake_quantize(x: Any, scale: Any, zero_point: Any) -> Any:
    """The real value of the int8 value of x, bit for bit that of `acsgen.golden.quantize` and `dequantize`.

    x: float32 of any shape. scale, zero_point: float32 scalars. The gradient is 1 within the range, else 0.
    """
    value = x / scale
    size = tf.abs(value)
    whole = tf.floor(size)
    steps = tf.sign(value) * (whole + tf.cast(size - whole >= 0.5, x.dtype))  # ties away from zero
    rounded = tf.clip_by_value(steps, INT8_MIN - zero_point, INT8_MAX - zero_point) * scale
    inside = tf.cast((steps + zero_point >= INT8_MIN) & (steps + zero_point <= INT8_MAX), x.dtype)
    return _straight_through(rounded, x * tf.stop_gradient(inside))


def fake_quantize_weights(kernel: Any, axis: int) -> Any:
    """A kernel rounded as the compiler does: symmetric, -127..127, one scale for each output channel.

    kernel: float32. axis: of the output channels. The gradient is 1. Batch normalisation that follows multiplies a
    channel's weights and its scale alike, so that rounding before or after folding it is the same. (The coarser
    scale that the compiler takes where a bias is 2^23 times the weights is left out.)
    """
    others = [other for other in range(len(kernel.shape)) if other != axis]
    scale = tf.reduce_max(tf.abs(kernel), axis=others, keepdims=True) / INT8_MAX
    scale = tf.where(scale == 0, tf.ones_like(scale), scale)
    return _straight_through(scale * tf.round(kernel / scale), kernel)


def forward(model: keras.Model, x: Any, rounding: Rounding | None = None) -> Forward:
    """Runs a functional model on a batch x (B, *input shape) as at inference: as it is, or rounded as in int8."""
    gate_logits: dict[str, Any] = {}
    masks: dict[str, Any] = {}

    def step(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, ChannelGate):
            gate_logits[layer.name] = logits = args[0]
            seen = logits if rounding is None else rounding(rounding.gates[layer.name], logits)
            masks[layer.name] = _straight_through(tf.cast(seen > 0, tf.float32), tf.sigmoid(logits))
            return masks[layer.name]
        if getattr(layer, "_call_has_training_arg", False):
            kwargs["training"] = False
        if rounding is None:
            return layer(*args, **kwargs)
        with keras.StatelessScope(state_mapping=_rounded_kernel(layer)):
            y = layer(*args, **kwargs)
        is_rounded = layer.name in rounding.tensors and layer.name not in rounding.deferred
        return rounding(layer.name, y) if is_rounded else y

    if rounding is not None:
        x = rounding(rounding.source, x)
    network = keras.Model(model.inputs, model.outputs)  # also of a Sequential
    outputs = network._run_through_graph(x, operation_fn=lambda layer: partial(step, layer))
    return Forward(tf.reshape(keras.tree.flatten(outputs)[0], (tf.shape(x)[0], -1)), gate_logits, masks)


def _rounded_kernel(layer: Any) -> list[tuple[Any, Any]]:
    """The layer's kernel, if it has one, and what stands for it in int8."""
    variable = getattr(layer, "kernel", None)
    if variable is None:
        return []
    kernel = tf.convert_to_tensor(variable)
    if isinstance(layer, DGConv2D):
        with tf.init_scope():  # the groups are fixed: they are read once, when the step is traced
            connections = layer.connections().astype(np.float32)
        kernel *= connections
    channels = -2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1
    return [(variable, fake_quantize_weights(kernel, len(kernel.shape) + channels))]


def _straight_through(value: Any, gradient_of: Any) -> Any:
    """Exactly `value`, with the gradient of something else."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def choose(exact: Any, like: Any) -> tuple[Any, Any]:
        return tf.identity(exact), lambda upstream: (None, upstream)

    return choose(tf.stop_gradient(value), gradient_of)


def _check(model: keras.Model) -> None:
    """AcsgenError for a model that this module cannot follow through the compiler."""
    graph = read_model(model)
    name = model.name
    if not graph.gates:
        raise AcsgenError(f"model '{name}': has no gate, and so no mask bits that int8 could flip")
    layers = {operation.name for operation in keras.Model(model.inputs, model.outputs).operations}
    for op in graph.ops:
        if (layer := op.output.partition("/")[0]) not in layers:
            raise AcsgenError(
                f"layer '{layer}': is called twice, or its name holds unusual characters: "
                "give every call a layer of its own, named with letters, digits and underscores"
            )
    for layer in model.layers:
        if layer.compute_dtype not in (None, "float32"):
            raise AcsgenError(f"layer '{layer.name}': computes in {layer.compute_dtype}, rebuild the model in float32")
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        raise AcsgenError(f"model '{name}': ends in a softmax in '{last.name}', rebuild it so that it ends in logits")
