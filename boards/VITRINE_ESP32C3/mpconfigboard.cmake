include(boards/mpconfigboard_esp32c3_common.cmake)

set(VITRINE_FLASH_MIB 4)
include(${MICROPY_BOARD_DIR}/../vitrine.cmake)
