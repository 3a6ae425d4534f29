# SPDX-License-Identifier: Apache-2.0
"""The fake model (fake_model/fake.h), and a project round it as the emitter lays one out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acsgen.emit.surroundings import project_files
from acsgen.target.boards import Board

MODEL = Path(__file__).parent / "fake_model"

INPUT_BYTES = 16
OUTPUT_BYTES = 16
MASK_BYTES = 4
FINGERPRINT = 0x12345678

REFUSE = 101
UNDEFINED = 102
OVERFLOW = 103
WILD_JUMP = 104
LONG_ROUNDS = 105

INSTRUCTIONS_PER_ROUND = 2
INSTRUCTIONS_PER_LONG_ROUND = 1000


def make_project(folder: Path, board: Board) -> Path:
    """Writes the project into a folder, which it makes."""
    for name, text in project_files(board, "fake").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "acsgen.json").write_text("{}", encoding="utf-8")
    (folder / "lib" / "model").mkdir()
    for name in ("fake.c", "fake.h"):
        shutil.copy(MODEL / name, folder / "lib" / "model" / name)
    shutil.copy(MODEL / "app_model.h", folder / "src" / "app_model.h")
    return folder


def fake_input(rounds: int = 0, *, trouble: int = 0, seed: int = 0) -> npt.NDArray[np.int8]:
    """An input that makes the model idle for some rounds, or go wrong."""
    values = np.random.default_rng(seed).integers(-128, 101, INPUT_BYTES, dtype=np.int8)
    values[:4] = np.frombuffer(rounds.to_bytes(4, "little"), dtype=np.int8)
    values[-1] = trouble
    return values
