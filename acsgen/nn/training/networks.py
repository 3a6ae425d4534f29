# SPDX-License-Identifier: Apache-2.0
"""Training of gated networks and of their dense twins: what each one's loss is.

Images are (N, H, W, C) float32 in [0, 1], labels (N,) integers; the data stay in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from acsgen.nn.layers import DGConv2D
from acsgen.nn.losses import budget_loss, distillation_loss, group_size_loss, mac_share
from acsgen.nn.macs import mac_table
from acsgen.nn.training.loop import AfterEpoch, EpochEnd, Log, State, fit
from acsgen.nn.training.measure import gate_outputs
from acsgen.nn.training.schedule import Schedule

__all__ = ["learned_groups", "train_dense", "train_gated"]


def train_dense(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int = 0,
    log: Log = print,
    after_epoch: AfterEpoch | None = None,
    keep: Callable[[EpochEnd], None] | None = None,
    start: State | None = None,
    resumable: bool = False,
    teacher: keras.Model | None = None,
) -> None:
    """Trains an ungated model; groups that are still learned are pulled to their `group_size`.

    teacher: a trained model to learn from beside the labels, as `schedule.distillation` says.

    The arguments from `after_epoch` on are those of `loop.fit`.
    """
    learning = learned_groups(model)

    def loss(x: Any, y: Any, step: Any) -> tuple[Any, dict[str, Any]]:
        logits = tf.cast(model(x, training=True), tf.float32)
        entropy = _cross_entropy(logits, y, schedule.label_smoothing)
        parts = {"loss": entropy, "acc": _batch_accuracy(logits, y)}
        total = _with_teacher(entropy, logits, teacher, x, schedule)
        if learning:
            groups = group_size_loss(learning)
            parts["groups"] = groups
            total = total + schedule.group_weight * groups
        return total, parts

    fit(model, loss, images, labels, schedule, seed, log, after_epoch, keep, start, resumable)


def train_gated(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    teacher: keras.Model | None = None,
    seed: int = 0,
    log: Log = print,
    after_epoch: AfterEpoch | None = None,
    keep: Callable[[EpochEnd], None] | None = None,
    start: State | None = None,
    resumable: bool = False,
) -> None:
    """Trains a gated model, best one initialised from its dense twin, to `schedule.target`.

    Groups that are still learned, those of the gates' convolutions, are pulled to their `group_size`. Until
    they are fixed, the gates' own MACs count with the groups that they had at the beginning.

    The arguments from `after_epoch` on are those of `loop.fit`.
    """
    table = mac_table(model)
    outputs = gate_outputs(model)
    probe = keras.Model(model.input, [model.output, *outputs.values()])
    gates = [model.get_layer(name) for name in outputs]
    steps = schedule.epochs * (len(images) // schedule.batch)
    learning = learned_groups(model)

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
        total = _with_teacher(entropy, logits, teacher, x, schedule)
        named = {name: tf.cast(mask, tf.float32) for name, mask in zip(outputs, masks, strict=True)}
        total += schedule.budget_weight * budget_loss(table, named, target)
        parts = {
            "loss": entropy,
            "acc": _batch_accuracy(logits, y),
            "macs": mac_share(table, named),
        }
        if learning:
            parts["groups"] = group_size_loss(learning)
            total += schedule.group_weight * parts["groups"]
        return total, parts

    fit(model, loss, images, labels, schedule, seed, log, after_epoch, keep, start, resumable)
    for gate in gates:
        gate.schedule(noise=0.0, force_open=0.0)


def learned_groups(model: keras.Model) -> list[DGConv2D]:
    """The convolutions of a model whose groups are still learned."""
    return [layer for layer in model.layers if isinstance(layer, DGConv2D) and layer.learn_groups]


def _cross_entropy(logits: Any, labels: Any, smoothing: float) -> Any:
    classes = int(logits.shape[-1])
    goal = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(goal, logits))


def _with_teacher(entropy: Any, logits: Any, teacher: keras.Model | None, x: Any, schedule: Schedule) -> Any:
    if teacher is None:
        return entropy
    guide = tf.stop_gradient(tf.cast(teacher(x, training=False), tf.float32))
    return (1.0 - schedule.distillation) * entropy + schedule.distillation * distillation_loss(logits, guide)


def _batch_accuracy(logits: Any, labels: Any) -> Any:
    hit = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(hit, tf.float32))
