# SPDX-License-Identifier: Apache-2.0
"""Everything that one does with this repository; each session sets up what it needs.

python3 noxfile.py -s demo      the whole way with the shipped network
python3 noxfile.py -s tests     all tests
python3 noxfile.py -s matrix    networks on every board in its emulators, with every kernel set
python3 noxfile.py -s bench     what skipping saves and kernels cost, counted in the emulator
python3 noxfile.py --list       the rest

Needs Python 3.11 or newer and nothing else: started as a script, it installs nox into `.nox/nox` and
hands over. All sessions share one environment, `.nox/env`, because TensorFlow is too large to install
for each. System packages come from apt when it runs as root; otherwise it prints the line.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NOX_HOME = ROOT / ".nox"
ENVIRONMENT = NOX_HOME / "env"
NOX = "nox==2026.10.20"
PYTHON = (3, 11)

#: Debian packages, and for each a program or file that shows that it is there.
SYSTEM_PACKAGES = {
    "gcc": "gcc",
    "g++": "g++",
    "libc6-dev": "/usr/include/stdio.h",
    # Packages as their users build them.
    "cmake": "cmake",
    "make": "make",
    "gcc-arm-none-eabi": "arm-none-eabi-gcc",
    "libnewlib-arm-none-eabi": "/usr/lib/arm-none-eabi/newlib/libc.a",
    "qemu-system-arm": "qemu-system-arm",
    # The instruction set checks of RISC-V and Xtensa.
    "qemu-system-misc": "qemu-system-riscv32",
    "gcc-riscv64-unknown-elf": "riscv64-unknown-elf-gcc",
    "picolibc-riscv64-unknown-elf": "/usr/lib/picolibc/riscv64-unknown-elf/lib/libc.a",
    "gcc-xtensa-lx106": "xtensa-lx106-elf-gcc",
    "picolibc-xtensa-lx106-elf": "/usr/lib/xtensa-lx106-elf/lib/libc.a",
    # Flashing.
    "stm32flash": "stm32flash",
    "openocd": "openocd",
    "gdb-multiarch": "gdb-multiarch",
}
#: ... and for each a Python module.
PYTHON_PACKAGES = {"python3-venv": "ensurepip"}


def bootstrap(arguments: list[str]) -> int:
    """Runs nox with these arguments, from an environment of its own that is made if need be."""
    if sys.version_info < PYTHON:
        sys.exit(f"noxfile.py: needs Python {PYTHON[0]}.{PYTHON[1]} or newer, this is {sys.version.split()[0]}")
    install_packages(missing_packages())
    python = make_environment(NOX_HOME / "nox", [NOX, "-c", str(ROOT / "constraints.txt")], stamp=NOX)
    return subprocess.call([python, "-m", "nox", "-f", str(ROOT / "noxfile.py"), *arguments], cwd=ROOT)


def make_environment(place: Path, requirements: list[str], stamp: str) -> str:
    """The Python of the environment at `place`, made anew unless it carries the same stamp."""
    python, mark = str(place / "bin" / "python"), place / "acsgen-stamp"
    if mark.is_file() and mark.read_text() == stamp:
        return python
    shutil.rmtree(place, ignore_errors=True)
    print(f"noxfile.py: making the environment {place.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    subprocess.run([python, "-m", "pip", "install", *requirements], check=True, cwd=ROOT)
    mark.write_text(stamp)
    return python


def has_module(name: str) -> bool:
    """Whether this Python can import it. A child is asked, because an import stays."""
    return subprocess.call([sys.executable, "-c", f"import {name}"], stderr=subprocess.DEVNULL) == 0


def install_packages(packages: list[str]) -> None:
    """Installs Debian packages, or says how and ends."""
    if not packages:
        return
    line = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if not shutil.which("apt-get"):
        sys.exit(f"noxfile.py: missing on this machine: {', '.join(packages)} (Debian's names)")
    if os.geteuid() != 0:
        sys.exit(f"noxfile.py: packages are missing; run: sudo apt-get update && sudo {line}")
    print(f"noxfile.py: {line}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run([*line.split(), "-qq"], check=True, env=environment, stdout=subprocess.DEVNULL)


def missing_packages() -> list[str]:
    """Debian packages that are not there, also the one without which Debian's Python makes no environment."""
    return [
        *(package for package, module in PYTHON_PACKAGES.items() if not has_module(module)),
        *(
            package
            for package, sign in SYSTEM_PACKAGES.items()
            if not (Path(sign).exists() if sign.startswith("/") else shutil.which(sign))
        ),
    ]


def project_environment() -> str:
    """The Python of the shared environment, with acsgen in it as an editable install."""
    install_packages(missing_packages())
    sources = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return make_environment(ENVIRONMENT, ["-c", "constraints.txt", "-e", ".[dev]"], stamp)


if __name__ == "__main__":
    sys.exit(bootstrap(sys.argv[1:]))

# What follows is read by nox only, which the script above installs first.
import nox  # noqa: E402

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests", "demo"]
nox.options.default_venv_backend = "none"


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Runs a program of the shared environment, with the environment's other programs on the PATH."""
    scripts = Path(project_environment()).parent
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    session.run(str(scripts / program), *arguments, env={"PATH": path, "OPENBLAS_NUM_THREADS": "1"}, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; arguments go to pytest."""
    run(session, "python", "-m", "pytest", "-n", "2", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Networks on every board in its emulators, with every kernel set; arguments go to pytest."""
    run(session, "python", "-m", "pytest", "-n", "2", "--all-boards", "tests/matrix", *session.posargs)


@nox.session
def boards(session: nox.Session) -> None:
    """What the tests try with a few boards, with every one: images, UARTs, emulators; arguments go to pytest."""
    where = [f"tests/target/test_{name}.py" for name in ("emulator", "chips", "device")]
    run(session, "python", "-m", "pytest", "-n", "2", "--all-boards", *where, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The whole way with the shipped network; writes build/demo/summary.json."""
    run(session, "acsgen", "demo", "-o", "build/demo", *session.posargs)


#: One file each in bench/.
BENCHES = ("skipping", "kernels", "peers")


@nox.session
def bench(session: nox.Session) -> None:
    """Figures that were promised, to build/bench/; arguments are the names of benches, otherwise all."""
    for name in session.posargs or BENCHES:
        run(session, "python", "-m", f"bench.{name}")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: errors and formatting."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    run(session, "mypy")


@nox.session
def experiments(session: nox.Session) -> None:
    """Trains and measures the zoo, hours long, resumable; writes docs/results.md. Needs dataset-fashion-mnist."""
    run(session, "python", "-m", "experiments", *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Trains the demo's network anew; needs Debian's dataset-fashion-mnist."""
    run(session, "python", "demo/train.py", *session.posargs)
