"""Reads what a lock holds out of an image of its flash, into a lock file (SPEC.md sections 3.5, 5, 6, 11.2 and 13).

What is in RAM is not in an image: the time, active alarms, the risk and who has asked before are as in a new lock file.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import cbor, configuration, provisioning
from ..emulator import flash
from ..errors import ToolError
from ..keys import read_file
from ..provisioning import Provision
from . import ledger_image
from .lock_file import Lock, LockFileError, Revocation, Scenario, identity

_MAX_BLOB = 2048
_KEY_ENTRY = 1


def read(path: Path, at_s: int) -> Lock:
    """Return the lock of an image that was read at `at_s`; a ToolError says in one line why there is none in it.

    A store without which a lock refuses everything, and that is missing or damaged, is named in `broken`.
    """
    image = read_file(path, "flash image", flash.FLASH_SIZE)
    if len(image) != flash.FLASH_SIZE:
        raise LockFileError(f"{path} is no image of a whole flash: {len(image)} bytes, not {flash.FLASH_SIZE}")
    partitions = {label: image[address : address + size] for label, _, _, address, size in flash.PARTITIONS}
    blobs = flash.nvs_blobs(partitions["nvs"], ("provision", "lockout", *_READERS))
    if "provision" not in blobs:
        raise LockFileError(f"{path} is the flash of a lock that was never provisioned")
    record = provisioning.parse(blobs["provision"])
    values = {**identity(record), "settings": configuration.check_settings(record.door)}
    broken = []
    for name, reader in _READERS.items():
        try:
            values |= reader(blobs.get(name, b""), record)
        except (ToolError, ValueError, TypeError, AttributeError):  # of what is not as it must be
            broken.append(name)
    try:
        entries = ledger_image.read(partitions["access"])
        values["ledger"] = {"revoked": entries.revoked, "spent": entries.spent}
    except ToolError:
        broken.append("access")
    values["locked_out"] = _locked_out(blobs.get("lockout", b""), at_s)
    return Lock.model_validate({**values, "broken": broken})


def _configuration(blob: bytes, record: Provision) -> dict[str, Any]:
    _, held = configuration.from_blob(blob)
    named = record.door | held.settings.model_dump(exclude_unset=True)
    return {
        "settings": configuration.check_settings(named),
        "holidays": held.holidays,
        "zone": held.zone or record.zone,
        "hours": held.hours,
    }


def _scenario(blob: bytes, _: Provision) -> dict[str, Any]:
    held = cbor.decode(blob, _MAX_BLOB)
    if held.keys() != {1, 2, 3, 4, 5}:
        raise ValueError("scenario")
    weekly, passage = ([tuple(each) for each in held[key]] for key in (4, 5))
    return {"scenario": Scenario(lockdown=held[2], shadow=held[3], weekly=weekly, passage=passage)}


def _revocations(blob: bytes, record: Provision) -> dict[str, Any]:
    lists = cbor.decode(blob, _MAX_BLOB)
    if not {issuer.public_key.kid for issuer in record.issuers} <= {kid for kid, _, _ in lists}:
        raise ValueError("an issuer is missing")
    return {
        "lists": {kid: sequence for kid, sequence, _ in lists if sequence},
        "revoked": [Revocation(kid=kid, before=before_s) for kid, _, before_s in lists if before_s],
    }


def _receipts(blob: bytes, _: Provision) -> dict[str, Any]:
    return {"receipts": {kid: number + 0 for kid, number in cbor.decode(blob, _MAX_BLOB)}}


_READERS: dict[str, Callable[[bytes, Provision], dict[str, Any]]] = {
    "configuration": _configuration,
    "scenario": _scenario,
    "revocations": _revocations,
    "receipts": _receipts,
}


def _locked_out(blob: bytes, at_s: int) -> list[dict[str, Any]]:
    """Return the keys that are locked out; a blob that is damaged locks nobody out."""
    body = blob[:-4]
    is_whole = len(body) >= 2 and zlib.crc32(body) == int.from_bytes(blob[-4:], "big")
    if not is_whole or body[0] != 1 or len(body) != 2 + 12 * body[1]:
        return []
    entries = [body[at : at + 12] for at in range(2, len(body), 12)]
    left = [(entry[1:9], int.from_bytes(entry[10:12], "big")) for entry in entries if entry[0] == _KEY_ENTRY]
    return [{"key": digest, "until": at_s + left_s} for digest, left_s in left if left_s]
