# SPDX-License-Identifier: Apache-2.0
"""PlatformIO development platform that needs nothing but what pip and the system have installed.

PlatformIO builds with SCons, which it takes from a package of its own, ``tool-scons``. The SCons of
the Python environment (``pip install scons``) is presented to PlatformIO as that package: a folder
with a manifest and a script that starts it. The folder and PlatformIO's link to it (``packages_dir``
in platformio.ini) are the project's own: other projects may run in an environment without SCons.
"""

import importlib.util
import json
import tempfile
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.exception import UserSideException
from platformio.platform.base import PlatformBase

SCONS_SCRIPT = """\
import SCons.Script

SCons.Script.main()
"""


class BarePlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        version = scons_package_version()
        if not importlib.util.find_spec("SCons"):
            raise UserSideException(f"SCons is not installed: pip install scons=={scons_version(version)}")
        folder = write_scons_package(Path(self.config.get("platformio", "workspace_dir")), version)
        self.packages["tool-scons"] = {
            "owner": "platformio",
            "optional": False,
            "version": f"symlink://{folder}",
        }
        super().configure_default_packages(options, targets)


def scons_package_version():
    """The version of tool-scons that this PlatformIO asks for."""
    return get_core_dependencies()["tool-scons"].lstrip("~^=<>")  # such as "4.41101.0"


def scons_version(package_version):
    """The version of SCons in a version of tool-scons: 4.11.1 in 4.41101.0."""
    digits = package_version.split(".")[1]
    return ".".join(str(int(part)) for part in (digits[:-4], digits[-4:-2], digits[-2:]))


def write_scons_package(workspace, version):
    """Writes the package into the project's .pio folder and returns its path."""
    folder = workspace / "scons"
    manifest = {"name": "tool-scons", "version": version, "description": "The SCons of this Python environment"}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "package.json", json.dumps(manifest))
    write_atomically(folder / "scons.py", SCONS_SCRIPT)
    return folder


def write_atomically(path, text):
    """Another build may be reading or writing the same file."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
