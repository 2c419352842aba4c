"""What the stand-ins share: the wire to the harness and the flash chip, set once by the start-up code, and the state of the radio."""

link = None
flash = None
is_wifi_active = False
