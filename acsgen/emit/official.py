# SPDX-License-Identifier: Apache-2.0
"""The environments of a project that build with platforms and frameworks from PlatformIO's registry.

They stand in `platformio.ini` beside the offline one, which is the default where the board has one. acsgen never
builds them: without the registry only their settings, ports and build scripts can be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from acsgen.emit.render import environment
from acsgen.resources import resource_dir
from acsgen.target.boards import Board


@dataclass(frozen=True)
class OfficialPlatform:
    """A platform of the registry. frameworks: with which any of its boards can be built.

    packages: if not empty, the bare port is built with it too, without a framework, and with these packages.
    """

    version: str
    frameworks: tuple[str, ...]
    packages: tuple[str, ...] = ()


#: Platforms by their names in the registry; another name is taken without a version, and for what the board names.
PLATFORMS: Mapping[str, OfficialPlatform] = {
    # Its default compiler is GCC 7, too old for us.
    "ststm32": OfficialPlatform("^19", ("arduino",), ("platformio/toolchain-gccarmnoneeabi@~1.120301.0",)),
    "espressif32": OfficialPlatform("^6", ("espidf", "arduino")),
    "raspberrypi": OfficialPlatform("^1", ("arduino",)),
}
#: framework -> its folder in `firmware/ports`.
FRAMEWORKS: Mapping[str, str] = {"arduino": "arduino", "espidf": "esp_idf"}


@dataclass(frozen=True)
class OfficialEnvironment:
    """An environment of `platformio.ini`. framework: empty where the bare port is built."""

    name: str
    platform: str
    packages: tuple[str, ...]
    board: str
    framework: str


def official_environments(board: Board) -> tuple[OfficialEnvironment, ...]:
    """The environments from the registry in which a board can be built, the default first."""
    if board.official is None:
        return ()
    wanted = board.official
    platform = PLATFORMS.get(wanted.platform, OfficialPlatform("", ()))
    requirement = f"{wanted.platform}@{platform.version}" if platform.version else wanted.platform
    bare = [
        OfficialEnvironment(f"{board.name}-{wanted.platform}", requirement, platform.packages, wanted.board, "")
        for _ in range(bool(board.is_bare and platform.packages))
    ]
    frameworks = [name for name in wanted.frameworks or platform.frameworks if name in FRAMEWORKS]
    return (
        *bare,
        *(OfficialEnvironment(f"{board.name}-{name}", requirement, (), wanted.board, name) for name in frameworks),
    )


def never_run(board: Board) -> list[str]:
    """Names of the environments of a board's project in which acsgen has run nothing."""
    return [each.name for each in official_environments(board)]


def official_files(board: Board, name: str, library: str | None) -> dict[str, str]:
    """Path -> text of what those environments need besides `src` and `lib`: scripts, ports, CMake's files."""
    firmware = resource_dir("firmware")
    frameworks = [each.framework for each in official_environments(board)]
    folders = {"pio/official": firmware / "pio" / "official"} if "" in frameworks else {}
    for framework in filter(None, frameworks):
        for port in ("framework", FRAMEWORKS[framework]):
            folders[f"ports/{port}"] = firmware / "ports" / port
    files = {
        f"{target}/{path.name}": path.read_text(encoding="utf-8")
        for target, folder in folders.items()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    if "espidf" in frameworks:
        context = {"name": name, "board": board, "library": library, "sources": application_sources()}
        for path in ("CMakeLists.txt", "src/CMakeLists.txt", "sdkconfig.defaults"):
            files[path] = environment().get_template(f"official/{path.replace('/', '_')}.j2").render(context)
    return files


def application_sources() -> list[str]:
    """Names of the application's sources in `src`, without those of a port."""
    return sorted(path.name for path in (resource_dir("firmware") / "app").glob("*.c"))
