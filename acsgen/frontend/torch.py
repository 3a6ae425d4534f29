# SPDX-License-Identifier: Apache-2.0
"""A PyTorch checkpoint of the paper's authors to a Keras model of the zoo.

The authors' code (GitHub fangvv/ACS) saves `{epoch, arch, state_dict, best_prec1}`. Only the names and the
shapes in that state dict are taken from there; the network is the zoo's. A new architecture is a row of ARCHES.

What differs between the two worlds:

- convolutions (out, in, kh, kw) become kernels (kh, kw, in, out), and the input (C, H, W) becomes (H, W, C);
- PyTorch pads a strided window on all sides alike, Keras' 'same' at the bottom right only: the zoo's network
  pads explicitly. The maximum pool's padding is zeros here, minus infinity there, the same behind a ReLU;
- BN has epsilon 1e-5 there, 1e-3 by default in Keras;
- pools with a fixed window, which fit no input size in the authors' code, are means over the whole image;
- a scalar of a learned grouping counts as 1 where it is > 0, on both sides; here it is stored as 1 or -1;
- a mask bit is on where sigmoid(logit) > 0.5 there, where logit > 0 here: the same in real numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from acsgen.errors import AcsgenError
from acsgen.files import whole_file
from acsgen.frontend.keras import import_keras
from acsgen.frontend.torch_file import Checkpoint, read_checkpoint, shown

Shape = tuple[int, ...]
Image = tuple[int, int, int]

#: The largest input side that is accepted, far above what any microcontroller takes.
MAX_SIDE = 1024
MAX_CLASSES = 1 << 16
#: How many keys an error message names.
_NAMED = 3


@dataclass(frozen=True)
class Weight:
    """A tensor of a PyTorch module and the weight of a Keras layer that it becomes.

    `axes`: transposition from PyTorch to Keras. `spare`: so many axes of size 1 are then dropped at the front.
    """

    key: str
    attribute: str
    axes: Shape = (0,)
    spare: int = 0

    def torch_shape(self, keras_shape: Shape) -> Shape:
        """PyTorch's shape of a weight that has this shape in Keras."""
        full = (1,) * self.spare + keras_shape
        return tuple(full[self.axes.index(axis)] for axis in range(len(full)))


#: Modules by what they hold: Conv2d without bias, BatchNorm2d, Linear, Conv2d 1x1 with bias behind
#: a global pool (a Dense here), and a learned grouping.
_HWIO = (2, 3, 1, 0)
CONV = (Weight("weight", "kernel", _HWIO),)
NORM = (
    Weight("weight", "gamma"),
    Weight("bias", "beta"),
    Weight("running_mean", "moving_mean"),
    Weight("running_var", "moving_variance"),
)
LINEAR = (Weight("weight", "kernel", (1, 0)), Weight("bias", "bias"))
POINTWISE = (Weight("weight", "kernel", _HWIO, spare=2), Weight("bias", "bias"))
GROUPED = (Weight("conv.weight", "kernel", _HWIO), Weight("gate", "gate"))

#: Of a learned grouping: g = 0 stands for D, g = 1 for I (the authors' letters). Another meaning, other groups.
_CONSTANTS = {"D": np.eye(2, dtype=np.float32), "I": np.ones((2, 2), np.float32)}
#: Endings of what a state dict holds besides learned values.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "D", "I")


@dataclass(frozen=True)
class Part:
    """A PyTorch module, the Keras layer that it becomes, and its weights."""

    module: str
    layer: str
    weights: tuple[Weight, ...]

    def key(self, weight: Weight) -> str:
        return f"{self.module}.{weight.key}"


@dataclass(frozen=True)
class Architecture:
    """What a state dict must hold, and the network that it becomes.

    `build`: input shape (H, W, C) and number of classes to the Keras model, whose layers `parts` name.
    `unused`: what a state dict may hold besides, a description and a pattern of such keys.
    `classes`: the key whose first axis is the number of classes.
    """

    build: Callable[[Image, int], Any]
    parts: tuple[Part, ...]
    unused: Mapping[str, str]
    classes: str

    def needed(self) -> list[str]:
        """Every key that the network needs."""
        return [part.key(weight) for part in self.parts for weight in part.weights]


