# SPDX-License-Identifier: Apache-2.0
"""CMSIS-NN's sources for a generated project: the files that the kernels need, from a wheel or a checkout.

None of Arm's code is part of acsgen. By default it comes from the installed `bakenn` wheel, which carries
CMSIS-NN 4.0.0; every file taken is held against a list of SHA-256 sums. A checkout or pack of a newer
CMSIS-NN is taken as it is: the sums of what was taken are written down in the project.
"""

from __future__ import annotations

import hashlib
import re
from importlib import metadata, resources
from pathlib import Path

from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir

BAKENN_VERSION = "1.0.0"
#: What our kernels call; the rest of the closure is found by reading the sources.
ENTRY_POINTS = {
    "conv": ("arm_convolve_wrapper_s8", "arm_convolve_wrapper_s8_get_buffer_size"),
    "depthwise": ("arm_depthwise_conv_wrapper_s8", "arm_depthwise_conv_wrapper_s8_get_buffer_size"),
    "max_pool": ("arm_max_pool_s8",),
    "avg_pool": ("arm_avgpool_s8", "arm_avgpool_s8_get_buffer_size"),
}
#: CMSIS-NN's licence file has had both names.
_LICENCES = ("LICENSE.txt", "LICENSE")
_PROVENANCE = "BAKENN_PROVENANCE.md"
_CALL = re.compile(r"\b(arm_\w+)\s*\(")
_DEFINITION = re.compile(r"^[A-Za-z_][^;{}()=#]*?\b(arm_\w+)\s*\([^;{}]*\)\s*\{", re.MULTILINE)


def cmsis_nn_files(kernels: set[str], checkout: Path | None) -> dict[str, bytes]:
    """Project path below `lib/cmsis_nn/` -> content, for the kernels (keys of ENTRY_POINTS) in use.

    Raises AcsgenError if the sources are not there, not the pinned ones, or lack a function.
    """
    try:
        library = _library(kernels, _bakenn_roots()[0] if checkout is None else checkout)
        core = {} if _finds_compiler_header(library) else _core(_bakenn_roots()[1])
        if checkout is None:
            library[_PROVENANCE] = (_bakenn_roots()[0] / _PROVENANCE).read_bytes()
    except OSError as error:
        hint = f"reinstall bakenn=={BAKENN_VERSION}" if checkout is None else "give a whole CMSIS-NN checkout"
        raise AcsgenError(f"CMSIS-NN: {error.filename}: {error.strerror}: {hint}") from error
    _check_sums(core if checkout is not None else library | core)
    return library | core | {"PROVENANCE.md": _provenance(library, core, checkout)}


def _library(kernels: set[str], root: Path) -> dict[str, bytes]:
    """Headers, the sources that the kernels need, and the licence."""
    if not (root / "Include" / "arm_nnfunctions.h").is_file():
        raise AcsgenError(f"{root}: no CMSIS-NN: Include/arm_nnfunctions.h is missing")
    wanted = {name for kernel in kernels for name in ENTRY_POINTS.get(kernel, ())}
    return _headers(root) | _sources(root, wanted) | {"LICENSE.txt": _licence(root)}


def _core(root: Path) -> dict[str, bytes]:
    """CMSIS-Core's compiler headers."""
    return _headers(root) | {"LICENSE-cmsis-core.txt": _licence(root)}


def _headers(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("Include/**/*.h"))}


def _bakenn_roots() -> tuple[Path, Path]:
    try:
        version = metadata.version("bakenn")
    except metadata.PackageNotFoundError as error:
        raise AcsgenError(
            f"CMSIS-NN's sources are missing: pip install bakenn=={BAKENN_VERSION}, or give --cmsis-nn DIR"
        ) from error
    if version != BAKENN_VERSION:
        raise AcsgenError(
            f"bakenn {version} is installed, this acsgen knows the sources of {BAKENN_VERSION}: "
            f"pip install bakenn=={BAKENN_VERSION}, or give --cmsis-nn DIR"
        )
    vendor = Path(str(resources.files("bakenn"))) / "backend" / "cmsis_nn" / "vendor"
    return vendor / "cmsis_nn", vendor / "cmsis_core"


def _finds_compiler_header(files: dict[str, bytes]) -> bool:
    """Newer releases bring their own compiler header, older ones need CMSIS-Core's."""
    wants = b'"cmsis_compiler.h"' in files.get("Include/arm_nn_math_types.h", b"")
    return not wants or "Include/cmsis_compiler.h" in files


def _sources(root: Path, wanted: set[str]) -> dict[str, bytes]:
    """The source files that define `wanted`, and whatever these call in turn."""
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in sorted(root.glob("Source/**/*.c"))}
    defined_in = {name: path for path, text in texts.items() for name in _DEFINITION.findall(text)}
    missing = sorted(wanted - set(defined_in))
    if missing:
        raise AcsgenError(f"{root}: this CMSIS-NN has no {missing[0]}, which acsgen's kernels call")
    taken: set[Path] = set()
    queue = [defined_in[name] for name in sorted(wanted)]
    while queue:
        path = queue.pop()
        if path not in taken:
            taken.add(path)
            queue += [defined_in[name] for name in _CALL.findall(texts[path]) if name in defined_in]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(taken)}


def _licence(root: Path) -> bytes:
    for folder in (root, root.parent):
        for path in (folder / name for name in _LICENCES):
            if path.is_file():
                return path.read_bytes()
    raise AcsgenError(f"{root}: no licence file ({' or '.join(_LICENCES)}) beside the sources")


def _check_sums(files: dict[str, bytes]) -> None:
    sums = resource_dir("firmware") / "kernels" / "cmsis_nn" / f"bakenn-{BAKENN_VERSION}.sha256"
    lines = sums.read_text(encoding="utf-8").splitlines()
    known = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name, content in files.items():
        if known.get(name) != hashlib.sha256(content).hexdigest():
            raise AcsgenError(
                f"bakenn's {name} is not the file that acsgen was tested with (SHA-256 differs): reinstall "
                f"bakenn=={BAKENN_VERSION}, or give --cmsis-nn DIR"
            )


def _provenance(library: dict[str, bytes], core: dict[str, bytes], checkout: Path | None) -> bytes:
    bakenn = f"the Python package bakenn {BAKENN_VERSION}"
    source = (
        f"{bakenn}; what it changed is listed in {_PROVENANCE}"
        if checkout is None
        else f"a CMSIS-NN checkout named {checkout.resolve().name}"
    )
    paragraphs = [
        "# Where these files come from",
        f"CMSIS-NN, Copyright Arm Limited, Apache-2.0 (LICENSE.txt), copied unchanged from {source}.\n"
        "Only the files that this project's kernels need were copied. SHA-256:",
        _sums(library),
    ]
    if core:
        paragraphs += [
            "CMSIS-Core, Copyright Arm Limited, Apache-2.0 (LICENSE-cmsis-core.txt), copied unchanged\n"
            f"from {bakenn}. SHA-256:",
            _sums(core),
        ]
    return ("\n\n".join(paragraphs) + "\n").encode()


def _sums(files: dict[str, bytes]) -> str:
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "```\n" + "".join(lines) + "```"
