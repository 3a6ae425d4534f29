# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the authors' PyTorch code become Keras models that compute the same, or an error that says why."""

from __future__ import annotations

import builtins
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from acsgen.errors import AcsgenError
from acsgen.frontend import torch_file
from acsgen.frontend.keras import load_keras, read_model
from acsgen.frontend.torch import (
    ARCHES,
    Imported,
    check_input_shape,
    convert,
    import_torch,
    parse_input_shape,
    save_model,
)
from acsgen.frontend.torch_file import Checkpoint, read_checkpoint
from acsgen.graph import Gate
from acsgen.graph.evaluate import evaluate
from acsgen.nn import ChannelGate, DGConv2D
from tests.frontend.authors_densenet import SMALL, DenseNet, Grouped, randomise, save, small_network

State = dict[str, torch.Tensor]


def small(path: Path, shape: tuple[int, int, int] = (32, 32, 3)) -> Imported:
    return convert(read_checkpoint(path), "densenet40", SMALL, shape)


def gates_of(model: Any) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, ChannelGate)]


def check_parity(network: Any, model: Any, seed: int) -> None:
    """Logits and masks of PyTorch, of Keras and of the float graph."""
    x = np.random.default_rng(seed).normal(size=(6, *model.input_shape[1:])).astype(np.float32)
    with torch.no_grad():
        logits, decisions = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    assert min(float(d.abs().min()) for d in decisions) > 1e-5  # or a mask could hang on the rounding
    expected = [(d > 0).numpy().astype(np.float32) for d in decisions]
    assert all(0 < mask.mean() < 1 for mask in expected) and any(mask.std(axis=0).any() for mask in expected)

    gates = gates_of(model)
    values = list(map(np.asarray, keras.Model(model.input, [model.output, *(gate.output for gate in gates)])(x)))
    np.testing.assert_allclose(values[0], logits.numpy(), rtol=0, atol=1e-4)
    graph = read_model(model)
    ops = [op for op in graph.ops if isinstance(op, Gate)]
    floats = evaluate(graph, x, keep=[graph.output, *(op.output for op in ops)])
    np.testing.assert_allclose(floats[graph.output], logits.numpy(), rtol=0, atol=1e-4)
    assert [op.name for op in ops] == [gate.name for gate in gates] and len(ops) == len(expected)
    for op, mask, found in zip(ops, expected, values[1:], strict=True):
        np.testing.assert_array_equal(found, mask)
        np.testing.assert_array_equal(floats[op.output], mask)


# --- what becomes of a checkpoint --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parallel", "shape"),
    [(True, (32, 32, 3)), (False, (45, 30, 3))],  # odd sizes: all paddings and pools at their edges
)
def test_the_same_numbers_as_in_pytorch(parallel: bool, shape: tuple[int, int, int], tmp_path: Path) -> None:
    network = small_network()
    imported = small(save(tmp_path / "acs.pth.tar", network.state_dict(), parallel), shape)
    check_parity(network, imported.model, seed=2)
    assert imported.classes == 4 and imported.warnings == ()


def test_a_saved_model_holds_the_same(tmp_path: Path) -> None:
    network = small_network()
    imported = small(save(tmp_path / "acs.pth.tar", network.state_dict()))
    (tmp_path / "net.keras").write_text("an older one", encoding="utf-8")
    save_model(imported.model, tmp_path / "net.keras")
    check_parity(network, keras.saving.load_model(tmp_path / "net.keras"), seed=3)
    assert load_keras(tmp_path / "net.keras").name == "net"
    assert {path.name for path in tmp_path.iterdir()} == {"acs.pth.tar", "net.keras"}


def test_groups_are_those_of_the_signs(tmp_path: Path) -> None:
    network = small_network()
    gate = network.denseblock0_0_gate
    with torch.no_grad():
        gate.conv2.gate.copy_(torch.tensor([1e-8, 0.0, -1e-8]))
        gate.conv3.gate.copy_(torch.tensor([0.3, 0.2, 0.1]))
    imported = small(save(tmp_path / "acs.pth.tar", network.state_dict()))
    assert list(imported.groups) == [f"{layer}_gate_{c}" for layer in ("b1_l2", "b2_l1") for c in ("conv2", "conv3")]
    assert imported.groups["b1_l2_gate_conv2"] == 4 and imported.groups["b1_l2_gate_conv3"] == 1
    layer = imported.model.get_layer("b1_l2_gate_conv2")
    np.testing.assert_array_equal(layer.channel_groups(), [0, 1, 2, 3, 0, 1, 2, 3])
    np.testing.assert_array_equal(layer.gate, [1.0, -1.0, -1.0])
    assert not layer.learn_groups


