# SPDX-License-Identifier: Apache-2.0
"""Recipes: TOML files that say how a network is trained. `docs/training.md` explains their keys."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from acsgen.errors import AcsgenError, nearest
from acsgen.nn.data import DataSpec
from acsgen.nn.training.pair import Precision
from acsgen.nn.training.schedule import Schedule
from acsgen.resources import resource_dir

__all__ = ["ModelSpec", "QuantizeSpec", "Recipe", "TrainSpec", "find_recipe", "read_recipe"]

#: Arguments of a network that the data and the training decide.
_DECIDED = ("input_shape", "classes", "gated", "channel_groups", "seed", "batch_norm")


@dataclass(frozen=True)
class ModelSpec:
    """A member of the zoo and the keyword arguments that build it."""

    member: str = "acs_resnet"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainSpec:
    """How long and how exactly; the rest stands in `schedule`, whose `epochs` mean nothing here."""

    group_epochs: int = 2
    dense_epochs: int = 20
    gated_epochs: int = 24  # 0: only the dense twin
    seed: int = 0
    precision: Precision = "float32"
    validate_every: int = 1
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True)
class QuantizeSpec:
    """Epochs with rounding as in int8, after the others; 0: none."""

    epochs: int = 0
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. document: the TOML as read, to compare; path: its file."""

    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    quantize: QuantizeSpec
    document: Mapping[str, Any]
    path: Path


@dataclass(frozen=True)
class _Value:
    """What a key may be: a test, and the words for it."""

    fits: Callable[[Any], bool]
    wanted: str


def _whole(least: int, most: int) -> _Value:
    return _Value(lambda v: type(v) is int and least <= v <= most, f"a whole number, {least} to {most}")


def _number(least: float, most: float) -> _Value:
    return _Value(lambda v: type(v) in (int, float) and least <= v <= most, f"a number, {least:g} to {most:g}")


def _one_of(*texts: str) -> _Value:
    return _Value(lambda v: v in texts, f"one of {', '.join(texts)}")


_FLAG = _Value(lambda v: type(v) is bool, "true or false")
_TEXT = _Value(lambda v: type(v) is str and v.isprintable() and v != "", "printable text on one line")
_SEED = _whole(0, 2**31 - 10)
_EPOCHS = _whole(0, 100_000)
_IMAGES = _whole(1, 2**31)

_DATA: Mapping[str, _Value] = {
    "source": _TEXT,
    "path": _TEXT,
    "train": _IMAGES,
    "validation": _IMAGES,
    "test": _IMAGES,
    "seed": _SEED,
    "size": _Value(
        lambda v: type(v) is list and len(v) == 2 and all(type(n) is int and 1 <= n <= 4096 for n in v),
        "a list of rows and columns, 1 to 4096",
    ),
    "channels": _Value(lambda v: type(v) is int and v in (1, 3), "1 or 3"),
}
_SCHEDULE: Mapping[str, _Value] = {
    "batch": _whole(1, 65536),
    "learning_rate": _number(1e-9, 10),
    "weight_decay": _number(0, 1),
    "label_smoothing": _number(0, 0.99),
    "flip": _FLAG,
    "shift": _whole(0, 64),
    "target": _number(0.01, 1),
    "start_share": _number(0, 1),
    "ramp_share": _number(1e-6, 1),
    "noise_share": _number(1e-6, 1),
    "budget_weight": _number(0, 1e6),
    "distillation": _number(0, 1),
    "group_weight": _number(0, 1e6),
}
_TRAIN: Mapping[str, _Value] = {
    "group_epochs": _EPOCHS,
    "dense_epochs": _whole(1, 100_000),
    "gated_epochs": _EPOCHS,
    "seed": _SEED,
    "precision": _one_of("float32", "mixed_bfloat16"),
    "validate_every": _whole(1, 100_000),
}
_QUANTIZE: Mapping[str, _Value] = {"epochs": _EPOCHS, "learning_rate": _number(1e-9, 10)}
_TABLES = ("data", "model", "train", "quantize")


def find_recipe(name: str) -> Path:
    """A recipe's file: a path that ends in `.toml`, or the name of one that acsgen ships."""
    if name.endswith(".toml"):
        return Path(name)
    known = sorted(path.stem for path in resource_dir("recipes").glob("*.toml"))
    if name not in known:
        raise AcsgenError(f"{_unknown(name, known, 'a recipe, a file ends in .toml')}")
    return resource_dir("recipes") / f"{name}.toml"


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe; paths in it are relative to its folder.

    Raises AcsgenError if it cannot be read, or a key is unknown, of the wrong type or out of range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AcsgenError(f"{path} is not a TOML file: {error}") from error
    for name, table in document.items():
        if name not in _TABLES:
            raise AcsgenError(f"{path}: {_unknown(name, _TABLES, 'a table')}")
        if not isinstance(table, dict):
            raise AcsgenError(f"{path}: {name} must be a table")
    data = _checked(path, "data", document, _DATA)
    if "path" in data:
        data["path"] = path.parent / data["path"]
    if "size" in data:
        data["size"] = tuple(data["size"])
    train = _checked(path, "train", document, {**_TRAIN, **_SCHEDULE})
    schedule = Schedule(**{key: train.pop(key) for key in _SCHEDULE if key in train})
    return Recipe(
        DataSpec(**data),
        _model(path, dict(document.get("model", {}))),
        TrainSpec(**train, schedule=schedule),
        QuantizeSpec(**_checked(path, "quantize", document, _QUANTIZE)),
        document,
        path,
    )


def _checked(path: Path, place: str, document: Mapping[str, Any], known: Mapping[str, _Value]) -> dict[str, Any]:
    table = document.get(place, {})
    for key, value in table.items():
        if key not in known:
            raise AcsgenError(f"{path}: {place}.{_unknown(key, known, 'a key')}")
        if not known[key].fits(value):
            raise AcsgenError(f"{path}: {place}.{key} is {value!r}, must be {known[key].wanted}")
    return dict(table)


def _model(path: Path, table: dict[str, Any]) -> ModelSpec:
    import inspect

    from acsgen.nn.zoo import ZOO, Block

    member = table.pop("member", ModelSpec.member)
    if member not in ZOO:
        raise AcsgenError(f"{path}: model.member is {member!r}, must be one of {', '.join(ZOO)}")
    known = [key for key in inspect.signature(ZOO[member].build).parameters if key not in _DECIDED]
    for key, value in table.items():
        if key in _DECIDED:
            raise AcsgenError(f"{path}: model.{key} is not for a recipe: data and training decide it")
        if key not in known:
            raise AcsgenError(f"{path}: model.{_unknown(key, known, f'an argument of {member}')}")
        if isinstance(value, list):
            if any(isinstance(entry, dict) for entry in value):
                names = [entry.name for entry in fields(Block)]
                for entry in value:
                    if not isinstance(entry, dict) or not set(entry) <= set(names) or not {*names[:4]} <= set(entry):
                        raise AcsgenError(f"{path}: model.{key}: every block is a table with {', '.join(names)}")
                value = [Block(**entry) for entry in value]
            table[key] = tuple(value)
    return ModelSpec(member, cast(Mapping[str, Any], table))


def _unknown(key: str, known: Any, what: str) -> str:
    return f"{key} is not {what}; {nearest(key, known)}"
