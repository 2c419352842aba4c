"""Start the emulated board: what the chip does between reset and main.py.

micropython -X heapsize=1M boards/unix/run.py
VITRINE_BOARD_FD: number of the inherited socket. VITRINE_BOARD_MODULES: folder of the stand-ins (default: modules)

Mounts the flash's vfs partition (littlefs) at / and the code read-only below /rom, as frozen code is on the chip, then
runs boot.py and main.py. When they end, the board is left at its prompt: no code runs, the hardware goes on.
"""

import asyncio.core  # noqa: F401  before the stand-ins are in reach: asyncio counts with the interpreter's own ticks
import os
import sys

sys.path.insert(0, os.getenv("VITRINE_BOARD_MODULES") or __file__.rpartition("/")[0] + "/modules")

import _board_link
import _clock
import _link

link = _link.Link(int(os.getenv("VITRINE_BOARD_FD")), _clock.clock)
_board_link.link = _clock.link = link
setup = link.request("boot")
_clock.clock.start(setup["virtual"], setup["t"], setup["uptime"], setup["epoch"])
_board_link.setup = setup

import _bootloader
import _flash
import _idle
import _rom
import _testing

_idle.install(link)


def power_gone():
    """The supply failed in a flash operation: nothing after this line runs."""
    link.send("power_gone")
    while True:
        link.wait()
        link.receive_all()


def stay_at_prompt(error):
    """No code of ours runs any more; the hardware goes on."""
    link.send("ended", {"error": error})
    while True:
        link.pump()
        _clock.clock.idle(None)
        link.wait()


flash = _board_link.flash = _flash.NorFlash(open(setup["flash"], "r+b"), setup["flash_size"], power_gone)
flash.cut_after = setup["cut_after"]
_testing.install(link, flash)
if setup["console"]:
    import _console

    _console.install(link)

import micropython
import vfs

_board_link.partitions = _bootloader.read_table(flash)
path = setup["path"]
try:
    _board_link.running, code = _bootloader.boot(flash, _board_link.partitions)
except _bootloader.ImageError as problem:
    print("No bootable app partitions:", problem)
    stay_at_prompt(repr(problem))
if code is not None:
    path = path[:-1] + [code]  # in place of the host's folder
rom = _rom.Rom(path)
vfs.umount("/")
vfs.mount(rom, "/rom")
sys.path[:] = ["", ".frozen", "/lib", "/rom"]
for name in ("time", "machine"):
    sys.modules.pop(name, None)  # built in until here

import esp32

os.chdir("/")


def run(name, folders=("/rom/", "/")):
    """Run a start-up file as the chip does: the frozen one, or else the one in the file system."""
    for folder in folders:
        files = [entry[0] for entry in os.ilistdir(folder)]
        if name + ".py" in files:
            with open(folder + name + ".py") as file:
                code = compile(file.read(), name + ".py", "exec")
            exec(code, {"__name__": "__main__"})
            return
        if name + ".mpy" in files:
            __import__(name)
            return


def mount():
    """As the stock image's _boot.py: an erased partition is formatted, with a damaged one nothing more happens."""
    partition = esp32.Partition("vfs")
    try:
        vfs.mount(partition, "/")
    except OSError:
        head = bytearray(4096)
        partition.readblocks(0, head)
        while head != b"\xff" * 4096:
            print("The filesystem appears to be corrupted.")
            _clock.clock.sleep_until(_clock.clock.now_us() + 3_000_000)
        vfs.VfsLfs2.mkfs(partition)
        vfs.mount(vfs.VfsLfs2(partition), "/")


error = ""
try:
    if any(entry[0].startswith("_boot.") for entry in os.ilistdir("/rom")):
        run("_boot", ("/rom/",))
    else:
        mount()
    micropython.kbd_intr(3)  # as the chip does around these, and not around _boot.py
    run("boot")
    run("main")
except _link.HarnessGone:
    raise
except SystemExit:
    link.send("soft_reset")
except BaseException as problem:
    sys.print_exception(problem)
    error = repr(problem)
stay_at_prompt(error)
