# SPDX-License-Identifier: Apache-2.0
"""The environments from PlatformIO's registry, as far as they can be checked without it.

PlatformIO reads their settings; stand-ins of platform and framework build them for the host (Arduino, ESP-IDF) or
with our cross compiler (bare), and what was built is asked over the link.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.official import FRAMEWORKS, PLATFORMS, official_environments
from acsgen.emit.project import generate, read_manifest
from acsgen.emit.surroundings import project_files
from acsgen.errors import AcsgenError
from acsgen.golden import run as golden
from acsgen.quantize.acsq import fingerprint, load_acsq
from acsgen.resources import resource_dir
from acsgen.samples import load_samples
from acsgen.target.boards import Board, list_boards, load_board, read_board
from acsgen.target.build import build
from acsgen.target.link import LinkClient, RunMode
from acsgen.verify import verify
from tests.firmware.host import HERE, WARNINGS
from tests.models import small_graph, write_model, write_samples
from tests.stubs import STUBS, host_platform, output_of, platformio

ESP32 = """\
title = "ESP32"
vendor = "Espressif"
url = "https://www.espressif.com/en/products/socs/esp32"
core = "xtensa-lx6"
kernel_sets = ["portable"]
stack_bytes = 4096
flash = { base = 0x400d0000, bytes = 0x400000 }
ram = { base = 0x3ffb0000, bytes = 0x50000 }
ticks = { hertz = 1_000_000 }
platformio = { platform = "espressif32", board = "esp32dev", frameworks = ["espidf", "arduino"] }
"""


#: Without a library of other people's, and with one.
LIBRARIES = (None, "cmsis_nn", "esp_nn")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def esp32(tmp_path: Path) -> Board:
    (tmp_path / "my-esp32.toml").write_text(ESP32)
    return read_board(tmp_path / "my-esp32.toml")


# --- settings --------------------------------------------------------------------------------------


#: What `pio project config --lint --json-output` and `pio project config --json-output` do, for many files.
READ_SETTINGS = """
import json, sys
from pathlib import Path
from platformio.project.config import ProjectConfig
settings = {}
for path in sys.argv[1:]:
    settings[path] = [ProjectConfig.lint(path), ProjectConfig(path).as_tuple()]
print(json.dumps(settings))
"""


def test_every_board_is_valid_for_platformio(tmp_path: Path, esp32: Board) -> None:
    """PlatformIO's lint finds nothing, and what is built by default asks no registry if it can be bare."""
    boards = [*(load_board(name) for name in list_boards()), esp32]
    assert {board.official.platform for board in boards if board.official} <= set(PLATFORMS)
    files = {(board, library): tmp_path / f"{board.name}-{library}.ini" for board in boards for library in LIBRARIES}
    for (board, library), path in files.items():
        path.write_text(project_files(board, "net", library)["platformio.ini"])
    read = json.loads(output_of([sys.executable, "-c", READ_SETTINGS, *files.values()], cwd=tmp_path))
    for (board, _), path in files.items():
        lint, config = read[str(path)]
        assert lint == {"errors": [], "warnings": []}, path
        settings = {section: dict(values) for section, values in config}
        names = [f"env:{each.name}" for each in official_environments(board)]
        bare = [f"env:{board.name}"] if board.is_bare else []
        assert [section for section in settings if section.startswith("env:")] == [*bare, *names]
        (default,) = settings["platformio"]["default_envs"]
        assert f"env:{default}" == (bare or names)[0]
        assert settings[f"env:{default}"]["platform"].startswith("symlink://") == board.is_bare
        for name in names:
            assert board.official and settings[name]["board"] == board.official.board
            assert settings[name]["platform"].split("@")[0] == board.official.platform


def test_lint_finds_something(tmp_path: Path) -> None:
    """The command itself, on a setting that is none: what the test above relies on."""
    text = project_files(load_board("stm32f405"), "net")["platformio.ini"]
    (tmp_path / "platformio.ini").write_text(text)
    assert "free from linting errors" in platformio(tmp_path, tmp_path, "project", "config", "--lint")
    (tmp_path / "platformio.ini").write_text(text.replace("lib_ldf_mode = deep", "lib_ldf_mood = deep"))
    assert "lib_ldf_mood" in platformio(tmp_path, tmp_path, "project", "config", "--lint")


def test_every_framework_has_a_port() -> None:
    for folder in FRAMEWORKS.values():
        assert any((resource_dir("firmware") / "ports" / folder).iterdir())


