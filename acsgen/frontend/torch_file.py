# SPDX-License-Identifier: Apache-2.0
"""What a PyTorch checkpoint holds, read without running code from it.

A checkpoint is a pickle, and a pickle is a program. PyTorch's own restricted reader (`weights_only=True`)
takes tensors and plain data only; versions before MIN_TORCH had holes in it and are not used.
Only this module imports PyTorch, and only when a checkpoint is read.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version

from acsgen.errors import AcsgenError

#: A network for a microcontroller is small; anything larger is refused before it is unpacked.
MAX_CHECKPOINT_BYTES = 512 * 1024 * 1024
#: CVE-2025-32434 (before 2.6) and CVE-2026-24747 (before 2.10): code ran in spite of `weights_only=True`.
MIN_TORCH = "2.10"

#: What DataParallel puts before every key.
_PARALLEL = "module."


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, and the architecture that the file says it belongs to.

    `tensors`: PyTorch tensors by key, without DataParallel's prefix. Shapes are the file's word: see `array`.
    """

    path: Path
    tensors: Mapping[str, Any]
    arch: str | None = None

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(int(size) for size in self.tensors[key].shape)

    def size(self, key: str) -> int:
        """Number of values."""
        return prod(self.shape(key))

    def array(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The values of a tensor that must have this shape; AcsgenError if it has not, or holds no finite numbers."""
        import torch

        tensor, where = self.tensors[key], f"{self.path}: key {shown(key)}"
        if self.shape(key) != shape:
            raise AcsgenError(
                f"{where} has shape {self.shape(key)} where the network needs {shape}: "
                "another architecture, or another input"
            )
        # The shape is known to be small here: of an expanded tensor only now is a copy made.
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
            raise AcsgenError(
                f"{where} holds no ordinary floating-point numbers ({tensor.dtype}): save the float model"
            )
        values: NDArray[np.float32] = tensor.detach().to(torch.float32).numpy().copy()
        if not np.isfinite(values).all():
            raise AcsgenError(f"{where} holds NaN or infinity: the training went wrong, take another checkpoint")
        return values


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads `torch.save(state_dict)` or `torch.save({"state_dict": ..., "arch": ...})`.

    AcsgenError if PyTorch is missing or too old, or if the file is none of these.
    """
    _check_file(path)
    torch = _import_torch()
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever the broken part raised
        raise AcsgenError(f"{path}: {_why(error)}") from error
    arch = content.get("arch") if isinstance(content, dict) else None
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise AcsgenError(f"{path}: holds no state_dict: save the network with torch.save(model.state_dict(), ...)")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise AcsgenError(
                f"{path}: entry {shown(key)} ({type(value).__name__}) is no tensor of a state_dict: "
                "save the network with torch.save(model.state_dict(), ...)"
            )
    prefix = _PARALLEL if all(key.startswith(_PARALLEL) for key in state) else ""
    return Checkpoint(
        path,
        {key.removeprefix(prefix): value for key, value in state.items()},
        arch if isinstance(arch, str) else None,
    )


def shown(key: object) -> str:
    """A name out of the file as it can stand in a message: on one line, and not too long."""
    text = repr(key)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _check_file(path: Path) -> None:
    if not path.exists():
        raise AcsgenError(f"{path}: no such file")
    if not path.is_file():
        raise AcsgenError(f"{path}: a folder or a device, not a PyTorch checkpoint")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    size = max(size, sum(entry.file_size for entry in archive.infolist()))
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive raises whatever the broken part raised
        raise AcsgenError(f"{path}: a damaged PyTorch checkpoint ({type(error).__name__})") from error
    if size > MAX_CHECKPOINT_BYTES:
        raise AcsgenError(f"{path}: {size} bytes unpacked, more than any network for a microcontroller has")


def _import_torch() -> Any:
    line = "pip install 'acsgen[torch]'"
    try:
        import torch
    except ImportError as error:
        raise AcsgenError(f"reading a PyTorch checkpoint needs PyTorch ({error}): {line}") from error
    except OSError as error:  # one of its shared libraries
        raise AcsgenError(f"PyTorch cannot be imported ({error}): {line}") from error
    if Version(torch.__version__) < Version(MIN_TORCH):
        raise AcsgenError(
            f"PyTorch {torch.__version__} can be made to run code from a checkpoint, {MIN_TORCH} is needed: {line}"
        )
    return torch


def _why(error: Exception) -> str:
    """What torch.load did not like, in a line; its own message is a page."""
    import pickle

    if isinstance(error, pickle.UnpicklingError) and "weights" in str(error).lower():
        return (
            "refused, it holds more than tensors and plain data, and reading that could run code: "
            "save torch.save(model.state_dict(), ...) where you trust it"
        )
    return f"no PyTorch checkpoint, or a damaged one ({type(error).__name__})"
