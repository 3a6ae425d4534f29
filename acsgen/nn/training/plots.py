# SPDX-License-Identifier: Apache-2.0
"""Plots of a run, if matplotlib is there; drawn without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["ACCURACY_MACS", "TRAINING", "plot_run"]

TRAINING, ACCURACY_MACS = "training.png", "accuracy_macs.png"
#: Curve: key of an epoch's entry, or several of one panel, with their labels.
_PANELS = (
    ("loss", (("loss", "training"),)),
    ("accuracy", (("acc", "training"), ("validation_accuracy", "validation"))),
    ("share of the dense MACs", (("macs", "training"), ("validation_macs_share", "validation"))),
)


def plot_run(folder: Path, history: Sequence[dict[str, Any]], report: dict[str, Any]) -> list[str]:
    """Writes training.png and, for a gated network, accuracy_macs.png; returns notes for the log."""
    if find_spec("matplotlib") is None:
        return ["no plots: they need matplotlib: pip install 'acsgen[train]'"]
    _plot_training(folder / TRAINING, history)
    if "by_macs" in report:
        _plot_accuracy(folder / ACCURACY_MACS, report)
    return []


def _plot_training(path: Path, history: Sequence[dict[str, Any]]) -> None:
    figure = _figure(8, 9)
    panels = figure.subplots(len(_PANELS), 1, sharex=True)
    for axes, (title, curves) in zip(panels, _PANELS, strict=True):
        for key, label in curves:
            points = [(i, entry[key]) for i, entry in enumerate(history, 1) if entry.get(key) is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=label)
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend()
    starts = [i for i, entry in enumerate(history) if entry["epoch"] == 1]
    for start in starts:
        place = panels[0].get_xaxis_transform()
        panels[0].text(start + 0.55, 1.01, history[start]["phase"], transform=place, in_layout=False)
        for axes in panels if start else ():
            axes.axvline(start + 0.5, color="grey", linewidth=0.8)
    panels[-1].set_xlim(0.5, len(history) + 0.5)
    panels[-1].set_xlabel("epoch")
    figure.savefig(path)


def _plot_accuracy(path: Path, report: dict[str, Any]) -> None:
    bins, test = report["by_macs"], report["test"]
    figure = _figure(8, 5.5)
    axes = figure.subplots()
    cost = [entry["macs_mean"] / 1e6 for entry in bins]
    axes.plot(cost, [entry["accuracy"] for entry in bins], "o-", label="gated, images in tenths by executed MACs")
    axes.plot(cost, [entry["accuracy_dense"] for entry in bins], "s:", label="dense twin, the same images")
    for name, mark, mean in (("gated", "*", "macs_mean"), ("dense", "D", "macs_dense")):
        result = test[name]
        axes.plot(result[mean] / 1e6, result["accuracy"], mark, markersize=12, label=f"{name}, all test images")
    axes.set_xlabel("executed MACs an image, millions")
    axes.set_ylabel("accuracy on the test images")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure
