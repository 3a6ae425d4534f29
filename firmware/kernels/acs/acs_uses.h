/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_uses.h: which kernels of this set a firmware has: here, all of them.
 *
 * For a project acsgen writes this file anew: what its model needs is 1, all else is 0 and is not linked.
 */
#ifndef ACS_USES_H
#define ACS_USES_H

#define ACS_USES_PLAIN 1
#define ACS_USES_WINOGRAD 1
#define ACS_USES_WINDOW_1_PAIRED 1
#define ACS_USES_WINDOW_1_WIDE 1
#define ACS_USES_WINDOW_2_PAIRED 1
#define ACS_USES_WINDOW_2_WIDE 1
#define ACS_USES_COLUMN_PAIRED 1
#define ACS_USES_COLUMN_WIDE 1
#define ACS_USES_SINGLE_PAIRED 1
#define ACS_USES_SINGLE_WIDE 1

#endif /* ACS_USES_H */
