# SPDX-License-Identifier: Apache-2.0
"""Files that are no checkpoints, or hold what no checkpoint should: refused before TensorFlow is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acsgen.errors import AcsgenError
from acsgen.frontend import keras_file
from acsgen.frontend.keras import load_keras
from acsgen.frontend.keras_file import check_keras_file
from acsgen.frontend.keras_layers import READERS
from acsgen.resources import resource_dir
from tests.frontend.keras_archive import INPUT, layer_config, sequential_config, write_archive, write_config

DEMO = resource_dir("demo") / "fashion_acs.keras"
CONV = layer_config("Conv2D", filters=2, kernel_size=[3, 3])


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    os.mkfifo(path)


def truncated(path: Path) -> None:
    path.write_bytes(DEMO.read_bytes()[:-100])


def encrypted(path: Path) -> None:
    """The flag that says so, in both headers."""
    content = bytearray(write_config(path, sequential_config(CONV)).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + offset] |= 1
    path.write_bytes(content)


def corrupt_config(path: Path) -> None:
    content = bytearray(write_config(path, sequential_config(CONV)).read_bytes())
    content[content.index(b"Conv2D")] ^= 1
    path.write_bytes(content)


NO_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.touch(), "no checkpoint, or a damaged one: a .keras file is a zip archive"),
    "text": (lambda path: path.write_text("hello\n" * 99), "no checkpoint, or a damaged one"),
    "folder": (folder, "a folder or a device, not a .keras file"),
    "device": (device, "a folder or a device, not a .keras file"),
    "truncated": (truncated, "no checkpoint, or a damaged one"),
    "another zip": (lambda path: write_archive(path, {"a": b""}), "config.json and model.weights.h5 missing"),
    "no weights": (lambda path: write_archive(path, {"config.json": b""}), "no checkpoint: model.weights.h5 missing"),
    "encrypted": (encrypted, r"damaged: config.json cannot be read \(RuntimeError\)"),
    "corrupt": (corrupt_config, "no checkpoint, or a damaged one"),
    "no JSON": (
        lambda path: write_archive(path, {"config.json": b"{", "model.weights.h5": b""}),
        r"damaged: config.json cannot be read \(JSONDecodeError\)",
    ),
    "deep JSON": (
        lambda path: write_archive(path, {"config.json": b"[" * 100_000, "model.weights.h5": b""}),
        r"damaged: config.json cannot be read \(RecursionError\)",
    ),
    "a list": (lambda path: write_config(path, [1]), "no functional or sequential Keras model"),
    "another class": (lambda path: write_config(path, {"class_name": "Distiller"}), "no functional or sequential"),
    "no layers": (
        lambda path: write_config(path, {"class_name": "Functional", "config": {}}),
        "damaged: its config.json describes no model",
    ),
    "layers of another kind": (
        lambda path: write_config(path, {"class_name": "Functional", "config": {"layers": [1]}}),
        "damaged: its config.json describes no model",
    ),
    "more entries": (
        lambda path: write_archive(path, {"config.json": b"", "model.weights.h5": b"", "../evil": b""}),
        r"holds '\.\./evil', which belongs to no layer",
    ),
}


@pytest.mark.parametrize(("make", "message"), NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_no_checkpoint(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    make(path)
    with pytest.raises(AcsgenError, match=message) as raised:
        load_keras(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever the user is: root may read everything."""

    def refuse(*arguments: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = write_config(tmp_path / "net.keras", sequential_config(CONV))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AcsgenError, match=r"net\.keras: cannot be read: Permission denied"):
        load_keras(path)


def test_a_file_that_claims_to_be_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(
        tmp_path / "net.keras", {"config.json": b"{}", "model.weights.h5": b"0" * 10_000, "metadata.json": b""}
    )
    monkeypatch.setattr(keras_file, "MAX_CHECKPOINT_BYTES", 10_000)
    with pytest.raises(AcsgenError, match="10002 bytes unpacked, more than any network for a microcontroller"):
        check_keras_file(path, READERS)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layer_config("Dense", units=10**9), "layer 'dense' .*: its units 1000000000 is more than any microcontroller"),
        (layer_config("Conv2D", filters=2, kernel_size=[70000, 1]), "its kernel_size .* is more than"),
        (layer_config("ZeroPadding2D", padding=[[0, 0], [0, 10**9]]), "its padding .* is more than"),
    ],
)
def test_layers_that_claim_to_be_huge(layer: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=message):
        check_keras_file(write_config(tmp_path / "net.keras", sequential_config(layer)), READERS)