@dataclass(frozen=True)
class Imported:
    """The Keras model of a checkpoint, and what became of the checkpoint's content.

    `unused`: keys that have no effect on the network, by kind. `groups`: number of groups of every learned
    grouping, by layer. `parameters`: learned values in the checkpoint; `used`: those of them in the model.
    """

    model: Any
    arch: str
    classes: int
    parameters: int
    used: int
    unused: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "arch": self.arch,
            "input": list(self.model.input_shape[1:]),
            "classes": self.classes,
            "parameters": self.parameters,
            "used_parameters": self.used,
            "unused_keys": {kind: len(keys) for kind, keys in self.unused.items()},
            "groups": dict(self.groups),
        }

    def rows(self) -> dict[str, Any]:
        """The same for a table: names and single values."""
        flat = {name: value for name, value in self.summary().items() if not isinstance(value, dict)}
        return {
            **flat,
            "input": "x".join(map(str, flat["input"])),
            **{f"unused keys: {kind}": len(keys) for kind, keys in self.unused.items()},
            **{f"groups of {layer}": count for layer, count in self.groups.items()},
        }


def densenet(blocks: Sequence[int] = (6, 6, 6), build: Callable[[Image, int], Any] | None = None) -> Architecture:
    """The paper's densely connected network with `blocks` layers a block.

    Module names of the authors' code; a layer's gate carries the name of the layer before it. `build` makes
    `acsgen.nn.zoo.acs_densenet` in the form of DENSENET40, by default densenet40 itself.
    """
    last = f"denseblock{len(blocks) - 1}_{blocks[-1] - 1}_gate"
    return Architecture(
        build=build or _build_densenet40,
        parts=tuple(_densenet_parts(blocks)),
        unused=MappingProxyType(
            {
                "gate behind the last layer, whose mask nothing reads": rf"{last}\..*",
                "squeeze-and-excite parts of the gates, never called": r"denseblock\d+_\d+_gate\.se\.fc\.[02]\.weight",
                "constants of the learned groupings": r"denseblock\d+_\d+_gate\.conv[23]\.[DI]",
                "counters of the batch normalisations": r"[\w.]+\.num_batches_tracked",
            }
        ),
        classes="classifier.weight",
    )


def _densenet_parts(blocks: Sequence[int]) -> Iterator[Part]:
    yield Part("base_layer.conv0", "stem_conv", CONV)
    yield Part("base_layer.norm0", "stem_bn", NORM)
    gate = ""  # the module that decides on the next layer's channels
    for b, count in enumerate(blocks):
        for i in range(count):
            module, layer = f"denseblock{b}_{i}", f"b{b + 1}_l{i + 1}"
            for n in (1, 2):
                yield Part(f"{module}.0.dense_module.norm{n}", f"{layer}_bn{n}", NORM)
                yield Part(f"{module}.0.dense_module.conv{n}", f"{layer}_conv{n}", CONV)
            if gate:
                yield Part(f"{gate}.conv1", f"{layer}_gate_conv1", CONV)
                yield Part(f"{gate}.conv2", f"{layer}_gate_conv2", GROUPED)
                yield Part(f"{gate}.bn1", f"{layer}_gate_bn", NORM)
                yield Part(f"{gate}.conv3", f"{layer}_gate_conv3", GROUPED)
                yield Part(f"{gate}.linear_layer", f"{layer}_gate_fc2", POINTWISE)
            gate = f"{module}_gate"
        yield Part(f"trans{b}.trans_module.norm", f"t{b + 1}_bn", NORM)
        yield Part(f"trans{b}.trans_module.conv", f"t{b + 1}_conv", CONV)
    yield Part("bn_norm", "final_bn", NORM)
    yield Part("classifier", "head", LINEAR)


def _build_densenet40(input_shape: Image, classes: int) -> Any:
    from acsgen.nn.zoo import densenet40

    return densenet40(input_shape, classes=classes)


#: Name -> architecture: all that the authors published.
ARCHES: Mapping[str, Architecture] = MappingProxyType({"densenet40": densenet()})


def import_torch(path: Path, arch: str = "densenet40", input_shape: Image = (32, 32, 3)) -> Imported:
    """The Keras model of a PyTorch checkpoint: (B, H, W, C) float32 in, (B, classes) logits out.

    `arch`: a row of ARCHES. `input_shape`: (H, W, C), any size, as a state dict does not know it.
    Raises AcsgenError if the file cannot be read safely or is not of that architecture; it names the key.
    """
    if arch not in ARCHES:
        raise AcsgenError(f"no architecture is called '{arch}'; these are known: {', '.join(ARCHES)}")
    check_input_shape(input_shape)
    return convert(read_checkpoint(path), arch, ARCHES[arch], input_shape)


