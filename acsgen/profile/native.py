# SPDX-License-Identifier: Apache-2.0
"""Compiles the meter (``native/``) for the host, when it is needed, with the host's own compiler."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from acsgen.errors import AcsgenError
from acsgen.target.boards import apt_line, as_root

_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
#: The Debian packages that hold the host's compiler.
APT = ("gcc", "libc6-dev")
#: Its names, the better known first.
COMPILERS = ("gcc", "cc")


def build_native(front: str, folder: Path) -> Path:
    """The shared library of the meter and one front end, ``qemu_plugin`` or ``unicorn_hooks``, in a folder.

    It is compiled once for each version of its sources. Raises AcsgenError if there is no compiler.
    """
    with as_file(files("acsgen.profile") / "native") as sources:
        used = [sources / "meter.h", sources / "meter.c", sources / f"{front}.c"]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in used)).hexdigest()[:16]
        library = folder / f"{front}-{digest}.so"
        if not library.is_file():
            _compile([str(path) for path in used[1:]], library)
    return library


def _compile(sources: list[str], library: Path) -> None:
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise AcsgenError(f"profiling compiles a counter with gcc; install it: {as_root(apt_line(APT))}")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as beside:
        part = Path(beside) / library.name
        done = subprocess.run([compiler, *_FLAGS, "-o", part, *sources], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if "error" in line), "it said nothing")
            raise AcsgenError(f"{compiler} cannot compile the counter for profiling: {said}")
        part.replace(library)
