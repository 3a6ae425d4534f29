# SPDX-License-Identifier: Apache-2.0
"""Recipes: what they say, and what is said of those that are wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from acsgen.errors import AcsgenError
from acsgen.nn import recipe as module
from acsgen.nn.data import DataSpec
from acsgen.nn.recipe import ModelSpec, QuantizeSpec, TrainSpec, find_recipe, read_recipe
from acsgen.nn.training import Schedule
from acsgen.nn.zoo import Block
from acsgen.resources import resource_dir

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_recipe_is_all_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, ""))
    assert (recipe.data, recipe.model) == (DataSpec(), ModelSpec())
    assert (recipe.train, recipe.quantize) == (TrainSpec(), QuantizeSpec())


def test_everything_arrives(tmp_path: Path) -> None:
    recipe = read_recipe(
        write(
            tmp_path,
            """
            [data]
            source = "folder"
            path = "pictures"
            size = [12, 16]
            channels = 1
            train = 100
            [model]
            member = "acs_bottleneck_resnet"
            width = 0.5
            blocks = [{name = "a", middle = 8, out = 4, group_size = 4}]
            [train]
            dense_epochs = 3
            learning_rate = 1e-2
            flip = false
            weight_decay = 0
            precision = "mixed_bfloat16"
            [quantize]
            epochs = 2
            """,
        )
    )
    assert recipe.data == DataSpec("folder", tmp_path / "pictures", train=100, size=(12, 16), channels=1)
    assert recipe.model.member == "acs_bottleneck_resnet"
    assert recipe.model.arguments == {"width": 0.5, "blocks": (Block("a", 8, 4, 4),)}
    schedule = Schedule(learning_rate=1e-2, flip=False, weight_decay=0)
    assert recipe.train == TrainSpec(dense_epochs=3, precision="mixed_bfloat16", schedule=schedule)
    assert recipe.quantize == QuantizeSpec(epochs=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]", "trian is not a table; did you mean train?"),
        ("train = 3", "train must be a table"),
        ("[train]\nlearning_rat = 1", "train.learning_rat is not a key; did you mean learning_rate?"),
        ("[train]\nepochs = 1", "train.epochs is not a key; did you mean"),
        ("[train]\nqqq = 1", "train.qqq is not a key; there are group_epochs, dense_epochs"),
        ("[train]\ntarget = 1.5", "train.target is 1.5, must be a number, 0.01 to 1"),
        ("[train]\ntarget = nan", "train.target is nan, must be"),
        ("[train]\nbatch = 8.0", "train.batch is 8.0, must be a whole number, 1 to 65536"),
        ("[train]\nbatch = true", "train.batch is True, must be a whole number"),
        ("[train]\nlearning_rate = 0", "train.learning_rate is 0, must be"),
        ("[train]\nflip = 1", "train.flip is 1, must be true or false"),
        ('[train]\nprecision = "float16"', "train.precision is 'float16', must be one of float32, mixed_bfloat16"),
        ("[data]\nsize = [3]", "data.size is [3], must be a list of rows and columns"),
        ("[data]\nchannels = 2", "data.channels is 2, must be 1 or 3"),
        ("[data]\nsource = 7", "data.source is 7, must be printable text"),
        ('[model]\nmember = "resnet"', "model.member is 'resnet', must be one of acs_resnet"),
        ("[model]\nwidht = 2", "model.widht is not an argument of acs_resnet; did you mean width?"),
        ("[model]\nclasses = 2", "model.classes is not for a recipe"),
        ('[model]\nmember = "g_resnext"\nblocks = [{name = "a"}]', "model.blocks: every block is a table with name"),
        ("[quantize]\nepochs = -1", "quantize.epochs is -1, must be a whole number"),
        ("[train", "is not a TOML file"),
    ],
)
def test_recipes_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(AcsgenError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_recipes() -> None:
    names = sorted(path.stem for path in resource_dir("recipes").iterdir())
    assert names == ["digits_quick", "fashion_acs_resnet"]
    for name in names:
        assert read_recipe(find_recipe(name)).train.gated_epochs > 0
    assert find_recipe("my/own.toml") == Path("my/own.toml")
    with pytest.raises(AcsgenError, match=r"digits_quik is not a recipe, .*; did you mean digits_quick\?"):
        find_recipe("digits_quik")
    with pytest.raises(AcsgenError, match="cannot be read: No such file"):
        read_recipe(Path("my/own.toml"))


def test_every_key_is_a_field_and_explained() -> None:
    keys = {"data": module._DATA, "train": {**module._TRAIN, **module._SCHEDULE}, "quantize": module._QUANTIZE}
    of_train = [*fields(TrainSpec), *fields(Schedule)]
    wanted = {"data": fields(DataSpec), "train": of_train, "quantize": fields(QuantizeSpec)}
    for table, known in keys.items():
        names = {field.name for field in wanted[table]} - {"epochs" if table == "train" else "", "schedule"}
        assert set(known) == names
    text = DOCS.read_text(encoding="utf-8")
    for known in keys.values():
        for key in known:
            assert f"| `{key}` |" in text, key
