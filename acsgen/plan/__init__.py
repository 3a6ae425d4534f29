# SPDX-License-Identifier: Apache-2.0
"""Int8 graph to plan: what is skipped, in which layout, by which kernel, and where in memory."""

from acsgen.plan.build import plan
from acsgen.plan.choose import Spare
from acsgen.plan.kernel_sets import KERNEL_SETS, KernelSet
from acsgen.plan.lists import ListSlot
from acsgen.plan.plan import Buffer, GateSlot, Plan, Step

__all__ = ["KERNEL_SETS", "Buffer", "GateSlot", "KernelSet", "ListSlot", "Plan", "Spare", "Step", "plan"]
