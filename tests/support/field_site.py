"""A site of one store: a folder with site file, issuer, broker's authority and escrow; and a cable to be pulled."""

import os
import select
import threading
import tty
from dataclasses import dataclass, field
from pathlib import Path

from vitrine_tools.certificates import Authority
from vitrine_tools.collector.escrow import Escrow
from vitrine_tools.field.authority import Authority as Right
from vitrine_tools.field.provision import STEPS, Done, Provisioner
from vitrine_tools.field.report import Report
from vitrine_tools.field.site import Site
from vitrine_tools.keys import PrivateKey

LOCK_ID = "case-12"
PASSPHRASE = b"correct horse battery staple"
WIFI_PASSPHRASE = "not to be seen by anybody"

TEXT = """
zone = "Europe/Vienna"
groups = ["group:jewellery"]

[door]
unlock_ms = 4000

[[issuers]]
name = "store-7"
key = "issuer.pub.pem"
scopes = ["unlock", "hold", "service", "admin"]
audiences = ["{lock}", "group:jewellery"]
max_lifetime = "24h"

[broker]
host = "127.0.0.1"
ca = "ca.crt"
certificate = "locks/{lock}.crt"
key = "locks/{lock}.key"

[wifi]
ssid = "store-7"
passphrase_file = "wifi.txt"
"""


@dataclass
class Store:
    """The folder `folder`, made."""

    folder: Path
    issuer: PrivateKey = field(default_factory=PrivateKey.generate)
    text: str = TEXT

    def __post_init__(self) -> None:
        authority = Authority.new("a broker")
        authority.save(self.folder, "ca")
        (self.folder / "locks").mkdir()
        authority.issue(LOCK_ID).save(self.folder / "locks", LOCK_ID)
        (self.folder / "issuer.pub.pem").write_bytes(self.issuer.public.to_pem())
        (self.folder / "wifi.txt").write_text(WIFI_PASSPHRASE + "\n")
        self.write(self.text)

    def write(self, text: str) -> None:
        """Write another site file."""
        self.path.write_text(text)

    @property
    def path(self) -> Path:
        return self.folder / "site.toml"

    @property
    def escrow(self) -> Path:
        return self.folder / "escrow"

    @property
    def right(self) -> Right:
        """What opens the console of a lock of this store."""
        return Right(issuer=self.issuer)

    def keys(self, epoch: int):
        """The escrowed keys of a journal."""
        return Escrow(self.escrow, lambda: PASSPHRASE).of(LOCK_ID, epoch)

    def provision(self, port: Path, right: Right | None = None, lock_id: str = LOCK_ID) -> Done:
        """What `vitrine provision` does; blocks."""
        plan = Site(self.path).plan(lock_id)
        return Provisioner(plan, self.escrow, lambda: PASSPHRASE, Report(STEPS), right).run(str(port))


class Cable:
    """A pseudo-terminal at `path` in front of `port`, which is pulled after so many bytes have gone to the lock."""

    def __init__(self, port: Path, path: Path, after: int) -> None:
        self._left = after
        self.is_pulled = False
        self._wire, self._terminal = os.openpty()
        self._port = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._terminal)
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(self._terminal))
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        for descriptor in (self._wire, self._terminal, self._port, self._stop, self._stopped):
            if descriptor >= 0:
                os.close(descriptor)

    def _run(self) -> None:
        while True:
            sources = [self._port, self._stop] + ([] if self.is_pulled else [self._wire])
            ready, _, _ = select.select(sources, [], [])
            if self._stop in ready:
                return
            if self._wire in ready:
                data = os.read(self._wire, 4096)
                os.write(self._port, data[: self._left])
                self._left -= len(data)
                if self._left <= 0:
                    self._pull()
            if self._port in ready:
                data = os.read(self._port, 4096)
                if not self.is_pulled:
                    os.write(self._wire, data)

    def _pull(self) -> None:
        """The technician's program sees its port vanish; the lock sees nothing at all."""
        self.is_pulled = True
        os.close(self._terminal)
        os.close(self._wire)
        self._terminal = self._wire = -1
