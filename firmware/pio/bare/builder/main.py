# SPDX-License-Identifier: Apache-2.0
"""SCons script of the bare platform; every number in it comes from boards/BOARD.json."""

import os
import sys

from SCons.Script import COMMAND_LINE_TARGETS, AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
build = board.get("build")


def require(program, install):
    if not env.WhereIs(program):
        sys.stderr.write(f"Error: {program} not found; install it: {install}\n")
        env.Exit(1)


prefix = build["toolchain"]
env.Replace(
    AR=prefix + "gcc-ar",
    AS=prefix + "gcc",
    CC=prefix + "gcc",
    CXX=prefix + "g++",
    LINK=prefix + "gcc",
    OBJCOPY=prefix + "objcopy",
    RANLIB=prefix + "gcc-ranlib",
    SIZETOOL=prefix + "size",
    ARFLAGS=["rc"],
    LDSCRIPT_PATH=build["ldscript"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
)
if not env.IsCleanTarget():
    require(env["CC"], build["install"])

machine_flags = build["cpu_flags"]
memory_symbols = [f"-Wl,--defsym={name}={value}" for name, value in build["memory"].items()]

env.Append(
    ASFLAGS=machine_flags,
    ASPPFLAGS=["-x", "assembler-with-cpp"],
    CCFLAGS=[*machine_flags, "-ffunction-sections", "-fdata-sections", "-g"],
    CFLAGS=["-std=c11"],
    CPPDEFINES=[tuple(define.split("=", 1)) for define in build["defines"]],
    LINKFLAGS=[
        *machine_flags,
        "-nostartfiles",
        "-Wl,--gc-sections",
        "-Wl,--fatal-warnings",
        # Relative to the project, where SCons runs: a comma or a quote above it would end the option.
        f"-Wl,-Map,{os.path.relpath(env.subst('$BUILD_DIR'))}/firmware.map",
        *memory_symbols,
    ],
    LIBS=["m", "c", "gcc"],
    BUILDERS={
        "ElfToBin": Builder(
            action=env.VerboseAction('"$OBJCOPY" -O binary "$SOURCE" "$TARGET"', "Building $TARGET"),
            suffix=".bin",
        ),
    },
)

elf = env.BuildProgram()
image = env.ElfToBin("$BUILD_DIR/firmware", elf)
AlwaysBuild(env.Alias("buildprog", image))

env.AddPlatformTarget(
    "size",
    elf,
    env.VerboseAction('"$SIZETOOL" -A -x "$SOURCE"', "Sizes of $SOURCE"),
    "Section sizes",
)

protocol = env.subst("$UPLOAD_PROTOCOL")
commands = board.get("upload.commands", {})
if protocol in commands:
    if "upload" in COMMAND_LINE_TARGETS:
        require(commands[protocol][0], board.get("upload.install"))
    env.Replace(UPLOADCMD=" ".join(f'"{word}"' for word in commands[protocol]))
    before = [env.VerboseAction(env.AutodetectUploadPort, "Looking for the upload port")]
    env.AddPlatformTarget(
        "upload",
        image,
        [
            *(before if any("$UPLOAD_PORT" in word for word in commands[protocol]) else []),
            env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE"),
        ],
        "Upload",
    )

Default([elf, image])
