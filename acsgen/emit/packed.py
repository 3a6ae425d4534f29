# SPDX-License-Identifier: Apache-2.0
"""Constants of a convolution in a form of a kernel set's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Packed:
    """Constants as `acs_conv_t` wants them. form: an acs_form_t. words, finish: its fields, int32."""

    form: str
    words: Int32
    words_layout: str
    finish: Int32
    finish_layout: str
