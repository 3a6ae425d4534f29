# SPDX-License-Identifier: Apache-2.0
"""What somebody should hear about a network's gates, each in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from acsgen.quantize.calibrate import FEW_SAMPLES
from acsgen.report.inspect import GateCost, GateUse, Inspection

#: A gate that is open so often hardly skips.
NEARLY_OPEN = 0.95


@dataclass(frozen=True)
class Advice:
    """kind: for programs; where: the gate or mask that it is about, "" for the whole network; text: for people."""

    kind: str
    where: str
    text: str


def advice(inspection: Inspection) -> tuple[Advice, ...]:
    """The warnings about a network: masks that save nothing, and gates that do not pay.

    Whether a bit is constant is not judged from fewer than FEW_SAMPLES samples.
    """
    return tuple(_advice(inspection))


def idle_mask(mask: str) -> Advice:
    """For an operator of `Plan.idle_masks`."""
    return Advice(
        "idle_mask",
        mask,
        f"mask '{mask}' saves nothing before it: its groups are not those of the convolution "
        "there, its gate looks at what it masks, somebody else reads the unmasked tensor, or the kernels compute more "
        "channels at a time than its groups have",
    )


def _advice(inspection: Inspection) -> Iterator[Advice]:
    yield from map(idle_mask, inspection.idle_masks)
    samples = inspection.samples
    if samples is None:
        yield from (_never_pays(gate) for gate in inspection.gates if gate.cost >= gate.controls)
        return
    if inspection.gates and samples < FEW_SAMPLES:
        count = f"{samples} sample{'s' * (samples != 1)}"
        yield Advice(
            "few_samples",
            "",
            f"{count}: too few to say which bits never change, and the other figures are rough; "
            f"{FEW_SAMPLES} or more are better",
        )
    for gate in inspection.gates:
        if gate.use is not None:
            if samples >= FEW_SAMPLES:
                yield from _constant(gate, gate.use, samples)
            yield from _waste(gate, gate.use)


def _never_pays(gate: GateCost) -> Advice:
    return Advice(
        "never_pays",
        gate.gate,
        f"gate '{gate.gate}' costs {gate.cost:,} MACs and can save at most {gate.controls:,}: it never pays",
    )


def _constant(gate: GateCost, use: GateUse, samples: int) -> Iterator[Advice]:
    if use.is_constant:
        yield Advice(
            "constant_gate",
            gate.gate,
            f"gate '{gate.gate}' never changes its mind over {samples} samples "
            f"({use.always_open} of {gate.bits} bits open): a smaller network without it does the same",
        )
    elif use.always_open or use.never_open:
        yield Advice(
            "constant_bits",
            gate.gate,
            f"gate '{gate.gate}': of {gate.bits} bits, over {samples} samples, always open: {use.always_open}, "
            f"never open: {use.never_open}",
        )


def _waste(gate: GateCost, use: GateUse) -> Iterator[Advice]:
    if use.density > NEARLY_OPEN:
        yield Advice(
            "nearly_open",
            gate.gate,
            f"gate '{gate.gate}' is open at {100 * use.density:.1f} % on average: it hardly skips",
        )
    if use.net < 0:
        yield Advice(
            "costs_more",
            gate.gate,
            f"gate '{gate.gate}' costs {use.cost:,.0f} MACs a run and saves {use.saved:,.0f}: it does not pay",
        )
