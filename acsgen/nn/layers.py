# SPDX-License-Identifier: Apache-2.0
"""Keras layers of adaptive channel skipping: learned groups, gates and masks.

Everything here is plain data when saved: a `.keras` file with these layers loads with
`safe_mode=True`, needs only `import acsgen.nn` and carries no Python code.

Shapes are NHWC throughout (B batch, H rows, W columns, C channels, G mask groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
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
    "prime_factors",
    "u_matrix",
]

_PACKAGE = "acsgen"


def prime_factors(width: int) -> tuple[int, ...]:
    """Prime factors of a width, the largest first: 24 -> (3, 2, 2, 2), 1 -> ().

    They are the digits' bases of a channel index, the first one of the most significant digit.
    Every divisor is a product of some of them. With the large ones first, the groups of 2, 4, 8 ...
    channels that kernels like best can be contiguous ranges in every width that they divide.
    """
    factors: list[int] = []
    candidate = 2
    while width > 1:
        while width % candidate == 0:
            factors.insert(0, candidate)
            width //= candidate
        candidate += 1
    return tuple(factors)


def u_matrix(
    bits: Sequence[int] | np.ndarray, in_channels: int | None = None, out_channels: int | None = None
) -> np.ndarray:
    """Connection matrix U of a dynamic grouping convolution.

    `bits`: zeros and ones, one for each of `prime_factors(gcd(in_channels, out_channels))`.
    `in_channels` is 2**len(bits) by default, `out_channels` the same as `in_channels`.

    Returns (C_in, C_out) int8: the Kronecker product over the factors f of `ones(f, f)` (1) or
    `eye(f)` (0), and last of `ones(C_in / gcd, C_out / gcd)`. So with unequal widths the index of
    a channel is that of one of `gcd` bundles, the most significant part, and its place within the
    bundle; input and output are connected where their bundles agree in every digit whose bit is 0.
    """
    c_in = 1 << len(bits) if in_channels is None else in_channels
    c_out = c_in if out_channels is None else out_channels
    width = gcd(c_in, c_out)
    u = np.ones((1, 1), np.int8)
    for bit, f in zip(bits, _factors_of(width, bits), strict=True):
        u = np.kron(u, np.ones((f, f), np.int8) if bit else np.eye(f, dtype=np.int8))
    return np.kron(u, np.ones((c_in // width, c_out // width), np.int8))


def channel_group_ids(
    bits: Sequence[int] | np.ndarray, channels: int | None = None, width: int | None = None
) -> np.ndarray:
    """Group of each channel, (channels,) int64, numbered 0..G-1 by first appearance.

    `bits` as in `u_matrix`. `channels`: of the tensor, 2**len(bits) by default. `width`: the gcd of
    the convolution's input and output channels, which has the groups; `channels` by default.
    """
    channels = 1 << len(bits) if channels is None else channels
    width = channels if width is None else width
    # The rows of U are the groups' indicator vectors: equal rows, same group, and the first
    # one of a row is the smallest member of its group.
    first = u_matrix(bits, width).argmax(axis=1)
    groups = np.unique(first, return_inverse=True)[1].astype(np.int64)
    return np.repeat(groups, channels // width)


def group_bits(channel_groups: Sequence[int] | np.ndarray, width: int | None = None) -> np.ndarray:
    """The inverse of `channel_group_ids`: (C,) group ids -> int64 bits, one for each factor.

    `width` as there, C by default. Raises ValueError where no bits give these groups.
    """
    groups = np.asarray(channel_groups, np.int64)
    width = groups.size if width is None else width
    if groups.ndim == 1 and width and groups.size and groups.size % width == 0:
        bundles = groups[:: groups.size // width]
        steps = width // np.cumprod([1, *prime_factors(width)])[1:]
        bits = np.array([bundles[step] == bundles[0] for step in steps], np.int64)
        if np.array_equal(channel_group_ids(bits, groups.size, width), groups):
            return bits
    raise ValueError(f"no dynamic grouping convolution has the channel groups {groups.tolist()}")


def _factors_of(width: int, bits: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    factors = prime_factors(width)
    if len(factors) != len(bits):
        raise ValueError(f"a width of {width} has the factors {list(factors)}, got {len(bits)} bits")
    return factors


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ClipUnit(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps a weight within [-1, 1], so that a gate scalar can always find its way back."""

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, -1.0, 1.0)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class DGConv2D(keras.layers.Layer):  # type: ignore[misc]
    """Dynamic grouping convolution (arXiv 1908.05867): learns its own group structure.

    Input (B, H, W, C_in) float, output (B, H', W', filters) float. The groups are those of
    `width` = gcd(C_in, filters) bundles of channels, see `u_matrix`; with equal widths, as in the
    paper, a bundle is one channel.

    Weights: `kernel` (kh, kw, C_in, filters), `gate` (K,) real scalars in [-1, 1], one for each of
    the prime `factors` of `width`, optionally `bias` (filters,). A scalar counts as 1 where it is
    > 0, else as 0; the gradient passes straight through. The convolution uses `kernel * U`, see
    `u_matrix`. The kernel is stored dense.

    `group_size` is the number of output channels that a group should reach in training: filters /
    width times a divisor of width. It is only read by `acsgen.nn.losses.group_size_loss` and
    `freeze_groups`. `learn_groups=False` keeps the groups as they are; `freeze_groups` switches to
    it.
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
        if filters < 1:
            raise ValueError(f"DGConv2D: filters must be at least 1, got {filters}")
        if padding not in ("same", "valid"):
            raise ValueError(f"DGConv2D: padding must be 'same' or 'valid', got {padding!r}")
        if group_size is not None and group_size not in _divisors(filters):
            raise ValueError(f"DGConv2D: group_size must be one of {_divisors(filters)}, got {group_size}")
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
        if channels is None:
            raise ValueError(f"DGConv2D {self.name!r}: the number of input channels must be known")
        self.in_channels = int(channels)
        self.width = gcd(self.in_channels, self.filters)
        self.factors = prime_factors(self.width)
        sizes = [self.filters // self.width * divisor for divisor in _divisors(self.width)]
        if self.group_size is not None and self.group_size not in sizes:
            raise ValueError(
                f"DGConv2D {self.name!r}: from {channels} to {self.filters} channels a group can have"
                f" {sizes} output channels, got group_size {self.group_size}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.in_channels, self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        # Last, so that the order of the stored weights does not depend on `learn_groups`.
        self.gate = self.add_weight(
            name="gate",
            shape=(len(self.factors),),
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
        u = ops.ones((1, 1), dtype="float32")
        for k, f in enumerate(self.factors):
            eye, ones = ops.eye(f, dtype="float32"), ops.ones((f, f), dtype="float32")
            factor = bits[k] * ones + (1.0 - bits[k]) * eye
            size = prod(self.factors[: k + 1])
            u = ops.reshape(u[:, None, :, None] * factor[None, :, None, :], (size, size))
        u = ops.repeat(ops.repeat(u, self.in_channels // self.width, axis=0), self.filters // self.width, axis=1)
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
        """(K,) int64 binarised gate scalars, that of the most significant digit first."""
        return np.asarray(keras.ops.convert_to_numpy(self.gate) > 0, np.int64)

    def channel_groups(self) -> np.ndarray:
        """(filters,) int64: learned group of each output channel, 0..G-1 by first appearance."""
        return channel_group_ids(self.group_bits(), self.filters, self.width)

    def input_groups(self) -> np.ndarray:
        """(C_in,) int64: learned group of each input channel, by the numbers of `channel_groups`."""
        return channel_group_ids(self.group_bits(), self.in_channels, self.width)

    @property
    def groups(self) -> int:
        """Number of groups, all of equal size."""
        return prod(f for f, bit in zip(self.factors, self.group_bits(), strict=True) if not bit)

    def connections(self) -> np.ndarray:
        """(C_in, filters) int8: U, 1 where the convolution connects the channels."""
        return u_matrix(self.group_bits(), self.in_channels, self.filters)

    def effective_kernel(self) -> np.ndarray:
        """(kh, kw, C_in, filters) float32 kernel with the connections outside the groups zero."""
        return np.asarray(keras.ops.convert_to_numpy(self.kernel) * self.connections(), np.float32)

    def freeze_groups(self) -> None:
        """Ends the learning of the groups.

        If `group_size` is set, the groups get exactly that size: among the sets of factors with the
        right product, those of the set with the largest sum of scalars stay or become 1, the others
        0. The scalars are then set to +-1.
        """
        if self.group_size is None:
            self.set_group_bits(self.group_bits())
            return
        gate = keras.ops.convert_to_numpy(self.gate)
        wanted = list(prime_factors(self.group_size * self.width // self.filters))
        bits = np.zeros(gate.shape, np.int64)
        # A product fixes how often each prime occurs in it: take the largest scalars of each.
        for k in np.argsort(-gate, kind="stable"):
            if self.factors[k] in wanted:
                wanted.remove(self.factors[k])
                bits[k] = 1
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

    Inputs `[x (B, ..., C), mask (B, G)]`, output (B, ..., C): channel c is multiplied by
    `mask[:, channel_group[c]]`. x may be an image, a signal (B, T, C) or a vector (B, C). Any map
    from channels to groups will do; `channel_group` has C entries in 0..G-1.
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
        inner = (1,) * (len(x.shape) - 2)
        return x * ops.cast(ops.reshape(bits, (-1, *inner, len(self.channel_group))), x.dtype)

    def compute_output_shape(self, input_shape: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channel_group": self.channel_group}


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    rows, columns = value
    return (int(rows), int(columns))
