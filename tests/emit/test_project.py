# SPDX-License-Identifier: Apache-2.0
"""A project appears whole or not at all, is the same every time, and replaces nothing that somebody may miss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acsgen.emit.fit import check_fit
from acsgen.emit.libraries import LIBRARIES
from acsgen.emit.project import MANIFEST, check_unchanged, generate, read_manifest
from acsgen.errors import AcsgenError
from acsgen.graph import MaxPool, Tensor
from acsgen.graph.ir import make_graph
from acsgen.plan import KERNEL_SETS
from acsgen.plan.kernel_sets import no_scratch
from acsgen.quantize.acsq import save_acsq
from acsgen.quantize.int8 import quantize_graph
from acsgen.resources import resource_dir
from acsgen.target.boards import Board, Memory, load_board
from acsgen.target.build import build
from tests.models import write_model
from tests.plan.small import small_graph

Tree = dict[str, bytes]


def tree(folder: Path) -> Tree:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "place" / "firmware"


# --- what is written -------------------------------------------------------------------------------


def test_twice_the_same(model: Path, board: Board, tmp_path: Path) -> None:
    for name in ("a", "b"):
        generate(model, board, tmp_path / name)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


def test_manifest(model: Path, board: Board, out: Path) -> None:
    project = generate(model, board, out)
    manifest = read_manifest(out)
    assert manifest["name"] == project.name == "net"
    assert manifest["board"] == project.board == board.name
    files = tree(out)
    del files[MANIFEST]
    assert manifest["files"] == {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    assert files["model.acsq"] == model.read_bytes()
    assert json.loads(files["plan.json"])["name"] == "net"
    assert {"README.md", "platformio.ini", "lib/model/net.c", "src/app_model.h"} <= set(files)
    check_unchanged(out, files)


def test_cmsis_nn_comes_with_licence_and_origin(model: Path, board: Board, checkout: Path, tmp_path: Path) -> None:
    """From bakenn, every file with a sum that is pinned; from a checkout, the same files."""
    generate(model, board, tmp_path / "a")
    generate(model, board, tmp_path / "b", cmsis_nn=checkout)
    own, theirs = (tree(tmp_path / name / "lib" / "cmsis_nn") for name in ("a", "b"))
    assert set(own) - set(theirs) == {"BAKENN_PROVENANCE.md"} and set(theirs) <= set(own)
    assert [name for name in theirs if own[name] != theirs[name]] == ["PROVENANCE.md"]
    pinned = resource_dir("firmware") / "kernels" / "cmsis_nn" / "bakenn-1.0.0.sha256"
    known = set(pinned.read_text().splitlines())
    for name in set(own) - {"PROVENANCE.md", "library.json"}:
        assert f"{hashlib.sha256(own[name]).hexdigest()}  {name}" in known
    assert {"LICENSE.txt", "LICENSE-cmsis-core.txt", "PROVENANCE.md"} <= set(own)


def test_parents_are_made_and_modes_follow_the_umask(model: Path, board: Board, tmp_path: Path) -> None:
    generate(model, board, tmp_path / "a" / "b" / "c")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "a" / "b" / "c").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_no_path_of_this_machine(model: Path, board: Board, out: Path) -> None:
    generate(model, board, out)
    for name, content in tree(out).items():
        assert str(Path.cwd()).encode() not in content and str(out).encode() not in content, name


# --- what is there already -------------------------------------------------------------------------


def test_nothing_is_replaced_unasked(model: Path, board: Board, out: Path) -> None:
    generate(model, board, out)
    before = tree(out)
    with pytest.raises(AcsgenError, match="firmware exists: give another folder, or --force"):
        generate(model, board, out)
    assert tree(out) == before


def test_force_replaces_a_project(model: Path, board: Board, out: Path) -> None:
    generate(model, board, out, name="old")
    (out / ".pio" / "build").mkdir(parents=True)
    (out / ".pio" / "build" / "firmware.elf").touch()
    project = generate(model, board, out, name="new", force=True)
    assert project.kept is None
    assert not (out / "lib" / "model" / "old.c").exists() and not (out / ".pio").exists()
    assert list(out.parent.iterdir()) == [out]


def edit_a_file(project: Path) -> None:
    (project / "src" / "main.c").write_text("mine")


def add_a_file(project: Path) -> None:
    (project / "notes.txt").write_text("mine")


def add_a_link(project: Path) -> None:
    (project / "more").symlink_to(project.parent)


def remove_a_file(project: Path) -> None:
    (project / "README.md").unlink()


def damage_the_manifest(project: Path) -> None:
    (project / MANIFEST).write_text("{")


@pytest.mark.parametrize("edit", [edit_a_file, add_a_file, add_a_link, remove_a_file, damage_the_manifest])
def test_an_edited_project_is_kept(edit: Callable[[Path], None], model: Path, board: Board, out: Path) -> None:
    generate(model, board, out)
    edit(out)
    edited = tree(out)
    kept = []
    for number in (1, 2):
        project = generate(model, board, out, force=True)
        assert project.kept == out.with_name(f"firmware.old{number}")
        kept.append(project.kept)
        edit(out)
    assert tree(kept[0]) == edited
    assert sorted(out.parent.iterdir()) == [out, *kept]


def test_a_project_below_a_folder_that_looks_like_platformios(model: Path, board: Board, tmp_path: Path) -> None:
    out = tmp_path / ".pio" / "firmware"
    generate(model, board, out)
    assert generate(model, board, out, force=True).kept is None


def make_folder(out: Path) -> None:
    (out / "src").mkdir(parents=True)
    (out / "src" / "main.c").write_text("mine")


def make_file(out: Path) -> None:
    out.parent.mkdir()
    out.write_text("mine")


def make_link(out: Path) -> None:
    make_folder(out.with_name("elsewhere"))
    out.symlink_to(out.with_name("elsewhere"))


def make_dead_link(out: Path) -> None:
    out.parent.mkdir()
    out.symlink_to(out.with_name("nowhere"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_folder, "is no project of acsgen's, --force does not replace it: give another folder"),
        (make_file, "is no project of acsgen's, --force does not replace it"),
        (make_link, "is a symbolic link: give the folder itself"),
        (make_dead_link, "is a symbolic link: give the folder itself"),
    ],
)
def test_what_is_no_project_stays(
    make: Callable[[Path], None], message: str, model: Path, board: Board, out: Path
) -> None:
    make(out)
    before = tree(out.parent)
    with pytest.raises(AcsgenError, match=message):
        generate(model, board, out, force=True)
    assert tree(out.parent) == before


# --- what goes wrong -------------------------------------------------------------------------------


def failing(call: int, error: BaseException) -> Callable[..., int]:
    """In place of Path.write_bytes: fails the given time."""
    original, count = Path.write_bytes, 0

    def write(path: Path, content: Any) -> int:
        nonlocal count
        count += 1
        if count == call:
            raise error
        return original(path, content)

    return write


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("call", [1, 20])
def test_a_full_disk_leaves_things_as_they_were(
    call: int, there: bool, model: Path, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a" / "b" / "firmware"
    if there:
        generate(model, board, out)
    before = tree(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", failing(call, OSError(28, "No space left on device")))
    with pytest.raises(AcsgenError, match="firmware: cannot write there: No space left on device"):
        generate(model, board, out, force=True)
    assert tree(tmp_path) == before
    assert there or list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_things_as_they_were(
    model: Path, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "write_bytes", failing(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        generate(model, board, tmp_path / "a" / "firmware")
    assert list(tmp_path.iterdir()) == []


def test_the_old_project_returns_if_the_new_one_cannot_take_its_place(
    model: Path, board: Board, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(model, board, out)
    before = tree(out)
    original = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(AcsgenError, match="cannot write there: Input/output error"):
        generate(model, board, out, name="other", force=True)
    assert tree(out) == before
    assert list(out.parent.iterdir()) == [out]


def test_the_place_is_below_a_file(model: Path, board: Board, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AcsgenError, match=r"cannot write there: (Not a directory|File exists)"):
        generate(model, board, tmp_path / "file" / "firmware")
    assert (tmp_path / "file").read_text() == "mine"


def test_no_permission(model: Path, board: Board, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(AcsgenError, match="firmware: cannot write there: Permission denied"):
        generate(model, board, out)


# --- what does not fit -----------------------------------------------------------------------------


def test_too_big_for_the_board(model: Path, board: Board, out: Path) -> None:
    small = replace(board, flash=Memory(0, 4 * 1024), ram=Memory(0, 4 * 1024))
    with pytest.raises(
        AcsgenError,
        match=r"the model is too big for board stm32f405: flash: needs at least \d+ bytes, has 4096; "
        r"RAM: needs at least \d+ bytes, has 4096$",
    ):
        generate(model, small, out)
    assert not out.parent.exists()


def test_what_fits_is_not_refused(board: Board, tmp_path: Path) -> None:
    """The smallest network, on a board with just the memory that its firmware takes."""
    pool = MaxPool("p", ("x",), "p", (2, 2), (2, 2))
    graph = make_graph("least", Tensor("x", (2, 2, 1)), "p", [pool])
    save_acsq(quantize_graph(graph, {"x": (0.0, 1.0), "p": (0.0, 1.0)}), tmp_path / "least.acsq")
    project = generate(tmp_path / "least.acsq", board, tmp_path / "firmware")
    built = build(project.path)
    tight = replace(board, flash=Memory(0, built.flash_bytes), ram=Memory(0, built.ram_bytes))
    check_fit(tight, project.plan, project.constant_bytes)


def test_a_board_without_our_kernels(model: Path, board: Board, out: Path) -> None:
    with pytest.raises(
        AcsgenError, match="board stm32f405 has none of acsgen's kernel sets, which are cmsis_nn, portable"
    ):
        generate(model, replace(board, kernel_sets=("other",)), out)


def test_unknown_kernel_set(model: Path, board: Board, out: Path) -> None:
    with pytest.raises(
        AcsgenError, match="kernel set 'fast' does not run on board stm32f405; there are: cmsis_nn, portable"
    ):
        generate(model, board, out, kernels="fast")


def test_every_kernel_set_has_a_row_and_a_folder() -> None:
    folders = {path.name for path in (resource_dir("firmware") / "kernels").iterdir()}
    assert folders == {FOLDERS.get(name, name) for name in KERNEL_SETS}
    for kernel_set in KERNEL_SETS.values():
        assert kernel_set.library is None or kernel_set.library in LIBRARIES


#: Where a kernel set's files are, if it is another one for other cores.
FOLDERS = {"acs_c": "acs_rv32", "esp_nn_s3": "esp_nn"}
#: What a kernel set takes from others.
_PORTABLE = {f"acs_portable{what}" for what in (".h", "_conv.c", "_depthwise.c", "_pool.c")}
_SCALAR = {"acs_dsp.h", "acs_dsp_conv.c", "acs_uses.h", "acs_winograd_fold.h", *_PORTABLE}
_ESP_NN = _PORTABLE - {"acs_portable_pool.c"}
BORROWED = {
    "acs": _PORTABLE,
    "acs_c": _SCALAR,
    "acs_rv32": _SCALAR,
    "acs_helium": {f"acs_cmsis{what}" for what in (".h", "_conv.c", "_together.c", "_depthwise.c", "_pool.c")},
    "esp_nn": _ESP_NN,
    "esp_nn_s3": _ESP_NN,
}
#: Where the usual board does not do.
HOMES = {
    "acs_helium": "mps3-an547",
    "acs_rv32": "riscv32-virt",
    **dict.fromkeys(("acs_c", "esp_nn", "esp_nn_s3"), "xtensa-sim"),
}


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_a_kernel_set_brings_its_library_and_nothing_else(kernels: str, model: Path, board: Board, out: Path) -> None:
    """No other set's kernels, library, include path or scratch."""
    kernel_set = KERNEL_SETS[kernels]
    home = load_board(HOMES[kernels]) if kernels in HOMES else board
    project = generate(model, home, out, kernels=kernels)
    assert read_manifest(out)["kernels"] == kernels
    folders = {"model", "acs", *filter(None, [kernel_set.library])}
    assert {path.name for path in (out / "lib").iterdir()} == folders
    own = {path.name for path in (resource_dir("firmware") / "kernels" / FOLDERS.get(kernels, kernels)).glob("*.[chS]")}
    runtime = {path.name for path in (resource_dir("firmware") / "runtime").iterdir()}
    assert {path.name for path in (out / "lib" / "acs").iterdir()} == own | runtime | BORROWED.get(kernels, set())
    for text in ((out / name).read_text() for name in ("platformio.ini", "README.md")):
        for library in LIBRARIES:
            assert (library in text) == (kernel_set.library == library)
    in_place = kernel_set.conv_scratch is no_scratch and kernel_set.call_scratch is None
    takes_scratch = not in_place or kernel_set.conv_forms is not None
    assert any(step.scratch_bytes for step in project.plan.steps) == takes_scratch


