# SPDX-License-Identifier: Apache-2.0
"""The installed package works without the checkout, and the checkout names no machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import acsgen
from acsgen.resources import resource_dir
from tests.models import write_model

ROOT = Path(__file__).resolve().parents[2]

#: Runs the command line with the checkout taken off the path; says where the package came from.
PROGRAM = (
    "import sys\n"
    "from pathlib import Path\n"
    "sys.path = [entry for entry in sys.path if Path(entry or '.').resolve() != Path(sys.argv[1])]\n"
    "del sys.argv[1]\n"
    "import acsgen.cli\n"
    "print(acsgen.__file__, file=sys.stderr)\n"
    "acsgen.cli.main()\n"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *options, str(ROOT)], check=True)
    (path,) = folder.glob("acsgen-*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installation of the wheel puts into site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, cwd: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ROOT, *arguments],
        cwd=cwd,
        env={
            "PYTHONPATH": str(site),
            "PATH": "",
            "PYTHONWARNDEFAULTENCODING": "1",  # files are UTF-8 whatever the user's locale
            "PYTHONWARNINGS": "ignore::EncodingWarning,error::EncodingWarning:acsgen.emit.cmsis",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{site / 'acsgen' / '__init__.py'}\n"
    return done.stdout


def test_boards(site: Path, tmp_path: Path) -> None:
    assert {board["name"] for board in json.loads(run(site, tmp_path, "boards", "--json"))} >= {"stm32f405"}


def test_generate(site: Path, tmp_path: Path) -> None:
    write_model(tmp_path)
    figures = json.loads(
        run(site, tmp_path, "generate", "net.acsq", "--board", "stm32f405", "-o", "firmware", "--json")
    )
    assert figures["project"] == "firmware"
    assert (tmp_path / "firmware" / "platformio.ini").is_file()


def test_contents(wheel: Path) -> None:
    """The package, its resources and its licence, and nothing else; every source file once."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = Path(acsgen.__file__).parent
    for path in package.rglob("*.py"):
        assert f"acsgen/{path.relative_to(package).as_posix()}" in names
    for kind in ("templates", "firmware", "boards", "demo"):
        folder = resource_dir(kind)  # type: ignore[arg-type]
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"acsgen/_data/{kind}/{path.relative_to(folder).as_posix()}" in names
    assert [name for name in names if not re.match(r"acsgen(-[0-9.]+\.dist-info)?/", name)] == []
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".o", ".orig"))] == []
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def tracked(root: Path) -> list[Path]:
    """What git keeps there; empty without git or where there is no repository."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [root / name for name in done.stdout.decode().split("\0") if name and (root / name).is_file()]


def private_paths(root: Path) -> re.Pattern[bytes]:
    """Paths of a machine; `root` among them unless it is so short that it stands in ordinary text."""
    patterns = [r"/(?:home|Users|root|mnt|media)/\w", r"[A-Z]:\\Users\\"]
    if len(root.parts) > 2:  # the first part is "/"
        patterns.append(re.escape(str(root)))
    return re.compile("|".join(patterns).encode())


def test_no_file_names_a_path_of_a_machine(site: Path) -> None:
    """Of the repository; where it is none, of the wheel."""
    files = tracked(ROOT) or [path for path in site.rglob("*") if path.is_file()]
    assert len(files) > 50
    private = private_paths(ROOT)
    assert [str(path) for path in files if path != Path(__file__) and private.search(path.read_bytes())] == []


def test_what_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tracked(tmp_path) == []
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nprintf 'ours\\0gone\\0'\n", encoding="utf-8")
    git.chmod(0o755)
    for name in ("ours", "users"):
        (tmp_path / name).touch()
    assert tracked(tmp_path) == [tmp_path / "ours"]
    git.write_text("#!/bin/sh\nexit 128\n", encoding="utf-8")
    assert tracked(tmp_path) == []


@pytest.mark.parametrize(
    ("root", "text", "found"),
    [
        ("/", b"a / b", False),
        ("/app", b"firmware/app/main.c", False),
        ("/srv/acsgen", b"/srv/acsgen/x.c", True),
        ("/app", b"/home/somebody", True),
        ("/app", b"C:\\Users\\Somebody", True),
    ],
)
def test_what_is_a_path_of_a_machine(root: str, text: bytes, found: bool) -> None:
    assert bool(private_paths(Path(root)).search(text)) is found