def test_a_framework_without_a_port(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(ESP32.replace('["espidf", "arduino"]', '["zephyr"]'))
    with pytest.raises(AcsgenError, match=r"^board other names no framework that acsgen has a port for: arduino, esp"):
        project_files(read_board(tmp_path / "other.toml"), "net")


# --- a board that needs a framework ----------------------------------------------------------------


def test_project_of_a_board_that_needs_a_framework(model: Path, esp32: Board, tmp_path: Path) -> None:
    project = generate(model, esp32, tmp_path / "firmware").path
    files = set(read_manifest(project)["files"])
    assert {"CMakeLists.txt", "src/CMakeLists.txt", "sdkconfig.defaults", "ports/esp_idf/esp_idf.c"} <= files
    assert {path.split("/")[1] for path in files if path.startswith("src/")} >= {"main.c", "link.c", "app_model.h"}
    assert not {path for path in files if path.startswith(("pio/", "boards/")) or path.endswith(".ld")}
    readme = (project / "README.md").read_text()
    assert "my-esp32-espidf" in readme and "no registry is asked" not in readme
    with pytest.raises(AcsgenError, match=r"needs espressif32@\^6 from PlatformIO's registry, .* not build: pio run"):
        build(project)


# --- built with stand-ins --------------------------------------------------------------------------


class Pipes:
    """Standard input and output of a program as the link's stream of bytes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout
        self._input, self._output = process.stdin.fileno(), process.stdout.fileno()

    def read(self, size: int, timeout: float) -> bytes:
        assert select.select([self._output], [], [], max(timeout, 0))[0], "no answer"
        data = os.read(self._output, size)
        assert data, "the firmware has ended"
        return data

    def write(self, data: bytes, timeout: float) -> None:
        while data:
            data = data[os.write(self._input, data) :]


@contextmanager
def started(program: Path) -> Iterator[LinkClient]:
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield LinkClient(Pipes(process))
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def check_over_the_link(program: Path, model: Path, hertz: int) -> None:
    """Info, runs in all modes, tensors, and the ticks, in which a second has `hertz`."""
    graph = load_acsq(model)
    x = np.random.default_rng(1).integers(-128, 128, (3, *graph.shape(graph.input))).astype(np.int8)
    with started(program) as link:
        link.send(b"what a boot loader says\r\n")
        info = link.info()
        assert (info.name, info.fingerprint) == ("net", fingerprint(model))
        for mode in (RunMode.SKIP, RunMode.MULTIPLY, RunMode.OPEN):
            expected = golden(graph, x, "open" if mode is RunMode.OPEN else "run")
            for index, sample in enumerate(x):
                result = link.run(info, sample.tobytes(), mode)
                assert result.output == expected[graph.output][index].tobytes()
                assert result.masks == expected[graph.gates[0].output][index].tobytes()
                assert 0 <= result.ticks < hertz  # less than a second
        assert len(link.run(info, x[0].tobytes(), RunMode.SKIP, tensors=True).tensors) == info.tensor_count
        link.exit()
        assert link.info() == info  # a board listens on


def stand_in(project: Path, environment: str, platform: Path) -> None:
    """Puts a platform of ours in the place of the registry's, in one environment of a project."""
    ini = project / "platformio.ini"
    head, section = ini.read_text().split(f"[env:{environment}]\n", 1)
    lines = section.split("\n")
    at = next(index for index, line in enumerate(lines) if line.startswith("platform ="))
    lines[at] = f"platform = symlink://{platform}"
    text = "\n".join(lines).replace("platform_packages =\n    platformio/toolchain-gccarmnoneeabi@~1.120301.0\n", "")
    ini.write_text(f"{head}[env:{environment}]\n{text}")


def test_arduino(model: Path, tmp_path: Path) -> None:
    """The environment compiles the right files with the right settings; what it builds serves the link."""
    board = load_board("stm32f405")
    project = generate(model, board, tmp_path / "a project", kernels="portable").path
    stand_in(project, "stm32f405-arduino", host_platform(tmp_path / "platform", "genericSTM32F405RG"))
    said = platformio(project, tmp_path, "run", "-e", "stm32f405-arduino", "-v")
    assert "warning" not in said and "startup.c" not in said
    program = project / ".pio" / "build" / "stm32f405-arduino" / "program"
    check_over_the_link(program, model, board.tick_hertz)


#: Environments with ESP-IDF: board, kernel set, what its configuration says, what stands in for the chip's own code.
IDF = {
    "uart": ("my-esp32", "portable", "", ()),
    "usb_serial_jtag": ("my-esp32", "portable", "CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG", ()),
    "esp32": ("esp32", "esp_nn", "CONFIG_IDF_TARGET_ESP32", ()),
    "esp32-c3": ("esp32-c3", "acs_rv32", "CONFIG_IDF_TARGET_ESP32C3", ()),
    "esp32-s3": ("esp32-s3", "esp_nn_s3", "CONFIG_IDF_TARGET_ESP32S3", (HERE / "esp32s3.c",)),
}


@pytest.mark.parametrize("case", IDF)
def test_esp_idf(case: str, model: Path, esp32: Board, tmp_path: Path) -> None:
    """Its CMake files, with the function that ESP-IDF gives them: all sources; the port without a warning."""
    name, kernels, config, stand_ins = IDF[case]
    board = esp32 if name == esp32.name else load_board(name)
    library = generate(model, board, tmp_path / "firmware", kernels=kernels).path / "lib"
    config = f"-D{config}=1" if config else ""
    stubs = STUBS / "esp_idf"
    program = " ".join(f'"{path}"' for path in (stubs / "esp_idf.c", *stand_ins))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(user C ASM)\n"
        f'include("{stubs}/component.cmake")\ninclude_directories(SYSTEM "{stubs}/include")\n'
        f"add_component(firmware/src)\nadd_executable(program {program})\n"
        "target_link_libraries(program PRIVATE __idf_src)\n"
        'get_property(requires GLOBAL PROPERTY stub_requires)\nmessage(STATUS "requires ${requires}")\n'
    )
    options = ["-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *filter(None, [config])]
    flags = " ".join([*WARNINGS, config])
    said = output_of(["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_C_FLAGS={flags}", *options])
    assert "requires driver;esp_timer\n" in said
    output_of(["cmake", "--build", tmp_path / "build"])
    commands = {
        Path(each["file"]).resolve(): each["command"]
        for each in json.loads((tmp_path / "build" / "compile_commands.json").read_text())
    }
    assert {path for path in library.rglob("*") if path.suffix in (".c", ".S")} <= set(commands)
    in_library = [command for path, command in commands.items() if library in path.parents]
    for define in ("-DCONFIG_NN_OPTIMIZED=1", "-DCONFIG_IDF_TARGET_ESP32S3=1"):
        assert all((define in command) == (case == "esp32-s3") for command in in_library)
    check_over_the_link(tmp_path / "build" / "program", model, board.tick_hertz)


def test_esp_idf_project_file(model: Path, esp32: Board, tmp_path: Path) -> None:
    """The root file takes `src` in as a component by itself, and leaves PlatformIO's own list of folders alone."""
    project = generate(model, esp32, tmp_path / "firmware").path
    (tmp_path / "idf" / "tools" / "cmake").mkdir(parents=True)
    (tmp_path / "idf" / "tools" / "cmake" / "project.cmake").write_text(
        'message(STATUS "components ${EXTRA_COMPONENT_DIRS}|")\n'
    )
    environment = {**os.environ, "IDF_PATH": str(tmp_path / "idf")}
    for options, wanted in ([], f"{project}/src"), (["-DEXTRA_COMPONENT_DIRS=/a;/b"], "/a;/b"):
        build_folder = tmp_path / f"build{len(options)}"
        said = output_of(["cmake", "-S", project, "-B", build_folder, *options], env=environment)
        assert f"components {wanted}|" in said


def test_bare_with_a_platform_of_the_registry(model: Path, tmp_path: Path) -> None:
    """With flags in the manner of ststm32's it builds the bare port, and the firmware verifies in the emulator."""
    project = generate(model, load_board("stm32f405"), tmp_path / "firmware", kernels="portable").path
    platform = host_platform(tmp_path / "platform", "genericSTM32F405RG")
    (platform / "builder" / "arm.py").replace(platform / "builder" / "main.py")
    board = platform / "boards" / "genericSTM32F405RG.json"
    board.write_text(json.dumps({**json.loads(board.read_text()), "build": {"cpu": "cortex-m4"}}))
    stand_in(project, "stm32f405-ststm32", platform)
    platformio(project, tmp_path, "run", "-e", "stm32f405-ststm32")
    offline = project / ".pio" / "build" / "stm32f405"
    (project / ".pio" / "build" / "stm32f405-ststm32").rename(offline)
    samples = load_samples(write_samples(tmp_path / "samples.npz"), small_graph())
    assert verify(project, samples, tensors=1, transport="semihosting").ok
