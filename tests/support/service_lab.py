"""A technician at the wire of an emulated lock, and the tool's commands run as he runs them."""

import asyncio
import sys
from contextlib import asynccontextmanager

from support.store import DETAIL, LOCK_ID, NOW_S, of_kind

VITRINE = [sys.executable, "-c", "from vitrine_tools.cli import main; main()"]
SERVICE = 136
COUNT, LINK, DIGEST, SUB = 14, 18, 31, 7
ROOT_KEY = b"r" * 32


@asynccontextmanager
async def wired(store, **options):
    """A provisioned lock with a technician's cable in it; its path is a link to a terminal."""
    path = store.folder / "console"
    how = {"console": path, "virtual": False, "journal": (LOCK_ID, ROOT_KEY, NOW_S)} | options
    async with store.lock(**how) as lock:
        await lock.wait_advertising()
        yield lock, path


async def vitrine(*arguments):
    """Run the command; return (exit status, what it printed)."""
    process = await asyncio.create_subprocess_exec(
        *VITRINE,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()


def files_of(store, **claims):
    """A service token and its holder's key as files; return the options that name them."""
    claims = {"scopes": ("service",), "sub": b"engineer"} | claims
    token, holder = store.folder / "service.token", store.folder / "engineer.pem"
    token.write_bytes(store.token(**claims))
    holder.unlink(missing_ok=True)
    store.holder.save(holder)
    return "--token", token, "--holder", holder


def details(lock):
    """What became of service: but for the records of programs."""
    return [event[DETAIL] for event in of_kind(lock, SERVICE) if event[DETAIL] != "run"]
