#define MICROPY_HW_BOARD_NAME               "VITRINE_ESP32C3"
#define MICROPY_HW_MCU_NAME                 "ESP32-C3"

#include "../mpconfiglock.h"
