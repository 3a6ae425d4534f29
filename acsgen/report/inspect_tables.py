# SPDX-License-Identifier: Apache-2.0
"""The tables of `acsgen inspect`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from acsgen.report.inspect import Inspection
from acsgen.report.tables import columns_table, count, pairs_table, percent


def inspection_tables(inspection: Inspection) -> Group:
    """Operators, gates, and the whole network, one below the other."""
    parts: list[RenderableType] = [_operators(inspection), ""]
    if inspection.gates:
        parts += [_balance(inspection), ""]
    if inspection.gates and inspection.samples is not None:
        parts += [_decisions(inspection), ""]
    parts.append(_whole(inspection))
    if not inspection.gates:
        parts += ["", "No gates: nothing is skipped."]
    elif inspection.samples is None:
        parts += ["", "How often the gates are open, and what they save, needs samples: --data FILE"]
    return Group(*parts)


def _operators(inspection: Inspection) -> Table:
    measured = inspection.samples is not None
    numbers = ("MACs", "skippable", *(("executed",) if measured else ()))
    kind = "int8 graph" if inspection.is_int8 else "float graph, as it would be quantised"
    table = columns_table(
        f"{inspection.name}: {kind}, input {_shape(inspection.input_shape)}",
        *("operator", "kind", "output", *numbers, "skipped by", "only for"),
        numbers=numbers,
        firm=("output",),
    )
    for op in inspection.operators:
        table.add_row(
            op.name,
            op.kind,
            _shape(op.shape),
            count(op.macs) if op.macs else "",
            count(op.skippable) if op.skippable else "",
            *([count(op.executed) if op.macs else ""] if op.executed is not None else []),
            ", ".join(op.skipped_by),
            ", ".join(op.only_for),
        )
    return table


def _balance(inspection: Inspection) -> Table:
    """What each gate costs and saves."""
    measured = inspection.samples is not None
    numbers = ("bits", "controls", "cost", *(("saved", "net gain") if measured else ()))
    title = f"MACs of each gate, mean of {inspection.samples} samples" if measured else "MACs of each gate"
    table = columns_table(title, "gate", *numbers, numbers=numbers)
    for gate in inspection.gates:
        fixed = (gate.gate, str(gate.bits), count(gate.controls))
        if gate.use is None:
            table.add_row(*fixed, count(gate.cost))
        else:
            table.add_row(*fixed, count(gate.use.cost), count(gate.use.saved), count(gate.use.net))
    return table


def _decisions(inspection: Inspection) -> Table:
    """How each gate uses its bits."""
    numbers = ("density", "least used", "most used", "dynamic", "always", "never", "masks")
    table = columns_table(f"Bits of each gate over {inspection.samples} samples", "gate", *numbers, numbers=numbers)
    for gate in inspection.gates:
        if (use := gate.use) is not None:
            table.add_row(
                gate.gate,
                percent(use.density),
                percent(use.least_used),
                percent(use.most_used),
                percent(use.dynamic),
                str(use.always_open),
                str(use.never_open),
                str(use.distinct_masks),
            )
    return table


def _whole(inspection: Inspection) -> Table:
    macs = inspection.macs

    def with_share(part: float) -> str:
        return f"{count(part)} ({percent(part / macs)})" if macs else count(part)

    rows = [
        ("MACs, gates open", count(macs)),
        ("  a mask can skip", with_share(inspection.skippable)),
        ("  only for gates", with_share(inspection.overhead)),
    ]
    if inspection.executed is not None:
        rows += [
            ("MACs executed, mean", with_share(inspection.executed.mean)),
            ("  least to most", f"{count(inspection.executed.least)} to {count(inspection.executed.most)}"),
        ]
    return pairs_table("The whole network", rows)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
