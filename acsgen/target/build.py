# SPDX-License-Identifier: Apache-2.0
"""Builds a generated project with PlatformIO."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acsgen.errors import AcsgenError

LOG_NAME = "build.log"


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
    def log(self) -> Path:
        return self.workspace / LOG_NAME


def build(project: Path, *, verbose: bool = False) -> BuildResult:
    """Builds the project in a folder; ``verbose`` shows PlatformIO's output while it comes.

    The output is kept in ``.pio/build.log`` of the project. Everything that PlatformIO needs lies
    in the project, so any number of projects can be built at the same time, and nothing is read
    from or written to the user's own PlatformIO folder.
    """
    opened = _open(project.absolute())
    _require_tools(opened)
    start = time.monotonic()
    code, output = _run_platformio(opened, verbose)
    seconds = time.monotonic() - start
    if code != 0:
        raise AcsgenError(f"building {project} failed: {_explain(output, opened)} (see {opened.log})")
    flash_bytes, ram_bytes = memory_use(opened.elf)
    return BuildResult(opened.elf, flash_bytes, ram_bytes, seconds)


def firmware_of(project: Path) -> Path:
    """Returns where a project's firmware is, or will be once it is built."""
    return _open(project.absolute()).elf


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


def _open(path: Path) -> _Project:
    ini = path / "platformio.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with ini.open(encoding="utf-8") as stream:
            parser.read_file(stream)
        environment = parser["platformio"]["default_envs"].split(",")[0].strip()
        board = parser[f"env:{environment}"]["board"]
        manifest = json.loads((path / "boards" / f"{board}.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise AcsgenError(
            f"{path} is not a project that acsgen generated: cannot read {error.filename} ({error.strerror})"
        ) from error
    except (configparser.Error, KeyError, ValueError) as error:
        raise AcsgenError(f"{ini} or its board is damaged ({error}); generate it anew") from error
    return _Project(path, environment, manifest)


def _require_tools(project: _Project) -> None:
    from importlib.util import find_spec

    for module, package in (("platformio", "platformio"), ("SCons", "scons")):
        if find_spec(module) is None:
            raise AcsgenError(f"building needs the Python package {package}; install it: pip install {package}")
    build = project.board["build"]
    compiler = f"{build['toolchain']}gcc"
    if shutil.which(compiler) is None:
        raise AcsgenError(f"building needs {compiler}; install it: {build['install']}")


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
_MISSING_HEADER = re.compile(r"fatal error: ((?:string|std\w+|math|limits)\.h): No such file")
_UNDEFINED = re.compile(r"undefined reference to `(\w+)'")
_ERROR_LINE = re.compile(r"^.*\berror:.*$", re.MULTILINE | re.IGNORECASE)


def _explain(output: str, project: _Project) -> str:
    """Returns the one line of a failed build that says what to do."""
    overflows = dict(_OVERFLOW.findall(output))
    if overflows:
        return "; ".join(_overflow_text(region, int(over), project) for region, over in overflows.items())
    if header := _MISSING_HEADER.search(output):
        install = project.board["build"]["install"]
        return f"the compiler has no C library ({header[1]} is missing); install it: {install}"
    if "HTTPClientError" in output:
        return "PlatformIO wanted to download a package and could not; something in platformio.ini is not installed"
    if (undefined := _UNDEFINED.search(output)) and undefined[1] == "_sbrk":
        return "something calls malloc, and the firmware has no heap"
    if undefined:
        return f"nothing defines {undefined[1]}"
    if line := _ERROR_LINE.search(output):
        return line[0].strip()
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "PlatformIO said nothing"


def _overflow_text(region: str, over: int, project: _Project) -> str:
    total = project.board["build"]["memory"][f"ACS_{region}_BYTES"]
    name = "flash" if region == "FLASH" else region
    return (
        f"the firmware needs {total + over:,} bytes of {name}, {project.environment} has {total:,} ({over:,} too few)"
    )
