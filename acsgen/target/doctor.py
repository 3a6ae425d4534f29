# SPDX-License-Identifier: Apache-2.0
"""Checks whether everything is installed that acsgen needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import acsgen
from acsgen.profile.native import APT, COMPILERS
from acsgen.target.boards import Board, EmulatorSpec, Toolchain, apt_line, as_root, list_boards, load_board
from acsgen.target.flash import find_program


@dataclass(frozen=True)
class Check:
    """One thing that acsgen needs."""

    name: str
    ok: bool
    found: str
    """What is there: a version, a path, or ``missing``."""
    needed: str
    """What should be there."""
    fix: str
    """The line that installs it."""
    apt: tuple[str, ...] = ()
    """The Debian packages that hold it, if it is in Debian packages."""


PYTHON = (3, 11)

MISSING = "missing"


def checks() -> list[Check]:
    """Returns every check, in the order in which a user would mend them.

    What only flashing needs is optional, and what only boards need that exist in an emulator: such a check says
    what is missing, and is fulfilled all the same. So it is with the host's compiler, which only `profile` uses.
    """
    boards = [board for board in map(load_board, list_boards()) if board.is_bare]
    return _in_one_line(
        [
            _python(),
            *(_package(requirement) for requirement in requirements()),
            *_by_name((board, _compiler(board.toolchain)) for board in boards),
            *_by_name((board, _c_library(board.toolchain)) for board in boards),
            *_by_name((board, _emulator(board.emulator)) for board in boards if board.emulator is not None),
            _host_compiler(),
            _flashing(boards),
        ]
    )


def _in_one_line(found: list[Check]) -> list[Check]:
    """Gives all that Debian packages mend the same line, so that it need be typed once."""
    missing = dict.fromkeys(package for check in found if not check.ok for package in check.apt)
    line = as_root(apt_line(tuple(missing)))
    return [check if check.ok or not check.apt else replace(check, fix=line) for check in found]


def _by_name(found: Iterable[tuple[Board, Check]]) -> list[Check]:
    """Sorts by name; boards that share a program need one check of it."""
    users: dict[str, list[Board]] = {}
    checks: dict[str, Check] = {}
    for board, check in found:
        users.setdefault(check.name, []).append(board)
        checks[check.name] = check
    return [_for_users(checks[name], users[name]) for name in sorted(checks)]


def _for_users(check: Check, boards: list[Board]) -> Check:
    """Makes a check optional if no board of these can be flashed."""
    if any(board.uploads for board in boards):
        return check
    return _optional(check, ", ".join(board.name for board in boards))


def _optional(check: Check, whom: str) -> Check:
    found = check.found if check.ok else f"{check.found}: {check.fix}"
    return replace(check, ok=True, found=found, needed=f"optional, for {whom}")


def _python() -> Check:
    needed = ".".join(map(str, PYTHON))
    return Check(
        name="python",
        ok=sys.version_info >= PYTHON,
        found=".".join(map(str, sys.version_info[:3])),
        needed=f">={needed}",
        fix=f"install Python {needed} or newer and make a virtual environment with it",
    )


def requirements() -> list[Requirement]:
    """Returns the Python packages that acsgen asks for on this kind of machine."""
    try:
        lines = metadata.requires("acsgen") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        project = Path(acsgen.__file__).parents[1] / "pyproject.toml"
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    asked = [Requirement(line) for line in lines]
    return [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]


def _package(requirement: Requirement) -> Check:
    found = _version(requirement.name) or MISSING
    needed = str(requirement.specifier)
    return Check(
        name=requirement.name,
        ok=found != MISSING and requirement.specifier.contains(found, prereleases=True),
        found=found,
        needed=needed or "any version",
        fix=f"pip install '{requirement.name}{needed}'",
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _compiler(toolchain: Toolchain) -> Check:
    return _program(toolchain.compiler, "GNU compiler", toolchain.apt)


def _emulator(spec: EmulatorSpec) -> Check:
    return _program(spec.program, "QEMU", spec.apt)


def _host_compiler() -> Check:
    """`profile` compiles what counts."""
    program = next((name for name in COMPILERS if shutil.which(name)), COMPILERS[0])
    return _optional(_program(program, "compiler", APT), "profile")


def _flashing(boards: list[Board]) -> Check:
    programs = sorted({upload.command[0] for board in boards for upload in board.uploads})
    packages = tuple(sorted({package for board in boards for package in board.upload_apt}))
    missing = [program for program in programs if find_program(program) is None]
    fix = as_root(apt_line(packages))
    return Check(
        name="flashing",
        ok=True,
        found=f"{', '.join(missing)} {MISSING}: {fix}" if missing else ", ".join(programs),
        needed="optional",
        fix=fix,
        apt=packages,
    )


def _program(program: str, needed: str, apt: tuple[str, ...]) -> Check:
    said = _output([program, "--version"])
    return Check(
        name=program,
        ok=said is not None,
        found=MISSING if said is None else said.splitlines()[0],
        needed=needed,
        fix=as_root(apt_line(apt)),
        apt=apt,
    )


def _c_library(toolchain: Toolchain) -> Check:
    """Has the compiler include a header of the C library and open the library, which the linker then names."""
    source = ["-x", "c", "-include", "string.h", os.devnull]
    link = ["-nostdlib", "-T", os.devnull, "-Wl,--trace", "-lc", "-o", os.devnull]
    said = _output([toolchain.compiler, *toolchain.flags, *source, *link])
    found = next((line for line in (said or "").splitlines() if line.endswith("libc.a")), "")
    ok = bool(found)
    return Check(
        name=f"{toolchain.prefix}libc",
        ok=ok,
        found=found if ok else MISSING,
        needed="C library",
        fix=as_root(toolchain.install),
        apt=toolchain.apt,
    )


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout or None
