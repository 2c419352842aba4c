#define MICROPY_HW_BOARD_NAME               "VITRINE_ESP32"
#define MICROPY_HW_MCU_NAME                 "ESP32"

#include "../mpconfiglock.h"
