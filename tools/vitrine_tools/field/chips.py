"""What the chips of lock boards can do, as far as boards, flashing and updates have to know.

Sources: ESP-IDF 5.5 (soc_caps.h, efuse_reg.h, "GPIO & RTC GPIO" of each chip, ADC), the chips' datasheets (pins at
reset, glitches at power-up), esptool (offsets and numbers of chips).
"""

from dataclasses import dataclass
from typing import Final


def _gpios(*spans: int | tuple[int, int]) -> frozenset[int]:
    """{1, 2, 3, 7} of (1, 3), 7."""
    found: set[int] = set()
    for span in spans:
        found.update((span,) if isinstance(span, int) else range(span[0], span[1] + 1))
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class Chip:
    """name: as esptool and ESP-IDF call it. GPIO sets may overlap."""

    name: str
    title: str
    image_id: int  # chip id in the header of an image
    bootloader_offset: int
    architecture: str  # mpy-cross -march
    cpu_hz: int
    gpios: frozenset[int]  # that exist
    strapping: frozenset[int]  # read at reset: how the chip starts
    memory: frozenset[int]  # flash and PSRAM of the usual modules
    usb: frozenset[int]
    uart0: frozenset[int]  # the ROM prints and listens here
    jtag: frozenset[int]
    unquiet: frozenset[int]  # high, pulled up or pulsing between reset and firmware
    adc1: frozenset[int]
    adc_max_mv: int  # what the converter tells apart at its widest range
    input_only: frozenset[int] = frozenset()  # no output and no pull resistors either
    no_interrupt: frozenset[int] = frozenset()  # pulses of their own while ADC or Wi-Fi run
    rmt_tx_channels: int
    rmt_words: int  # memory of a channel; the end mark takes one
    secure_boot: tuple[int, int]  # register (address, mask) of the eFuse that turns secure boot v2 on


CHIPS: Final = {
    chip.name: chip
    for chip in (
        Chip(
            name="esp32",
            title="ESP32",
            image_id=0,
            bootloader_offset=0x1000,
            architecture="xtensawin",
            cpu_hz=240_000_000,
            gpios=_gpios((0, 19), (21, 23), (25, 27), (32, 39)),
            strapping=_gpios(0, 2, 5, 12, 15),
            memory=_gpios((6, 11), 16, 17),
            usb=_gpios(),
            uart0=_gpios(1, 3),
            jtag=_gpios((12, 15)),
            unquiet=_gpios(0, 1, 3, 5, 14, 15),
            adc1=_gpios((32, 39)),
            adc_max_mv=2450,
            input_only=_gpios((34, 39)),
            no_interrupt=_gpios(36, 39),  # errata 3.11
            rmt_tx_channels=8,
            rmt_words=64,
            secure_boot=(0x3FF5_A018, 1 << 5),  # ABS_DONE_1
        ),
        Chip(
            name="esp32s3",
            title="ESP32-S3",
            image_id=9,
            bootloader_offset=0,
            architecture="xtensawin",
            cpu_hz=240_000_000,
            gpios=_gpios((0, 21), (26, 48)),
            strapping=_gpios(0, 3, 45, 46),
            memory=_gpios((26, 37)),  # 33 to 37 with octal memory
            usb=_gpios(19, 20),
            uart0=_gpios(43, 44),
            jtag=_gpios((39, 42)),
            unquiet=_gpios(0, (18, 20), 39, 43, 44),
            adc1=_gpios((1, 10)),
            adc_max_mv=3100,
            rmt_tx_channels=4,
            rmt_words=48,
            secure_boot=(0x6000_7038, 1 << 20),  # SECURE_BOOT_EN
        ),
        Chip(
            name="esp32c3",
            title="ESP32-C3",
            image_id=5,
            bootloader_offset=0,
            architecture="rv32imc",
            cpu_hz=160_000_000,
            gpios=_gpios((0, 10), (12, 21)),  # 11 is the flash's supply
            strapping=_gpios(2, 8, 9),
            memory=_gpios((12, 17)),
            usb=_gpios(18, 19),
            uart0=_gpios(20, 21),
            jtag=_gpios((4, 7)),
            unquiet=_gpios(6, 9, 18, 20, 21),  # 6: MTCK is pulled up while JTAG is allowed
            adc1=_gpios((0, 4)),
            adc_max_mv=2500,
            rmt_tx_channels=2,
            rmt_words=48,
            secure_boot=(0x6000_8838, 1 << 20),  # SECURE_BOOT_EN
        ),
    )
}
