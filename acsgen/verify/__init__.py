# SPDX-License-Identifier: Apache-2.0
"""Firmware against golden model: every logit, mask and tensor, bit for bit, and what a run costs."""

from acsgen.verify.verify import Verification, verify

__all__ = ["Verification", "verify"]
