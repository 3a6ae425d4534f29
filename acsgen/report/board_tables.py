# SPDX-License-Identifier: Apache-2.0
"""Tables of what a board, or the emulator in its place, did."""

from __future__ import annotations

from rich.table import Table

from acsgen.report.tables import columns_table, count, percent
from acsgen.verify.once import Runs


def runs_table(runs: Runs, title: str) -> Table:
    """One row for each input."""
    times = runs.microseconds
    numbers = ("class", "score", "open", "MACs", runs.unit, *(() if times is None else ("microseconds",)))
    if runs.raised:
        title += f", thresholds raised by {runs.raised}"
    table = columns_table(title, "input", *numbers, numbers=("input", *numbers))
    for i in range(len(runs.output)):
        best = int(runs.output[i].argmax())
        opened = sum(int((mask[i] == 1).sum()) for mask in runs.masks.values())
        groups = sum(mask.shape[1] for mask in runs.masks.values())
        table.add_row(
            str(i),
            str(best),
            f"{runs.scores[i].ravel()[best]:.4g}",
            f"{opened} of {groups}",
            count(runs.macs[i]),
            count(runs.cost[i]),
            *(() if times is None else (f"{times[i]:,.1f}",)),
        )
    return table


def steps_table(runs: Runs) -> Table:
    """The mean cost of every step."""
    total = sum(cost for _, _, cost in runs.steps)
    table = columns_table(
        "Steps, mean",
        "tensor",
        "MACs, gates open",
        runs.unit,
        "share",
        numbers=("MACs, gates open", runs.unit, "share"),
    )
    for name, macs, cost in runs.steps:
        table.add_row(name, count(macs) if macs else "", count(cost), percent(cost / total if total else 0.0))
    return table
