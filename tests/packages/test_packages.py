# SPDX-License-Identifier: Apache-2.0
"""Each kind of package is built as its users build it, run on the host on one input, and gives the golden bits."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.packages import PACKAGES, generate_package
from acsgen.emit.project import MANIFEST, Project, check_unchanged, read_manifest
from acsgen.errors import AcsgenError
from acsgen.plan import KERNEL_SETS
from acsgen.quantize.acsq import save_acsq
from acsgen.target.build import build
from tests.firmware.host import CMSIS_ON_HOST, WARNINGS
from tests.packages.conftest import Case
from tests.plan.small import small_graph
from tests.stubs import STUBS, host_platform, output_of, platformio

#: What CMSIS-NN needs on a host, for other sets nothing; and no warning in our own files.
FLAGS = {name: [*WARNINGS, *(CMSIS_ON_HOST if kernels.library else ())] for name, kernels in KERNEL_SETS.items()}


def cmake(source: Path, build_folder: Path, *flags: str) -> None:
    configure: list[str | Path] = ["cmake", "-S", source, "-B", build_folder, f"-DCMAKE_C_FLAGS={' '.join(flags)}"]
    said = output_of([*configure, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-Werror=dev"])
    assert "Warning" not in said, said
    output_of(["cmake", "--build", build_folder])


def run(program: Path, case: Case) -> str:
    return subprocess.run([program], input=case.input, capture_output=True, check=True, timeout=60).stdout.decode()


# --- what all kinds hold ---------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("kind", PACKAGES)
def test_it_stands_alone(kind: str, kernels: str, case: Case, tmp_path: Path) -> None:
    """The model and all that it needs, licences included, each file in the manifest; nothing of a project."""
    package = generate_package(case.model, kind, tmp_path / "net", kernels=kernels)
    assert (package.kind, package.board, package.name) == (kind, "", "net")
    manifest = read_manifest(package.path)
    assert (manifest["kind"], manifest["kernels"]) == (kind, kernels)
    files = {path.relative_to(package.path).as_posix() for path in package.path.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - {MANIFEST}
    assert {"README.md", "plan.json", "model.acsq", "src/net.h", *PACKAGES[kind].files} <= files
    assert not {path for path in files if path.startswith(("pio/", "boards/")) or "app_model" in path}
    check_unchanged(package.path, manifest["files"])
    library = KERNEL_SETS[kernels].library
    for name in LIBRARIES:
        assert (name == library) == (f"src/{name}/LICENSE.txt" in files) == (f"src/{name}/PROVENANCE.md" in files)


def test_kernel_set_by_default(case: Case, tmp_path: Path) -> None:
    generate_package(case.model, "cmake", tmp_path / "net")
    assert read_manifest(tmp_path / "net")["kernels"] == "portable"


def test_kernel_set_that_is_none(case: Case, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=r"^no kernel set is called 'cmsis': did you mean cmsis_nn"):
        generate_package(case.model, "cmake", tmp_path / "net", kernels="cmsis")
    with pytest.raises(AcsgenError, match="kernel set 'portable' calls nothing of CMSIS-NN: leave out --cmsis-nn"):
        generate_package(case.model, "cmake", tmp_path / "net", cmsis_nn=tmp_path)
    assert not (tmp_path / "net").exists()


def test_a_budget_of_flash(tmp_path: Path) -> None:
    """Winograd's weights in a package: if its budget allows, and where the arena stays what it is."""
    save_acsq(small_graph(lambda b: b.conv(b.conv(b.conv("x", 64, (1, 1)), 16), 16), (8, 8, 8)), tmp_path / "m.acsq")

    def made(**how: Any) -> Project:
        return generate_package(tmp_path / "m.acsq", "cmake", tmp_path / "net", kernels="acs", force=True, **how)

    def forms(project: Project) -> list[str]:
        return [step.form for step in project.plan.steps]

    small, fast = made(), made(flash_budget=1 << 20)
    assert set(forms(small)) == {"paired"} and "winograd" in forms(fast)
    assert fast.plan.arena_bytes == small.plan.arena_bytes
    assert forms(made(flash_budget=1 << 20, winograd=False)) == forms(small)
    assert forms(made(flash_budget=small.constant_bytes + 20000)) == forms(small)
    with pytest.raises(AcsgenError, match=r"the package needs at least \d+ bytes of flash: a --flash-budget of 1000"):
        made(flash_budget=1000)


