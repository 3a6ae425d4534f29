# SPDX-License-Identifier: Apache-2.0
"""What the user does wrong is one clear line on stderr and exit code 2; nothing is written or lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acsgen.emit.project import MANIFEST, generate
from acsgen.errors import AcsgenError
from acsgen.target.boards import as_root, load_board
from acsgen.target.build import RECORD_NAME
from tests.cli.conftest import Run, in_a_process
from tests.frontend.keras_archive import layer_config, sequential_config, write_config
from tests.models import write_model

COPY = Path("copy")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(run: Run, *arguments: str | Path) -> str:
    """The message; and nothing in the folder has changed."""
    before = {path: path.lstat().st_mtime_ns for path in Path.cwd().rglob("*")}
    message = run(*arguments).refusal
    assert {path: path.lstat().st_mtime_ns for path in Path.cwd().rglob("*")} == before
    return message


# --- quantize --------------------------------------------------------------------------------------


def test_a_checkpoint_that_is_none(here: Path, run: Run, samples: Path) -> None:
    Path("net.keras").write_text("hello", encoding="utf-8")
    assert refused(run, "quantize", "net.keras", "--data", samples, "-o", "m.acsq") == (
        "net.keras: no checkpoint, or a damaged one: a .keras file is a zip archive"
    )
    message = refused(run, "quantize", "nowhere.keras", "--data", samples, "-o", "m.acsq")
    assert message == "nowhere.keras: no such file"


def test_a_layer_that_runs_code(here: Path, run: Run, samples: Path) -> None:
    write_config(Path("net.keras"), sequential_config(layer_config("Lambda", function="f")))
    message = refused(run, "quantize", "net.keras", "--data", samples, "-o", "m.acsq")
    assert message.startswith("net.keras: layer 'lambda' (Lambda): this layer is not supported; these are: Activation")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.npz", "nowhere.npz: no such file"),
        ("text.npz", "text.npz: no .npz file of samples"),
        ("nan.npz", "nan.npz: NaN or infinity in 1 of 3 samples, first in sample 0"),
    ],
)
def test_data_is_looked_at_before_the_checkpoint_is_loaded(
    name: str, message: str, here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acsgen.frontend.keras.load_keras", lambda path: pytest.fail("loads TensorFlow"))
    Path("text.npz").write_text("x", encoding="utf-8")
    np.savez("nan.npz", x=np.array([np.nan, 1, 2]))
    assert refused(run, "quantize", "net.keras", "--data", name, "-o", "m.acsq").startswith(message)


def make_file(path: Path) -> None:
    path.write_text("mine", encoding="utf-8")


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_file, [], "out exists: give another file, or --force to replace it"),
        (make_file, ["--force"], "out is not called .acsq, --force does not replace it: give another name"),
        (Path.mkdir, ["--force"], "out is a folder, a link or a device, not a file to write: give another name"),
        (make_link, ["--force"], "out is a folder, a link or a device, not a file to write: give another name"),
        (os.mkfifo, ["--force"], "out is a folder, a link or a device, not a file to write: give another name"),
    ],
)
def test_an_output_that_is_there(
    make: Callable[[Path], Any], options: list[str], message: str, here: Path, run: Run, samples: Path
) -> None:
    make(Path("out"))
    assert refused(run, "quantize", "net.keras", "--data", samples, "-o", "out", *options) == message


def test_a_checkpoint_is_not_replaced_by_its_model(here: Path, run: Run, samples: Path) -> None:
    write_config(Path("net.keras"), sequential_config())
    message = refused(run, "quantize", "net.keras", "--data", samples, "-o", "net.keras", "--force")
    assert message == "net.keras is not called .acsq, --force does not replace it: give another name"


def test_keras_that_cannot_be_imported(here: Path, samples: Path) -> None:
    write_config(Path("net.keras"), sequential_config())
    environment = {**os.environ, "KERAS_BACKEND": "nonsense"}
    result = in_a_process("quantize", "net.keras", "--data", samples, "-o", "m.acsq", env=environment)
    assert result.refusal.startswith("Keras cannot be imported with backend nonsense (")
    assert result.refusal.endswith("): pip install keras tensorflow-cpu")


def test_an_output_that_cannot_be(here: Path, run: Run, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("quantize", "net.keras", "--data", samples, "-o")
    assert refused(run, *arguments, "no/where") == "no/where: there is no folder no: make it first"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refused(run, *arguments, "out") == "out: the folder . cannot be written to: give another"


def test_unreadable_files(here: Path, run: Run, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever the user is: root may read everything."""
    write_config(Path("net.keras"), sequential_config())
    original = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "net.keras":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    message = refused(run, "quantize", "net.keras", "--data", samples, "-o", "m.acsq")
    assert message == "net.keras: cannot be read: Permission denied"


