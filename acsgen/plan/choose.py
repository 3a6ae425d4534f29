# SPDX-License-Identifier: Apache-2.0
"""Which form each convolution takes, where its kernel set offers several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from acsgen.errors import AcsgenError, nearest
from acsgen.plan.conv_case import PLAIN, ConvCase, Form, plain_form

#: By the name of the operator: the form with the least constants first.
Offers = Mapping[str, tuple[Form, ...]]
Chosen = dict[str, Form]


@dataclass(frozen=True)
class Spare:
    """What a plan may take beyond what it needs.

    flash_bytes: for constants that are faster than the smallest ones; None: any. arena_bytes: the most that the
    arena may have if some form is the reason for more; None: any.
    """

    flash_bytes: int | None = 0
    arena_bytes: int | None = None


def forced(layer: str, case: ConvCase, forms: tuple[Form, ...], wanted: str | None) -> tuple[Form, ...]:
    """The form that is wanted for a layer, alone, if any is; the plain one can always be had.

    AcsgenError if the layer does not have it.
    """
    if wanted is None:
        return forms
    all_forms = {PLAIN: plain_form(case, ""), **{form.name: form for form in forms}}
    if wanted not in all_forms:
        raise AcsgenError(f"layer '{layer}' cannot take the form '{wanted}'; it has: {', '.join(all_forms)}")
    return (replace(all_forms[wanted], why="Asked for."),)


def check_layers(wanted: Mapping[str, str], offers: Offers, kernels: str) -> None:
    """AcsgenError if a form is wanted for a layer that has no choice."""
    if wanted and not offers:
        raise AcsgenError(f"kernel set '{kernels}' has one form of convolutions only: leave out --form")
    for layer in wanted:
        if layer not in offers:
            raise AcsgenError(f"--form {layer}: no convolution has that name: {nearest(layer, offers)}")


def choose(offers: Offers, spare: Spare) -> Chosen:
    """The fastest forms whose constants have room, those first that save the most for a byte."""
    chosen = {name: forms[0] for name, forms in offers.items()}
    left = spare.flash_bytes
    quicker = [
        (name, form)
        for name, forms in offers.items()
        for form in forms[1:]
        if form.instructions < forms[0].instructions
    ]
    for name, form in sorted(quicker, key=lambda entry: -_gain(offers[entry[0]][0], entry[1])):
        extra = form.constant_bytes - chosen[name].constant_bytes
        if form.instructions < chosen[name].instructions and (left is None or extra <= left):
            chosen[name] = form
            left = None if left is None else left - extra
    return chosen


def without_largest(offers: Offers, chosen: Chosen) -> Chosen | None:
    """The same with the smallest constants where the scratch grew most; None if they are that everywhere."""
    grown = {name: form.scratch_bytes - offers[name][0].scratch_bytes for name, form in chosen.items()}
    grown = {name: size for name, size in grown.items() if chosen[name] is not offers[name][0]}
    if not grown:
        return None
    largest = max(grown, key=lambda name: grown[name])
    return {**chosen, largest: offers[largest][0]}


def _gain(least: Form, form: Form) -> float:
    """Instructions that are saved for a byte."""
    return (least.instructions - form.instructions) / max(form.constant_bytes - least.constant_bytes, 1)
