# SPDX-License-Identifier: Apache-2.0
"""Profiling: what each layer of a built project executes, exactly, and how many cycles that takes, modelled."""

from acsgen.profile.profile import LayerProfile, Line, Profile, listing, profile

__all__ = ["LayerProfile", "Line", "Profile", "listing", "profile"]
