# SPDX-License-Identifier: Apache-2.0
"""The error that acsgen raises for everything that the user can put right."""

from __future__ import annotations


class AcsgenError(Exception):
    """Base class; the message says what is wrong and what to do."""
