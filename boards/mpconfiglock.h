// What no lock uses is not in its image: less flash, and less for an attacker.
#define MICROPY_PY_ESPNOW                   (0)
#define MICROPY_PY_ESP32_PCNT               (0)
#define MICROPY_PY_MACHINE_DAC              (0)
#define MICROPY_PY_MACHINE_I2C_TARGET       (0)
#define MICROPY_PY_MACHINE_I2S              (0)
#define MICROPY_PY_MACHINE_SDCARD           (0)
#define MICROPY_PY_NETWORK_LAN              (0)

// USB is the chip's own serial port: no USB stack of ours for whoever plugs something in.
#define MICROPY_HW_ENABLE_USBDEV            (0)