def test_a_package_replaces_a_package_only(case: Case, tmp_path: Path) -> None:
    generate_package(case.model, "cmake", tmp_path / "net")
    generate_package(case.model, "arduino", tmp_path / "net", force=True)
    assert not (tmp_path / "net" / "CMakeLists.txt").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(AcsgenError, match="is no project of acsgen's, --force does not replace it"):
        generate_package(case.model, "cmake", tmp_path / "mine", force=True)


def test_a_package_is_no_project(case: Case, tmp_path: Path) -> None:
    generate_package(case.model, "esp-idf", tmp_path / "net")
    with pytest.raises(AcsgenError, match="net was generated --as esp-idf, for a program of yours: --board makes a"):
        build(tmp_path / "net")


# --- CMake -----------------------------------------------------------------------------------------

BOTH = """\
#include <stdio.h>
#include "net.h"
#include "test.h"

#define RUN(model, MODEL)                                                                                    \\
    {                                                                                                        \\
        static ACS_ALIGNED unsigned char arena[MODEL##_ARENA_BYTES];                                         \\
        static int8_t input[MODEL##_INPUT_BYTES], output[MODEL##_OUTPUT_BYTES];                              \\
        if (fread(input, sizeof input, 1, stdin) != 1 || !model##_run(arena, input, output, ACS_SKIP, NULL)) \\
            return 1;                                                                                        \\
        printf("output:");                                                                                   \\
        for (int i = 0; i < MODEL##_OUTPUT_BYTES; i++)                                                       \\
            printf(" %d", output[i]);                                                                        \\
        printf(" masks:");                                                                                   \\
        for (int i = 0; i < MODEL##_MASK_BYTES; i++)                                                         \\
            printf(" %d", model##_masks(arena)[i]);                                                          \\
        printf("\\n");                                                                                       \\
    }

int main(void)
{
    RUN(net, NET)
    RUN(test, TEST)
    return 0;
}
"""


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_cmake(kernels: str, case: Case, tmp_path: Path) -> None:
    """By itself it builds its example, without a warning."""
    generate_package(case.model, "cmake", tmp_path / "a net", kernels=kernels)
    cmake(tmp_path / "a net", tmp_path / "build", *FLAGS[kernels])
    case.check(run(tmp_path / "build" / "run_net", case))
    assert "-O3" in (tmp_path / "build" / "compile_commands.json").read_text()


def test_cmake_from_another_project(case: Case, cases: Callable[[str, int], Case], tmp_path: Path) -> None:
    """Two networks, one of which is called like a target of CMake's: add_subdirectory and FetchContent."""
    other = cases("test", 4)
    for each in (case, other):
        generate_package(each.model, "cmake", tmp_path / each.model.stem)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(user C)\nenable_testing()\nadd_subdirectory(net)\n"
        "include(FetchContent)\n"
        'FetchContent_Declare(test URL "${CMAKE_CURRENT_SOURCE_DIR}/test" DOWNLOAD_EXTRACT_TIMESTAMP ON)\n'
        "FetchContent_MakeAvailable(test)\n"
        "add_executable(both both.c)\ntarget_link_libraries(both PRIVATE acsgen::net acsgen::test)\n"
    )
    (tmp_path / "both.c").write_text(BOTH)
    cmake(tmp_path, tmp_path / "build", "-Wall")
    said = subprocess.run(
        [tmp_path / "build" / "both"], input=case.input + other.input, capture_output=True, check=True
    )
    for each, line in zip((case, other), said.stdout.decode().splitlines(), strict=True):
        each.check(line)


# --- ESP-IDF ---------------------------------------------------------------------------------------