def test_flash_that_faster_weights_may_take(board: Board, out: Path, tmp_path: Path) -> None:
    """Winograd's where the board or the budget has room for it, unless it is forbidden."""
    save_acsq(small_graph(lambda b: b.conv(b.conv("x", 16), 16), (8, 8, 8)), tmp_path / "model.acsq")

    def taken(**how: Any) -> tuple[list[str], int]:
        made = generate(tmp_path / "model.acsq", board, out, kernels="acs", force=True, **how)
        return [step.form for step in made.plan.steps], made.constant_bytes

    forms, fast = taken()
    assert forms == ["winograd", "winograd"]
    forms, small = taken(winograd=False)
    assert forms == ["paired", "paired"] and small < fast / 2
    assert taken(flash_budget=fast + 30000) == (["winograd", "winograd"], fast)
    assert taken(flash_budget=small + 15000) == (["paired", "paired"], small)
    with pytest.raises(AcsgenError, match=r"needs at least \d+ bytes of flash: a --flash-budget of 1000 is less"):
        taken(flash_budget=1000)


def test_forms_that_layers_must_take(board: Board, out: Path, tmp_path: Path) -> None:
    """A form by the name of the layer; what is no layer's, or no form of it, is refused."""
    save_acsq(small_graph(lambda b: b.conv(b.conv("x", 16), 16), (8, 8, 8)), tmp_path / "model.acsq")

    def taken(kernels: str = "acs", **forms: str) -> list[tuple[str, str]]:
        made = generate(tmp_path / "model.acsq", board, out, kernels=kernels, forms=forms, force=True)
        return [(step.form, step.form_why) for step in made.plan.steps]

    chosen = taken()
    names = [step["op"] for step in json.loads((out / "plan.json").read_text())["steps"]]
    assert taken(**{names[0]: "paired"}) == [("paired", "Asked for."), chosen[1]]
    assert taken(**{names[1]: "plain"}) == [chosen[0], ("plain", "Asked for.")]
    has = f"layer '{names[0]}' cannot take the form 'wide'; it has: plain, paired, winograd"
    with pytest.raises(AcsgenError, match=has):
        taken(**{names[0]: "wide"})
    with pytest.raises(AcsgenError, match="--form nose: no convolution has that name"):
        taken(nose="paired")
    with pytest.raises(AcsgenError, match="kernel set 'cmsis_nn' has one form of convolutions only: leave out --form"):
        taken("cmsis_nn", **{names[0]: "paired"})


