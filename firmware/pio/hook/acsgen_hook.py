# SPDX-License-Identifier: Apache-2.0
"""Generates the C of a model when PlatformIO builds, if the model has changed. Written by `acsgen hook`.

In platformio.ini:

    [env:mine]
    extra_scripts = pre:acsgen_hook.py
    custom_acsgen_model = model.acsq                  ; several: one on a line
    custom_acsgen_options = --kernels cmsis_nn        ; may be missing: further options of `acsgen generate`

The program then includes the model's header, NAME.h, and links with its code, which lies in the build folder.
acsgen need not be installed where nothing has changed since it last ran.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

Import("env")


def stop(message):
    sys.stderr.write(f"Error: {message}\n")
    env.Exit(1)


def acsgen_version():
    """Of the acsgen in PlatformIO's Python; None if there is none."""
    try:
        return importlib.metadata.version("acsgen") if importlib.util.find_spec("acsgen") else None
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def acsgen_command():
    """What starts acsgen: the one in PlatformIO's Python, or that on the PATH."""
    if acsgen_version():
        return [env.subst("$PYTHONEXE"), "-P", "-m", "acsgen.cli"]
    if program := shutil.which("acsgen"):
        return [program]
    return stop("custom_acsgen_model needs acsgen, which is not installed for this Python nor on the PATH")


def wanted_models():
    """Paths of the models."""
    lines = env.GetProjectOption("custom_acsgen_model", "").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    models = [Path(env.subst("$PROJECT_DIR"), env.subst(name)) for name in names]
    if len({model.stem for model in models}) < len(models):
        stop("custom_acsgen_model: two models have files of the same name: rename one")
    return models


def generate(model, options, folder):
    """Writes the package of a model to a folder, unless it is there already."""
    if not model.is_file():
        stop(f"custom_acsgen_model: {model}: no such file")
    stamp = folder.with_name(f"{folder.name}.json")
    made_of = {"model": hashlib.sha256(model.read_bytes()).hexdigest(), "options": options}
    version = acsgen_version()
    if folder.is_dir() and stamp.is_file():
        last = json.loads(stamp.read_text(encoding="utf-8"))
        same_version = version in (None, last.pop("acsgen"))
        if last == made_of and same_version:
            return
    print(f"acsgen: generating the C of {model.name}")
    stamp.unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    command = [*acsgen_command(), "generate", str(model), "--as", "library", "-o", str(folder), "--json", *options]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        stop(f"the C of {model.name} could not be generated")
    stamp.write_text(json.dumps({**made_of, "acsgen": version}), encoding="utf-8")


def build(folder):
    """Compiles a package to a library of the program. A library: two models may bring the same runtime."""
    source = str(folder / "src")
    library = env.BuildLibrary(f"$BUILD_DIR/acsgen/built/{folder.name}", source)
    env.Append(CPPPATH=[source])
    env.Prepend(LIBS=[library])


if not env.IsCleanTarget():
    for wanted in wanted_models():
        package = Path(env.subst("$BUILD_DIR"), "acsgen", wanted.stem)
        generate(wanted, shlex.split(env.GetProjectOption("custom_acsgen_options", "")), package)
        build(package)
