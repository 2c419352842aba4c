"""What the stand-ins share; the start-up code sets it before any of them is imported."""

link = None  # the wire to the harness
setup = {}  # what the harness said at boot: the chip's identity, reset cause, RTC memory
flash = None  # the flash chip
partitions = []  # the rows of its table (_bootloader.read_table)
running = None  # the row of the application that the bootloader has started
is_wifi_active = False
is_online = True  # whether sockets reach anybody; false once the station was switched on, until it is connected
