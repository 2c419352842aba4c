# What every lock board is built with. A board's mpconfigboard.cmake includes its chip's common file of MicroPython,
# sets VITRINE_FLASH_MIB, then includes this one.
#
# BOARD_VARIANT: 4M, 8M or 16M for another flash than the board's usual one; SECURE, SECURE_4M, ... for production.

if(MICROPY_BOARD_VARIANT MATCHES "([0-9]+)M$")
    set(VITRINE_FLASH_MIB ${CMAKE_MATCH_1})
endif()

# relative names would be looked for in MicroPython's port
get_filename_component(VITRINE_BOARDS ${CMAKE_CURRENT_LIST_DIR} ABSOLUTE)
set(VITRINE_FLASH_CONFIG ${CMAKE_BINARY_DIR}/sdkconfig.flash)
file(WRITE ${VITRINE_FLASH_CONFIG}
"CONFIG_ESPTOOLPY_FLASHSIZE_${VITRINE_FLASH_MIB}MB=y
CONFIG_PARTITION_TABLE_CUSTOM_FILENAME=\"${VITRINE_BOARDS}/partitions-${VITRINE_FLASH_MIB}MiB.csv\"
")

list(APPEND SDKCONFIG_DEFAULTS
    ${VITRINE_BOARDS}/sdkconfig.lock
    ${MICROPY_BOARD_DIR}/sdkconfig.board
    ${VITRINE_FLASH_CONFIG}
)
if(MICROPY_BOARD_VARIANT MATCHES "^SECURE")
    list(APPEND SDKCONFIG_DEFAULTS ${VITRINE_BOARDS}/sdkconfig.secure)
endif()

list(APPEND MICROPY_SOURCE_BOARD ${VITRINE_BOARDS}/panic.c)

set(MICROPY_PY_BTREE OFF)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
