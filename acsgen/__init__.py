# SPDX-License-Identifier: Apache-2.0
"""acsgen: trained ACS networks to int8 C firmware that skips channels at run time."""

__version__ = "0.1.0"
