# SPDX-License-Identifier: Apache-2.0
"""Profiling: what each layer of a built project executes, exactly, and how many cycles that takes, modelled."""

from acsgen.profile.engines import engine_name
from acsgen.profile.profile import LayerProfile, Profile, profile

__all__ = ["LayerProfile", "Profile", "engine_name", "profile"]
