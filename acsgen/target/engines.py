# SPDX-License-Identifier: Apache-2.0
"""Which emulator runs a board's firmware: QEMU, or Unicorn where that is wanted or QEMU is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from acsgen.errors import AcsgenError, nearest
from acsgen.target.boards import COVERS, Board
from acsgen.target.emulator import Emulator, Transport
from acsgen.target.unicorn_emulator import UnicornEmulator, has_core, is_installed

Engine = Literal["qemu", "unicorn"]
ENGINES: tuple[Engine, ...] = ("qemu", "unicorn")


def parse_engine(name: str | None) -> Engine | None:
    """Reads an engine's name as the user gives it; None is left to ``choose_engine``."""
    for engine in ENGINES:
        if name == engine:
            return engine
    if name is None:
        return None
    raise AcsgenError(f"no engine is called {name!r}: {nearest(name, ENGINES)}")


def engines(board: Board) -> tuple[Engine, ...]:
    """The engines that know the board, the better one first, whether they are installed or not."""
    has_engine = {"qemu": board.emulator is not None, "unicorn": has_core(board)}
    return tuple(engine for engine in ENGINES if has_engine[engine])


#: What is added to the name of an engine that knows nothing of the board but its core's instructions.
ONLY_INSTRUCTIONS = " (instructions only)"


def runs_in(board: Board) -> tuple[str, ...]:
    """For people: what runs the board's firmware without the board, and whether that says something of the chip."""
    covers_board = board.emulator is not None and board.emulator.covers == COVERS[0]
    names = {"qemu": "QEMU" + ("" if covers_board else ONLY_INSTRUCTIONS), "unicorn": "Unicorn" + ONLY_INSTRUCTIONS}
    return tuple(names[engine] for engine in engines(board))


def choose_engine(board: Board, known: tuple[Engine, ...] | None = None) -> Engine:
    """The engine to use if nobody has named one: the first that is installed.

    known: those to choose from, the better one first; by default those that run the board's firmware.
    Where none is installed it is the better one; starting it says how to install it.
    Raises AcsgenError if no engine knows the board.
    """
    known = engines(board) if known is None else known
    if not known:
        raise AcsgenError(f"board {board.name} has no emulator; name a real one: --on PORT")
    program = board.emulator.program if board.emulator else ""
    if "unicorn" in known and is_installed() and shutil.which(program) is None:
        return "unicorn"
    return known[0]


def open_emulator(
    board: Board, elf: Path, *, engine: Engine | None = None, transport: Transport = "semihosting"
) -> Emulator | UnicornEmulator:
    """An emulator of the board with this firmware, to be used with ``with``; ``engine`` None chooses one."""
    engine = engine or choose_engine(board)
    if engine == "unicorn":
        return UnicornEmulator(board, elf, transport=transport)
    return Emulator(board, elf, transport=transport)