def test_esp_idf(case: Case, tmp_path: Path) -> None:
    """As a component, with idf_component_register as ESP-IDF documents it."""
    generate_package(case.model, "esp-idf", tmp_path / "components" / "net")
    generate_package(case.model, "cmake", tmp_path / "example")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(user C)\n"
        f'include("{STUBS / "esp_idf" / "component.cmake"}")\nadd_component(components/net)\n'
        "add_executable(program example/examples/run/main.c)\ntarget_link_libraries(program PRIVATE __idf_net)\n"
    )
    cmake(tmp_path, tmp_path / "build", *WARNINGS)
    case.check(run(tmp_path / "build" / "program", case))


def test_esp_idf_manifest(case: Case, tmp_path: Path) -> None:
    generate_package(case.model, "esp-idf", tmp_path / "net")
    lines = (tmp_path / "net" / "idf_component.yml").read_text().splitlines()
    assert lines[0] == 'version: "1.0.0"' and lines[1].startswith("description: ")
    assert lines[2:] == ["dependencies:", '  idf: ">=5.0"']


# --- Arduino ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_arduino(kernels: str, case: Case, tmp_path: Path) -> None:
    """As Arduino builds it: everything below `src`, with `src` alone to search; the sketch with Arduino.h before it."""
    package = generate_package(case.model, "arduino", tmp_path / "net", kernels=kernels).path
    flags = FLAGS[kernels] if KERNEL_SETS[kernels].library is None else ["-w", *CMSIS_ON_HOST]
    output_of(
        ["gcc", "-std=gnu11", *flags, f"-I{package}/src", "-c", *sorted((package / "src").rglob("*.c"))], cwd=tmp_path
    )
    output_of(["ar", "rcs", "libnet.a", *sorted(tmp_path.glob("*.o"))], cwd=tmp_path)
    sketch = package / "examples" / "serial" / "serial.ino"
    arduino = STUBS / "arduino"
    command: list[str | Path] = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{arduino}", f"-I{package}/src"]
    output_of(
        [*command, "-include", "Arduino.h", "-x", "c++", sketch, arduino / "Arduino.cpp", "-x", "none", "libnet.a",
         "-o", "program"],
        cwd=tmp_path,
    )  # fmt: skip
    said = run(tmp_path / "program", Case(case.model, case.input * 2 + b"cut", case.output, case.masks)).splitlines()
    assert len(said) == 2
    for line in said:
        case.check(line.partition("microseconds:")[0])


def test_arduino_properties(case: Case, tmp_path: Path) -> None:
    """The fields of Arduino's library specification, each on a line."""
    package = generate_package(case.model, "arduino", tmp_path / "net").path
    lines = (package / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= set(fields)
    assert fields["name"] == "net" and (package / "src" / fields["includes"]).is_file()
    assert fields["category"] == "Data Processing"  # one of those that Arduino knows
    assert not (package / "library.json").exists()


# --- PlatformIO ------------------------------------------------------------------------------------


def test_platformio_library(case: Case, tmp_path: Path) -> None:
    """Packed by PlatformIO, installed from the archive, and run."""
    package = generate_package(case.model, "library", tmp_path / "net").path
    said = platformio(tmp_path, tmp_path, "pkg", "pack", str(package), "-o", str(tmp_path / "net.tar.gz"))
    assert "Wrote a tarball" in said
    with tarfile.open(tmp_path / "net.tar.gz") as archive:
        names = set(archive.getnames())
    manifest = json.loads((package / "library.json").read_text())
    for example in manifest["examples"]:
        assert {f"{example['base']}/{name}" for name in example["files"]} <= names
    assert {"src/net.c", "src/acs.h", "library.properties", "README.md"} <= names
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "main.c").write_bytes((package / "examples" / "run" / "main.c").read_bytes())
    platform = host_platform(tmp_path / "platform", "host")
    (project / "platformio.ini").write_text(
        "[platformio]\nplatforms_dir = ${PROJECT_DIR}/.pio/platforms\npackages_dir = ${PROJECT_DIR}/.pio/packages\n"
        f"[env:host]\nplatform = symlink://{platform}\nboard = host\nbuild_flags = -Wall -Wextra -Werror\n"
        f"lib_deps = file://{tmp_path / 'net.tar.gz'}\n"
    )
    said = platformio(project, tmp_path, "run", "-v")
    assert "SUCCESS" in said and " -O3 " in said and " -Os " not in said
    case.check(run(project / ".pio" / "build" / "host" / "program", case))
