# SPDX-License-Identifier: Apache-2.0
"""The forms of constants of all kernel sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from acsgen.emit import acs_weights, helium_weights, rv32_weights
from acsgen.emit.packed import Packed
from acsgen.plan.conv_case import ConvCase

#: By the name that `acsgen.plan.conv_case.Form` gives.
FORMS: Mapping[str, Callable[[ConvCase], Packed]] = {
    **acs_weights.FORMS,
    **helium_weights.FORMS,
    **rv32_weights.FORMS,
}
