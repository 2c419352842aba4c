"""The folder of an emulated lock: its keys, its provisioning record, a token for a phone, its flash.

Made on the first start, so that a newcomer has something to unlock; found again on the next. Of a bare board: a site
file in place of the record, so that it can be provisioned as a real one.
"""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import keys, names, provisioning, tokens
from .collector import escrow
from .errors import ToolError

DEFAULT_LOCK_ID: Final = "case-12"
GROUP: Final = "group:demo"
TOKEN_S: Final = 86_400
_SCOPES: Final = ("unlock", "hold", "courier")
_RIGHTS: Final = (*_SCOPES, "service", "update", "admin")  # of the issuer, so that it can sign whatever is tried out
_ISSUER = "issuer.pem"
_SITE = """\
# Whom the locks of this site trust; what else there may be: `vitrine provision --example`
zone = "{zone}"

[[issuers]]
name = "emulator"
key = "issuer.pub.pem"
scopes = [{scopes}]
audiences = ["{{lock}}"]
max_lifetime = "24h"
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """What is in the folder. `is_new_record`: the flash does not hold it yet. `is_bare`: nor is it to be put there."""

    folder: Path
    record: provisioning.Provision
    is_new_record: bool
    is_bare: bool = False

    @property
    def site(self) -> Path:
        """Of a bare board: what `vitrine provision` makes of it."""
        return self.folder / "site.toml"

    @property
    def flash(self) -> Path:
        """The lock's flash chip."""
        return self.folder / "flash.bin"

    @property
    def escrow(self) -> Path:
        """The root keys of the lock's journals, for `vitrine collect` and `vitrine audit`."""
        return self.folder / "escrow"

    def new_journal(self, folder: Path | None = None) -> tuple[str, bytes, int]:
        """Escrow the root key of a new journal; return (lock id, root key, epoch) for the lock to be made with.

        folder: another one than this workspace's own.
        """
        epoch = int(time.time())
        root = secrets.token_bytes(32)
        escrow.save(folder or self.escrow, self.record.lock_id, epoch, root)
        return self.record.lock_id, root, epoch

    @property
    def log(self) -> Path:
        """What the firmware printed, kept when it ended."""
        return self.folder / "firmware.log"

    @property
    def token(self) -> Path:
        """A token that opens the lock for a day, if this folder's issuer is one of the lock's."""
        return self.folder / "token.cbor"

    @property
    def holder(self) -> Path:
        """The private key that the token is bound to."""
        return self.folder / "holder.pem"

    def renew_token(self) -> None:
        """Issue a fresh token; none if the lock does not trust this folder's issuer."""
        issuer, holder = keys.load_private(self.folder / _ISSUER), keys.load_private(self.holder)
        trusted = self.record.issuer_of(issuer.public.kid)
        # a lock of an earlier start, or of one's own record, may trust this issuer with less
        scopes = tuple(scope for scope in _SCOPES if trusted and scope in trusted.scopes)
        if not scopes:
            self.token.unlink(missing_ok=True)
            return
        claims = tokens.Claims.for_holder(
            holder.public, [self.record.lock_id], now_s=int(time.time()), valid_s=TOKEN_S, scopes=scopes
        )
        keys.write_new(self.token, tokens.issue(claims, issuer), mode=0o644, is_forced=True)


def prepare(
    folder: Path,
    lock_id: str | None,
    own_record: Path | None,
    zone: str,
    common: keys.PublicKey | None = None,
    *,
    is_bare: bool = False,
) -> Workspace:
    """Make or find the folder's content and issue a fresh token; ToolError if it does not fit what is asked for.

    common: one more issuer that the lock trusts as much as the folder's own. is_bare: the board gets no record; that
    of the workspace only says what its lock is to be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _ISSUER).exists():
            raise ToolError(f"{folder} has other files in it: give a folder that is empty or an emulator's")
        folder.chmod(0o700)  # it holds private keys, and the control socket that opens the door
    except OSError as error:
        raise ToolError(f"cannot make the folder {folder}: {error.strerror}") from error
    issuer = make_key(folder / _ISSUER)
    make_key(folder / "holder.pem")
    path = folder / "provision.cbor"
    stored = keys.read_file(path, "provisioning record") if path.exists() else b""
    if own_record is not None:
        data = keys.read_file(own_record, "provisioning record")
    else:
        data = stored or _new_record(lock_id or DEFAULT_LOCK_ID, issuer.public, zone, common)
    record = provisioning.parse(data)
    if common is not None and record.issuer_of(common.kid) is None:
        raise ToolError(f"{folder} holds a lock that does not trust the key {common.kid.hex()}: give another folder")
    if lock_id not in (None, record.lock_id):
        raise ToolError(f"{folder} holds the lock {record.lock_id}: give another folder for {lock_id}")
    has_flash = (folder / "flash.bin").exists()
    if is_bare and has_flash and stored:
        raise ToolError(f"{folder} holds a lock that was started without --bare: give another folder")
    if data != stored and not is_bare:
        keys.write_new(path, data, mode=0o644, is_forced=True)
    workspace = Workspace(folder, record, not is_bare and (data != stored or not has_flash), is_bare)
    if is_bare and not workspace.site.exists():
        scopes = ", ".join(f'"{scope}"' for scope in _RIGHTS)
        keys.write_new(workspace.site, _SITE.format(zone=zone, scopes=scopes).encode(), mode=0o644)
    workspace.renew_token()
    return workspace


def make_key(path: Path) -> keys.PrivateKey:
    """Load a key, or make it with its public part beside it."""
    if path.exists():
        return keys.load_private(path)
    key = keys.PrivateKey.generate()
    key.save(path)
    keys.write_new(path.with_suffix(".pub.pem"), key.public.to_pem(), mode=0o644, is_forced=True)
    return key


def _new_record(lock_id: str, own: keys.PublicKey, zone: str, common: keys.PublicKey | None) -> bytes:
    names.check_lock_id(lock_id)
    trusted = {"emulator": own} | ({} if common is None or common == own else {"fleet": common})
    return provisioning.Provision(
        lock_id=lock_id,
        groups=(GROUP,),
        issuers=tuple(
            provisioning.Issuer(
                public_key=public,
                name=name,
                scopes=_RIGHTS,
                audiences=(lock_id, GROUP),
                max_lifetime_s=TOKEN_S,
            )
            for name, public in trusted.items()
        ),
        provisioned_at_s=int(time.time()),
        zone=zone,
    ).to_bytes()
