/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QUEUE_H
#define QUEUE_H
typedef struct QueueDefinition *QueueHandle_t;
#endif
