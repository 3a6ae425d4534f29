# SPDX-License-Identifier: Apache-2.0
"""Builds a generated project with PlatformIO."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acsgen.errors import AcsgenError
from acsgen.target.boards import as_root

LOG_NAME = "build.log"
RECORD_NAME = "sources.sha256"

#: What every generated project holds.
_MANIFEST = "acsgen.json"


@dataclass(frozen=True)
class BuildResult:
    """What a build gave."""

    elf: Path
    flash_bytes: int
    """Code, constants and the initial values of variables."""
    ram_bytes: int
    """Stack, variables and arena."""
    seconds: float


@dataclass(frozen=True)
class _Project:
    path: Path
    environment: str
    """The PlatformIO environment to build."""
    board: dict[str, Any]
    """PlatformIO's description of the board."""

    @property
    def workspace(self) -> Path:
        return self.path / ".pio"

    @property
    def elf(self) -> Path:
        return self.workspace / "build" / self.environment / "firmware.elf"

    @property
    def record(self) -> Path:
        """What the firmware was built from: lines that `sha256sum -c` understands."""
        return self.elf.with_name(RECORD_NAME)

    @property
    def log(self) -> Path:
        return self.workspace / LOG_NAME


def build(project: Path, *, verbose: bool = False) -> BuildResult:
    """Builds the project in a folder; ``verbose`` shows PlatformIO's output while it comes.

    The output is kept in ``.pio/build.log`` of the project. Everything that PlatformIO needs lies
    in the project, so any number of projects can be built at the same time, and nothing is read
    from or written to the user's own PlatformIO folder.
    """
    opened = _open(project)
    _require_path(opened.path)
    _require_tools(opened)
    start = time.monotonic()
    opened.record.unlink(missing_ok=True)
    sums = _sums(opened.path)  # before, so that what is edited meanwhile counts as changed
    code, output = _run_platformio(opened, verbose)
    seconds = time.monotonic() - start
    if code != 0:
        raise AcsgenError(f"building {project} failed: {_explain(output, opened)} (see {opened.log})")
    flash_bytes, ram_bytes = memory_use(opened.elf)
    _write_record(opened, sums)
    return BuildResult(opened.elf, flash_bytes, ram_bytes, seconds)


def firmware_of(project: Path) -> Path:
    """Returns where a project's firmware is, or will be once it is built.

    Raises AcsgenError if a file of the project is not as it was when the firmware was built.
    """
    opened = _open(project)
    if opened.elf.is_file() and (changed := _changed(opened)):
        raise AcsgenError(f"{project / changed} changed since the build: acsgen build {project}")
    return opened.elf


def _changed(project: _Project) -> str | None:
    """Returns the first file that differs from what the firmware was built from, or None.

    Without a record of this very firmware, as after a plain `pio run`, it is the first file that is not older than it.
    """
    recorded = _read_record(project)
    if recorded.pop(_elf_name(project), None) == _sum(project.elf):
        sums = _sums(project.path)
        return min(
            (name for name in sums.keys() | recorded.keys() if sums.get(name) != recorded.get(name)), default=None
        )
    built = project.elf.stat().st_mtime_ns
    return next((name for name in _sources(project.path) if (project.path / name).stat().st_mtime_ns >= built), None)


def _write_record(project: _Project, sums: dict[str, str]) -> None:
    lines = [f"{sum_}  {name}\n" for name, sum_ in {**sums, _elf_name(project): _sum(project.elf)}.items()]
    project.record.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def _read_record(project: _Project) -> dict[str, str]:
    """Returns the sums by name; none if there is no record."""
    try:
        lines = project.record.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return {}
    return {name: sum_ for sum_, _, name in (line.partition("  ") for line in lines) if name}


def _elf_name(project: _Project) -> str:
    return project.elf.relative_to(project.path).as_posix()


def _sums(project: Path) -> dict[str, str]:
    """Returns the SHA-256 of every source by its name."""
    return {name: _sum(project / name) for name in _sources(project)}


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sources(project: Path) -> list[str]:
    """Returns every file of a project but what is hidden (`.pio`, `.git`) or made by tools."""
    names = [path.relative_to(project) for path in project.rglob("*") if path.is_file()]
    made = {"__pycache__", "compile_commands.json"}
    return sorted(name.as_posix() for name in names if not any(part[0] == "." or part in made for part in name.parts))


