"""Who this lock is: its provisioning record and its settings, from the key store."""

from micropython import const

from vitrine.access.provision import ProvisionError, parse_provision
from vitrine.door.settings import Settings, SettingsError

_TIMES = const(3)


class Identity:
    """provision: access.provision.Provision, or None while unprovisioned.

    trouble: "" or, for a record that is there but cannot be used, the name of what is wrong with it. Such a lock is
    unprovisioned: it opens for nobody, but it can be found and mended.
    """

    def __init__(self, store) -> None:
        """Read the blob in `store`: load() -> bytes or None, OSError if it cannot be read."""
        self.provision = None
        self.trouble = ""
        try:
            blob = store.load()
            if blob is not None:
                provision = parse_provision(blob)
                Settings(provision.door)  # raises SettingsError
                self.provision = provision
        except (OSError, ProvisionError, SettingsError) as error:
            self.trouble = "identity:" + type(error).__name__
        # Asked again: one fault must not make a lock nobody's, as then its console is open.
        if self.provision is None and not self.trouble and _is_there(store):
            self.trouble = "identity:again"

    @property
    def lock_id(self) -> str:
        """The lock's id, empty while unprovisioned."""
        return self.provision.lock_id if self.provision else ""

    @property
    def provisioned_at(self) -> int:
        """Unix seconds below which no clock is right."""
        return self.provision.provisioned_at if self.provision else 0


def _is_there(store) -> bool:
    try:
        return any([store.load() is not None for _ in range(_TIMES)])
    except OSError:
        return True