def test_densenet40(tmp_path: Path) -> None:
    """The full size: the paper's parameter counts, all keys sorted, no weight left as it was."""
    network = randomise(DenseNet(), 5)
    count = sum(p.numel() for p in network.parameters())
    gates = sum(p.numel() for name, p in network.named_parameters() if "_gate." in name)
    assert (count, gates) == (1_214_462, 486_516)

    imported = import_torch(save(tmp_path / "acs.pth.tar", network.state_dict(), parallel=True))
    model = imported.model
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 10))
    assert imported.parameters == count
    last = sum(p.numel() for p in network.denseblock2_5_gate.parameters())
    squeezes = sum(p.numel() for name, p in network.named_parameters() if "_gate.se." in name)
    assert imported.used == count - last - squeezes + 128  # the last gate's own squeeze counts once
    assert imported.used == sum(w.shape.num_elements() for layer in model.layers for w in learned(layer))
    assert {kind: len(keys) for kind, keys in imported.unused.items()} == {
        "gate behind the last layer, whose mask nothing reads": len(network.denseblock2_5_gate.state_dict()),
        "squeeze-and-excite parts of the gates, never called": 17 * 2,
        "constants of the learned groupings": 17 * 2 * 2,
        "counters of the batch normalisations": 1 + 18 * 2 + 17 + 3 + 1,
    }
    assert len(imported.groups) == 17 * 2
    x = np.random.default_rng(6).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(np.asarray(model(x)), logits.numpy(), rtol=0, atol=1e-4)


def learned(layer: Any) -> list[Any]:
    """What PyTorch counts as parameters: all weights but statistics, and the frozen scalars as well."""
    frozen = [layer.gate] if isinstance(layer, DGConv2D) else []
    return [*layer.trainable_weights, *frozen]


def test_summary(tmp_path: Path) -> None:
    imported = small(save(tmp_path / "acs.pth.tar", small_network().state_dict()))
    summary, rows = imported.summary(), imported.rows()
    assert summary["input"] == [32, 32, 3] and rows["input"] == "32x32x3"
    assert summary["unused_keys"]["constants of the learned groupings"] == 8
    assert rows["unused keys: constants of the learned groupings"] == 8
    assert rows["groups of b1_l2_gate_conv2"] == summary["groups"]["b1_l2_gate_conv2"]
    assert 0 < summary["used_parameters"] < summary["parameters"]


def bare(state: State) -> Any:
    return state


