# SPDX-License-Identifier: Apache-2.0
"""Builds the bare port with a platform of PlatformIO's registry: flags and memory from boards/BOARD.json.

It runs before the platform's own script (`extra_scripts = pre:`), which would be too late for src/.
"""

import json
from pathlib import Path

Import("env")

name = env.GetProjectOption("custom_acsgen_board")
manifest = Path(env.subst("$PROJECT_DIR"), "boards", f"{name}.json")
build = json.loads(manifest.read_text(encoding="utf-8"))["build"]

env.Append(
    CFLAGS=["-std=c11"],
    CCFLAGS=build["cpu_flags"],
    CPPDEFINES=[tuple(define.split("=", 1)) for define in build["defines"]],
    LINKFLAGS=[
        *build["cpu_flags"],
        "-nostartfiles",
        "--specs=nano.specs",
        "--specs=nosys.specs",
        *(f"-Wl,--defsym={symbol}={value}" for symbol, value in build["memory"].items()),
    ],
)
