# SPDX-License-Identifier: Apache-2.0
"""Measurements: each module is a command that runs generated firmware in the emulator and prints what it took."""