# --- generate --------------------------------------------------------------------------------------


def test_an_unknown_board(here: Path, run: Run, model: Path) -> None:
    message = refused(run, "generate", model, "--board", "stm32f40", "-o", "out")
    assert message == "no board is called 'stm32f40'; did you mean stm32f405?"
    message = refused(run, "generate", model, "--board", "z", "-o", "out")
    assert message.startswith("no board is called 'z'; there are: bluepill-f103c8, ")


def test_a_form_without_its_layer(here: Path, run: Run, model: Path) -> None:
    message = refused(run, "generate", model, "--board", "stm32f405", "-o", "out", "--form", "winograd")
    assert message == "--form winograd: give LAYER=FORM"


def test_a_model_that_is_none(here: Path, run: Run) -> None:
    Path("m.acsq").write_bytes(b"PK")
    message = refused(run, "generate", "m.acsq", "--board", "stm32f405", "-o", "out")
    assert message.startswith("m.acsq: no .acsq file, or a damaged one")


def test_a_model_too_big(here: Path, run: Run, model: Path) -> None:
    text = load_board("stm32f405").path.read_text(encoding="utf-8").replace("bytes = 0x100000", "bytes = 0x1000")
    Path("small.toml").write_text(text, encoding="utf-8")
    message = refused(run, "generate", model, "--board", "small.toml", "-o", "out")
    assert message.startswith("the model is too big for board small: flash: needs at least ")
    assert message.endswith(" bytes, has 4096")


def test_a_folder_that_is_there(here: Path, run: Run, model: Path) -> None:
    Path("out").mkdir()
    arguments = ("generate", model, "--board", "stm32f405", "-o", "out")
    assert refused(run, *arguments) == (
        "out exists: give another folder, or --force to replace a project that is there"
    )
    assert refused(run, *arguments, "--force") == (
        "out is no project of acsgen's, --force does not replace it: give another folder"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cmsis-nn", "nowhere"], "nowhere: no CMSIS-NN: Include/arm_nnfunctions.h is missing"),
        (["--kernels", "fast"], "kernel set 'fast' does not run on board stm32f405; there are: cmsis_nn, portable"),
        (["--name", "acs_x"], "model name 'acs_x': acs and arm belong to the runtime and CMSIS-NN; give --name"),
    ],
)
def test_wrong_options(options: list[str], message: str, here: Path, run: Run, model: Path) -> None:
    assert refused(run, "generate", model, "--board", "stm32f405", "-o", "out", *options).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a project is for a board: give --board BOARD ('acsgen boards' lists them), or --as KIND"),
        (["--as", "arduin"], "--as arduin: there is no such kind: did you mean arduino?"),
        (["--as", "cmake", "--board", "z"], "--as cmake makes something for every board: leave out --board"),
        (["--as", "cmake", "--kernels", "portabel"], "no kernel set is called 'portabel': did you mean portable?"),
    ],
)
def test_what_to_generate(options: list[str], message: str, here: Path, run: Run, model: Path) -> None:
    assert refused(run, "generate", model, "-o", "out", *options) == message


# --- build -----------------------------------------------------------------------------------------


@pytest.fixture
def project(here: Path, model: Path) -> Path:
    generate(model, load_board("stm32f405"), Path("firmware"))
    return Path("firmware")


