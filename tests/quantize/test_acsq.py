# SPDX-License-Identifier: Apache-2.0
"""model.acsq: what is written comes back, and whatever else is in a file is refused, never crashed over."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acsgen.emit.calls import Writer
from acsgen.emit.render import model_files
from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.plan import plan
from acsgen.quantize import acsq as acsq_module
from acsgen.quantize import quantize
from acsgen.quantize.acsq import fingerprint, load_acsq, save_acsq
from tests.graphs import random_graph
from tests.models import small_graph


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_graph()


@pytest.fixture(scope="module")
def content(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("acsq") / "net.acsq"
    save_acsq(graph, path)
    return path.read_bytes()


def same(a: Any, b: Any) -> bool:
    """Field by field, arrays with their types."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


# --- what is written comes back --------------------------------------------------------------------


def test_round_trip(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.acsq"
    save_acsq(graph, path)
    assert same(load_acsq(path), graph)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("seed", range(12))
def test_round_trip_of_graphs_that_nobody_thought_of(seed: int, tmp_path: Path) -> None:
    case = random_graph(seed)
    quantized = quantize(case.graph, case.samples)
    save_acsq(quantized, tmp_path / "a")
    reread = load_acsq(tmp_path / "a")
    assert same(reread, quantized)
    save_acsq(reread, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_same_in_every_process(content: bytes, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from acsgen.quantize.acsq import save_acsq;"
        "from tests.models import small_graph; save_acsq(small_graph(), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    for seed in ("1", "2"):
        path = tmp_path / seed
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": ""}
        subprocess.run([sys.executable, "-c", code, path], check=True, env=environment, cwd=tmp_path)
        assert path.read_bytes() == content
        assert fingerprint(path) == fingerprint(tmp_path / "1")


def test_a_failed_write_leaves_the_old_file_alone(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.acsq"
    path.write_bytes(b"precious")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(AcsgenError, match=r"net\.acsq: cannot be written: No space left on device"):
        save_acsq(graph, path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_missing(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="cannot be written: No such file or directory"):
        save_acsq(graph, tmp_path / "nowhere" / "net.acsq")


def test_a_float_graph_is_not_written(tmp_path: Path) -> None:
    case = random_graph(0)
    with pytest.raises(AcsgenError, match="quantise the graph first"):
        save_acsq(case.graph, tmp_path / "net.acsq")
    assert list(tmp_path.iterdir()) == []


# --- files that are something else, or damaged -----------------------------------------------------


def outcome(path: Path, damaged: bytes) -> Graph | str:
    """The graph that is read from these bytes, or the message."""
    path.write_bytes(damaged)
    try:
        return load_acsq(path)
    except AcsgenError as error:
        assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
        return str(error)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, b"PK\x05\x06" + bytes(18)])
def test_no_acsq(content: bytes, tmp_path: Path) -> None:
    assert "no .acsq file, or a damaged one" in str(outcome(tmp_path / "x", content))


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="no such file"):
        load_acsq(tmp_path / "x")
    with pytest.raises(AcsgenError, match="cannot be read: Is a directory"):
        load_acsq(tmp_path)


def test_any_flipped_bit(graph: Graph, content: bytes, tmp_path: Path) -> None:
    """Either nothing that counts was hit, such as a date, or the file is refused."""
    rng = np.random.default_rng(0)
    directory = content.rindex(b"PK\x01\x02", 0, content.index(b"PK\x01\x02") + 4)
    positions = [*rng.integers(0, len(content), 150), *rng.integers(directory, len(content), 150)]
    refused = 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        result = outcome(tmp_path / "x", bytes(damaged))
        refused += isinstance(result, str)
        assert isinstance(result, str) or same(result, graph)
    assert refused > len(positions) // 2


def test_any_truncation(content: bytes, tmp_path: Path) -> None:
    for size in range(0, len(content), len(content) // 60):
        assert isinstance(outcome(tmp_path / "x", content[:size]), str)


# --- archives that are whole and say something wrong ------------------------------------------------


class Archive:
    """The parts of a good file, to be changed and packed again."""

    def __init__(self, content: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.entries = {name: archive.read(name) for name in archive.namelist()}
        self.document = json.loads(self.entries["graph.json"])

    def op(self, kind: str) -> Any:
        return next(op for op in self.document["ops"] if op["op"] == kind)

    def tensor(self, name: str) -> Any:
        return next(tensor for tensor in self.document["tensors"] if tensor["name"] == name)

    def array(self, kind: str, field: str) -> str:
        op = self.op(kind)
        return str({**op, **op["requantize"]}[field]["entry"])

    def change_array(self, kind: str, field: str, change: Callable[[Any], Any]) -> None:
        entry = self.array(kind, field)
        stream = io.BytesIO()
        np.save(stream, change(np.load(io.BytesIO(self.entries[entry]))), allow_pickle=True)
        self.entries[entry] = stream.getvalue()

    def packed(self) -> bytes:
        self.entries["graph.json"] = json.dumps(self.document).encode()
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in self.entries.items():
                archive.writestr(name, content)
        return stream.getvalue()


def put(kind: str, field: str, value: Any) -> Callable[[Archive], None]:
    """Another value in a field of the first operator of a kind."""
    return lambda archive: archive.op(kind).update({field: value})


def put_requantize(field: str, value: Any) -> Callable[[Archive], None]:
    return lambda archive: archive.op("Conv2D")["requantize"].update({field: value})


def put_tensor(field: str, value: Any, which: str = "output") -> Callable[[Archive], None]:
    return lambda archive: archive.tensor(archive.op("Conv2D")[which]).update({field: value})


def put_array(field: str, change: Callable[[Any], Any], kind: str = "Conv2D") -> Callable[[Archive], None]:
    return lambda archive: archive.change_array(kind, field, change)


def put_document(field: str, value: Any) -> Callable[[Archive], None]:
    return lambda archive: archive.document.update({field: value})


def assign(index: int, value: int) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.flat[index] = value
        return array

    return change


def read_self(archive: Archive) -> None:
    op = archive.op("Conv2D")
    op["inputs"] = [op["output"]]


def read_logits_as_mask(archive: Archive) -> None:
    gate = archive.op("Gate")
    archive.op("ApplyMask")["inputs"][1] = gate["inputs"][0]
    archive.document["ops"].remove(gate)
    archive.document["tensors"].remove(archive.tensor(gate["output"]))


def write_mask(archive: Archive) -> None:
    """The network ends with its gate."""
    gate = archive.op("Gate")
    ops, tensors = archive.document["ops"], archive.document["tensors"]
    archive.document["ops"] = ops[: ops.index(gate) + 1]
    alive = {"x", *(op["output"] for op in archive.document["ops"])}
    archive.document["tensors"] = [tensor for tensor in tensors if tensor["name"] in alive]
    archive.document["output"] = gate["output"]


def drop_array(archive: Archive) -> None:
    del archive.entries[archive.array("Conv2D", "weights")]


def huge_array(archive: Archive) -> None:
    """An array whose header claims 8 TB."""
    header = {"descr": "<i4", "fortran_order": False, "shape": (2, 10**12)}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[arg-type]
    archive.entries[archive.array("Conv2D", "bias")] = stream.getvalue() + bytes(64)


def huge_mask(archive: Archive) -> None:
    """A gate that decides on more groups than fit any memory, all by its shape."""
    archive.tensor("x")["shape"] = [60_000, 60_000, 4]


def duplicate_tensor(archive: Archive) -> None:
    archive.document["tensors"].append(archive.document["tensors"][0])


def other_scale_behind(kind: str, scale: float = 1e-3) -> Callable[[Archive], None]:
    return lambda archive: archive.tensor(archive.op(kind)["output"]).update(scale=scale)


DAMAGE: dict[str, tuple[Callable[[Archive], object], str]] = {
    "version": (put_document("version", 1), "version 1, this acsgen reads versions 2 and 3: quantize it again"),
    "version of another type": (put_document("version", "1"), "version 1, this acsgen reads versions 2 and 3"),
    "format": (put_document("format", "onnx"), "of another format"),
    "no list": (put_document("ops", 3), "damaged"),
    "no operators": (put_document("ops", []), "tensor 'gate.': has no scale"),
    "name": (put_document("name", "*/ int evil; /*"), "is no name"),
    "name of another type": (put_document("name", 3), "3 stands where str should"),
    "empty name": (put_document("name", ""), "is no name"),
    "long name": (put_document("name", "n" * 201), "is no name"),
    "name with a line end": (put("Conv2D", "name", "a\nb"), "is no name"),
    "name of the planner's": (put("Conv2D", "name", "a@2"), "is no name"),
    "name given twice": (
        lambda archive: archive.op("Conv2D").update(name=archive.op("Gate")["name"]),
        "two operators are called 'gate",
    ),
    "no such output": (put_document("output", "nowhere"), "nothing writes its output 'nowhere'"),
    "input that is written": (put_document("input", "conv2d0"), "reads|damaged"),
    "unknown operator": (put("Conv2D", "op", "Exec"), "damaged"),
    "float operator": (put("Conv2D", "op", "BatchNorm"), "damaged"),
    "unknown field": (put("Conv2D", "extra", 1), "Conv2D has fields"),
    "missing array": (drop_array, "damaged"),
    "array of another name": (put("Conv2D", "bias", {"type": "array", "entry": "../x"}), "damaged"),
    "array that is none": (put("Conv2D", "bias", 3), "3 stands where"),
    "array that claims to be huge": (huge_array, r"an array of int32\[2, 1000000000000\] in 64 bytes"),
    "pickled array": (put_array("bias", lambda a: a.astype(object)), "an array of object"),
    "array of structures": (put_array("bias", lambda a: a.view([("a", "<i2"), ("b", "<i2")])), "an array of"),
    "Fortran array": (put_array("weights", np.asfortranarray), "an array of"),
    "weights of another type": (put_array("weights", lambda a: a.astype(np.int32)), "weights are int8 with 4 axes"),
    "weights of another shape": (put_array("weights", lambda a: a[0]), "weights are int8 with 4 axes"),
    "no weights": (put_array("weights", lambda a: a[:0]), "weights are int8 with 4 axes"),
    "weights too wide": (put_array("weights", lambda a: a[..., :2]), "weights for 2 input channels, input has 4"),
    "weight of -128": (put_array("weights", assign(5, -128)), "a weight of -128: weights are -127 to 127"),
    "bias of another type": (put_array("bias", lambda a: a.astype(np.int8)), "its bias is one int32 for each of 8"),
    "bias of another shape": (put_array("bias", lambda a: a[:-1]), "its bias is one int32 for each of 8"),
    "huge bias": (put_array("bias", assign(3, 2**31 - 1)), "output channel 3 can reach .* an int32 accumulator ends"),
    "small multiplier": (put_array("multiplier", assign(0, 2**30 - 1)), "a multiplier that is neither 0 nor"),
    "negative multiplier": (put_array("multiplier", assign(0, -(2**31))), "a multiplier that is neither 0 nor"),
    "large shift": (put_array("shift", assign(0, 31)), "int32 shifts by -31 to 30"),
    "negative shift": (put_array("shift", assign(0, -32)), "int32 shifts by -31 to 30"),
    "shift that overflows": (put_array("shift", assign(2, 20)), "output channel 2 leaves int32"),
    "clamp the wrong way": (
        lambda archive: archive.op("Conv2D")["requantize"].update(low=5, high=4),
        "its clamp 5 to 4 is no range of int8",
    ),
    "clamp outside of int8": (put_requantize("high", 128), "is no range of int8"),
    "clamp of another type": (put_requantize("low", True), "True stands where int should"),
    "no requantisation": (put("Conv2D", "requantize", None), "has no requantisation"),
    "requantisation of another kind": (put_requantize("type", "Padding"), "damaged"),
    "stride 0": (put("Conv2D", "stride", [0, 1]), r"stride \(0, 1\) is not between 1 and 65535"),
    "negative stride": (put("Conv2D", "stride", [1, -1]), r"stride \(1, -1\) is not between"),
    "three strides": (put("Conv2D", "stride", [1, 1, 1]), "needs 2 parts"),
    "stride of another type": (put("Conv2D", "stride", [1, 1.5]), "1.5 stands where int should"),
    "dilation 0": (put("Conv2D", "dilation", [0, 0]), r"dilation \(0, 0\) is not between 1"),
    "groups 0": (put("Conv2D", "groups", 0), "groups 0 is not between 1"),
    "groups that do not divide": (put("Conv2D", "groups", 3), "Conv2D 'conv2d0': "),
    "negative padding": (
        lambda archive: archive.op("Conv2D")["padding"].update(top=-1),
        "padding .* is not between 0 and 65535",
    ),
    "huge padding": (lambda archive: archive.op("Conv2D")["padding"].update(left=10**9), "padding .* is not between"),
    "padding of a pool": (lambda archive: archive.op("MaxPool")["padding"].update(left=9), "nothing but padding"),
    "pool of nothing": (put("MaxPool", "kernel", [0, 2]), r"kernel \(0, 2\) is not between 1"),
    "activation": (put("Conv2D", "activation", "gelu"), "activation 'gelu' is none of"),
    "activation of another type": (put("Conv2D", "activation", ["relu"]), "stands where str should"),
    "learned groups": (put("Conv2D", "partition", [0] * 8), "learned groups are not in order yet"),
    "learned input groups": (put("Conv2D", "input_partition", [0] * 8), "learned groups are not in order yet"),
    "mask out of order": (put("ApplyMask", "partition", [0, 1, 2, 3] * 2), "groups are not equal ranges"),
    "mask of negative groups": (put("ApplyMask", "partition", [-1] * 8), "groups are not equal ranges"),
    "mask of no channels": (put("ApplyMask", "partition", []), "groups are not equal ranges"),
    "mask of too few groups": (put("ApplyMask", "partition", [0] * 8), "uses? groups"),
    "shuffle that loses channels": (put("Shuffle", "order", [0] * 8), "is no permutation of its 8 channels"),
    "logits as mask": (read_logits_as_mask, "does not come from a gate"),
    "mask as output": (write_mask, "the output of graph 'net' is the mask of gate|belongs to nothing"),
    "cycle": (read_self, "not all written before it"),
    "no inputs": (put("Conv2D", "inputs", []), "reads nothing"),
    "one addend": (put("Add", "inputs", ["x"]), "adds two tensors"),
    "NaN scale": (put_tensor("scale", math.nan), "scale nan is not above zero"),
    "infinite scale": (put_tensor("scale", math.inf), "scale inf is not above zero"),
    "scale 0": (put_tensor("scale", 0), "scale 0.0 is not above zero"),
    "negative scale": (put_tensor("scale", -0.1), "scale -0.1 is not above zero"),
    "scale that no float holds": (put_tensor("scale", 1e-320), "is not above zero, or beyond a float"),
    "no scale": (put_tensor("scale", None), "has no scale"),
    "scale of another type": (put_tensor("scale", "1"), "'1' stands where float should"),
    "zero point": (put_tensor("zero_point", 128), "zero point 128 is no int8"),
    "zero point of another type": (put_tensor("zero_point", 0.5), "0.5 stands where int should"),
    "scale of a mask": (
        lambda archive: archive.tensor(archive.op("Gate")["output"]).update(scale=1.0),
        "a mask has neither scale nor zero point",
    ),
    "shape": (put_tensor("shape", [6, 6, 9]), "does not have the shape"),
    "shape of two axes": (put_tensor("shape", [6, 8]), "does not have the shape"),
    "shape of four axes": (put_tensor("shape", [1, 6, 6, 8]), r"is none of \(H, W, C\), \(T, C\) and \(C,\)"),
    "shape with a zero": (lambda archive: archive.tensor("x").update(shape=[6, 0, 4]), "is none of"),
    "shape of another type": (put_tensor("shape", "668"), "stands where"),
    "shape that claims to be huge": (put_tensor("shape", [65_535, 65_535, 4]), "is too large"),
    "mask that claims to be huge": (huge_mask, "is too large"),
    "tensor given twice": (duplicate_tensor, "belongs to nothing"),
    "scale behind a pool": (other_scale_behind("MaxPool"), "MaxPool '.*': keeps scale and zero point"),
    "scale behind a mask": (other_scale_behind("ApplyMask"), "ApplyMask '.*': keeps scale and zero point"),
    "scale behind a flatten": (other_scale_behind("Flatten"), "Flatten '.*': keeps scale and zero point"),
    "scale behind a padding": (other_scale_behind("Pad"), "Pad '.*': keeps scale and zero point"),
    "scale behind a reshape": (other_scale_behind("Reshape"), "Reshape '.*': keeps scale and zero point"),
    "scale of joined tensors": (
        lambda archive: archive.tensor(archive.op("Concatenate")["inputs"][1]).update(scale=1e-3),
        "keeps scale and zero point",
    ),
    "nothing to join": (put("Concatenate", "inputs", []), "Concatenate '.*': reads nothing"),
    "tensors of two sizes joined": (
        lambda archive: archive.op("Concatenate").update(inputs=["x", archive.op("Pad")["output"]]),
        "joins channels of tensors of one size",
    ),
    "zeros of less than nothing": (
        lambda archive: archive.op("Pad")["padding"].update(right=-1),
        "padding .* is not between 0 and 65535",
    ),
    "zeros beyond all memory": (
        lambda archive: archive.op("Pad")["padding"].update(right=65_535),
        "does not have the shape",
    ),
    "reshape to another size": (put("Reshape", "shape", [4, 5]), r"16 values do not fill the shape \(4, 5\)"),
    "reshape to nothing": (put("Reshape", "shape", []), r"do not fill the shape \(\)"),
    "reshape to less than nothing": (put("Reshape", "shape", [-4, -4]), r"shape \(-4, -4\) is not between 1 and"),
    "reshape of another type": (put("Reshape", "shape", [4, 4.0]), "4.0 stands where int should"),
    "scale behind a sum": (other_scale_behind("Add", 1e-12), "Add '.*': '.*' has a scale of 1e-12, too small"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage(damage: Callable[[Archive], object], message: str, content: bytes, tmp_path: Path) -> None:
    archive = Archive(content)
    damage(archive)
    (tmp_path / "x").write_bytes(archive.packed())
    with pytest.raises(AcsgenError, match=message) as raised:
        load_acsq(tmp_path / "x")
    assert "\n" not in str(raised.value) and str(raised.value).startswith(str(tmp_path / "x"))


def test_an_undamaged_archive_is_read(graph: Graph, content: bytes, tmp_path: Path) -> None:
    """The tests above change what they say and nothing else."""
    assert same(outcome(tmp_path / "x", Archive(content).packed()), graph)


def test_a_file_that_unpacks_to_too_much(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acsq_module, "MAX_BYTES", 1000)
    assert "unpacks to more than 1000 bytes, which no .acsq does" in str(outcome(tmp_path / "x", content))


def test_too_many_operators(content: bytes, tmp_path: Path) -> None:
    archive = Archive(content)
    archive.document["ops"] = [archive.op("Flatten")] * 5000
    assert "5000 operators, at most 4096 work" in str(outcome(tmp_path / "x", archive.packed()))


def test_what_is_read_can_be_planned(content: bytes, tmp_path: Path) -> None:
    """Random values in random places of graph.json: refused, or planner and emitter can work with it."""
    rng = np.random.default_rng(1)
    values = [None, True, -1, 0, 1, 2, 3, 127, 2**31, 1e-9, 0.5, math.nan, "", "x", "relu", [], [1], [2, 2], {}]
    planned = 0
    for _ in range(400):
        archive = Archive(content)
        parent, key = _anywhere(rng, archive.document)
        parent[key] = values[rng.integers(len(values))]
        result = outcome(tmp_path / "x", archive.packed())
        if isinstance(result, Graph):
            model_files(Writer(plan(result), "net"), 0)
            planned += 1
    assert planned > 10


def _anywhere(rng: np.random.Generator, document: Any) -> tuple[Any, Any]:
    """A place in a JSON document: its parent and its key."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = keys[rng.integers(len(keys))]
        child = document[key]
        if not isinstance(child, dict | list) or not child or rng.random() < 0.1:
            return document, key
        document = child
