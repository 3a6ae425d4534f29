# SPDX-License-Identifier: Apache-2.0
"""What is trained: one job for each network of the tables.

A unit is a dense network and whatever starts from it or is compared with it, in an order in which each job finds
what it needs. Units do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Images of Fashion-MNIST: a fixed subset to train on, and the ones that nothing is decided with.
TRAIN_IMAGES, VALIDATION_IMAGES = 12_000, 2_000
BATCH = 128
DENSE_EPOCHS, GATED_EPOCHS = 16, 14
SEEDS = (0, 1)

Kind = Literal["dense", "gated", "static", "tuned"]


@dataclass(frozen=True)
class Job:
    """One network to train.

    name: also of its folder. kind:

    - dense: without gates.
    - gated: from the weights of the job `teacher`, to `target` of its MACs.
    - tuned: the gated network of the job `teacher`, fine-tuned with rounding as in int8.
    - static: without gates and narrower, with as many MACs as the job `rival` executes in the mean; taught by
      `teacher`, for as many epochs as the rival and its twin together.

    arguments: of the zoo's builder. schedule: what differs from the usual one.
    """

    name: str
    kind: Kind
    member: str
    seed: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    target: float | None = None
    teacher: str | None = None
    rival: str | None = None
    schedule: Mapping[str, Any] = field(default_factory=dict)


#: Budgets of each member, in shares of the dense MACs. A densenet cannot skip as much as the others.
BUDGETS: Mapping[str, tuple[float, ...]] = {
    "acs_resnet": (0.5, 0.7),
    "acs_mobilenet": (0.5, 0.7),
    "acs_bottleneck_resnet": (0.5, 0.7),
    "acs_densenet": (0.65, 0.8),
    "g_resnext": (),
}

#: Members that are trained half as wide as they come, since their convolutions take long to train.
NARROWED: Mapping[str, Mapping[str, Any]] = {"acs_bottleneck_resnet": {"width": 0.5}}

#: Gate designs compared on acs_resnet at half of its MACs, with the arguments that they need.
#: A random gate cannot be trained to a budget: as many of its bits are open as half of the MACs allow.
GATE_MEMBER, GATE_TARGET = "acs_resnet", 0.5
GATE_DESIGNS: Mapping[str, Mapping[str, Any]] = {
    "grid": {},
    "conv": {},
    "conv_plain": {},
    "conv_grouped": {},
    "conv_separable": {},
    "squeeze": {},
    "feedforward": {},
    "random": {"gate_open": 0.48},
    "constant": {},
}

#: Ways to train a gate that were tried on the same network, beside the usual one.
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "no-teacher": {"distillation": 0.0},
    "no-noise": {"noise_share": 1e-6},
    "no-ramp": {"start_share": 0.0, "ramp_share": 1e-6},
    "light-budget": {"budget_weight": 4.0},
    "smoothing": {"label_smoothing": 0.1},
}

#: Convolutions of the backbone compared on acs_bottleneck_resnet, and on g_resnext without gates.
CONV_MEMBER, CONV_TARGET = "acs_bottleneck_resnet", 0.5
CONV_DESIGNS = ("dg", "grouped", "separable", "plain")


def dense_name(member: str, seed: int) -> str:
    return f"{member}-s{seed}-dense"


def budget_name(member: str, seed: int, kind: Kind, target: float) -> str:
    """Of a job that has to do with a budget of a member."""
    return f"{member}-s{seed}-{kind}{percent(target)}"


def gate_name(design: str, seed: int) -> str:
    """Of the network with gates of this design; that with `grid` is the member's own."""
    if design == "grid":
        return budget_name(GATE_MEMBER, seed, "gated", GATE_TARGET)
    return f"{GATE_MEMBER}-s{seed}-gate-{design}"


def way_name(way: str) -> str:
    """Of the network that was trained in this way."""
    return f"{GATE_MEMBER}-s{SEEDS[0]}-way-{way}"


def conv_names(conv: str, seed: int) -> tuple[str, str]:
    """Of the ungated and the gated network with these convolutions; those with `dg` are the member's own."""
    if conv == "dg":
        return dense_name(CONV_MEMBER, seed), budget_name(CONV_MEMBER, seed, "gated", CONV_TARGET)
    name = f"{CONV_MEMBER}-s{seed}-conv-{conv}"
    return f"{name}-dense", f"{name}-gated"


def resnext_name(conv: str, seed: int) -> str:
    return dense_name("g_resnext", seed) if conv == "dg" else f"g_resnext-s{seed}-conv-{conv}"


def percent(share: float) -> str:
    return f"{share * 100:.0f}"


def member_unit(member: str, seed: int) -> list[Job]:
    """A member of the zoo: its twin, and for each budget the gated network and its static rival."""
    dense = dense_name(member, seed)
    arguments = NARROWED.get(member, {})
    jobs = [Job(dense, "dense", member, seed, arguments)]
    for target in BUDGETS[member]:
        gated, static, tuned = (budget_name(member, seed, kind, target) for kind in ("gated", "static", "tuned"))
        jobs.append(Job(gated, "gated", member, seed, arguments, target=target, teacher=dense))
        jobs.append(Job(static, "static", member, seed, teacher=dense, rival=gated))
        if target == BUDGETS[member][0]:
            jobs.append(Job(tuned, "tuned", member, seed, teacher=gated))
    if member == GATE_MEMBER:
        jobs += [_gate_job(design, seed) for design in GATE_DESIGNS if design != "grid"]
        jobs += [_way_job(way) for way in SCHEDULES if seed == SEEDS[0]]
    return jobs


def _gate_job(design: str, seed: int) -> Job:
    """The member with gates of another design than its own."""
    arguments = {"gate": design, **GATE_DESIGNS[design]}
    teacher = dense_name(GATE_MEMBER, seed)
    return Job(gate_name(design, seed), "gated", GATE_MEMBER, seed, arguments, target=GATE_TARGET, teacher=teacher)


def _way_job(way: str) -> Job:
    """The network of the gate designs with its usual gates, trained in another way."""
    seed = SEEDS[0]
    teacher = dense_name(GATE_MEMBER, seed)
    return Job(way_name(way), "gated", GATE_MEMBER, seed, target=GATE_TARGET, teacher=teacher, schedule=SCHEDULES[way])


def conv_unit(conv: str, seed: int) -> list[Job]:
    """acs_bottleneck_resnet with other convolutions than its own."""
    dense, gated = conv_names(conv, seed)
    arguments = {**NARROWED[CONV_MEMBER], "conv": conv}
    return [
        Job(dense, "dense", CONV_MEMBER, seed, arguments),
        Job(gated, "gated", CONV_MEMBER, seed, arguments, target=CONV_TARGET, teacher=dense),
    ]


def resnext_plain_unit(seed: int) -> list[Job]:
    """g_resnext with plain convolutions: what its learned groups are compared with."""
    return [Job(resnext_name("plain", seed), "dense", "g_resnext", seed, {"conv": "plain"})]


def units() -> list[list[Job]]:
    """All units."""
    members = [member_unit(member, seed) for seed in SEEDS for member in BUDGETS]
    convs = [conv_unit(conv, seed) for seed in SEEDS for conv in CONV_DESIGNS if conv != "dg"]
    return [*members, *convs, *(resnext_plain_unit(seed) for seed in SEEDS)]
