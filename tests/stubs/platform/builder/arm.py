# SPDX-License-Identifier: Apache-2.0
"""SCons script in the manner of a registry's platform for Cortex-M without a framework: its flags, our compiler."""

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
cpu = f"-mcpu={board.get('build.cpu')}"
tools = {"AR": "gcc-ar", "CC": "gcc", "CXX": "g++", "LINK": "gcc", "RANLIB": "gcc-ranlib"}
env.Replace(**{key: f"arm-none-eabi-{tool}" for key, tool in tools.items()}, ARFLAGS=["rc"])
env.Replace(LDSCRIPT_PATH=board.get("build.ldscript"), PROGNAME="firmware", PROGSUFFIX=".elf")
env.Append(
    CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", "-mthumb", cpu],
    LINKFLAGS=["-Os", "-Wl,--gc-sections,--relax", "-mthumb", cpu],
    LIBS=["c", "gcc", "m"],
)
program = env.BuildProgram()
AlwaysBuild(env.Alias("buildprog", program))
Default(program)
