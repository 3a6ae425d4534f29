# SPDX-License-Identifier: Apache-2.0
"""What `acsgen profile` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from acsgen.profile import Line, Profile
from acsgen.profile.counts import Cost
from acsgen.report.tables import columns_table, count
from acsgen.target.boards import FlashTiming


def profile_table(result: Profile) -> Table:
    """A row for each layer, means over the inputs, and the sum of all."""
    numbers = ("MACs", "instructions", "i/MAC", "cycles", "c/MAC", "waiting")
    columns = ["layer", "kernel", *numbers, "mostly in"]
    runs = f"{result.inputs} input{'s' * (result.inputs != 1)}"
    gates = ", gates open" if result.mode.name == "OPEN" else ""
    title = (
        f"{result.project}: {result.name} on {result.board}, kernels {result.kernels}, {runs}{gates}, {result.engine}"
    )
    if result.core is None:
        columns = [name for name in columns if name not in ("cycles", "c/MAC", "waiting")]
    table = columns_table(title, *columns, numbers=numbers, firm=("kernel",))
    for layer in (*result.layers, result.between):
        table.add_row(layer.name, layer.kernel, *_figures(result, layer.macs, layer.cost), layer.function)
    table.add_section()
    table.add_row("all", "", *_figures(result, result.macs, result.cost))
    table.caption, table.caption_justify = _caption(result), "left"
    return table


def _figures(result: Profile, macs: int, cost: Cost) -> list[str]:
    figures = [
        count(macs / result.inputs) if macs else "",
        count(cost.instructions / result.inputs),
        f"{cost.instructions / macs:.2f}" if macs else "",
    ]
    if result.core is not None:
        figures += [
            count(cost.cycles / result.inputs),
            f"{cost.cycles / macs:.2f}" if macs else "",
            count((cost.fetch + cost.data) / result.inputs),
        ]
    return figures


def _caption(result: Profile) -> str:
    if result.core is None:
        return "Instructions are exact. There is no timing model of this core, so no cycles."
    lines = [
        "Instructions are exact.",
        f"Cycles are modelled: {result.core.title}, from {result.core.source}; waiting: the part that the flash takes.",
        _flash(result.flash),
    ]
    if result.flash is not None:
        milliseconds = 1e3 * result.cost.cycles / result.inputs / result.flash.hertz
        lines.append(f"At {result.flash.hertz / 1e6:g} MHz that is {milliseconds:.2f} ms, modelled.")
    return "\n".join(lines)


def _flash(flash: FlashTiming | None) -> str:
    if flash is None:
        return "Memory answers at once: this board has no flash.timing."
    ahead = "prefetch" if flash.prefetch else "no prefetch"
    return (
        f"Flash: {flash.width_bits} bits, {flash.wait_states} wait states, {ahead}, caches of "
        f"{flash.instruction_cache_bytes} bytes (code) and {flash.data_cache_bytes} bytes (data)."
    )


def listing_table(result: Profile, function: str, lines: Iterable[Line]) -> Table:
    """A function's instructions: how often each was executed per input, and what it cost then, on average."""
    numbers = ("times", "cycles", "waiting")
    table = columns_table(f"{function}: cycles are modelled", "address", *numbers, "", numbers=numbers)
    for line in lines:
        times, cost = line.cost.instructions, line.cost
        figures = ["", "", ""]
        if times:
            waiting = (cost.fetch + cost.data) / times
            figures = [count(times / result.inputs), f"{cost.core / times:.2f}", f"{waiting:.2f}" if waiting else ""]
        table.add_row(f"{line.address:08x}", *figures, Text(line.text))
    return table
