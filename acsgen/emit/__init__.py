# SPDX-License-Identifier: Apache-2.0
"""Plan and board to a C project that stands alone."""
