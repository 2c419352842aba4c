#define MICROPY_HW_BOARD_NAME               "VITRINE_ESP32S3"
#define MICROPY_HW_MCU_NAME                 "ESP32-S3"

#include "../mpconfiglock.h"
