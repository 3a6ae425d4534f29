# SPDX-License-Identifier: Apache-2.0
"""The part of a generated project that surrounds the model: firmware, board, PlatformIO files."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from acsgen.emit.official import FRAMEWORKS, application_sources, official_environments, official_files
from acsgen.emit.render import environment
from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir
from acsgen.target.boards import Board

#: The board as the project was generated for it, whatever becomes of acsgen's own file.
BOARD_FILE = "board.toml"


def project_files(board: Board, name: str, library: str | None = None) -> dict[str, str]:
    """Returns the text of every file of a project that does not depend on the model's contents.

    Keys are paths relative to the project, with forward slashes:

    - ``platformio.ini``, rendered for the board, and its ``board.toml``;
    - ``src/`` (without ``app_model.h``) and ``lib/acs/``, copied;
    - of a board that can be built bare ``boards/BOARD.json``, rendered, and ``pio/bare/``, copied;
    - what the environments from PlatformIO's registry need (``emit/official.py``);
    - ``src/port_setup.h``, rendered, where the chip is brought up by the port ``setup``;
    - ``lib/LIBRARY/library.json``, to go beside the sources of a library.

    ``name`` is the C name of the model, ``library`` what its kernel set stands on (``KernelSet.library``).
    Raises AcsgenError if the board can be built neither bare nor with a framework that acsgen has a port for.
    """
    firmware = resource_dir("firmware")
    official = official_environments(board)
    if not board.is_bare and not official:
        raise AcsgenError(f"board {board.name} names no framework that acsgen has a port for: {', '.join(FRAMEWORKS)}")
    files = {
        "platformio.ini": environment()
        .get_template("platformio.ini.j2")
        .render(board=board, name=name, library=library, official=official, sources=application_sources()),
        BOARD_FILE: _read(board.path),
        **official_files(board, name, library),
    }
    if board.setup is not None:
        files["src/port_setup.h"] = environment().get_template("port_setup.h.j2").render(board=board)
    if library is not None:
        files[f"lib/{library}/library.json"] = _read(firmware / "pio" / library / "library.json")
    sources = [firmware / "app", *(firmware / "ports" / port for port in board.ports)]
    bare = ((firmware / "pio" / "bare", "pio/bare"),) if board.is_bare else ()
    for folder, destination in (*((source, "src") for source in sources), (firmware / "runtime", "lib/acs"), *bare):
        for path, text in _tree(folder, board).items():
            target = str(PurePosixPath(destination, path))
            if target in files:
                raise AcsgenError(f"two files of board {board.name} want to be {target}")
            files[target] = text
    if board.is_bare:
        files[f"boards/{board.name}.json"] = json.dumps(board_manifest(board), indent=2) + "\n"
    if board.is_bare and f"src/{board.linker_script}" not in files:
        raise AcsgenError(
            f"board {board.name}: no folder of {', '.join(board.ports)} holds the linker script {board.linker_script}"
        )
    return files


def board_manifest(board: Board) -> dict[str, Any]:
    """Returns PlatformIO's description of a board, from which ``pio/bare`` builds."""
    manifest: dict[str, Any] = {
        "name": board.title,
        "vendor": board.vendor,
        "url": board.url,
        "build": {
            "mcu": board.name,
            "core": board.core,
            "cpu_flags": [*board.cpu_flags, *board.toolchain.flags],
            "defines": list(board.defines),
            "toolchain": board.toolchain.prefix,
            "install": board.toolchain.install,
            "ldscript": f"src/{board.linker_script}",
            "memory": {
                "ACS_FLASH_BASE": board.flash.base,
                "ACS_FLASH_BYTES": board.flash.bytes,
                "ACS_RAM_BASE": board.ram.base,
                "ACS_RAM_BYTES": board.ram.bytes,
                "ACS_STACK_BYTES": board.stack_bytes,
            },
        },
        "upload": {
            "maximum_size": board.flash.bytes,
            "maximum_ram_size": board.ram.bytes,
            "protocols": [upload.protocol for upload in board.uploads],
            "install": board.upload_install,
            "commands": {upload.protocol: list(upload.command) for upload in board.uploads},
        },
    }
    return manifest


def _tree(folder: Path, board: Board) -> dict[str, str]:
    if not folder.is_dir():
        raise AcsgenError(f"board {board.name} needs the folder {folder}, which does not exist")
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
