"""Debian's mosquitto for one test: TLS with required client certificates, a free port, a private folder."""

import asyncio
import os
import shutil
import socket
from pathlib import Path

import pytest

from vitrine_tools.certificates import Authority
from vitrine_tools.collector.broker import Broker, parse

BINARY = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(BINARY is None, reason="mosquitto is not installed (apt-get install mosquitto)")
HOST = "localhost"
_READY_S = 10.0

# whose certificate says NAME may write under vitrine/NAME and read its acknowledgements; collectors the other way round
_ACL = """\
pattern write vitrine/%u/#
pattern read vitrine/%u/acknowledgement
user collector
topic read vitrine/#
topic write vitrine/+/acknowledgement
user intruder
topic readwrite #
"""


def free_port() -> int:
    """A port that nobody listens at. Another process may take it before mosquitto does: it then says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A broker with its own authority. `start` and `stop` as often as the test likes; the port stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.new("Vitrine test CA")
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.ca, _ = self.authority.save(folder, "ca")
        self._own = self.authority.issue("broker", hosts=(HOST,)).save(folder, "broker")

    async def start(self) -> None:
        assert BINARY is not None
        acl, config = self.folder / "acl", self.folder / "mosquitto.conf"
        acl.write_text(_ACL)
        config.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {self.ca}\ncertfile {self._own[0]}\nkeyfile {self._own[1]}\n"
            "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
            f"acl_file {acl}\nuser root\nmax_queued_messages 10000\n"
        )
        self._process = await asyncio.create_subprocess_exec(
            BINARY,
            "-c",
            str(config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=(self.folder / "mosquitto.log").open("ab"),
        )
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    assert self._process.returncode is None, (self.folder / "mosquitto.log").read_text()
                    await asyncio.sleep(0.01)  # until it listens: it has no other way to tell
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        """Kill it: what a broker's machine does when its power fails."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()

    def client(self, name: str = "collector", **limits) -> Broker:
        """The broker as `name` sees it, with a certificate of its own."""
        certificate, key = self.authority.issue(name, **limits).save(self.folder, name)
        return parse(f"mqtts://{HOST}:{self.port}", ca=self.ca, certificate=certificate, key=key)
