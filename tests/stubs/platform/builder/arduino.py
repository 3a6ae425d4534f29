# SPDX-License-Identifier: Apache-2.0
"""Framework arduino: the stub, whose main() calls setup() and loop()."""

import os
from pathlib import Path

from SCons.Script import DefaultEnvironment

env = DefaultEnvironment()
folder = str(Path(os.environ["STUBS"]) / "arduino")
env.Append(CPPPATH=[folder], CPPDEFINES=[("ARDUINO", 10819)])
env.BuildSources("$BUILD_DIR/FrameworkArduino", folder)