def test_build_what_is_no_project(here: Path, run: Run) -> None:
    assert refused(run, "build", "nowhere") == (
        "nowhere: no project of acsgen's (acsgen.json is missing): acsgen generate makes one"
    )


def test_build_without_a_compiler(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert refused(run, "build", project) == (
        "building needs arm-none-eabi-gcc; install it: "
        + as_root("apt-get install -y --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi")
    )


# --- verify ----------------------------------------------------------------------------------------


@pytest.fixture
def copy(built: Path, here: Path) -> Path:
    """A built project, to be damaged."""
    return Path(shutil.copytree(built, COPY))


def test_verify_what_is_no_project(here: Path, run: Run, samples: Path) -> None:
    message = "no project of acsgen's (acsgen.json is missing): acsgen generate makes one"
    for name in (".", "nowhere"):
        assert refused(run, "verify", name, "--data", samples) == f"{name}: {message}"


def test_verify_what_is_not_built(project: Path, run: Run, samples: Path) -> None:
    message = refused(run, "verify", project, "--data", samples)
    assert message.startswith("there is no firmware ") and message.endswith("firmware.elf; build the project first")


@pytest.mark.parametrize("name", ["plan.json", "model.acsq"])
def test_verify_a_damaged_project(name: str, copy: Path, run: Run, samples: Path) -> None:
    path = copy / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    message = f"{path}: not the file that this project was generated with: generate it again"
    assert refused(run, "verify", copy, "--data", samples) == message
    path.unlink()
    message = f"{path}: cannot be read (No such file or directory): generate the project again"
    assert refused(run, "verify", copy, "--data", samples) == message


def test_verify_with_a_damaged_manifest(copy: Path, run: Run, samples: Path) -> None:
    (copy / MANIFEST).write_text("{}", encoding="utf-8")
    message = f"{copy / MANIFEST}: damaged: generate the project again"
    assert refused(run, "verify", copy, "--data", samples) == message


def test_verify_the_firmware_of_another_model(copy: Path, run: Run, samples: Path) -> None:
    """The project was generated again for another model, the firmware is still the old one."""
    generate(write_model(Path.cwd(), seed=4), load_board("stm32f405"), Path("other"))
    shutil.copytree(copy / ".pio", "other/.pio")
    message = refused(run, "verify", "other", "--data", samples)
    assert message.startswith("other/") and message.endswith(" changed since the build: acsgen build other")
    # Nor if nothing tells when it was built.
    (elf,) = Path("other/.pio").rglob("firmware.elf")
    elf.with_name(RECORD_NAME).unlink()
    elf.touch()
    message = refused(run, "verify", "other", "--data", samples)
    assert message == "other: its firmware was built from another model.acsq: acsgen build other"


def test_verify_without_an_emulator(copy: Path, run: Run, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without QEMU in Unicorn, and without that it says how to install QEMU."""
    monkeypatch.setenv("PATH", "")
    result = run("verify", copy, "--data", samples, "--images", "1")
    assert (result.code, result.err) == (0, "") and result.out.splitlines()[1].split() == ["run", "in", "Unicorn"]
    monkeypatch.setattr("acsgen.target.engines.is_installed", lambda: False)
    assert refused(run, "verify", copy, "--data", samples) == (
        "running needs qemu-system-arm; install it: "
        + as_root("apt-get install -y --no-install-recommends qemu-system-arm")
    )


def test_verify_with_samples_of_another_model(copy: Path, run: Run) -> None:
    np.savez("s.npz", x=np.zeros((3, 28, 28, 1)))
    message = refused(run, "verify", copy, "--data", "s.npz")
    assert message == "s.npz: 'x' has shape (3, 28, 28, 1), the model needs (N, 6, 6, 4) with N above 0"
    assert refused(run, "verify", copy, "--data", "nowhere.npz") == "nowhere.npz: no such file"
    message = refused(run, "verify", copy, "--data", "s.npz", "--engine", "unicron")
    assert message == "no engine is called 'unicron': did you mean unicorn?"
    np.savez("s.npz", x=np.zeros((3, 6, 6, 4)), y=np.array([0, 99, 2]))
    message = refused(run, "verify", copy, "--data", "s.npz")
    assert message == "s.npz: 'y' has label 99 in sample 1, the model has 3 outputs: labels are 0 to 2"


# --- demo, doctor ----------------------------------------------------------------------------------


def test_demo_leaves_other_folders_alone(here: Path, run: Run) -> None:
    Path("notes.txt").write_text("mine", encoding="utf-8")
    assert refused(run, "demo", "-o", ".") == ". holds other things: give a folder of its own"
    assert refused(run, "demo", "-o", "new", "--board", "x").startswith("no board is called 'x'")


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acsgen.demo.load_keras", lambda path: pytest.fail("loads TensorFlow"))


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((), "building needs arm-none-eabi-gcc; install it: "),
        (("arm-none-eabi-gcc",), "running needs qemu-system-arm; install it: "),
    ],
)
def test_demo_without_its_programs(
    there: tuple[str, ...],
    message: str,
    here: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    without_tensorflow: None,
) -> None:
    for name in there:
        Path(name).touch(mode=0o755)
    monkeypatch.setattr("acsgen.target.engines.is_installed", lambda: False)  # Unicorn, which would stand in for QEMU
    monkeypatch.setenv("PATH", str(here))
    assert refused(run, "demo", "-o", "new").startswith(message + as_root("apt-get install "))


def test_demo_where_it_cannot_write(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch, without_tensorflow: None
) -> None:
    Path("file").touch()
    assert refused(run, "demo", "-o", "file") == "file is not a folder: give another name"
    assert refused(run, "demo", "-o", "file/below").startswith("file/below: ")
    Path("folder").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != Path("folder"))
    assert refused(run, "demo", "-o", "folder") == "folder: the folder cannot be written to: give another"


def test_a_demo_that_fails_leaves_no_older_figures(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise AcsgenError("no")

    monkeypatch.setattr("acsgen.demo.load_keras", fail)
    Path("demo").mkdir()
    Path("demo/summary.json").write_text("{}", encoding="utf-8")
    assert run("demo", "-o", "demo").code == 2
    assert list(Path("demo").iterdir()) == []


def test_doctor_gives_the_line_that_installs_what_is_missing(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = run("doctor")
    assert (result.code, result.err) == (1, "")
    table, advice = result.out.split("\n\n")
    assert "MISSING  qemu-system-arm" in table
    line = "apt-get install -y --no-install-recommends gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
    assert advice.splitlines() == [
        "To install what is missing:",
        f"  {as_root(line)}",
    ]


# --- whatever the command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["boards", "--jsno"], "No such option"),
        (["generate", "m.acsq"], "Missing option"),
        (["verify", "p", "--data", "d", "--images", "0"], "Invalid value for '--images'"),
    ],
)
def test_misspelt_commands(arguments: list[str], part: str, here: Path, run: Run) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert part in result.err and "--help' for help." in result.err


def test_debug_shows_the_traceback(here: Path) -> None:
    arguments = ["generate", "nowhere.acsq", "--board", "stm32f405", "-o", "out"]
    plain = in_a_process(*arguments)
    assert plain.refusal == "nowhere.acsq: no such file"
    debug = in_a_process("--debug", *arguments)
    assert (debug.code, debug.out) == (2, "")
    assert debug.err.startswith("Traceback (most recent call last)") and "FileNotFoundError" in debug.err
    assert debug.err.endswith(plain.err)


def test_any_error_of_the_system_is_a_line(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import acsgen.target.boards as boards

    def fail() -> None:
        raise OSError(5, "Input/output error", "somewhere")

    monkeypatch.setattr(boards, "list_boards", fail)
    assert refused(run, "boards") == "somewhere: Input/output error"


def test_a_message_of_several_lines_becomes_one(here: Path, run: Run) -> None:
    assert refused(run, "generate", "a\nb", "--board", "stm32f405", "-o", "out") == "a b: no such file"
