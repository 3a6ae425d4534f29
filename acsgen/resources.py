# SPDX-License-Identifier: Apache-2.0
"""Where the files that acsgen carries are: in a checkout and in an installed package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from acsgen.errors import AcsgenError

ResourceKind = Literal["templates", "firmware", "boards", "demo", "recipes"]


def resource_dir(kind: ResourceKind) -> Path:
    """Returns the folder of one kind of resources.

    An installed package holds it in ``acsgen/_data``, a checkout beside the package.
    """
    package = Path(str(files("acsgen")))
    for folder in (package / "_data" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise AcsgenError(f"acsgen's own folder {kind!r} is missing beside {package}; reinstall acsgen")
