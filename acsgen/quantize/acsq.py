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
from pathlib import Path
from typing import Any

import numpy as np

from acsgen import graph as ir
from acsgen.errors import AcsgenError
from acsgen.graph import Graph, Op, Requantize, Tensor
from acsgen.graph.ir import make_graph
from acsgen.graph.ops import Padding

FORMAT = "acsq"
VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: What may stand in a file. A class is named by its field "op" or "type".
_OPS: dict[str, type[Op]] = {
    name: cls for name, cls in vars(ir).items() if isinstance(cls, type) and issubclass(cls, Op) and cls is not Op
}
_PARTS: dict[str, type[Any]] = {"Requantize": Requantize, "Padding": Padding}


def save_acsq(graph: Graph, path: Path) -> None:
    """Writes `graph` (int8) to `path`, replacing a file that is there only once the new one is whole."""
    arrays: dict[str, np.ndarray] = {}
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
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(buffer.getvalue())
    beside.replace(path)


def load_acsq(path: Path) -> Graph:
    """Reads a file that `save_acsq` wrote; AcsgenError if it is not one, damaged, or of a newer version."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise AcsgenError(f"{path}: unpacks to more than {MAX_BYTES} bytes, which no .acsq does")
            document = json.loads(archive.read("graph.json"))
            _check_version(document, path)
            return _decode_graph(document, archive)
    except FileNotFoundError as error:
        raise AcsgenError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, OSError, EOFError) as error:
        raise AcsgenError(f"{path}: no .acsq file, or a damaged one ({type(error).__name__}: {error})") from error


def fingerprint(path: Path) -> int:
    """CRC-32 of the file: firmware carries it, so that a golden model is never held against another."""
    return zlib.crc32(path.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _check_version(document: Any, path: Path) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise AcsgenError(f"{path}: no .acsq file: its graph.json is of another format")
    if document["version"] != VERSION:
        raise AcsgenError(
            f"{path}: .acsq version {document['version']}, this acsgen reads version {VERSION}: quantize it again"
        )


def _encode_fields(value: Any, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {f.name: _encode(getattr(value, f.name), f"{prefix}.{f.name}", arrays) for f in fields(value)}


def _encode(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        entry = f"arrays/{len(arrays):04d}.npy"
        arrays[entry] = value
        return {"type": "array", "entry": entry, "of": key}
    if is_dataclass(value):
        return {"type": type(value).__name__, **_encode_fields(value, key, arrays)}
    return value


def _decode_graph(document: dict[str, Any], archive: zipfile.ZipFile) -> Graph:
    tensors = {
        t["name"]: Tensor(str(t["name"]), tuple(t["shape"]), t["scale"], int(t["zero_point"]))
        for t in document["tensors"]
    }
    ops = [_decode_op(dict(entry), archive) for entry in document["ops"]]
    graph = make_graph(document["name"], tensors[document["input"]], document["output"], ops, tensors)
    if {n: t.shape for n, t in graph.tensors.items()} != {n: t.shape for n, t in tensors.items()}:
        raise ValueError("shapes of tensors and operators disagree")
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
    if isinstance(value, dict) and value.get("type") == "array":
        return np.load(io.BytesIO(archive.read(value["entry"])), allow_pickle=False)
    if isinstance(value, dict):
        cls = _PARTS[value.pop("type")]
        return cls(**_decode_fields(cls, value, archive))
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str | int | None):
        raise ValueError(f"{value!r} is no value of an operator")
    return value
