# SPDX-License-Identifier: Apache-2.0
"""CMSIS-NN's sources: what is taken, from where, with which licence, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from acsgen.emit import cmsis
from acsgen.emit.cmsis import BAKENN_VERSION, ENTRY_POINTS, cmsis_nn_files
from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir

Roots = tuple[Path, Path]
ALL = set(ENTRY_POINTS)
SUMS = resource_dir("firmware") / "kernels" / "cmsis_nn" / f"bakenn-{BAKENN_VERSION}.sha256"
WRAPPER = "Source/ConvolutionFunctions/arm_convolve_wrapper_s8.c"


def known_sums() -> dict[str, str]:
    lines = (line.split("  ", 1) for line in SUMS.read_text().splitlines())
    return {name: digest for digest, name in lines}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """bakenn's files, copied so that they can be changed, in the place of bakenn's."""
    roots: Roots = (tmp_path / "bakenn" / "cmsis_nn", tmp_path / "bakenn" / "cmsis_core")
    for source, target in zip(cmsis._bakenn_roots(), roots, strict=True):
        shutil.copytree(source, target)
    monkeypatch.setattr(cmsis, "_bakenn_roots", lambda: roots)
    return roots


def test_every_file_is_a_pinned_one() -> None:
    files = cmsis_nn_files(ALL, None)
    known = known_sums()
    provenance = files.pop("PROVENANCE.md").decode()
    assert {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} == known
    for name, digest in known.items():
        assert f"{digest}  {name}\n" in provenance
    assert f"bakenn {BAKENN_VERSION}" in provenance and "CMSIS-Core" in provenance
    assert b"Apache License" in files["LICENSE.txt"] and b"Apache License" in files["LICENSE-cmsis-core.txt"]
    assert files["BAKENN_PROVENANCE.md"]


@pytest.mark.parametrize("kernel", sorted(ALL))
def test_only_what_the_kernels_need(kernel: str) -> None:
    files, everything = cmsis_nn_files({kernel}, None), cmsis_nn_files(ALL, None)
    sources = [name for name in files if name.endswith(".c")]
    assert 0 < len(sources) < sum(name.endswith(".c") for name in everything)
    text = b"".join(files[name] for name in sources).decode()
    for entry in ENTRY_POINTS[kernel]:
        assert f"{entry}(" in text.replace(" (", "(")
    assert not [name for name in cmsis_nn_files(set(), None) if name.endswith(".c")]


def test_a_checkout_gives_the_same_files(checkout: Path) -> None:
    own, theirs = cmsis_nn_files(ALL, None), cmsis_nn_files(ALL, checkout)
    assert "a CMSIS-NN checkout named CMSIS-NN" in theirs["PROVENANCE.md"].decode()
    for files in (own, theirs):
        files.pop("PROVENANCE.md")
    own.pop("BAKENN_PROVENANCE.md")
    assert own == theirs


def test_a_newer_checkout_brings_its_own_compiler_header(checkout: Path) -> None:
    """Since release 5 CMSIS-NN has a folder of internal headers and needs nothing of CMSIS-Core."""
    types = checkout / "Include" / "arm_nn_math_types.h"
    types.write_text(types.read_text().replace('"cmsis_compiler.h"', '"Internal/arm_nn_compiler.h"'))
    (checkout / "Include" / "Internal").mkdir()
    (checkout / "Include" / "Internal" / "arm_nn_compiler.h").write_text("/* */\n")
    files = cmsis_nn_files(ALL, checkout)
    assert files["Include/Internal/arm_nn_compiler.h"] == b"/* */\n"
    assert not {"Include/cmsis_compiler.h", "LICENSE-cmsis-core.txt"} & set(files)
    provenance = files["PROVENANCE.md"].decode()
    assert "CMSIS-Core" not in provenance and "bakenn" not in provenance


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def rename_function(root: Path) -> None:
    path = root / WRAPPER
    path.write_text(path.read_text().replace("arm_convolve_wrapper_s8(", "arm_convolve_s8_wrapper("))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("Include/arm_nnfunctions.h"), "CMSIS-NN: no CMSIS-NN: Include/arm_nnfunctions.h is missing"),
        (remove(WRAPPER), "this CMSIS-NN has no arm_convolve_wrapper_s8, which acsgen's kernels call"),
        (rename_function, "this CMSIS-NN has no arm_convolve_wrapper_s8, which acsgen's kernels call"),
        (remove("LICENSE"), r"no licence file \(LICENSE.txt or LICENSE\) beside the sources"),
    ],
)
def test_a_checkout_that_lacks_something(change: Callable[[Path], None], message: str, checkout: Path) -> None:
    change(checkout)
    with pytest.raises(AcsgenError, match=message):
        cmsis_nn_files(ALL, checkout)


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AcsgenError, match=f"{path}: no CMSIS-NN: Include/arm_nnfunctions.h is missing"):
            cmsis_nn_files(ALL, path)


@pytest.mark.parametrize("name", ["Include/arm_nn_types.h", WRAPPER, "LICENSE.txt", "BAKENN_PROVENANCE.md"])
def test_a_changed_file_of_bakenn(name: str, copied: Roots) -> None:
    path = copied[0] / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(AcsgenError, match=f"bakenn's {name} is not the file that acsgen was tested with .* reinstall"):
        cmsis_nn_files(ALL, None)


def test_a_changed_header_of_cmsis_core(copied: Roots, checkout: Path) -> None:
    path = copied[1] / "Include" / "cmsis_gcc.h"
    path.write_bytes(path.read_bytes() + b"\n")
    for source in (None, checkout):
        with pytest.raises(AcsgenError, match=r"bakenn's Include/cmsis_gcc\.h is not the file"):
            cmsis_nn_files(ALL, source)


def test_a_file_of_bakenn_that_is_gone(copied: Roots) -> None:
    (copied[0] / "BAKENN_PROVENANCE.md").unlink()
    with pytest.raises(
        AcsgenError, match=r"BAKENN_PROVENANCE\.md: No such file or directory: reinstall bakenn==1\.0\.0"
    ):
        cmsis_nn_files(ALL, None)


def test_another_version_of_bakenn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.0.0")
    with pytest.raises(
        AcsgenError,
        match=r"bakenn 2\.0\.0 is installed, this acsgen knows the sources of 1\.0\.0: "
        r"pip install bakenn==1\.0\.0, or give --cmsis-nn DIR",
    ):
        cmsis_nn_files(ALL, None)


def test_no_bakenn(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(AcsgenError, match=r"sources are missing: pip install bakenn==1\.0\.0, or give --cmsis-nn DIR"):
        cmsis_nn_files(ALL, None)
