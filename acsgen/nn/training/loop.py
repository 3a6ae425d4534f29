# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs of steps, each inside one `tf.function`, and what is needed to go on later."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from acsgen.errors import AcsgenError
from acsgen.nn.training.augment import augment, by_step, running
from acsgen.nn.training.schedule import Schedule

__all__ = ["AfterEpoch", "EpochEnd", "Log", "Loss", "State", "fit"]

Log = Callable[[str], None]
#: (x (B, H, W, C), labels (B,), step scalar) -> (loss scalar, named scalars to be averaged over an epoch)
Loss = Callable[[Any, Any, Any], tuple[Any, dict[str, Any]]]
AfterEpoch = Callable[[int], str]


@dataclass(frozen=True)
class State:
    """Where a training stands: all that decides how it goes on.

    `arrays`: "model/<n>" and "optimizer/<n>" -> the n-th variable, generators of random numbers among them.
    """

    epochs: int  # done
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class EpochEnd:
    """What an epoch brought; `state` copies the variables when it is called."""

    number: int  # 1 for the first
    of: int
    means: Mapping[str, float]
    state: Callable[[], State]


def fit(
    model: keras.Model,
    loss: Loss,
    images: np.ndarray,
    labels: np.ndarray,
    schedule: Schedule,
    seed: int,
    log: Log,
    after_epoch: AfterEpoch | None = None,
    keep: Callable[[EpochEnd], None] | None = None,
    start: State | None = None,
    resumable: bool = False,
) -> None:
    """Trains the model's trainable variables for `schedule.epochs`.

    images (N, H, W, C) float32, labels (N,) integers. After each epoch: the text of `after_epoch(number)`,
    number from 0, joins the log line, then `keep` is called. `start` goes on from an earlier state.
    `resumable` draws the augmentation by step (see `augment.by_step`); `start` needs it, or what follows is
    another training. With it, a training that went on from a state ends with the very weights of one that was
    not interrupted, if TensorFlow, processor and number of threads are the same.
    Raises AcsgenError when the loss is no longer a number, or there are fewer images than a batch.
    """
    per_epoch = len(images) // schedule.batch
    if not per_epoch:
        raise AcsgenError(f"{len(images)} training images are fewer than a batch of {schedule.batch}: lower 'batch'")
    if start is not None and not resumable:
        raise ValueError("fit: a training that draws from the running generator cannot go on from a state")
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
        draw = by_step(seed, number) if resumable else running()
        x = augment(tf.gather(x_all, rows), schedule, draw)
        with tf.GradientTape() as tape:
            total, parts = loss(x, tf.gather(y_all, rows), number)
        optimizer.apply(tape.gradient(total, variables), variables)
        return parts

    # Only Python decides the control flow, so there is nothing for AutoGraph to convert.
    compiled = tf.function(train_step, autograph=False)
    rng = np.random.default_rng(seed)
    tf.random.set_seed(seed)
    done = 0
    if start is not None:
        _restore(start, model, optimizer)
        done = start.epochs
    began = time.monotonic()
    for number in range(schedule.epochs):
        # Drawn for the epochs before `start` as well: each epoch has its own order.
        order = rng.permutation(len(images))[: per_epoch * schedule.batch].astype(np.int32)
        if number < done:
            continue
        sums: dict[str, float] = {}
        for i, rows in enumerate(order.reshape(per_epoch, schedule.batch)):
            for name, value in compiled(tf.constant(rows), tf.constant(number * per_epoch + i)).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            if not all(math.isfinite(value) for value in sums.values()):
                raise AcsgenError(
                    f"the loss is not a number in epoch {number + 1}, step {i + 1}: "
                    f"lower 'learning_rate' ({schedule.learning_rate:g}), or use precision float32"
                )
        means = {name: value / per_epoch for name, value in sums.items()}
        text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        note = after_epoch(number) if after_epoch is not None else ""
        text += f" | {note}" if note else ""
        log(f"epoch {number + 1}/{schedule.epochs} {text} | {time.monotonic() - began:.0f} s")
        if keep is not None:
            keep(EpochEnd(number + 1, schedule.epochs, means, partial(_state, number + 1, model, optimizer)))


def _state(epochs: int, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    return State(
        epochs,
        {name: keras.ops.convert_to_numpy(variable).copy() for name, variable in _variables(model, optimizer).items()},
    )


def _restore(state: State, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Sets every variable. Raises AcsgenError if the state is another network's."""
    variables = _variables(model, optimizer)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in state.arrays.items()}:
        raise AcsgenError("the state of the training belongs to another network: start anew")
    for name, variable in variables.items():
        variable.assign(state.arrays[name])


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    # Unlike `weights`, `variables` holds the generators of the gates' noise and of dropout.
    both = (("model", model.variables), ("optimizer", optimizer.variables))
    return {f"{kind}/{i}": variable for kind, variables in both for i, variable in enumerate(variables)}
