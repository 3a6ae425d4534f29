# SPDX-License-Identifier: Apache-2.0
"""Training of gated networks and of their dense twins, and the measurements that go with it.

Images are (N, H, W, C) float32 in [0, 1], labels (N,) integers. A training step runs inside one
`tf.function`; the data stay in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from acsgen.nn.layers import ChannelGate, DGConv2D
from acsgen.nn.losses import budget_loss, distillation_loss, group_size_loss, mac_share
from acsgen.nn.macs import mac_table

__all__ = [
    "Evaluation",
    "FusedBatchNormalization",
    "Schedule",
    "evaluate",
    "gate_outputs",
    "predict_masks",
    "train_dense",
    "train_gated",
]

Log = Callable[[str], None]


@keras.saving.register_keras_serializable(package="acsgen")
class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation of (B, H, W, C) by TensorFlow's fused operator: same weights, same
    results, about half the time of a training step. For training; copy the weights to a model
    with the ordinary layer afterwards (`acsgen.nn.zoo.copy_weights`)."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not self.trainable or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma.value, tf.float32),
            tf.cast(self.beta.value, tf.float32),
            epsilon=self.epsilon,
            is_training=True,
        )
        keep = self.momentum
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * keep + new * (1.0 - keep))
        return y


@dataclass(frozen=True)
class Schedule:
    """How a network is trained. Shares (0..1) are of the steps unless said otherwise."""

    epochs: int = 20
    batch: int = 128
    learning_rate: float = 3e-3  # AdamW, cosine to 0
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    flip: bool = True  # mirror half of the images
    shift: int = 2  # pixels, uniform in -shift..shift both ways, zeros move in
    # Only for gated networks:
    target: float = 0.53  # share of the dense MACs
    start_share: float = 0.02  # all gates forced open
    ramp_share: float = 0.35  # then the target falls from 1
    noise_share: float = 0.8  # the noise falls from 1 to 0
    budget_weight: float = 4.0
    distillation: float = 0.5  # weight of the teacher against the labels
    # Only for dense twins:
    group_weight: float = 0.1


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

    @property
    def share(self) -> float:
        """Mean executed share of the dense MACs."""
        return self.macs_mean / self.macs_dense


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
    gates = gate_outputs(model)
    probe = keras.Model(model.input, [model.output, *gates.values()])
    run = tf.function(lambda x: probe(x, training=False), autograph=False)
    parts = [
        [np.asarray(t, np.float32) for t in keras.tree.flatten(run(images[i : i + batch]))]
        for i in range(0, len(images), batch)
    ]
    logits, *masks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, dict(zip(gates, masks, strict=True))


def evaluate(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    controls: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Measures a dense or gated model.

    `controls` adds the two runs that tell whether the masks depend on the input: constant masks
    (each gate opens its most used groups, as many as it opens on average) and shuffled ones.
    """
    table = mac_table(model)
    logits, masks = predict_masks(model, images)
    accuracy = _accuracy(logits, labels)
    if not masks:
        dense = table.dense
        return Evaluation(len(images), accuracy, dense, dense, dense, dense)
    macs = np.asarray(table.executed(masks))
    bits = np.concatenate(list(masks.values()), axis=1)
    rate = bits.mean(axis=0)
    constant = shuffled = None
    if controls:
        forced = _forced_model(model)
        order = np.random.default_rng(seed).permutation(len(images))
        # A rotation along a random order: nobody keeps their own mask.
        donor = np.empty_like(order)
        donor[order] = np.roll(order, 1)
        constant = _accuracy(_run_forced(forced, images, _constant_masks(masks)), labels)
        other = {name: mask[donor] for name, mask in masks.items()}
        shuffled = _accuracy(_run_forced(forced, images, other), labels)
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
        density={name: [float(v) for v in mask.mean(axis=0)] for name, mask in masks.items()},
    )


def train_dense(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int = 0,
    log: Log = print,
    after_epoch: Callable[[int], str] | None = None,
) -> None:
    """Trains an ungated model; groups that are still learned are pulled to their `group_size`."""
    learning = [layer for layer in model.layers if isinstance(layer, DGConv2D) and layer.learn_groups]

    def loss(x: Any, y: Any, step: Any) -> tuple[Any, dict[str, Any]]:
        logits = tf.cast(model(x, training=True), tf.float32)
        entropy = _cross_entropy(logits, y, schedule.label_smoothing)
        parts = {"loss": entropy, "acc": _batch_accuracy(logits, y)}
        total = entropy
        if learning:
            groups = group_size_loss(learning)
            parts["groups"] = groups
            total = total + schedule.group_weight * groups
        return total, parts

    _fit(model, loss, images, labels, schedule, seed, log, after_epoch)