EVIL: dict[str, tuple[dict[str, Any], str]] = {
    "lambda": (
        layer_config("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}),
        r"layer 'lambda' \(Lambda\): this layer is not supported",
    ),
    "any function": (
        {"module": "os", "class_name": "function", "config": {"name": "x"}, "registered_name": "system"},
        "layer 'x' .*: this layer is not supported",
    ),
    "saved model": (layer_config("TFSMLayer", filepath="x"), r"\(TFSMLayer\): this layer is not supported"),
    "a class of that name elsewhere": (layer_config("Conv2D", module="evil"), r"\(Conv2D\): this layer is not"),
    "a registered class": ({**CONV, "registered_name": "evil>Conv2D"}, r"\(Conv2D\): this layer is not supported"),
    "hidden in an argument": (
        {**CONV, "inbound_nodes": [{"kwargs": {"x": {"class_name": "function", "config": "f"}}}]},
        r"layer 'conv2d' \(Conv2D\): its inbound_nodes \(function\) is not supported",
    ),
    "hidden in an initialiser": (
        layer_config("Conv2D", kernel_initializer={"module": "keras.initializers", "class_name": "Zeros", "config": {
            "x": {"module": "keras.utils", "class_name": "get_file", "config": "f"}}}),
        r"its kernel_initializer \(get_file\) is not supported",
    ),
    "hidden in a type": (
        layer_config("Conv2D", dtype={"module": "keras", "class_name": "Lambda", "config": {}}),
        r"its dtype \(Lambda\) is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layer", "message"), EVIL.values(), ids=EVIL)
def test_what_could_run_code(layer: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=message):
        check_keras_file(write_config(tmp_path / "net.keras", sequential_config(layer)), READERS)


def test_code_beside_the_layers(tmp_path: Path) -> None:
    config = sequential_config(CONV)
    config["config"]["dtype"] = {"module": "os", "class_name": "system", "config": "true"}
    with pytest.raises(AcsgenError, match=r"the model's model \(system\) is not supported"):
        check_keras_file(write_config(tmp_path / "net.keras", config), READERS)


def test_place_in_the_graph(tmp_path: Path) -> None:
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}} for name in ("a", "b")]
    layer = {**layer_config("Multiply"), "inbound_nodes": [{"args": [tensors], "kwargs": {}}]}
    with pytest.raises(AcsgenError, match=r"layer 'multiply' \(Multiply, reads 'a' and 'b'\): this layer"):
        check_keras_file(write_config(tmp_path / "net.keras", sequential_config(layer)), READERS)


def test_plain_data_is_let_through(tmp_path: Path) -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "shared_object_id": 10**15}
    conv = layer_config(
        "Conv2D",
        dtype=policy,
        activation="relu",
        kernel_initializer={"module": "keras.initializers", "class_name": "HeNormal", "config": {"seed": 10**9}},
        kernel_regularizer={"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01}},
        kernel_constraint={"module": "keras.constraints", "class_name": "MaxNorm", "config": {}},
    )
    own = {**layer_config("DGConv2D", module="acsgen.nn.layers"), "registered_name": "acsgen>DGConv2D"}
    check_keras_file(write_config(tmp_path / "net.keras", sequential_config(conv, own)), READERS)
    check_keras_file(DEMO, READERS)


def test_a_refused_file_costs_no_import_of_tensorflow(tmp_path: Path) -> None:
    path = write_config(tmp_path / "net.keras", sequential_config(EVIL["lambda"][0]))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from acsgen.frontend.keras import load_keras\n"
        "from acsgen.errors import AcsgenError\n"
        "try:\n"
        "    load_keras(Path(sys.argv[1]))\n"
        "except AcsgenError:\n"
        "    print({'keras', 'tensorflow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_hand_made_files_are_like_those_of_keras(tmp_path: Path) -> None:
    """The archive that the tests above write differs from the demo's in its layers only."""
    path = write_config(tmp_path / "net.keras", sequential_config(CONV))
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(DEMO) as theirs:
        assert set(ours.namelist()) == set(theirs.namelist())
        layers = [json.loads(archive.read("config.json"))["config"]["layers"] for archive in (ours, theirs)]
    assert layers[0][0]["class_name"] == layers[1][0]["class_name"] == INPUT["class_name"]
    assert set(layers[0][0]) <= set(layers[1][0])
