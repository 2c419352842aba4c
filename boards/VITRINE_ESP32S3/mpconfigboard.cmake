include(boards/mpconfigboard_esp32s3_common.cmake)

set(VITRINE_FLASH_MIB 8)
include(${MICROPY_BOARD_DIR}/../vitrine.cmake)
