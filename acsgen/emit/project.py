# SPDX-License-Identifier: Apache-2.0
"""A model.acsq to a project folder: a PlatformIO project and a plain C library in one."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acsgen import __version__
from acsgen.emit.calls import Writer
from acsgen.emit.cmsis import cmsis_nn_files
from acsgen.emit.names import model_identifier
from acsgen.emit.render import constant_bytes, environment, model_files
from acsgen.errors import AcsgenError
from acsgen.plan import Plan, plan
from acsgen.plan.document import plan_document
from acsgen.quantize.acsq import fingerprint, load_acsq
from acsgen.resources import resource_dir
from acsgen.target.boards import Board
from acsgen.target.project import project_files

MANIFEST = "acsgen.json"
KERNEL_SETS = ("cmsis_nn",)

#: What a project needs besides the model, at least: code of the kernels, runtime and port in flash, the
#: port's own variables in RAM. Kept below what was measured, so that nothing is refused that would fit.
CODE_BYTES = 10 * 1024
PORT_RAM_BYTES = 256


@dataclass(frozen=True)
class Project:
    """What was generated. kept: where an edited older project was moved, or None."""

    path: Path
    name: str
    board: str
    plan: Plan
    constant_bytes: int
    kept: Path | None

    def summary(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        return {
            "project": str(self.path),
            "name": self.name,
            "board": self.board,
            "macs": int(self.plan.macs()),
            "arena_bytes": self.plan.arena_bytes,
            "lower_bound_bytes": self.plan.lower_bound_bytes,
            "constant_bytes": self.constant_bytes,
            "kept": None if self.kept is None else str(self.kept),
        }


def generate(
    model: Path,
    board: Board,
    out: Path,
    *,
    name: str | None = None,
    kernels: str | None = None,
    cmsis_nn: Path | None = None,
    force: bool = False,
) -> Project:
    """Writes the project that runs `model` (an `.acsq` file) on `board` to the folder `out`.

    name: C name of the model, by default the model's own. kernels: the kernel set, by default the board's first
    choice. cmsis_nn: a CMSIS-NN checkout to take the sources from instead of the pinned ones. force: replace a
    project that is there; if it was edited since it was generated, it is moved aside, not lost.

    The folder appears whole or not at all. Raises AcsgenError if the model does not fit the board, if `out`
    exists, or is no project of acsgen's.
    """
    kernel_set = _kernel_set(board, kernels)
    _check_replaceable(out, force)
    graph = load_acsq(model)
    c_name = model_identifier(name or graph.name)
    planned = plan(graph)
    constants = constant_bytes(Writer(planned, c_name).calls())
    check_fit(board, planned, constants)

    used = {step.kernel.removesuffix("_join") for step in planned.steps}
    files: dict[str, bytes] = {
        path: text.encode()
        for path, text in {
            **project_files(board, c_name),
            **model_files(planned, c_name, fingerprint(model)),
            **_kernel_files(kernel_set),
            "plan.json": json.dumps(plan_document(planned), indent=1) + "\n",
            "README.md": environment().get_template("README.md.j2").render(name=c_name, board=board, plan=planned),
        }.items()
    }
    files |= {f"lib/cmsis_nn/{path}": content for path, content in cmsis_nn_files(used, cmsis_nn).items()}
    files["model.acsq"] = model.read_bytes()
    files[MANIFEST] = _manifest(c_name, board, kernel_set, files)
    kept = write_folder(out, files)
    return Project(out, c_name, board.name, planned, constants, kept)


def check_fit(board: Board, planned: Plan, constants: int) -> None:
    """AcsgenError if the model cannot fit the board's flash or RAM, with needed and available bytes."""
    source, target = planned.graph.input, planned.graph.output
    buffers = planned.buffers[source].bytes + planned.buffers[target].bytes
    flash = constants + CODE_BYTES
    ram = planned.arena_bytes + buffers + board.stack_bytes + PORT_RAM_BYTES
    lacking = [
        f"{kind}: needs at least {needed} bytes, has {available}"
        for kind, needed, available in (("flash", flash, board.flash.bytes), ("RAM", ram, board.ram.bytes))
        if needed > available
    ]
    if lacking:
        raise AcsgenError(f"the model is too big for board {board.name}: {'; '.join(lacking)}")


def read_manifest(project: Path) -> dict[str, str]:
    """The manifest of a generated project: name, board, kernels, version, and the sums of its files."""
    try:
        manifest: dict[str, str] = json.loads((project / MANIFEST).read_text())
        manifest["name"], manifest["board"], manifest["files"]
        return manifest
    except FileNotFoundError as error:
        raise AcsgenError(f"{project}: no project of acsgen's ({MANIFEST} is missing): acsgen generate makes one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AcsgenError(f"{project / MANIFEST}: damaged: generate the project again") from error


def write_folder(out: Path, files: Mapping[str, bytes]) -> Path | None:
    """Writes a folder beside its place and renames it; returns where an edited predecessor was moved."""
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise AcsgenError(f"{out}: cannot write there: {error.strerror}") from error
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        beside.chmod(0o755)
        kept = _move_aside(out)
        beside.rename(out)
    except OSError as error:
        raise AcsgenError(f"{out}: cannot write there: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return kept


def _kernel_set(board: Board, wanted: str | None) -> str:
    chosen = wanted or board.kernel_sets[0]
    if chosen not in board.kernel_sets or chosen not in KERNEL_SETS:
        known = [name for name in board.kernel_sets if name in KERNEL_SETS]
        raise AcsgenError(f"kernel set '{chosen}' does not run on board {board.name}; there are: {', '.join(known)}")
    return chosen


def _kernel_files(kernel_set: str) -> dict[str, str]:
    folder = resource_dir("firmware") / "kernels" / kernel_set
    return {f"lib/acs/{path.name}": path.read_text() for path in sorted(folder.glob("*.[ch]"))}


def _manifest(name: str, board: Board, kernel_set: str, files: Mapping[str, bytes]) -> bytes:
    document = {
        "acsgen": __version__,
        "name": name,
        "board": board.name,
        "kernels": kernel_set,
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _check_replaceable(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not force:
        raise AcsgenError(f"{out} exists: give another folder, or --force to replace a project that is there")
    if not (out / MANIFEST).is_file():
        raise AcsgenError(f"{out} is no project of acsgen's, --force does not replace it: give another folder")


def _move_aside(out: Path) -> Path | None:
    """Takes the old project away: deleted if it is as it was generated, else kept under a new name."""
    if not out.exists():
        return None
    if not _edited(out):
        shutil.rmtree(out)
        return None
    number = 1
    while (kept := out.with_name(f"{out.name}.old{number}")).exists():
        number += 1
    out.rename(kept)
    return kept


def _edited(project: Path) -> bool:
    """Whether a file was changed, added or removed since; what PlatformIO builds does not count."""
    try:
        sums = json.loads((project / MANIFEST).read_text())["files"]
    except (ValueError, KeyError, TypeError):
        return True
    found = {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in project.rglob("*")
        if path.is_file() and ".pio" not in path.parts and "__pycache__" not in path.parts and path.name != MANIFEST
    }
    return bool(found != sums)
