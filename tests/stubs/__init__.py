# SPDX-License-Identifier: Apache-2.0
"""Stand-ins on the host for what cannot be had here: Arduino, ESP-IDF, PlatformIO's platforms.

They have just what our files use, under the names and with the types of the originals.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from acsgen.resources import resource_dir

STUBS = Path(__file__).parent


def host_platform(folder: Path, *boards: str) -> Path:
    """A PlatformIO platform that builds for this machine, with framework arduino as tests/stubs/arduino.

    It is our offline platform (so that no registry is asked) with another builder.
    """
    shutil.copytree(resource_dir("firmware") / "pio" / "bare", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (STUBS / "platform" / "builder").glob("*.py"):
        shutil.copy(path, folder / "builder" / path.name)
    manifest = json.loads((folder / "platform.json").read_text("utf-8"))
    manifest["frameworks"] = {"arduino": {"script": "builder/arduino.py"}}
    (folder / "platform.json").write_text(json.dumps(manifest), "utf-8")
    (folder / "boards").mkdir()
    for board in boards:
        sizes = {"maximum_size": 2**30, "maximum_ram_size": 2**30}
        document = {"name": board, "vendor": "", "url": "", "frameworks": ["arduino"], "build": {}, "upload": sizes}
        (folder / "boards" / f"{board}.json").write_text(json.dumps(document), "utf-8")
    return folder


def platformio(project: Path, home: Path, *arguments: str, code: int = 0, **more: str) -> str:
    """Runs PlatformIO without a network; returns all that it said. more: of the environment."""
    dead = "http://127.0.0.1:9"
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "HTTP_PROXY": dead,
        "HTTPS_PROXY": dead,
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "STUBS": str(STUBS),
        **more,
    }
    command = [sys.executable, "-m", "platformio", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def output_of(command: list[str | Path], **options: object) -> str:
    """What a command says; AssertionError with it if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout + done.stderr)
