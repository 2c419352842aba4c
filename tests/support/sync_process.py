"""Runs tests/support/sync_lock.py on MicroPython, for tests of sync against a real broker, in real time."""

import asyncio
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine_tools import cbor
from vitrine_tools.audit.sealed import Keys
from vitrine_tools.certificates import Identity
from vitrine_tools.emulator.wire import interpreter

from .paths import ROOT

LIMIT_S = 30.0


def umqtt_folder() -> Path:
    """Where umqtt.simple is: among the fetched packages, or the stand-in."""
    fetched = Path(os.environ.get("VITRINE_DEPS") or ROOT / "build" / "deps")
    return fetched if (fetched / "umqtt" / "simple.py").exists() else ROOT / "boards" / "unix" / "modules"


def journal_secrets(root: bytes, lock_id: str, epoch: int) -> tuple[bytes, bytes]:
    """Return (first key, acknowledgement key) as provisioning gives them to a lock (SPEC.md 8.5)."""
    tail = epoch.to_bytes(4, "big") + lock_id.encode() + b"\x01"
    prk = hmac.digest(b"vitrine/journal", root, "sha256")
    return hmac.digest(prk, b"seal" + tail, "sha256")[:24], hmac.digest(prk, b"acknowledge" + tail, "sha256")


def mqtt_blob(host: str, port: int, ca_der: bytes, client: Identity | None, heartbeat_s: int = 300) -> bytes:
    """Return the blob `mqtt` (SPEC.md section 5)."""
    fields: dict[int, Any] = {1: 1, 2: host, 3: port, 4: ca_der, 7: heartbeat_s}
    if client is not None:
        fields |= {5: client.certificate_der, 6: client.key_der}
    return cbor.encode(fields)


@dataclass
class SyncLock:
    """One such lock. `umqtt`: the folder that has umqtt."""

    mqtt: bytes
    lock_id: str = "case-12"
    epoch: int = 1_800_000_000
    root: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    backlog: int = 0
    heartbeat_s: int = 300
    sectors: int = 64
    watch: bool = True
    single: int = 0
    umqtt: Path = field(default_factory=lambda: umqtt_folder())
    issuer: bytes = bytes(32)  # public key of who may command it
    time_state: int = 1

    def __post_init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def keys(self) -> Keys:
        return Keys(self.root, self.lock_id, self.epoch)

    async def start(self, folder: Path) -> None:
        """Start it; `folder` is the test's. Only umqtt is taken from the board's modules: time must be the host's."""
        library = folder / f"lib-{secrets.token_hex(4)}"
        library.mkdir()
        (library / "umqtt").symlink_to(self.umqtt / "umqtt")
        path = f"{library}:{ROOT / 'firmware'}:{ROOT / 'tests'}:.frozen"
        self._process = await asyncio.create_subprocess_exec(
            interpreter(),
            "-X",
            "heapsize=2M",
            str(ROOT / "tests" / "support" / "sync_lock.py"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "MICROPYPATH": path},
        )
        first_key, acknowledge_key = journal_secrets(self.root, self.lock_id, self.epoch)
        self.do(
            lock=self.lock_id,
            epoch=self.epoch,
            first_key=first_key.hex(),
            acknowledge_key=acknowledge_key.hex(),
            mqtt=self.mqtt.hex(),
            heartbeat_s=self.heartbeat_s,
            backlog=self.backlog,
            sectors=self.sectors,
            watch=self.watch,
            single=self.single,
            issuer=self.issuer.hex(),
            time_state=self.time_state,
        )
        self._reader = asyncio.create_task(self._read())
        await self.heard(event="ready")

    def do(self, **command: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def heard(self, limit_s: float = LIMIT_S, **wanted: Any) -> dict[str, Any]:
        """Wait for an event with these fields; it may have come already."""
        return await self.when(lambda event: wanted.items() <= event.items(), str(wanted), limit_s)

    async def when(self, is_it, what: str = "", limit_s: float = LIMIT_S) -> dict[str, Any]:
        async with asyncio.timeout(limit_s), self._changed:
            while True:
                for event in self.events:
                    if is_it(event):
                        return event
                assert not self._reader.done(), f"the lock ended before {what}: {self.events[-5:]}"
                await self._changed.wait()

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Give a command and return its answer."""
        self.events = [event for event in self.events if event["event"] != command["do"]]
        self.do(**command)
        return await self.heard(event=command["do"])

    async def acknowledged(self, count: int, limit_s: float = LIMIT_S) -> None:
        """Wait until the lock knows that all below `count` is stored."""
        await self.when(lambda event: event["event"] == "acknowledged" and event["count"] >= count, "", limit_s)

    async def stop(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._reader.cancel()

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "output", "text": line.decode(errors="replace")}
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()
