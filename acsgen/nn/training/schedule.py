# SPDX-License-Identifier: Apache-2.0
"""How a network is trained, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """How a network is trained. Shares (0..1) are of the steps unless said otherwise."""

    epochs: int = 20
    batch: int = 128
    learning_rate: float = 3e-3  # AdamW, cosine to 0
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    flip: bool = True  # mirror half of the images
    shift: int = 2  # pixels, uniform in -shift..shift both ways, zeros move in
    # Only for gated networks:
    target: float = 0.53  # share of the dense MACs
    start_share: float = 0.02  # all gates forced open
    ramp_share: float = 0.35  # then the target falls from 1
    noise_share: float = 0.8  # the noise falls from 1 to 0
    budget_weight: float = 4.0
    distillation: float = 0.5  # weight of the teacher against the labels
    # Only where groups are learned:
    group_weight: float = 0.1
