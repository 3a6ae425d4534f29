# SPDX-License-Identifier: Apache-2.0
"""Training runs: resumed ones end like others, to the last bit; what is written; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from acsgen.errors import AcsgenError
from acsgen.nn.layers import DGConv2D
from acsgen.nn.macs import mac_table
from acsgen.nn.training import Schedule, evaluate, predict_masks, train_dense
from acsgen.nn.training import run as module
from acsgen.nn.training.augment import augment, by_step
from acsgen.nn.training.loop import State
from acsgen.nn.training.plots import plot_run
from acsgen.nn.training.run import begin, by_macs, train
from tests.nn.tiny import write_recipe

PHASES = ["groups", "dense", "gates", "gated", "gated"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(begin(recipe, folder))
    return folder


def load(path: Path) -> keras.Model:
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Ctrl-C in the epoch after these, as the state of the last one has been written."""
    write, seen = module._write_state, []

    def write_and_stop(*arguments: Any) -> None:
        write(*arguments)
        seen.append(0)
        if len(seen) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_state", write_and_stop)


def check_same_weights(mine: Path, wanted: Path) -> None:
    for one, other in zip(load(mine).weights, load(wanted).weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=other.path)


def test_a_resumed_run_ends_with_the_same_weights(
    recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 4)
        train(begin(recipe, folder))
    run = begin(recipe, folder, resume=True)
    assert (run.done, run.epochs) == (4, 5)
    report = train(run)
    check_same_weights(folder / "dense.keras", finished / "dense.keras")
    check_same_weights(folder / "gated.keras", finished / "gated.keras")
    assert report == json.loads((finished / "report.json").read_text(encoding="utf-8"))
    assert (folder / "train.log").read_text(encoding="utf-8").count("started ") == 2
    # Nothing is trained again, and the report is that of the file.
    monkeypatch.setattr(module, "train_pair", lambda *_, **__: pytest.fail("trains a finished run"))
    assert train(begin(recipe, folder, resume=True)) == report


def test_what_a_run_writes(recipe: Path, finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "accuracy_macs.png",
        "calibration.npz",
        "dense.keras",
        "gated.keras",
        "recipe.toml",
        "report.json",
        "test.npz",
        "train.log",
        "training.png",
    ]
    assert (finished / "recipe.toml").read_bytes() == recipe.read_bytes()
    for name in ("training.png", "accuracy_macs.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    log = (finished / "train.log").read_text(encoding="utf-8")
    assert log.count("\nepoch ") == len(PHASES) and "phase gates: 1 epochs" in log

    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    assert [entry["phase"] for entry in report["history"]] == PHASES
    gated, dense = load(finished / "gated.keras"), load(finished / "dense.keras")
    layers = [layer for layer in gated.layers if isinstance(layer, DGConv2D)]
    assert sorted(layer.name for layer in layers) == ["a_dg", "a_gate_conv2", "a_gate_conv3"]
    for layer in layers:
        assert not layer.learn_groups
        assert np.bincount(layer.channel_groups()).tolist() == [layer.group_size] * layer.groups
        assert report["groups"][layer.name] == layer.channel_groups().tolist()
        # The groups learned by the twin are those of the masks.
        if layer.name.endswith("_dg"):
            assert dense.get_layer(layer.name).channel_groups().tolist() == report["groups"][layer.name]
            mask = gated.get_layer(layer.name.replace("_dg", "_mask"))
            assert mask.channel_group == report["groups"][layer.name]

    # The figures are those of the files, on the test images that the run set aside.
    samples = np.load(finished / "test.npz")
    assert len(samples["x"]) == 64 and len(np.load(finished / "calibration.npz")["x"]) == 192
    result, test = evaluate(gated, samples["x"], samples["y"]), report["test"]["gated"]
    assert (result.accuracy, result.macs_mean, result.macs_std) == (
        test["accuracy"],
        test["macs_mean"],
        test["macs_std"],
    )
    macs = mac_table(gated).executed(predict_masks(gated, samples["x"])[1])
    assert (macs.min(), macs.max()) == (test["macs_min"], test["macs_max"])
    assert sum(entry["images"] for entry in report["by_macs"]) == 64
    mean = sum(entry["images"] * entry["accuracy"] for entry in report["by_macs"]) / 64
    assert mean == pytest.approx(result.accuracy)


def test_a_dense_twin_alone_with_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = 'member = "g_resnext"\nstem = 4\nblocks = [{name = "a", middle = 8, out = 4, group_size = 4}]'
    options = {"precision": '"mixed_bfloat16"', "validate_every": 3}
    with pytest.raises(AcsgenError, match="g_resnext has no gates: set gated_epochs = 0"):
        begin(write_recipe(tmp_path, model, **options), tmp_path / "run")
    recipe = write_recipe(tmp_path, model, gated_epochs=0, dense_epochs=2, **options)
    report = train(begin(recipe, tmp_path / "run"))
    assert set(report["test"]) == {"dense"} and not (tmp_path / "run" / "gated.keras").exists()
    assert {weight.dtype for weight in load(tmp_path / "run" / "dense.keras").weights} == {"float32"}
    # The last epoch of a phase is always measured.
    assert [entry["validation_accuracy"] is not None for entry in report["history"]] == [True, False, True]
    assert keras.config.dtype_policy().name == "float32"

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 1)  # the groups are learned, but not yet fixed
        train(begin(recipe, tmp_path / "resumed"))
    assert train(begin(recipe, tmp_path / "resumed", resume=True)) == report
    check_same_weights(tmp_path / "resumed" / "dense.keras", tmp_path / "run" / "dense.keras")