def ordered(state: State) -> Any:
    return {"state_dict": torch.nn.ParameterDict(state).state_dict()}


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (bare, {}),
        (ordered, {}),
        (bare, {"_use_new_zipfile_serialization": False}),
        (lambda state: {"state_dict": state, "arch": 7}, {}),
    ],
)
def test_what_may_stand_around_a_state_dict(
    content: Callable[[State], Any], options: dict[str, Any], tmp_path: Path
) -> None:
    tensors = {"weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(content(tensors), tmp_path / "acs.pth", **options)
    checkpoint = read_checkpoint(tmp_path / "acs.pth")
    assert checkpoint.arch is None and list(checkpoint.tensors) == ["weight"]
    np.testing.assert_array_equal(checkpoint.array("weight", (2, 3)), np.arange(6).reshape(2, 3))


def test_another_precision(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([0.5, 2.0]).half(), "b": torch.tensor([0.5]).double(), "c": torch.ones(1).bfloat16()}
    checkpoint = read_checkpoint(save(tmp_path / "acs.pth", tensors))
    assert all(checkpoint.array(key, tuple(value.shape)).dtype == np.float32 for key, value in tensors.items())
    np.testing.assert_array_equal(checkpoint.array("a", (2,)), [0.5, 2.0])


def test_a_checkpoint_that_says_that_it_is_another(tmp_path: Path) -> None:
    path = save(tmp_path / "acs.pth", small_network().state_dict(), arch="resnet\n74")
    assert small(path).warnings == (f"{path} says that it is a 'resnet\\n74', read as 'densenet40'",)


# --- refused: what a state dict lacks, or has too much of --------------------------------------------------------


def changed(state: State, **changes: Any) -> State:
    """The state dict with other values; None removes a key. `__` in a name is a dot."""
    names = {name.replace("__", "."): value for name, value in changes.items()}
    return {key: value for key, value in {**state, **names}.items() if value is not None}


NAN = torch.full((8,), float("nan"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn_norm__weight": None}, "no checkpoint of a densenet40: key 'bn_norm.weight' missing"),
        (
            {f"denseblock0_0_gate__bn1__{name}": None for name in ("weight", "bias", "running_mean", "running_var")},
            "no checkpoint of a densenet40: keys 'denseblock0_0_gate.bn1.weight', 'denseblock0_0_gate.bn1.bias', "
            "'denseblock0_0_gate.bn1.running_mean' and 1 more missing",
        ),
        (
            {"denseblock0_2__0__dense_module__norm1__weight": torch.ones(3)},
            "no checkpoint of a densenet40, which has no key 'denseblock0_2.0.dense_module.norm1.weight'",
        ),
        (
            {"base_layer__conv0__weight": torch.ones(8, 1, 7, 7)},
            "key 'base_layer.conv0.weight' has shape (8, 1, 7, 7) where the network needs (8, 3, 7, 7): "
            "another architecture, or another input",
        ),
        (
            {"denseblock0_0_gate__conv2__gate": torch.ones(4)},
            "key 'denseblock0_0_gate.conv2.gate' has shape (4,) where the network needs (3,): "
            "another architecture, or another input",
        ),
        (
            {"bn_norm__weight": torch.ones(1).expand(1 << 40)},
            "key 'bn_norm.weight' has shape (1099511627776,) where the network needs (10,): "
            "another architecture, or another input",
        ),
        (
            {"classifier__weight": torch.ones(1).expand(1 << 20, 10)},
            "key 'classifier.weight' has shape (1048576, 10), not (classes, features) with 1 to 65536 classes",
        ),
        (
            {"classifier__weight": torch.ones(10)},
            "key 'classifier.weight' has shape (10,), not (classes, features) with 1 to 65536 classes",
        ),
        (
            {"base_layer__norm0__running_mean": NAN},
            "key 'base_layer.norm0.running_mean' holds NaN or infinity: "
            "the training went wrong, take another checkpoint",
        ),
        (
            {"base_layer__norm0__bias": torch.full((8,), 1e300, dtype=torch.float64)},
            "key 'base_layer.norm0.bias' holds NaN or infinity: the training went wrong, take another checkpoint",
        ),
        (
            {"base_layer__norm0__running_var": torch.full((8,), -0.1)},
            "key 'base_layer.norm0.running_var' holds a negative variance: damaged",
        ),
        (
            {"base_layer__norm0__bias": torch.ones(8, dtype=torch.int32)},
            "key 'base_layer.norm0.bias' holds no ordinary floating-point numbers (torch.int32): save the float model",
        ),
        (
            {"base_layer__norm0__bias": torch.ones(8).to_sparse()},
            "key 'base_layer.norm0.bias' holds no ordinary floating-point numbers (torch.float32): "
            "save the float model",
        ),
        (
            {"denseblock0_0_gate__conv3__D": torch.ones(2, 2)},
            "key 'denseblock0_0_gate.conv3.D' is not [[1, 0], [0, 1]]: "
            "the scalars of its learned groupings do not mean what they mean in the paper",
        ),
        (
            {"denseblock0_0_gate__conv3__I": torch.eye(2)},
            "key 'denseblock0_0_gate.conv3.I' is not [[1, 1], [1, 1]]: "
            "the scalars of its learned groupings do not mean what they mean in the paper",
        ),
    ],
)
def test_a_state_dict_of_another_network(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "acs.pth", changed(small_network().state_dict(), **changes))
    with pytest.raises(AcsgenError) as error:
        small(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_key_that_would_break_a_message(tmp_path: Path) -> None:
    path = save(tmp_path / "acs.pth", {**small_network().state_dict(), "\x1b[2J\n" + "x" * 500: torch.ones(1)})
    with pytest.raises(AcsgenError) as error:
        small(path)
    message = str(error.value).removeprefix(str(path))
    assert message.startswith(r": no checkpoint of a densenet40, which has no key '\x1b[2J\nxxx") and len(message) < 170


# --- refused: files -----------------------------------------------------------------------------------------


class Program:
    """An object that runs code when it is unpickled: it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def plain_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize(
    "write",
    [torch.save, lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False), plain_pickle],
)
def test_code_in_a_pickle_does_not_run(write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "acs.pth.tar"
    write({"state_dict": {"weight": torch.ones(1)}, "best_prec1": Program(mark)}, path)
    with pytest.raises(AcsgenError) as error:
        import_torch(path)
    assert str(error.value) == (
        f"{path}: refused, it holds more than tensors and plain data, and reading that could run code: "
        "save torch.save(model.state_dict(), ...) where you trust it"
    )
    assert not mark.exists()
    torch.load(path, weights_only=False) if write is not plain_pickle else pickle.loads(path.read_bytes())  # noqa: S301
    assert mark.exists()  # so the file was dangerous indeed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PyTorch checkpoint, or a damaged one (EOFError)"),
        (b"hello world", "no PyTorch checkpoint, or a damaged one (KeyError)"),
    ],
)
def test_files_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "acs.pth.tar"
    path.write_bytes(content)
    with pytest.raises(AcsgenError) as error:
        import_torch(path)
    assert str(error.value) == f"{path}: {message}"


def test_a_cut_file(tmp_path: Path) -> None:
    path = save(tmp_path / "acs.pth.tar", {"weight": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(AcsgenError, match="no PyTorch checkpoint, or a damaged one"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state_dict: save the network with"),
        ({"state_dict": {}}, "holds no state_dict: save the network with"),
        ({"model": {"a": 1}}, r"entry 'model' \(dict\) is no tensor of a state_dict: save"),
        ({"state_dict": {3: torch.ones(1)}}, r"entry 3 \(Tensor\) is no tensor of a state_dict: save"),
    ],
)
def test_content_that_is_no_state_dict(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "acs.pth")
    with pytest.raises(AcsgenError, match=message):
        read_checkpoint(tmp_path / "acs.pth")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=r"nowhere: no such file$"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(AcsgenError, match="a folder or a device, not a PyTorch checkpoint"):
        read_checkpoint(tmp_path)


def test_a_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "acs.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("acs/data.pkl", bytes(2_000_000))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(torch_file, "MAX_CHECKPOINT_BYTES", 1_000_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("is read"))
    with pytest.raises(AcsgenError, match="2000000 bytes unpacked, more than any network"):
        read_checkpoint(path)


def test_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "acs.pth", {"weight": torch.ones(1)})
    original = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'")
        return original(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(AcsgenError) as error:
        read_checkpoint(path)
    assert str(error.value) == (
        "reading a PyTorch checkpoint needs PyTorch (No module named 'torch'): pip install 'acsgen[torch]'"
    )


def test_a_pytorch_that_can_be_made_to_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "acs.pth", {"weight": torch.ones(1)})
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("is read"))
    with pytest.raises(AcsgenError) as error:
        read_checkpoint(path)
    assert str(error.value) == (
        "PyTorch 2.9.1+cpu can be made to run code from a checkpoint, 2.10 is needed: pip install 'acsgen[torch]'"
    )


# --- refused: arguments -----------------------------------------------------------------------------------------


def test_an_unknown_architecture() -> None:
    with pytest.raises(AcsgenError) as error:
        import_torch(Path("nowhere"), "resnet74")
    assert str(error.value) == f"no architecture is called 'resnet74'; these are known: {', '.join(ARCHES)}"


def test_input_shapes() -> None:
    assert parse_input_shape("45x30x3") == (45, 30, 3)
    for text in ("", "32", "32x32", "32x32x3x1", "32X32x3", "-1x2x3", "a32x32x3", "٣x3x3"):
        with pytest.raises(AcsgenError, match="give height, width and channels, such as 32x32x3"):
            parse_input_shape(text)
    for shape in ((0, 32, 3), (32, 1025, 3)):
        with pytest.raises(AcsgenError, match="every number must be from 1 to 1024"):
            check_input_shape(shape)


def test_the_reference_counts_zero_as_no_connection() -> None:
    """Of the reference itself: two scalars of which the first is 1."""
    grouped = Grouped(4, 1)
    with torch.no_grad():
        grouped.gate.copy_(torch.tensor([1.0, 0.0]))
        grouped.conv.weight.fill_(1.0)
        image = torch.zeros(1, 4, 3, 3)
        image[0, 1, 1, 1] = 1.0
        reached = grouped(image)[0, :, 1, 1].tolist()
    assert reached == [0.0, 1.0, 0.0, 1.0]  # groups {0, 2} and {1, 3}


def test_the_size_of_a_hostile_tensor_costs_nothing() -> None:
    huge = Checkpoint(Path("x"), {"a": torch.ones(1).expand(1 << 30, 1 << 10)})
    assert huge.size("a") == 1 << 40
