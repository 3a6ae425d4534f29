# SPDX-License-Identifier: Apache-2.0
"""A model.acsq to a folder: a PlatformIO project and a plain C library in one, or whatever packages.py composes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from acsgen import __version__
from acsgen.emit import acs_uses
from acsgen.emit.calls import Writer
from acsgen.emit.fit import check_fit, spare_of
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.names import model_identifier
from acsgen.emit.official import official_environments
from acsgen.emit.render import environment, model_files
from acsgen.emit.surroundings import project_files
from acsgen.errors import AcsgenError
from acsgen.plan import KERNEL_SETS, KernelSet, Plan, Spare, plan
from acsgen.plan.document import plan_document
from acsgen.quantize.acsq import fingerprint, load_acsq
from acsgen.resources import resource_dir
from acsgen.target.boards import Board

MANIFEST = "acsgen.json"


#: The kind of a folder that `generate` writes; those of packages are rows of packages.PACKAGES.
PROJECT = "project"


@dataclass(frozen=True)
class Project:
    """What was generated. board: empty in a package. kept: where an edited older project was moved, or None."""

    path: Path
    kind: str
    name: str
    board: str
    plan: Plan
    constant_bytes: int
    kept: Path | None

    def summary(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        return {
            "project": str(self.path),
            "kind": self.kind,
            "name": self.name,
            "board": self.board,
            "macs": int(self.plan.macs()),
            "arena_bytes": self.plan.arena_bytes,
            "lower_bound_bytes": self.plan.lower_bound_bytes,
            "arena_proof": self.plan.arena_proof,
            "constant_bytes": self.constant_bytes,
            "skippable_macs": self.plan.skippable_macs,
            "idle_masks": self.plan.idle_masks(),
            "kept": None if self.kept is None else str(self.kept),
        }


@dataclass(frozen=True)
class Material:
    """What a folder is composed from. library: other people's sources, path -> content, as LIBRARIES gives them."""

    kind: str
    model: Path
    kernel_set: KernelSet
    writer: Writer
    library: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The C name of the model."""
        return self.writer.model

    @property
    def plan(self) -> Plan:
        return self.writer.plan

    def rendered(self) -> dict[str, str]:
        """The model's files by their paths in a project."""
        return model_files(self.writer, fingerprint(self.model))

    def kernels(self) -> dict[str, bytes]:
        """The kernel set's files by their names."""
        files = {path.name: path.read_bytes() for path in kernel_sources(self.kernel_set)}
        if self.kernel_set.name == "acs" and self.kind == PROJECT:
            text = files[acs_uses.FILE].decode()
            files[acs_uses.FILE] = acs_uses.render_uses(text, acs_uses.uses_of(self.plan)).encode()
        return files


def generate(
    model: Path,
    board: Board,
    out: Path,
    *,
    name: str | None = None,
    kernels: str | None = None,
    cmsis_nn: Path | None = None,
    winograd: bool = True,
    flash_budget: int | None = None,
    forms: Mapping[str, str] = MappingProxyType({}),
    force: bool = False,
) -> Project:
    """Writes the project that runs `model` (an `.acsq` file) on `board` to the folder `out`.

    name: C name of the model, by default the model's own. kernels: the kernel set, by default the board's first
    choice. cmsis_nn: a CMSIS-NN checkout to take the sources from instead of the pinned ones. winograd: whether the
    kernel set `acs` may take its way where flash and RAM allow. flash_budget: bytes that the firmware may take at
    most, by default what the board has. forms: by the name of a convolution, the form that it must take. force:
    replace a project that is there; if it was edited since it was generated, it is moved aside, not lost.

    The folder appears whole or not at all. Raises AcsgenError if the model does not fit the board, if `out`
    exists, or is no project of acsgen's.
    """
    kernel_set = _kernel_set(board, kernels)

    def compose(material: Material) -> dict[str, bytes]:
        check_fit(board, material.plan, material.writer.constant_bytes, flash_budget)
        readme = environment().get_template("README.md.j2")
        texts = {
            **project_files(board, material.name, kernel_set.library),
            **material.rendered(),
            "README.md": readme.render(
                name=material.name, board=board, plan=material.plan, official=official_environments(board)
            ),
        }
        return {
            **{path: text.encode() for path, text in texts.items()},
            **{f"lib/acs/{path}": content for path, content in material.kernels().items()},
            **{f"lib/{kernel_set.library}/{path}": content for path, content in material.library.items()},
        }

    spare = partial(spare_of, board, flash_budget=flash_budget) if winograd else None
    return write_generated(
        PROJECT,
        model,
        kernel_set,
        out,
        compose,
        spare,
        board=board.name,
        name=name,
        cmsis_nn=cmsis_nn,
        forms=forms,
        force=force,
    )