def train_gated(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    teacher: keras.Model | None = None,
    seed: int = 0,
    log: Log = print,
    after_epoch: Callable[[int], str] | None = None,
) -> None:
    """Trains a gated model, best one initialised from its dense twin, to `schedule.target`."""
    table = mac_table(model)
    outputs = gate_outputs(model)
    probe = keras.Model(model.input, [model.output, *outputs.values()])
    gates = [model.get_layer(name) for name in outputs]
    steps = schedule.epochs * (len(images) // schedule.batch)

    def loss(x: Any, y: Any, step: Any) -> tuple[Any, dict[str, Any]]:
        done = tf.cast(step, tf.float32) / steps
        ramp = (done - schedule.start_share) / schedule.ramp_share
        target = 1.0 - (1.0 - schedule.target) * tf.clip_by_value(ramp, 0.0, 1.0)
        for gate in gates:
            gate.schedule(
                noise=tf.maximum(0.0, 1.0 - done / schedule.noise_share),
                force_open=tf.cast(done < schedule.start_share, tf.float32),
            )
        logits, *masks = probe(x, training=True)
        logits = tf.cast(logits, tf.float32)
        entropy = _cross_entropy(logits, y, schedule.label_smoothing)
        total = entropy
        if teacher is not None:
            guide = tf.stop_gradient(tf.cast(teacher(x, training=False), tf.float32))
            total = (1.0 - schedule.distillation) * entropy
            total += schedule.distillation * distillation_loss(logits, guide)
        named = {name: tf.cast(mask, tf.float32) for name, mask in zip(outputs, masks, strict=True)}
        total += schedule.budget_weight * budget_loss(table, named, target)
        return total, {
            "loss": entropy,
            "acc": _batch_accuracy(logits, y),
            "macs": mac_share(table, named),
        }

    _fit(model, loss, images, labels, schedule, seed, log, after_epoch)
    for gate in gates:
        gate.schedule(noise=0.0, force_open=0.0)


def _fit(
    model: keras.Model,
    loss: Callable[[Any, Any, Any], tuple[Any, dict[str, Any]]],
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    log: Log,
    after_epoch: Callable[[int], str] | None,
) -> None:
    per_epoch = len(images) // schedule.batch
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(schedule.learning_rate, schedule.epochs * per_epoch),
        weight_decay=schedule.weight_decay,
    )
    # Decay belongs to kernels: it would pull gate scalars to the threshold, and shifts to 0.
    optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if v.ndim == 1])
    variables = model.trainable_variables
    optimizer.build(variables)
    x_all, y_all = tf.constant(images), tf.constant(np.asarray(labels, np.int32))

    def train_step(rows: Any, number: Any) -> Any:
        x = _augment(tf.gather(x_all, rows), schedule)
        with tf.GradientTape() as tape:
            total, parts = loss(x, tf.gather(y_all, rows), number)
        optimizer.apply(tape.gradient(total, variables), variables)
        return parts

    # Only Python decides the control flow, so there is nothing for AutoGraph to convert.
    compiled = tf.function(train_step, autograph=False)
    rng = np.random.default_rng(seed)
    tf.random.set_seed(seed)
    start = time.monotonic()
    step = 0
    for number in range(schedule.epochs):
        order = rng.permutation(len(images))[: per_epoch * schedule.batch].astype(np.int32)
        sums: dict[str, float] = {}
        for rows in order.reshape(per_epoch, schedule.batch):
            for name, value in compiled(tf.constant(rows), tf.constant(step)).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            step += 1
        text = " ".join(f"{name} {value / per_epoch:.4f}" for name, value in sums.items())
        if after_epoch is not None:
            text += f" | {after_epoch(number)}"
        log(f"epoch {number + 1}/{schedule.epochs} {text} | {time.monotonic() - start:.0f} s")


def _augment(x: Any, schedule: Schedule) -> Any:
    batch, (rows, columns) = schedule.batch, x.shape[1:3]
    if schedule.flip:
        mirror = tf.random.uniform((batch, 1, 1, 1)) < 0.5
        x = tf.where(mirror, tf.reverse(x, [2]), x)
    if schedule.shift:
        pad, span = schedule.shift, 2 * schedule.shift + 1
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        down = tf.random.uniform((batch, 1), 0, span, tf.int32) + tf.range(rows)
        right = tf.random.uniform((batch, 1), 0, span, tf.int32) + tf.range(columns)
        x = tf.gather(x, down, axis=1, batch_dims=1)
        x = tf.gather(x, right, axis=2, batch_dims=1)
    return x


def _cross_entropy(logits: Any, labels: Any, smoothing: float) -> Any:
    classes = int(logits.shape[-1])
    goal = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(goal, logits))


def _batch_accuracy(logits: Any, labels: Any) -> Any:
    hit = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(hit, tf.float32))


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


def _forced_model(model: keras.Model) -> keras.Model:
    """A copy of the model with its masks as further inputs in place of the gates' own."""
    # Cutting a graph in the middle adds nodes to its layers, after which a model cannot be saved.
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return keras.Model([copy.input, *gate_outputs(copy).values()], copy.output)


def _run_forced(
    forced: keras.Model, images: np.ndarray, masks: Mapping[str, np.ndarray], batch: int = 500
) -> np.ndarray:
    run = tf.function(lambda x: forced(x, training=False), autograph=False)
    arrays = [images, *masks.values()]
    return np.concatenate(
        [np.asarray(run([tf.constant(a[i : i + batch]) for a in arrays])) for i in range(0, len(images), batch)]
    )