def test_a_checkout_for_kernels_that_call_none(model: Path, board: Board, checkout: Path, out: Path) -> None:
    with pytest.raises(AcsgenError, match="kernel set 'portable' calls nothing of CMSIS-NN: leave out --cmsis-nn"):
        generate(model, board, out, kernels="portable", cmsis_nn=checkout)


def test_no_model(board: Board, out: Path, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=r"nothing\.acsq: no such file"):
        generate(tmp_path / "nothing.acsq", board, out)
    assert not out.parent.exists()


# --- what is read back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"name": 1, "board": "b", "kernels": "k", "files": {}}',
             '{"name": "n", "board": "b", "kernels": "k", "files": []}',
             '{"name": "n", "board": "b", "kernels": "k", "files": {"a": 1}}', "\udcff"]
)  # fmt: skip
def test_a_damaged_manifest(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(AcsgenError, match=r"acsgen\.json: damaged: generate the project again"):
        read_manifest(tmp_path)


def test_no_project(tmp_path: Path) -> None:
    message = r"no project of acsgen's \(acsgen\.json is missing\): acsgen generate makes one"
    with pytest.raises(AcsgenError, match=message):
        read_manifest(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AcsgenError, match=message):
        read_manifest(tmp_path / "file")


def test_files_of_another_project(model: Path, board: Board, out: Path, tmp_path: Path) -> None:
    generate(model, board, out)
    (out / "model.acsq").write_bytes(write_model(tmp_path, "other").read_bytes())
    check_unchanged(out, ["plan.json"])
    with pytest.raises(AcsgenError, match=r"model\.acsq: not the file that this project was generated with: generate"):
        check_unchanged(out, ["plan.json", "model.acsq"])
    (out / "plan.json").unlink()
    with pytest.raises(AcsgenError, match=r"plan\.json: cannot be read \(No such file or directory\): generate"):
        check_unchanged(out, ["plan.json", "model.acsq"])
