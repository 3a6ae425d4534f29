# SPDX-License-Identifier: Apache-2.0
"""A model.acsq to a package: the network as a library for somebody else's program, for any board.

All kinds hold the same sources in `src/`, the only folder that their compilers search for headers; a row of
PACKAGES says what makes them a package of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from acsgen import __version__
from acsgen.emit.fit import check_package_fits, spare_of_package
from acsgen.emit.libraries import AUTHORS
from acsgen.emit.project import PROJECT, Material, Project, generate, write_generated
from acsgen.emit.render import environment
from acsgen.errors import AcsgenError, nearest
from acsgen.plan import KERNEL_SETS
from acsgen.resources import resource_dir
from acsgen.target.boards import load_board

#: Runs on every core.
DEFAULT_KERNELS = "portable"


@dataclass(frozen=True)
class Package:
    """A kind of package. files: path in it -> template below `templates/package`, besides README.md."""

    title: str
    files: Mapping[str, str]


_PROPERTIES = {"library.properties": "library.properties.j2"}
_SKETCH = {"examples/serial/serial.ino": "serial.ino.j2"}
_PROGRAM = {"examples/run/main.c": "main.c.j2"}

#: By what `acsgen generate --as` calls them.
PACKAGES: Mapping[str, Package] = {
    "library": Package(
        "A library for PlatformIO, with any framework or none, and for Arduino",
        {"library.json": "library.json.j2", **_PROPERTIES, **_PROGRAM, **_SKETCH},
    ),
    "arduino": Package("A library for Arduino", {**_PROPERTIES, **_SKETCH}),
    "esp-idf": Package(
        "A component for ESP-IDF", {"CMakeLists.txt": "component.cmake.j2", "idf_component.yml": "idf_component.yml.j2"}
    ),
    "cmake": Package("A library for CMake", {"CMakeLists.txt": "library.cmake.j2", **_PROGRAM}),
}
#: All that `acsgen generate --as` takes.
KINDS = (PROJECT, *PACKAGES)


def generate_any(
    model: Path,
    kind: str,
    board: str | None,
    out: Path,
    **how: Any,
) -> Project:
    """Writes what the command line asks for, one of KINDS: a project for the board of this name, or a package.

    how: all further arguments of `acsgen.emit.project.generate` and `generate_package`, which are the same.
    """
    if kind not in KINDS:
        raise AcsgenError(f"--as {kind}: there is no such kind: {nearest(kind, KINDS)}")
    if kind != PROJECT:
        if board is not None:
            raise AcsgenError(f"--as {kind} makes something for every board: leave out --board")
        return generate_package(model, kind, out, **how)
    if board is None:
        raise AcsgenError("a project is for a board: give --board BOARD ('acsgen boards' lists them), or --as KIND")
    return generate(model, load_board(board), out, **how)


def generate_package(
    model: Path,
    kind: str,
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
    """Writes the network of `model` (an `.acsq` file) as a package of a kind (a key of PACKAGES) to the folder `out`.

    kernels: the kernel set, by default DEFAULT_KERNELS. flash_budget: bytes that model, runtime and kernels may take
    at most; without it, or if the arena would grow, the kernel set `acs` does not take Winograd's way, since
    nobody knows the board. The rest is as in `acsgen.emit.project.generate`.
    """
    wanted = kernels or DEFAULT_KERNELS
    if wanted not in KERNEL_SETS:
        raise AcsgenError(f"no kernel set is called '{wanted}': {nearest(wanted, KERNEL_SETS)}")
    kernel_set = KERNEL_SETS[wanted]
    spare = None if flash_budget is None or not winograd else partial(spare_of_package, flash_budget=flash_budget)
    compose = partial(_compose, flash_budget=flash_budget)
    return write_generated(
        kind, model, kernel_set, out, compose, spare, name=name, cmsis_nn=cmsis_nn, forms=forms, force=force
    )


def _compose(material: Material, flash_budget: int | None) -> dict[str, bytes]:
    """Path -> content of everything but the model and its plan."""
    check_package_fits(material.plan, material.writer.constant_bytes, flash_budget)
    package = PACKAGES[material.kind]
    sources = _sources(material)
    context = {
        "package": package,
        "kind": material.kind,
        "version": __version__,
        "model": material.name,
        "prefix": material.name.upper(),
        "plan": material.plan,
        "library": material.kernel_set.library,
        "author": AUTHORS.get(material.kernel_set.library or ""),
        "sources": [path for path in sources if path.endswith((".c", ".S"))],
        "assembly": any(path.endswith(".S") for path in sources),
    }
    env = environment()
    texts = {"README.md": "README.md.j2", **package.files}
    rendered = {path: env.get_template(f"package/{template}").render(context) for path, template in texts.items()}
    return {**{path: text.encode() for path, text in rendered.items()}, **sources}


def _sources(material: Material) -> dict[str, bytes]:
    """Path -> content below `src/`: the model, the runtime and the kernels side by side, a library in a folder."""
    runtime = resource_dir("firmware") / "runtime"
    rendered = {path: text for path, text in material.rendered().items() if path.startswith("lib/model/")}
    return {
        **{f"src/{PurePosixPath(path).name}": text.encode() for path, text in rendered.items()},
        **{f"src/{path.name}": path.read_bytes() for path in sorted(runtime.iterdir()) if path.is_file()},
        **{f"src/{path}": content for path, content in material.kernels().items()},
        **{f"src/{material.kernel_set.library}/{path}": content for path, content in material.library.items()},
        **_forwards(material),
    }


_INCLUDE = re.compile(rb'^\s*#\s*include\s+[<"]([\w./]+)[>"]', re.MULTILINE)


def _forwards(material: Material) -> dict[str, bytes]:
    """Headers in `src/` that lead to those of a library which its own sources, or the kernels, ask for.

    The library keeps its folders, and nobody has to add one to the search path, which Arduino could not.
    """
    contents = [content for path, content in material.library.items() if path.endswith((".c", ".c.inc"))]
    wanted = {
        name.decode() for content in (*contents, *material.kernels().values()) for name in _INCLUDE.findall(content)
    }
    names = [name for name in sorted(wanted) if f"Include/{name}" in material.library]
    return {f"src/{name}": _forward(f"{material.kernel_set.library}/Include", name).encode() for name in names}


def _forward(folder: str, name: str) -> str:
    up = "../" * name.count("/")
    return (
        f"/* Leads to the library's own {name}, whose warnings are not ours to mend. Generated by acsgen. */\n"
        "#ifdef __GNUC__\n#pragma GCC system_header\n#endif\n"
        f'#include "{up}{folder}/{name}"\n'
    )
