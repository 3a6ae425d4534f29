# SPDX-License-Identifier: Apache-2.0
"""Firmware for measuring: projects as a user builds them, and many small models on one library.

A project's build takes seconds, most of them for what all models share. So that hundreds of graphs can be
run in the emulator, `Library` compiles that once, with the same sources and flags.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from acsgen.emit.calls import Writer
from acsgen.emit.cmsis import ENTRY_POINTS
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.project import Project, generate, kernel_sources
from acsgen.emit.render import model_files
from acsgen.emit.surroundings import board_manifest
from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.plan import KernelSet, Plan
from acsgen.plan.document import PlanFile, plan_document, read_plan
from acsgen.quantize.acsq import save_acsq
from acsgen.resources import resource_dir
from acsgen.target.boards import Board
from acsgen.target.build import BuildResult, build

FLAGS = ("-std=c11", "-O2", "-w", "-ffunction-sections", "-fdata-sections")


def build_project(
    graph: Graph, board: Board, folder: Path, name: str, kernels: str | None = None
) -> tuple[Project, BuildResult]:
    """A project in `folder`/`name`, generated and built anew. kernels: a set's name; None: the board's first one."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / f"{name}.acsq"
    save_acsq(graph, model)
    project = generate(model, board, folder / name, name="net", kernels=kernels, force=(folder / name).exists())
    return project, build(project.path)


@dataclass(frozen=True)
class Library:
    """What all firmware of a board and a kernel set shares, compiled."""

    board: Board
    folder: Path
    compiler: tuple[str, ...]  # with the flags and folders of everything

    def link(self, plan: Plan, name: str) -> tuple[Path, PlanFile]:
        """The firmware of a plan, and what its plan.json says."""
        place = self.folder / name
        for path, text in model_files(Writer(plan, "net"), 0).items():
            (target := place / Path(path).name).parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (place / "plan.json").write_text(json.dumps(plan_document(plan)))
        memory = board_manifest(self.board)["build"]["memory"]
        script = next(path for path in _ports(self.board) if path.name == self.board.linker_script)
        main = resource_dir("firmware") / "app" / "main.c"
        symbols = [f"-Wl,--defsym={symbol}={value}" for symbol, value in memory.items()]
        objects = sorted((self.folder / "objects").glob("*.o"))
        link = ["-nostartfiles", "-Wl,--gc-sections", *symbols, "-T", script, "-lm", "-lc", "-lgcc"]
        _run([*self.compiler, f"-I{place}", main, *place.glob("*.c"), *objects, "-o", place / "firmware.elf", *link])
        return place / "firmware.elf", read_plan(place / "plan.json")


def make_library(board: Board, kernels: KernelSet, folder: Path) -> Library:
    """Compiles runtime, kernels, what they stand on, application and ports of a board in `folder`."""
    firmware = resource_dir("firmware")
    objects = folder / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    sources = [*(firmware / "runtime").glob("*.c")]
    sources += [path for path in kernel_sources(kernels) if path.suffix in (".c", ".S")]
    sources += [path for path in (firmware / "app").glob("*.c") if path.name != "main.c"]
    sources += [path for path in _ports(board) if path.suffix == ".c"]
    headers = {path.parent for path in (*sources, *_ports(board))}
    if kernels.library:
        for name, content in LIBRARIES[kernels.library](set(ENTRY_POINTS), None).items():
            path = folder / kernels.library / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        sources += (folder / kernels.library).rglob("*.c")
        headers.add(folder / kernels.library / "Include")
    build_flags = board_manifest(board)["build"]
    flags = [*build_flags["cpu_flags"], *(f"-D{define}" for define in build_flags["defines"])]
    compiler = (
        f"{board.toolchain.prefix}gcc",
        *FLAGS,
        *flags,
        *(f"-I{header}" for header in sorted(headers)),
    )
    _run([*compiler, "-c", *sorted(sources)], objects)
    return Library(board, folder, compiler)


def _ports(board: Board) -> list[Path]:
    folders = [resource_dir("firmware") / "ports" / port for port in board.ports]
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]


def _run(command: list[str | Path], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AcsgenError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1]}")
