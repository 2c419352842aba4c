"""What only a test may ask of the board: a hang, a squeezed heap, its use of memory, a power cut in the flash.

This file belongs to boards/unix alone; no image for a chip has it.
"""

import gc


def install(link, flash):
    held = []

    def hang(message):
        link.send("hung")
        while True:  # nothing runs any more; only the end of the harness is noticed
            link.wait()
            link.receive_all()

    def memory(message):
        gc.collect()
        link.send("memory", {"i": message["i"], "used": gc.mem_alloc(), "free": gc.mem_free()})

    def squeeze(message):
        """Leave only so many bytes in pieces worth having, beside crumbs; 0 gives everything back."""
        held.clear()
        gc.collect()
        if not message["free"]:
            return
        piece = 4096
        while piece >= 64:
            try:
                held.append(bytearray(piece))
            except MemoryError:
                piece //= 2
        left = message["free"]
        while left > 0 and held:
            left -= len(held.pop(0))
        gc.collect()

    def flash_cut(message):
        flash.cut_after = message["after"]

    def flash_count(message):
        link.send("memory", {"i": message["i"], "programmed": flash.programmed, "erased": flash.erased})

    link.on("hang", hang)
    link.on("memory", memory)
    link.on("squeeze", squeeze)
    link.on("flash_cut", flash_cut)
    link.on("flash_count", flash_count)
