# SPDX-License-Identifier: Apache-2.0
"""`model.acsq`: the int8 graph as a file. The format is described in docs/acsq.md.

A zip archive of `graph.json` and one `.npy` file per array. Written twice from one graph, it is the
same file byte for byte. Read as data only: no pickle, sizes checked before anything is unpacked.
"""

from __future__ import annotations

import io
import json
import typing
import zipfile
import zlib
from dataclasses import fields, is_dataclass
from math import prod
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen import graph as ir
from acsgen.errors import AcsgenError
from acsgen.files import whole_file
from acsgen.graph import Graph, Op, Requantize, Tensor
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Padding
from acsgen.quantize.check import check_int8, check_parts, infer_shapes

FORMAT = "acsq"
VERSION = 3
#: Versions that are read: 2 has no SumGate.
READABLE = (2, 3)
MAX_BYTES = 64 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: What may stand in a file. A class is named by its field "op" or "type".
_OPS: dict[str, type[Op]] = {
    name: cls for name, cls in vars(ir).items() if isinstance(cls, type) and issubclass(cls, Op) and cls is not Op
}
_PARTS: dict[str, type[Any]] = {"Requantize": Requantize, "Padding": Padding}


def save_acsq(graph: Graph, path: Path) -> None:
    """Writes `graph` (int8) to `path`, replacing a file that is there only once the new one is whole.

    Raises AcsgenError if the graph does not keep the int8 contract, or the file cannot be written.
    """
    check_int8(graph)
    arrays: dict[str, NDArray[Any]] = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": graph.name,
        "input": graph.input,
        "output": graph.output,
        "tensors": [
            {"name": t.name, "shape": t.shape, "scale": t.scale, "zero_point": t.zero_point}
            for t in graph.tensors.values()
        ],
        "ops": [{"op": type(op).__name__, **_encode_fields(op, op.name, arrays)} for op in graph.ops],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "graph.json", json.dumps(document, indent=1).encode())
        for name, array in arrays.items():
            npy = io.BytesIO()
            np.save(npy, array, allow_pickle=False)
            _add(archive, name, npy.getvalue())
    try:
        with whole_file(path) as beside:
            beside.write_bytes(buffer.getvalue())
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be written: {error.strerror or error}") from error


def load_acsq(path: Path) -> Graph:
    """Reads a file that `save_acsq` wrote; what it returns keeps the int8 contract, whatever the file holds.

    Raises AcsgenError if it is no such file, damaged, or of another version.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise AcsgenError(f"unpacks to more than {MAX_BYTES} bytes, which no .acsq does")
            document = json.loads(archive.read("graph.json"))
            _check_version(document)
            return _decode_graph(document, archive)
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except AcsgenError as error:
        raise AcsgenError(f"{path}: {error}") from error
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive raises whatever its broken part makes of it
        raise AcsgenError(f"{path}: no .acsq file, or a damaged one ({type(error).__name__}: {error})") from error


def fingerprint(path: Path) -> int:
    """CRC-32 of the file: firmware carries it, so that a golden model is never held against another."""
    return zlib.crc32(path.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _check_version(document: Any) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise AcsgenError("no .acsq file: its graph.json is of another format")
    version = document["version"]
    if version not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise AcsgenError(f".acsq version {version}, this acsgen reads versions {known}: quantize it again")


def _encode_fields(value: Any, prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {f.name: _encode(getattr(value, f.name), f"{prefix}.{f.name}", arrays) for f in fields(value)}


def _encode(value: Any, key: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        entry = f"arrays/{len(arrays):04d}.npy"
        arrays[entry] = np.ascontiguousarray(value)
        return {"type": "array", "entry": entry, "of": key}
    if is_dataclass(value):
        return {"type": type(value).__name__, **_encode_fields(value, key, arrays)}
    return value


def _decode_graph(document: dict[str, Any], archive: zipfile.ZipFile) -> Graph:
    listed = [Tensor(**_decode_fields(Tensor, entry, archive)) for entry in document["tensors"]]
    tensors = {tensor.name: tensor for tensor in listed}
    ops = tuple(_decode_op(dict(entry), archive) for entry in document["ops"])
    name, source, output = (_decode(document[key], str, archive) for key in ("name", "input", "output"))
    check_parts(name, ops, tensors)
    infer_shapes(tensors[source], ops, tensors)
    graph = make_graph(name, tensors[source], output, ops, tensors)
    if len(graph.ops) != len(ops) or set(graph.tensors) != {t.name for t in listed} or len(listed) != len(tensors):
        raise ValueError("an operator or a tensor that belongs to nothing")
    check_int8(graph)
    return graph


def _decode_op(entry: dict[str, Any], archive: zipfile.ZipFile) -> Op:
    cls = _OPS[entry.pop("op")]
    return cls(**_decode_fields(cls, entry, archive))


def _decode_fields(cls: type[Any], entry: dict[str, Any], archive: zipfile.ZipFile) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    if set(entry) != {f.name for f in fields(cls)}:
        raise ValueError(f"{cls.__name__} has fields {sorted(entry)}")
    return {name: _decode(value, hints[name], archive) for name, value in entry.items()}


def _decode(value: Any, hint: Any, archive: zipfile.ZipFile) -> Any:
    """A value of the type that a field declares; ValueError if the file holds another."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is UnionType:  # T | None
        (kind,) = (part for part in parts if part is not NoneType)
        return None if value is None else _decode(value, kind, archive)
    if origin is tuple and isinstance(value, list):
        if parts[-1] is not Ellipsis and len(parts) != len(value):
            raise ValueError(f"{value!r} needs {len(parts)} parts")
        return tuple(_decode(part, parts[0], archive) for part in value)
    if origin is np.ndarray and isinstance(value, dict):
        return _read_array(archive.read(value["entry"]))
    if hint in _PARTS.values() and isinstance(value, dict):
        part = dict(value)
        if _PARTS[part.pop("type")] is hint:
            return hint(**_decode_fields(hint, part, archive))
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, str) and type(value) is hint:
        return value
    raise ValueError(f"{value!r} stands where {getattr(hint, '__name__', hint)} should")


def _read_array(content: bytes) -> NDArray[Any]:
    """An .npy file whose shape is held against its size before memory is taken for it."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array in a format that acsgen does not write")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    rest = len(content) - stream.tell()
    if fortran or dtype not in (np.dtype(np.int8), np.dtype("<i4")) or prod(shape) * dtype.itemsize != rest:
        raise ValueError(f"an array of {dtype}{list(shape)} in {rest} bytes")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape).astype(dtype.newbyteorder("="))
