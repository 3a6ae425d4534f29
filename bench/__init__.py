# SPDX-License-Identifier: Apache-2.0
"""Figures that a promise was made about, one file for each bench: `python -m bench.NAME`, `nox -s bench`."""
