/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INC_TASK_H
#define INC_TASK_H
#ifndef INC_FREERTOS_H
#error "include FreeRTOS.h must appear in source files before include task.h"
#endif
void vTaskDelay(const TickType_t xTicksToDelay);
#endif
