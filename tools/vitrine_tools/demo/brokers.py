"""A broker for the demo and for tests: Debian's mosquitto, or the embedded one where there is none.

Its own authority, TLS with required client certificates, a free port of this machine only, a private folder.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from pathlib import Path

from ..ble.private_bus import end_with_parent
from ..certificates import Authority
from ..collector.broker import Broker, parse
from ..errors import ToolError
from .embedded_broker import EmbeddedBroker

HOST = "localhost"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_READY_S = 10.0

# whose certificate says NAME may write under vitrine/NAME and read what is for it; collectors and who commands the
# other way round
_ACL = """\
pattern write vitrine/%u/#
pattern read vitrine/%u/acknowledgement
pattern read vitrine/%u/command
pattern read vitrine/%u/update
pattern read vitrine/group/+/command
user commander
topic write vitrine/+/command
topic write vitrine/group/+/command
topic read vitrine/+/result
topic read vitrine/+/fresh
topic write vitrine/+/update
topic read vitrine/+/update/answer
user pos
topic read vitrine-pos/sale
topic write vitrine-pos/opened
topic write vitrine/+/command
topic read vitrine/+/result
user till
topic write vitrine-pos/sale
topic read vitrine-pos/opened
user collector
topic read vitrine/#
topic write vitrine/+/acknowledgement
user homeassistant
topic read vitrine/+/state
topic read vitrine/+/availability
topic read vitrine/+/result
topic write vitrine/+/command
topic readwrite homeassistant/#
topic readwrite vitrine-homeassistant/#
user intruder
topic readwrite #
"""


class LocalBroker:
    """What both brokers have: an authority, a port that stays, and clients with certificates of their own."""

    name = "a broker"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.new("Vitrine local CA")
        self.ca, _ = self.authority.save(folder, "ca")
        self.port = _free_port()
        self._own = self.authority.issue("broker", hosts=(HOST,)).save(folder, "broker")

    def client(self, name: str = "collector", **limits) -> Broker:
        """The broker as `name` reaches it, with a certificate of its own."""
        certificate, key = self.authority.issue(name, **limits).save(self.folder, name)
        return parse(f"mqtts://{HOST}:{self.port}", ca=self.ca, certificate=certificate, key=key)

    async def start(self) -> None:
        """Return when it takes connections."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Kill it: what happens to a broker whose machine loses its power."""
        raise NotImplementedError


class Embedded(LocalBroker):
    """The embedded broker."""

    name = "an embedded broker" + ("" if MOSQUITTO else " (mosquitto is not installed)")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self._own)
        self._broker = EmbeddedBroker(context)

    async def start(self) -> None:
        await self._broker.start(self.port)

    async def stop(self) -> None:
        await self._broker.stop()


class Mosquitto(LocalBroker):
    """Debian's mosquitto in a process of its own."""

    name = "mosquitto"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if MOSQUITTO is None:
            raise ToolError("mosquitto is not installed: apt-get install mosquitto")
        acl, config, log = (self.folder / name for name in ("acl", "mosquitto.conf", "mosquitto.log"))
        acl.write_text(_ACL)
        config.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {self.ca}\ncertfile {self._own[0]}\nkeyfile {self._own[1]}\n"
            "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
            f"acl_file {acl}\nmax_queued_messages 10000\n" + ("user root\n" if os.geteuid() == 0 else "")
        )
        with log.open("ab") as file:
            self._process = await asyncio.create_subprocess_exec(
                MOSQUITTO,
                "-c",
                str(config),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=file,
                preexec_fn=end_with_parent,
                start_new_session=True,  # Ctrl-C is for the program, which ends its broker
            )
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    if self._process.returncode is not None:
                        raise ToolError(f"mosquitto did not start: {log.read_text()[-300:]}") from None
                    await asyncio.sleep(0.01)  # until it listens: it has no other way to tell
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                process.kill()
            await process.wait()


def local_broker(folder: Path) -> LocalBroker:
    """Return the better one of what is there."""
    return Mosquitto(folder) if MOSQUITTO else Embedded(folder)


def _free_port() -> int:
    """A port that nobody listens at. Another process may take it before the broker does: it then says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
