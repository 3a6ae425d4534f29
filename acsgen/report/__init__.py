# SPDX-License-Identifier: Apache-2.0
"""What people and scripts get to read: tables and JSON."""
