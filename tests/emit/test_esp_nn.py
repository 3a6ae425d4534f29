# SPDX-License-Identifier: Apache-2.0
"""ESP-NN's sources: what is taken, with which licence, what compiles where, and what is refused."""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from acsgen.emit import esp_nn
from acsgen.emit.cmsis import BAKENN_VERSION
from acsgen.emit.esp_nn import esp_nn_files
from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir

ALL = {"conv", "depthwise", "max_pool", "avg_pool", "add"}
SUMS = resource_dir("firmware") / "kernels" / "esp_nn" / f"bakenn-{BAKENN_VERSION}.sha256"
INCLUDE = re.compile(rb'#include [<"]([\w./]+)[>"]')


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """bakenn's files, copied so that they can be changed, in the place of bakenn's."""
    root = tmp_path / "esp_nn"
    shutil.copytree(esp_nn._root(), root)
    monkeypatch.setattr(esp_nn, "_root", lambda: root)
    return root


def test_every_file_is_a_pinned_one() -> None:
    """All others are a few lines of ours."""
    files = esp_nn_files(ALL, None)
    provenance = files.pop("PROVENANCE.md").decode()
    known = {digest for digest, _ in (line.split("  ", 1) for line in SUMS.read_text().splitlines())}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert known <= set(sums.values())
    ours = {name for name, digest in sums.items() if digest not in known}
    assert {f"Include/esp32s3/{Path(name).name}.inc" for name in ours} == {n for n in files if n.endswith(".inc")}
    for name in set(files) - ours:
        assert f"{sums[name]}  {name}\n" in provenance
    assert not [name for name in ours if f"  {name}\n" in provenance]
    assert f"bakenn {BAKENN_VERSION}" in provenance and "Espressif" in provenance
    assert b"Apache License" in files["LICENSE.txt"]


def test_no_file_includes_what_is_not_there() -> None:
    files = esp_nn_files(ALL, None)
    standard = {b"stdint.h", b"stdbool.h", b"string.h", b"stdio.h", b"stdlib.h"}
    elsewhere = {b"esp_nn_esp32p4.h", b"esp_nn_generic_opt.h", b"esp_heap_caps.h"}  # for builds that are not ours
    names = {Path(name).name.encode() for name in files}
    for content in files.values():
        assert {name.split(b"/")[-1] for name in INCLUDE.findall(content)} <= names | standard | elsewhere


@pytest.mark.parametrize("kernel", ["conv", "depthwise", "max_pool"])
def test_only_what_the_kernels_need(kernel: str) -> None:
    files = esp_nn_files({kernel}, None)
    ansi = {name for name in files if name.startswith("Source/") and "esp32s3" not in name}
    assert len(ansi) == 1 and f"esp_nn_{kernel}" in ansi.pop()
    assert any("esp32s3" in name for name in files if name.startswith("Source/")) == (kernel == "conv")
    assert not [name for name in esp_nn_files({"add"}, None) if name.startswith("Source/")]


def test_nothing_of_the_chip_is_compiled_by_accident() -> None:
    """What a build tool takes for a source names no instruction of the ESP32-S3."""
    files = esp_nn_files(ALL, None)
    sources = {name: content for name, content in files.items() if name.endswith((".c", ".S"))}
    assert not [name for name, content in sources.items() if b"ee." in content]
    vector_code = [name for name, content in files.items() if b"ee.v" in content and name.endswith(".inc")]
    assert len(vector_code) >= 4
    for name in vector_code:
        includer = sources[f"Source/{Path(name).stem}"]
        assert b"#if defined(__XTENSA__) && defined(CONFIG_NN_OPTIMIZED) && defined(CONFIG_IDF_TARGET_ESP" in includer


def test_a_file_that_is_not_the_pinned_one(copied: Path) -> None:
    (copied / "include" / "esp_nn_defs.h").write_text("/* another */\n")
    with pytest.raises(AcsgenError, match=rf"^bakenn's include/esp_nn_defs\.h is not .* bakenn=={BAKENN_VERSION}$"):
        esp_nn_files(ALL, None)


def test_a_file_that_is_missing(copied: Path) -> None:
    (copied / "LICENSE").unlink()
    with pytest.raises(AcsgenError, match=r"^ESP-NN: .*LICENSE: No such file or directory: reinstall bakenn=="):
        esp_nn_files(ALL, None)


def test_another_bakenn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    with pytest.raises(AcsgenError, match=r"^bakenn 9\.9 is installed, this acsgen knows the sources of"):
        esp_nn_files(ALL, None)


def test_no_bakenn(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(AcsgenError, match=rf"^ESP-NN's sources are missing: pip install bakenn=={BAKENN_VERSION}$"):
        esp_nn_files(ALL, None)
