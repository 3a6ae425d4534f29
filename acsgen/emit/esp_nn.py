# SPDX-License-Identifier: Apache-2.0
"""ESP-NN's sources for a generated project: the ANSI C that the kernels call, from the `bakenn` wheel.

None of Espressif's code is part of acsgen. Every file taken is held against a SHA-256 sum.
"""

from __future__ import annotations

import hashlib
from importlib import metadata, resources
from pathlib import Path

from acsgen.emit.cmsis import BAKENN_VERSION
from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir

#: Kernel in use -> the source that it calls.
_SOURCES = {
    "conv": "src/convolution/esp_nn_conv_ansi.c",
    "depthwise": "src/convolution/esp_nn_depthwise_conv_ansi.c",
    "max_pool": "src/pooling/esp_nn_max_pool_ansi.c",
}
#: Headers that they and our kernels include.
_HEADERS = (
    "include/esp_nn.h",
    "include/esp_nn_ansi_c.h",
    "include/esp_nn_ansi_headers.h",
    "include/esp_nn_defs.h",
    "src/common/common_functions.h",
)
_AS_IT_IS = {"LICENSE": "LICENSE.txt", "BAKENN_PROVENANCE.md": "BAKENN_PROVENANCE.md"}


def esp_nn_files(kernels: set[str], checkout: Path | None) -> dict[str, bytes]:
    """Project path below `lib/esp_nn/` -> content, for the kernels in use. checkout: None, there is only the wheel's.

    Headers are in `Include`, sources in `Source`, as those of the other library. Raises AcsgenError if the sources are
    not there or not the pinned ones.
    """
    wanted = {path: f"Include/{Path(path).name}" for path in _HEADERS}
    wanted |= {path: f"Source/{Path(path).name}" for name, path in _SOURCES.items() if name in kernels}
    root, sums = _root(), _known_sums()
    files = {}
    for path, target in (wanted | _AS_IT_IS).items():
        try:
            files[target] = (root / path).read_bytes()
        except OSError as error:
            raise AcsgenError(
                f"ESP-NN: {error.filename}: {error.strerror}: reinstall bakenn=={BAKENN_VERSION}"
            ) from error
        if sums.get(path) != hashlib.sha256(files[target]).hexdigest():
            raise AcsgenError(
                f"bakenn's {path} is not the file that acsgen was tested with (SHA-256 differs): "
                f"reinstall bakenn=={BAKENN_VERSION}"
            )
    return files | {"PROVENANCE.md": _provenance(files)}


def _root() -> Path:
    try:
        version = metadata.version("bakenn")
    except metadata.PackageNotFoundError as error:
        raise AcsgenError(f"ESP-NN's sources are missing: pip install bakenn=={BAKENN_VERSION}") from error
    if version != BAKENN_VERSION:
        raise AcsgenError(
            f"bakenn {version} is installed, this acsgen knows the sources of {BAKENN_VERSION}: "
            f"pip install bakenn=={BAKENN_VERSION}"
        )
    return Path(str(resources.files("bakenn"))) / "backend" / "esp_nn" / "vendor" / "esp_nn"


def _known_sums() -> dict[str, str]:
    path = resource_dir("firmware") / "kernels" / "esp_nn" / f"bakenn-{BAKENN_VERSION}.sha256"
    return {name: digest for digest, name in (line.split("  ", 1) for line in path.read_text().splitlines())}


def _provenance(files: dict[str, bytes]) -> bytes:
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return (
        "# Where these files come from\n\nESP-NN, Copyright Espressif Systems, Apache-2.0 (LICENSE.txt), content "
        f"unchanged, from the Python package\nbakenn {BAKENN_VERSION}. SHA-256:\n\n```\n{sums}```\n"
    ).encode()
