"""What a lock has loaded while nothing special is asked of it: all but what firmware/optional.txt names."""

import sys

from vitrine_tools.emulator.places import ROOT

FIRMWARE = ROOT / "firmware"
sys.path.insert(0, str(ROOT / "tools" / "checks"))

import mpy_sizes  # noqa: E402

RUN = "asyncio.run(build().run())\n"
TELL = """
async def tell():
    import sys

    await asyncio.sleep(90)
    board.trace({"loaded": " ".join(sys.modules)})

asyncio.get_event_loop().create_task(tell())
"""
# The emulated board has a trigger and a camera's contact.
OF_THE_ROOM = {"vitrine.app.local_rules", "vitrine.drivers.room"}


def names(paths) -> set[str]:
    modules = {path.relative_to(FIRMWARE).with_suffix("").as_posix().replace("/", ".") for path in paths}
    return {name.removesuffix(".__init__") for name in modules}


async def test_an_idle_lock_has_loaded_what_the_budget_counts(store, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    for name in ("vitrine", "boot.py"):
        (code / name).symlink_to(FIRMWARE / name)
    source = (FIRMWARE / "main.py").read_text()
    assert source.count(RUN) == 1
    (code / "main.py").write_text(source.replace(RUN, TELL + RUN))
    async with store.lock(firmware=code) as lock:
        assert (await store.open(lock)).is_granted
        await lock.advance(120_000)
        assert lock.ended is None, lock.last_words()
        (told,) = [event["loaded"].split() for event in lock.events if "loaded" in event]
    loaded = {name for name in told if name.partition(".")[0] == "vitrine"}
    optional = names(mpy_sizes.optional()) - OF_THE_ROOM
    assert loaded & optional == set()
    assert names((FIRMWARE / "vitrine").rglob("*.py")) - loaded - optional == names(mpy_sizes.fallback())
