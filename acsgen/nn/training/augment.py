# SPDX-License-Identifier: Apache-2.0
"""Mirrored and shifted images, and where their chances come from."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

from acsgen.nn.training.schedule import Schedule

__all__ = ["Draw", "augment", "by_step", "running"]

#: Draws of one step: mirror, shift down, shift right.
_MIRROR, _DOWN, _RIGHT = range(3)
_DRAWS = 3


class Draw(Protocol):
    """Uniform random numbers: `shape` of them, 0 <= value < `limit`, for the draw of this number."""

    def __call__(self, which: int, shape: tuple[int, ...], limit: Any, dtype: Any) -> Any: ...


def running() -> Draw:
    """Numbers from TensorFlow's running generator: they depend on all that was drawn since its seed was set."""

    def draw(which: int, shape: tuple[int, ...], limit: Any, dtype: Any) -> Any:
        return tf.random.uniform(shape, 0, limit, dtype)

    return draw


def by_step(seed: int, step: Any) -> Draw:
    """Numbers that depend on seed and step alone, so that a training can go on at any step.

    `step`: scalar integer tensor.
    """

    def draw(which: int, shape: tuple[int, ...], limit: Any, dtype: Any) -> Any:
        key = tf.stack([tf.constant(seed * _DRAWS + which, tf.int64), tf.cast(step, tf.int64)])
        return tf.random.stateless_uniform(shape, key, 0, limit, dtype, alg="philox")

    return draw


def augment(x: Any, schedule: Schedule, draw: Draw) -> Any:
    """(B, H, W, C) images, each mirrored or not, and moved by up to `schedule.shift` pixels both ways."""
    batch, (rows, columns) = schedule.batch, x.shape[1:3]
    if schedule.flip:
        mirror = draw(_MIRROR, (batch, 1, 1, 1), 1, tf.float32) < 0.5
        x = tf.where(mirror, tf.reverse(x, [2]), x)
    if schedule.shift:
        pad, span = schedule.shift, 2 * schedule.shift + 1
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        down = draw(_DOWN, (batch, 1), span, tf.int32) + tf.range(rows)
        right = draw(_RIGHT, (batch, 1), span, tf.int32) + tf.range(columns)
        x = tf.gather(x, down, axis=1, batch_dims=1)
        x = tf.gather(x, right, axis=2, batch_dims=1)
    return x
