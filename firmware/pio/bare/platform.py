# SPDX-License-Identifier: Apache-2.0
"""PlatformIO development platform that needs nothing but what pip and the system have installed.

PlatformIO builds with SCons, which it takes from a package of its own, ``tool-scons``. Where that
package is installed it is used. Otherwise the SCons of the Python environment (``pip install
scons``) is presented to PlatformIO as that package: a folder with a manifest and a script that
starts it.
"""

import importlib.util
import json
import tempfile
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.package.manager.core import get_core_package_dir
from platformio.platform.base import PlatformBase

SCONS_SCRIPT = """\
import SCons.Script

SCons.Script.main()
"""


class BarePlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        installed = get_core_package_dir("tool-scons", auto_install=False)
        if not installed and importlib.util.find_spec("SCons"):
            folder = write_scons_package(Path(self.config.get("platformio", "core_dir")))
            self.packages["tool-scons"] = {
                "owner": "platformio",
                "optional": False,
                "version": f"symlink://{folder}",
            }
        super().configure_default_packages(options, targets)


def write_scons_package(core_dir):
    """Writes the package into PlatformIO's core folder and returns its path."""
    requirement = get_core_dependencies()["tool-scons"]  # such as "~4.41101.0"
    folder = core_dir / "acsgen-scons"
    manifest = {
        "name": "tool-scons",
        "version": requirement.lstrip("~^=<>"),
        "description": "The SCons of this Python environment",
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "package.json", json.dumps(manifest))
    write_atomically(folder / "scons.py", SCONS_SCRIPT)
    return folder


def write_atomically(path, text):
    """Another build may be reading or writing the same file."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)
