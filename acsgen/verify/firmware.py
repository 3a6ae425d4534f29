# SPDX-License-Identifier: Apache-2.0
"""A project's firmware where it runs: in the emulator, or on the board at a serial port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acsgen.emit.project import read_manifest
from acsgen.emit.surroundings import BOARD_FILE
from acsgen.errors import AcsgenError
from acsgen.quantize.acsq import fingerprint
from acsgen.target.boards import Board, read_board
from acsgen.target.build import firmware_of
from acsgen.target.device import Device
from acsgen.target.emulator import Emulator, Transport
from acsgen.target.engines import Engine, open_emulator
from acsgen.target.running import Running
from acsgen.target.unicorn_emulator import UnicornEmulator


def board_of(project: Path) -> Board:
    """The board that a project was generated for."""
    return read_board(project / BOARD_FILE, read_manifest(project)["board"])


@contextmanager
def open_firmware(
    project: Path, *, transport: Transport = "semihosting", engine: Engine | None = None, port: str | None = None
) -> Iterator[Running]:
    """A project's firmware, waiting for inputs: on the board at `port` (as `acsgen.target.device.Device` takes
    it), or without one in an emulator, over `transport`. engine: which; None chooses one that is installed.

    Raises AcsgenError if it is not built, does not answer, or holds another model than the project.
    """
    board = board_of(project)
    target: Device | Emulator | UnicornEmulator = (
        Device(board, port) if port else open_emulator(board, firmware_of(project), engine=engine, transport=transport)
    )
    with target as running:
        if running.info.fingerprint != fingerprint(project / "model.acsq"):
            raise AcsgenError(
                f"the firmware on {port} holds another model ({running.info.name}): acsgen flash {project}"
                if port
                else f"{project}: its firmware was built from another model.acsq: acsgen build {project}"
            )
        yield running
