"""An act with a cable: a bare board becomes a lock, a stranger gets a banner, a technician is let in and on record."""

import asyncio
import contextlib
import io
import secrets
import tempfile
import time
from pathlib import Path

from .. import names, tokens
from ..emulator import BumblePhone, EmulatedLock, VirtualRadio
from ..field.authority import Authority
from ..field.console_link import ConsolePhone, Wire
from ..field.provision import STEPS, Done, Provisioner
from ..field.report import Report
from ..field.service import CLOSED, begin, close, mpremote
from ..field.site import Site
from ..keys import PrivateKey
from ..phone import Phone
from . import cast
from .stage import PATIENCE_S, Stage

_SERVICE = 136  # SPEC.md section 7
_LISTEN_S = 0.2
_SITE = """
[[issuers]]
name = "store-7"
key = "issuer.pub.pem"
scopes = ["unlock", "service"]
audiences = ["{lock}"]
max_lifetime = "24h"
"""


async def play(stage: Stage) -> None:
    """Play the act; stage.Failed if the story cannot go on."""
    stage.heading("From a bare board to a lock")
    issuer = PrivateKey.generate()
    with tempfile.TemporaryDirectory(prefix="vitrine-field-") as name:
        folder, radio = Path(name), VirtualRadio()
        (folder / "issuer.pub.pem").write_bytes(issuer.public.to_pem())
        (folder / "site.toml").write_text(_SITE)
        port = folder / "wire"
        lock = EmulatedLock(radio, flash=folder / "flash.bin", console=port, battery=True)
        lock.listeners.append(stage.on_event)
        async with lock:
            await lock.wait_advertising()
            stage.say("board", "has the firmware and nothing else", "it opens to nobody")
            done = await asyncio.to_thread(_provision, folder, port)
            await lock.wait_advertising()
            why = f"{', '.join(done.changed)} in {done.seconds:.1f} s; the root key stays with us, encrypted"
            stage.check("lock", f"is {done.lock_id}", why, done.lock_id == cast.LOCK_ID)
            stage.check("phone", "opens it", "the store's issuer is pinned", await _opens(radio, issuer))
            wire = Wire(port)
            try:
                wire.write(b"\x03\x03\x01print(6 * 7)\x04\r")
                said = await asyncio.to_thread(wire.hear, PATIENCE_S, CLOSED)
                said += await asyncio.to_thread(wire.hear, _LISTEN_S)
                is_closed = CLOSED in said and b"42" not in said and b">" not in said
                stage.check("thief", "has the cable, and types", said.decode("latin-1").strip(), is_closed)
                await begin(ConsolePhone(wire), Authority(issuer=issuer, sub=b"technician-3"))
                await stage.expect("the service on record", lambda r: r.get(1) == _SERVICE and r.get(7) is not None)
            finally:
                wire.close()
            answer = await _mpremote(port, "print(6 * 7)")
            stage.check("mpremote", "runs a program on the lock", f"it answers {answer}", answer == "42")
            wire = Wire(port)
            try:
                await asyncio.to_thread(close, wire)
            finally:
                wire.close()
            record = await stage.expect("its end on record", lambda r: r.get(1) == _SERVICE and 31 in r)
            why = f"{record.get(14)} run, digest {record[31].hex()[:8]}"
            stage.check("lock", "has the programs on record", why, record.get(14) == 1)


def _provision(folder: Path, port: Path) -> Done:
    """What `vitrine provision` does, without its progress."""
    passphrase = secrets.token_hex(16).encode()
    plan = Site(folder / "site.toml").plan(cast.LOCK_ID)
    with contextlib.redirect_stderr(io.StringIO()):
        return Provisioner(plan, folder / "escrow", lambda: passphrase, Report(STEPS)).run(str(port))


async def _opens(radio: VirtualRadio, issuer: PrivateKey) -> bool:
    holder = PrivateKey.generate()
    claims = tokens.Claims.for_holder(holder.public, (cast.LOCK_ID,), now_s=int(time.time()), valid_s=3600)
    async with BumblePhone(radio) as radio_phone:
        await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
        outcome = await Phone(radio_phone, cast.LOCK_ID).open(tokens.issue(claims, issuer), holder)
    return outcome.is_granted


async def _mpremote(port: Path, program: str) -> str:
    """Return what the real mpremote prints."""
    command = mpremote(str(port), ["exec", program])
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(4 * PATIENCE_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode().strip()