def convert(checkpoint: Checkpoint, arch: str, architecture: Architecture, input_shape: Image) -> Imported:
    """The Keras model of a checkpoint that has been read; see `import_torch`."""
    unused = _sort_keys(checkpoint, arch, architecture)
    classes = _classes(checkpoint, architecture)
    _check_constants(checkpoint, architecture)
    import_keras()
    model = architecture.build(input_shape, classes)
    for part in architecture.parts:
        _set_weights(checkpoint, part, model.get_layer(part.layer))
    other = checkpoint.arch if checkpoint.arch not in (None, arch) else None
    return Imported(
        model=model,
        arch=arch,
        classes=classes,
        parameters=sum(map(checkpoint.size, filter(_is_learned, checkpoint.tensors))),
        used=sum(map(checkpoint.size, filter(_is_learned, architecture.needed()))),
        unused=unused,
        groups={
            part.layer: model.get_layer(part.layer).groups for part in architecture.parts if part.weights is GROUPED
        },
        warnings=(f"{checkpoint.path} says that it is a {shown(other)}, read as '{arch}'",) if other else (),
    )


def parse_input_shape(text: str) -> Image:
    """'32x32x3' -> (32, 32, 3)."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})x(\d{1,6})", text, re.ASCII)
    if not match:
        raise AcsgenError(f"input shape '{text}': give height, width and channels, such as 32x32x3")
    height, width, channels = map(int, match.groups())
    return check_input_shape((height, width, channels))


def check_input_shape(shape: Image) -> Image:
    """The shape; AcsgenError if no network has such an input."""
    if not all(1 <= side <= MAX_SIDE for side in shape):
        raise AcsgenError(f"input shape {'x'.join(map(str, shape))}: every number must be from 1 to {MAX_SIDE}")
    return shape


def save_model(model: Any, path: Path) -> None:
    """Writes a `.keras` file, replacing one that is there only once the new one is whole."""
    with whole_file(path) as beside:
        model.save(beside)


def _sort_keys(checkpoint: Checkpoint, arch: str, architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """The unused keys by kind; AcsgenError if a needed one is missing, or one has no place in the network."""
    needed = dict.fromkeys(architecture.needed())
    if missing := [key for key in needed if key not in checkpoint.tensors]:
        raise AcsgenError(f"{checkpoint.path}: no checkpoint of a {arch}: {_named(missing)} missing")
    kinds: dict[str, list[str]] = {kind: [] for kind in architecture.unused}
    strange = []
    for key in (key for key in checkpoint.tensors if key not in needed):
        kind = next((kind for kind, pattern in architecture.unused.items() if re.fullmatch(pattern, key)), None)
        if kind is not None:
            kinds[kind].append(key)
        else:
            strange.append(key)
    if strange:
        raise AcsgenError(f"{checkpoint.path}: no checkpoint of a {arch}, which has no {_named(strange)}")
    return {kind: tuple(keys) for kind, keys in kinds.items() if keys}


def _is_learned(key: str) -> bool:
    return key.rpartition(".")[2] not in _BUFFERS


def _named(keys: Sequence[str]) -> str:
    names = ", ".join(shown(key) for key in keys[:_NAMED])
    rest = len(keys) - _NAMED
    return f"{'key' if len(keys) == 1 else 'keys'} {names}{f' and {rest} more' if rest > 0 else ''}"


def _classes(checkpoint: Checkpoint, architecture: Architecture) -> int:
    shape = checkpoint.shape(architecture.classes)
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_CLASSES:
        raise AcsgenError(
            f"{checkpoint.path}: key {shown(architecture.classes)} has shape {shape}, not (classes, features) "
            f"with 1 to {MAX_CLASSES} classes"
        )
    return shape[0]


def _check_constants(checkpoint: Checkpoint, architecture: Architecture) -> None:
    for part in architecture.parts:
        for name, value in _CONSTANTS.items() if part.weights is GROUPED else ():
            key = f"{part.module}.{name}"
            if key in checkpoint.tensors and not np.array_equal(checkpoint.array(key, value.shape), value):
                raise AcsgenError(
                    f"{checkpoint.path}: key {shown(key)} is not {value.astype(int).tolist()}: "
                    "the scalars of its learned groupings do not mean what they mean in the paper"
                )


def _set_weights(checkpoint: Checkpoint, part: Part, layer: Any) -> None:
    for weight in part.weights:
        target, key = getattr(layer, weight.attribute), part.key(weight)
        values = checkpoint.array(key, weight.torch_shape(tuple(target.shape)))
        if weight.attribute == "moving_variance" and (values < 0).any():
            raise AcsgenError(f"{checkpoint.path}: key {shown(key)} holds a negative variance: damaged")
        target.assign(values.transpose(weight.axes).reshape(target.shape))
    if part.weights is GROUPED:
        layer.set_group_bits(layer.group_bits())
