# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to float graphs, one module per file format."""
