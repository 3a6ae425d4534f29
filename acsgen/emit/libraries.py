# SPDX-License-Identifier: Apache-2.0
"""Other people's sources that kernel sets stand on, by the name of their folder in a project's `lib`.

None of them is part of acsgen: each row finds its files when a project is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from acsgen.emit.cmsis import cmsis_nn_files
from acsgen.emit.esp_nn import esp_nn_files

#: (kernels in use, the user's checkout or None) -> path below `lib/NAME/`, content.
LIBRARIES: Mapping[str, Callable[[set[str], Path | None], dict[str, bytes]]] = {
    "cmsis_nn": cmsis_nn_files,
    "esp_nn": esp_nn_files,
}

#: Whose they are.
AUTHORS: Mapping[str, str] = {"cmsis_nn": "Arm", "esp_nn": "Espressif"}
