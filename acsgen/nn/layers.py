# SPDX-License-Identifier: Apache-2.0
"""Keras layers of adaptive channel skipping: learned groups, gates and masks.

Everything here is plain data when saved: a `.keras` file with these layers loads with
`safe_mode=True`, needs only `import acsgen.nn` and carries no Python code.

Shapes are NHWC throughout (B batch, H rows, W columns, C channels, G mask groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = [
    "ApplyMask",
    "ChannelGate",
    "ClipUnit",
    "DGConv2D",
    "channel_group_ids",
    "group_bits",
    "u_matrix",
]

_PACKAGE = "acsgen"


def u_matrix(bits: Sequence[int] | np.ndarray) -> np.ndarray:
    """Connection matrix U of a dynamic grouping convolution.

    `bits`: (K,) zeros and ones; the first belongs to the most significant bit of the channel
    index. Returns (2**K, 2**K) int8, 1 where output and input channel agree in every bit whose
    entry is 0, the Kronecker product of `ones(2, 2)` (1) and `eye(2)` (0).
    """
    u = np.ones((1, 1), np.int8)
    for bit in bits:
        u = np.kron(u, np.ones((2, 2), np.int8) if bit else np.eye(2, dtype=np.int8))
    return u


def group_bits(channel_groups: Sequence[int] | np.ndarray) -> np.ndarray:
    """The inverse of `channel_group_ids`: (C,) group ids -> (K,) int64 bits.

    Raises ValueError where no bits give these groups.
    """
    groups = np.asarray(channel_groups, np.int64)
    count = groups.size.bit_length() - 1
    if groups.ndim == 1 and groups.size == 1 << count:
        bits = np.array([groups[1 << (count - 1 - k)] == groups[0] for k in range(count)], np.int64)
        if np.array_equal(channel_group_ids(bits), groups):
            return bits
    raise ValueError(f"no dynamic grouping convolution has the channel groups {groups.tolist()}")


def channel_group_ids(bits: Sequence[int] | np.ndarray) -> np.ndarray:
    """Group of each channel, (2**K,) int64, numbered 0..G-1 by first appearance."""
    # The rows of U are the groups' indicator vectors: equal rows, same group, and the first
    # one of a row is the smallest member of its group.
    first = u_matrix(bits).argmax(axis=1)
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ClipUnit(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps a weight within [-1, 1], so that a gate scalar can always find its way back."""

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, -1.0, 1.0)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class DGConv2D(keras.layers.Layer):  # type: ignore[misc]
    """Dynamic grouping convolution (arXiv 1908.05867): learns its own group structure.

    Input (B, H, W, C) float, output (B, H', W', C) float, C = filters = 2**K.

    Weights: `kernel` (kh, kw, C_in, C_out), `gate` (K,) real scalars in [-1, 1], optionally
    `bias` (C,). A scalar counts as 1 where it is > 0, else as 0; the gradient passes straight
    through. The convolution uses `kernel * U`, see `u_matrix`. The kernel is stored dense.

    `group_size` is the number of channels a group should reach in training; it is only read by
    `acsgen.nn.losses.group_size_loss` and `freeze_groups`. `learn_groups=False` keeps the
    groups as they are; `freeze_groups` switches to it.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "same",
        use_bias: bool = False,
        group_size: int | None = None,
        learn_groups: bool = True,
        kernel_initializer: Any = "he_normal",
        gate_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if filters < 1 or filters & (filters - 1):
            raise ValueError(f"DGConv2D: filters must be a power of two, got {filters}")
        if padding not in ("same", "valid"):
            raise ValueError(f"DGConv2D: padding must be 'same' or 'valid', got {padding!r}")
        if group_size is not None and (not 1 <= group_size <= filters or group_size & (group_size - 1)):
            raise ValueError(f"DGConv2D: group_size must be a power of two up to {filters}, got {group_size}")
        self.filters = int(filters)
        self.kernel_size = _pair(kernel_size)
        self.strides = _pair(strides)
        self.padding = padding
        self.use_bias = bool(use_bias)
        self.group_size = group_size
        self.learn_groups = bool(learn_groups)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.gate_initializer = keras.initializers.get(gate_initializer or keras.initializers.RandomUniform(-1.0, 1.0))

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = input_shape[-1]
        if channels != self.filters:
            raise ValueError(
                f"DGConv2D {self.name!r}: input has {channels} channels but filters={self.filters};"
                " a dynamic grouping convolution needs them equal"
            )
        bits = self.filters.bit_length() - 1
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.filters, self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        # Last, so that the order of the stored weights does not depend on `learn_groups`.
        self.gate = self.add_weight(
            name="gate",
            shape=(bits,),
            initializer=self.gate_initializer,
            constraint=ClipUnit(),
            trainable=self.learn_groups,
        )

    def soft_bits(self) -> Any:
        """(K,) tensor of exact zeros and ones whose gradient is that of the scalars."""
        gate = ops.cast(self.gate, "float32")
        hard = ops.cast(gate > 0.0, "float32")
        return hard + (gate - ops.stop_gradient(gate))

    def call(self, x: Any) -> Any:
        bits = self.soft_bits()
        eye, ones = ops.eye(2, dtype="float32"), ops.ones((2, 2), dtype="float32")
        u = ops.ones((1, 1), dtype="float32")
        for k in range(self.filters.bit_length() - 1):
            factor = bits[k] * ones + (1.0 - bits[k]) * eye
            size = 2 << k
            u = ops.reshape(u[:, None, :, None] * factor[None, :, None, :], (size, size))
        kernel = ops.cast(self.kernel, self.compute_dtype) * ops.cast(u, self.compute_dtype)
        y = ops.conv(x, kernel, strides=self.strides, padding=self.padding, data_format="channels_last")
        if self.bias is not None:
            y = y + ops.cast(self.bias, y.dtype)
        return y

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        sizes: list[int | None] = []
        for size, kernel, stride in zip(input_shape[1:3], self.kernel_size, self.strides, strict=True):
            if size is None:
                sizes.append(None)
            else:
                sizes.append(-(-(size if self.padding == "same" else size - kernel + 1) // stride))
        return (input_shape[0], *sizes, self.filters)

    def group_bits(self) -> np.ndarray:
        """(K,) int64 binarised gate scalars, most significant channel bit first."""
        return np.asarray(keras.ops.convert_to_numpy(self.gate) > 0, np.int64)

    def channel_groups(self) -> np.ndarray:
        """(C,) int64: learned group of each channel, 0..G-1 numbered by first appearance."""
        return channel_group_ids(self.group_bits())

    @property
    def groups(self) -> int:
        """Number of groups, all of equal size."""
        return int(2 ** int((1 - self.group_bits()).sum()))

    def effective_kernel(self) -> np.ndarray:
        """(kh, kw, C_in, C_out) float32 kernel with the connections outside the groups zero."""
        kernel = keras.ops.convert_to_numpy(self.kernel)
        return np.asarray(kernel * u_matrix(self.group_bits()), np.float32)

    def freeze_groups(self) -> None:
        """Ends the learning of the groups.

        If `group_size` is set, the log2(group_size) largest scalars stay or become 1 and the
        others 0, so that the groups have exactly that size. The scalars are then set to +-1.
        """
        gate = keras.ops.convert_to_numpy(self.gate)
        bits = (gate > 0).astype(np.int64)
        if self.group_size is not None:
            bits = np.zeros(gate.shape, np.int64)
            bits[np.argsort(-gate, kind="stable")[: self.group_size.bit_length() - 1]] = 1
        self.set_group_bits(bits)

    def set_group_bits(self, bits: Sequence[int] | np.ndarray) -> None:
        """Fixes the groups: (K,) zeros and ones become scalars -1 and 1, no longer trained."""
        self.gate.assign(np.where(np.asarray(bits) > 0, 1.0, -1.0).astype(np.float32))
        self.learn_groups = False
        self.gate.trainable = False

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "use_bias": self.use_bias,
            "group_size": self.group_size,
            "learn_groups": self.learn_groups,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "gate_initializer": keras.initializers.serialize(self.gate_initializer),
        }


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ChannelGate(keras.layers.Layer):  # type: ignore[misc]
    """Turns gate logits into a mask: (B, G) float -> (B, G) of exact zeros and ones.

    A group is on where its logit is > 0, strictly. The gradient passes through a sigmoid.

    In training only, logistic noise of scale `noise` is added to the logits and each bit is
    forced on with probability `force_open`. Both are non-trainable scalars, to be moved with
    `schedule`; both are 0 in a new layer, and neither is read at inference.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.noise = self.add_weight(name="noise", shape=(), initializer="zeros", trainable=False, dtype="float32")
        self.force_open = self.add_weight(
            name="force_open", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )

    def schedule(self, noise: float, force_open: float = 0.0) -> None:
        """Sets the scale of the training noise and the share of bits forced on (0..1)."""
        self.noise.assign(noise)
        self.force_open.assign(force_open)

    def call(self, logits: Any, training: bool | None = None) -> Any:
        if not training:
            return ops.cast(logits > 0.0, self.compute_dtype)
        z = ops.cast(logits, "float32")
        shape = ops.shape(z)
        u = keras.random.uniform(shape, 1e-6, 1.0 - 1e-6, dtype="float32", seed=self.seed_generator)
        z = z + ops.cast(self.noise, "float32") * (ops.log(u) - ops.log(1.0 - u))
        soft = ops.sigmoid(z)
        mask = ops.cast(z > 0.0, "float32") + (soft - ops.stop_gradient(soft))
        dice = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        mask = ops.where(dice < ops.cast(self.force_open, "float32"), ops.ones_like(mask), mask)
        return ops.cast(mask, self.compute_dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ApplyMask(keras.layers.Layer):  # type: ignore[misc]
    """Multiplies each channel by its group's mask bit.

    Inputs `[x (B, H, W, C), mask (B, G)]`, output (B, H, W, C): channel c is multiplied by
    `mask[:, channel_group[c]]`. Any map from channels to groups will do; `channel_group` has
    C entries in 0..G-1.
    """

    def __init__(self, channel_group: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channel_group = [int(g) for g in channel_group]
        if not self.channel_group or min(self.channel_group) < 0:
            raise ValueError("ApplyMask: channel_group needs one group >= 0 for every channel")

    def build(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        features, mask = input_shape
        if features[-1] != len(self.channel_group):
            raise ValueError(
                f"ApplyMask {self.name!r}: {features[-1]} channels but channel_group has"
                f" {len(self.channel_group)} entries"
            )
        if mask[-1] is None or max(self.channel_group) >= mask[-1]:
            raise ValueError(
                f"ApplyMask {self.name!r}: channel_group names group {max(self.channel_group)}"
                f" but the mask has {mask[-1]} groups"
            )

    def call(self, inputs: Sequence[Any]) -> Any:
        x, mask = inputs
        bits = ops.take(mask, np.asarray(self.channel_group, np.int32), axis=-1)
        return x * ops.cast(bits[:, None, None, :], x.dtype)

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channel_group": self.channel_group}


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    rows, columns = value
    return (int(rows), int(columns))