def memory_use(elf: Path) -> tuple[int, int]:
    """Returns the bytes of flash and of RAM that a firmware occupies, gaps included."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            loaded = [
                (segment["p_paddr"], segment["p_paddr"] + segment["p_filesz"])
                for segment in file.iter_segments("PT_LOAD")
                if segment["p_filesz"] > 0
            ]
            writable = [
                (section["sh_addr"], section["sh_addr"] + section["sh_size"])
                for section in file.iter_sections()
                if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
                and section["sh_flags"] & SH_FLAGS.SHF_WRITE
                and section["sh_size"] > 0
            ]
    except (OSError, ELFError) as error:
        raise AcsgenError(f"cannot read firmware {elf}: {error}") from error
    return _extent(loaded), _extent(writable)


def _extent(ranges: list[tuple[int, int]]) -> int:
    if not ranges:
        return 0
    return max(end for _, end in ranges) - min(start for start, _ in ranges)


def _open(project: Path) -> _Project:
    if not (project / _MANIFEST).is_file():
        raise AcsgenError(f"{project}: no project of acsgen's ({_MANIFEST} is missing): acsgen generate makes one")
    path = project.absolute()
    ini = path / "platformio.ini"
    if not ini.is_file() and (kind := _kind(path)) != "project":
        raise AcsgenError(f"{project} was generated --as {kind}, for a program of yours: --board makes a project")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with ini.open(encoding="utf-8") as stream:
            parser.read_file(stream)
        environment = parser["platformio"]["default_envs"].split(",")[0].strip()
        if not (platform := parser[f"env:{environment}"]["platform"]).startswith("symlink://"):
            raise AcsgenError(
                f"{project} needs {platform} from PlatformIO's registry, with which acsgen does not build: "
                f"pio run -d {shlex.quote(str(project))}"
            )
        board = parser[f"env:{environment}"]["board"]
        manifest = json.loads((path / "boards" / f"{board}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise AcsgenError(f"cannot read {error.filename} ({error.strerror}); generate the project anew") from error
    except (configparser.Error, KeyError, ValueError) as error:
        raise AcsgenError(f"{ini} or its board is damaged ({error}); generate it anew") from error
    return _Project(path, environment, manifest)


def _kind(path: Path) -> str:
    """What a generated folder is; older ones, all projects, do not say."""
    try:
        return str(json.loads((path / _MANIFEST).read_text(encoding="utf-8")).get("kind", "project"))
    except (OSError, ValueError, AttributeError):
        return "project"


def _require_path(path: Path) -> None:
    """PlatformIO and SCons take ``$`` for the start of a variable; a line break ends an option of platformio.ini."""
    for character in str(path):
        if character == "$" or not character.isprintable():
            raise AcsgenError(
                f"PlatformIO cannot build in a folder with {character!r} in its path: rename {str(path)!r}"
            )


def _require_tools(project: _Project) -> None:
    from importlib.util import find_spec

    for module, package in (("platformio", "platformio"), ("SCons", "scons")):
        if find_spec(module) is None:
            raise AcsgenError(f"building needs the Python package {package}; install it: pip install {package}")
    build = project.board["build"]
    require_compiler(f"{build['toolchain']}gcc", build["install"])


def require_compiler(compiler: str, install: str) -> None:
    """AcsgenError, with the line that installs it, if a compiler is not on the PATH."""
    if shutil.which(compiler) is None:
        raise AcsgenError(f"building needs {compiler}; install it: {as_root(install)}")


def _run_platformio(project: _Project, verbose: bool) -> tuple[int, str]:
    command = [sys.executable, "-m", "platformio", "run"]
    command += ["-d", str(project.path), "-e", project.environment]
    project.workspace.mkdir(exist_ok=True)
    lines: list[str] = []
    with (
        project.log.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            env=_environment(project),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            log.write(line)
            if verbose:
                sys.stdout.write(line)
                sys.stdout.flush()
    return process.returncode, "".join(lines)


def _environment(project: _Project) -> dict[str, str]:
    """The user's environment without settings that would lead PlatformIO elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PLATFORMIO_")}
    return kept | {
        "PLATFORMIO_CORE_DIR": str(project.workspace / "core"),
        "PLATFORMIO_PLATFORMS_DIR": str(project.workspace / "platforms"),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_NO_ANSI": "true",
    }


_OVERFLOW = re.compile(r"region `(FLASH|RAM)' overflowed by (\d+) bytes")
_MISSING_LIBRARY = re.compile(
    r"fatal error: ((?:string|std\w+|math|limits)\.h): No such file|cannot read spec file '([\w.]+)'"
)
_UNDEFINED = re.compile(r"undefined reference to `(\w+)'")
_LINKER_LINE = re.compile(r"^.*/ld: (?:.*: in function `.*':\n)?(.*)$", re.MULTILINE)
_ERROR_LINE = re.compile(r"^.*\berror:.*$", re.MULTILINE | re.IGNORECASE)


def _explain(output: str, project: _Project) -> str:
    """Returns the one line of a failed build that says what to do."""
    overflows = dict(_OVERFLOW.findall(output))
    if overflows:
        return "; ".join(_overflow_text(region, int(over), project) for region, over in overflows.items())
    if missing := _MISSING_LIBRARY.search(output):
        install = as_root(project.board["build"]["install"])
        return f"the compiler has no C library ({missing[1] or missing[2]} is missing); install it: {install}"
    if "HTTPClientError" in output:
        return "PlatformIO wanted to download a package and could not; something in platformio.ini is not installed"
    if (undefined := _UNDEFINED.search(output)) and undefined[1] == "_sbrk":
        return "something calls malloc, and the firmware has no heap"
    if undefined:
        return f"nothing defines {undefined[1]}"
    line = _ERROR_LINE.search(output)
    if (line is None or "collect2:" in line[0]) and (said := _LINKER_LINE.search(output)):
        return said[1].strip()
    if line:
        return line[0].strip()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "PlatformIO said nothing"


def _overflow_text(region: str, over: int, project: _Project) -> str:
    total = project.board["build"]["memory"][f"ACS_{region}_BYTES"]
    name = "flash" if region == "FLASH" else region
    return (
        f"the firmware needs {total + over:,} bytes of {name}, {project.environment} has {total:,} ({over:,} too few)"
    )