def write_generated(
    kind: str,
    model: Path,
    kernel_set: KernelSet,
    out: Path,
    compose: Callable[[Material], Mapping[str, bytes]],
    spare: Callable[[Plan, int], Spare] | None,
    *,
    board: str = "",
    name: str | None = None,
    cmsis_nn: Path | None = None,
    forms: Mapping[str, str] = MappingProxyType({}),
    force: bool = False,
) -> Project:
    """Plans a model, lets `compose` say what files there are (path -> content), and writes them with their manifest.

    spare: what faster constants may take beyond the plan that has the smallest ones, and beyond their bytes; None:
    the smallest ones it is. Every kind of folder holds `model.acsq` and `plan.json` besides. Arguments and errors
    as in `generate`.
    """
    if cmsis_nn is not None and kernel_set.library != "cmsis_nn":
        raise AcsgenError(f"kernel set '{kernel_set.name}' calls nothing of CMSIS-NN: leave out --cmsis-nn")
    _check_replaceable(out, force)
    graph = load_acsq(model)
    c_name = model_identifier(name or graph.name)
    planned = plan(graph, kernel_set, forms=forms)
    if spare is not None and kernel_set.conv_forms is not None:
        planned = plan(graph, kernel_set, spare(planned, Writer(planned, c_name).constant_bytes), forms)
    writer = Writer(planned, c_name)
    library = LIBRARIES[kernel_set.library](planned.kernels, cmsis_nn) if kernel_set.library else {}
    files = {
        **compose(Material(kind, model, kernel_set, writer, library)),
        "plan.json": (json.dumps(plan_document(planned), indent=1) + "\n").encode(),
        "model.acsq": model.read_bytes(),
    }
    files[MANIFEST] = _manifest(kind, c_name, board, kernel_set, files)
    _check_replaceable(out, force)  # somebody may have come first meanwhile
    kept = write_folder(out, files)
    return Project(out, kind, c_name, board, planned, writer.constant_bytes, kept)


def read_manifest(project: Path) -> dict[str, Any]:
    """The manifest of what was generated: kind, name, board, kernels, version, and the sums of its files."""
    try:
        manifest: dict[str, Any] = json.loads((project / MANIFEST).read_text(encoding="utf-8"))
        names = [manifest[key] for key in ("name", "board", "kernels")]
        if not all(isinstance(text, str) for text in (*names, *manifest["files"].values())):
            raise TypeError
        return manifest
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AcsgenError(
            f"{project}: no project of acsgen's ({MANIFEST} is missing): acsgen generate makes one"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AcsgenError(f"{project / MANIFEST}: damaged: generate the project again") from error


def check_unchanged(project: Path, names: Iterable[str]) -> None:
    """AcsgenError if one of these files of a project is not as it was generated."""
    sums = read_manifest(project)["files"]
    for path in (project / name for name in names):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AcsgenError(f"{path}: cannot be read ({error.strerror}): generate the project again") from error
        if sums.get(path.relative_to(project).as_posix()) != _sum(content):
            raise AcsgenError(f"{path}: not the file that this project was generated with: generate it again")


def write_folder(out: Path, files: Mapping[str, bytes]) -> Path | None:
    """Writes a folder beside its place and renames it; returns where an edited predecessor was moved.

    Whatever goes wrong on the way, what was there before is there afterwards, and nothing else.
    """
    out = out.resolve()
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True) as beside:
            new = Path(beside) / "new"
            for name, content in files.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return _exchange(new, out, Path(beside) / "old")
    except BaseException as error:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise AcsgenError(f"{out}: cannot write there: {error.strerror or error}") from error
        raise


def _kernel_set(board: Board, wanted: str | None) -> KernelSet:
    known = [name for name in board.kernel_sets if name in KERNEL_SETS]
    if not known:
        raise AcsgenError(f"board {board.name} has none of acsgen's kernel sets, which are {', '.join(KERNEL_SETS)}")
    if wanted is not None and wanted not in known:
        raise AcsgenError(f"kernel set '{wanted}' does not run on board {board.name}; there are: {', '.join(known)}")
    return KERNEL_SETS[wanted or known[0]]


def kernel_sources(kernel_set: KernelSet) -> list[Path]:
    """The files of a kernel set."""
    folder = resource_dir("firmware") / "kernels"
    return sorted(path for pattern in kernel_set.files for path in folder.glob(pattern))


def _manifest(kind: str, name: str, board: str, kernel_set: KernelSet, files: Mapping[str, bytes]) -> bytes:
    document = {
        "acsgen": __version__,
        "kind": kind,
        "name": name,
        "board": board,
        "kernels": kernel_set.name,
        "files": {path: _sum(content) for path, content in sorted(files.items())},
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _check_replaceable(out: Path, force: bool) -> None:
    if out.is_symlink():
        raise AcsgenError(f"{out} is a symbolic link: give the folder itself")
    if not out.exists():
        return
    if not force:
        raise AcsgenError(f"{out} exists: give another folder, or --force to replace a project that is there")
    if not (out / MANIFEST).is_file():
        raise AcsgenError(f"{out} is no project of acsgen's, --force does not replace it: give another folder")


def _exchange(new: Path, out: Path, trash: Path) -> Path | None:
    """Puts a new project in its place. The old one goes to `trash` if nobody edited it, else to a name that is free."""
    if not out.exists():
        new.rename(out)
        return None
    edited = _edited(out)
    old = _unused_name(out) if edited else trash
    try:
        out.rename(old)
        new.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    return old if edited else None


def _unused_name(out: Path) -> Path:
    number = 1
    while os.path.lexists(free := out.with_name(f"{out.name}.old{number}")):
        number += 1
    return free


def _edited(project: Path) -> bool:
    """Whether a file was changed, added or removed since; what PlatformIO builds does not count."""
    try:
        sums = read_manifest(project)["files"]
    except AcsgenError:
        return True
    paths = [path.relative_to(project) for path in project.rglob("*")]
    own = [path for path in paths if not {".pio", "__pycache__"} & set(path.parts) and path.as_posix() != MANIFEST]
    files = [path for path in own if (project / path).is_symlink() or not (project / path).is_dir()]
    if not all((project / path).is_file() and not (project / path).is_symlink() for path in files):
        return True
    return bool(sums != {path.as_posix(): _sum((project / path).read_bytes()) for path in files})


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