def test_a_loss_that_is_no_number(recipe: Path, tmp_path: Path) -> None:
    images = np.full((64, 8, 8, 1), np.nan, np.float32)
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    with pytest.raises(AcsgenError, match=r"the loss is not a number in epoch 1, step 1: lower 'learning_rate'"):
        train_dense(model, images, np.zeros(64, int), Schedule(epochs=1, batch=32), log=lambda _: None)
    with pytest.raises(AcsgenError, match="64 training images are fewer than a batch of 65"):
        train_dense(model, images, np.zeros(64, int), Schedule(epochs=1, batch=65))
    with pytest.raises(ValueError, match="cannot go on"):
        train_dense(model, images, np.zeros(64, int), Schedule(epochs=1, batch=32), start=State(0, {}))
    with pytest.raises(AcsgenError, match="belongs to another network"):
        train_dense(model, images, np.zeros(64, int), Schedule(epochs=1, batch=32), start=State(0, {}), resumable=True)


def test_folders_that_will_not_do(recipe: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="exists: go on with --resume"):
        begin(recipe, finished)
    with pytest.raises(AcsgenError, match="holds no run"):
        begin(recipe, tmp_path / "nowhere", resume=True)
    other = write_recipe(tmp_path, seed=1)
    with pytest.raises(AcsgenError, match="was begun with another recipe"):
        begin(other, finished, resume=True)
    folder = tmp_path / "damaged"
    begin(recipe, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.toml"]
    (folder / "state.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(AcsgenError, match="is damaged: begin anew"):
        begin(recipe, folder, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "widths = [8]"}, "[model] gives no network: acs_resnet: 1 widths but 3 strides"),
        ({"model": 'width = "wide"'}, "[model] gives no network: "),
        ({"model": 'gate = "none"'}, "[model] gives no network: "),
        ({"target": 0.02}, "train.target is 0.02, but 0."),
        ({"quantize_epochs": 1, "gated_epochs": 0}, "quantize.epochs tunes the gated network"),
        ({"batch": 193}, "192 training images are fewer than a batch of 193"),
    ],
)
def test_networks_that_cannot_be_trained(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **changes)
    with pytest.raises(AcsgenError) as caught:
        begin(recipe, tmp_path / "run")
    assert str(caught.value).startswith(str(recipe)) and message in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_by_macs() -> None:
    macs = np.array([50.0, 10, 40, 20, 30])
    right = np.array([True, False, True, True, False])
    assert by_macs(macs, right, ~right, bins=2) == [
        {"images": 3, "macs_mean": 20.0, "accuracy": pytest.approx(1 / 3), "accuracy_dense": pytest.approx(2 / 3)},
        {"images": 2, "macs_mean": 45.0, "accuracy": 1.0, "accuracy_dense": 0.0},
    ]
    assert len(by_macs(macs, right, right)) == 5


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acsgen.nn.training.plots.find_spec", lambda name: None)
    assert plot_run(tmp_path, [], {}) == ["no plots: they need matplotlib: pip install 'acsgen[train]'"]
    assert not list(tmp_path.iterdir())


def test_augmentation_by_step() -> None:
    """Every image is one of the shifted and mirrored ones, by numpy; steps and seeds differ, and repeat."""
    schedule = Schedule(batch=16, shift=1)
    x = np.random.default_rng(0).random((16, 5, 4, 2), np.float32)

    def drawn(seed: int, step: int) -> np.ndarray:
        return np.asarray(augment(tf.constant(x), schedule, by_step(seed, tf.constant(step))))

    first = drawn(3, 8)
    chosen = []
    for image, result in zip(x, first, strict=True):
        padded = [np.pad(side, ((1, 1), (1, 1), (0, 0))) for side in (image, image[:, ::-1])]
        every = [side[i : i + 5, j : j + 4] for side in padded for i in range(3) for j in range(3)]
        found = [k for k, candidate in enumerate(every) if np.array_equal(candidate, result)]
        assert len(found) == 1
        chosen += found
    assert len(set(chosen)) > 5
    np.testing.assert_array_equal(drawn(3, 8), first)
    for other in (drawn(3, 9), drawn(4, 8)):
        assert not np.array_equal(other, first)
