# SPDX-License-Identifier: Apache-2.0
"""Targets: boards, the PlatformIO build, emulators and the link to the firmware."""
