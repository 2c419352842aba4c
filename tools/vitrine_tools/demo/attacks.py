"""Act two: five attacks. Each must be refused, for the right reason on record, without a twitch of the strike."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .. import cbor, cose, describe, names, protocol, tokens
from ..emulator import BumblePhone, EmulatedLock, VirtualRadio
from ..phone import Phone
from ..protocol import Action, Reason
from . import cast
from .stage import Stage


@dataclass(frozen=True, slots=True)
class Attack:
    """`run(phone, players)` returns what the lock told the phone: a reason, or None for a bare refusal; or "opened"."""

    who: str
    name: str
    run: Callable[[Phone, cast.Cast], Awaitable[int | str | None]]
    told: int | None
    recorded: int


async def _open(phone: Phone, token: bytes, players: cast.Cast, *, with_holder: bool = True) -> int | str | None:
    holder = players.holder if with_holder else players.thief
    outcome = await phone.open(token, holder)
    return "opened" if outcome.is_granted else outcome.reason


async def _expired(phone: Phone, players: cast.Cast) -> int | str | None:
    return await _open(phone, players.token(age_s=9 * 3600), players)


async def _elsewhere(phone: Phone, players: cast.Cast) -> int | str | None:
    return await _open(phone, players.token(audience="case-13"), players)


async def _forged(phone: Phone, players: cast.Cast) -> int | str | None:
    """The thief signs under the issuer's name: its kid stands in the header."""
    genuine = tokens.parse(players.token())
    payload = cbor.encode(genuine.claims.to_map())
    return await _open(phone, cose.sign1(genuine.sign1.header, payload, players.thief), players)


async def _replayed(phone: Phone, players: cast.Cast) -> int | str | None:
    """The thief has listened to a whole session and sends the same token and the same proof again."""
    token = players.token()
    heard = await phone.hello()
    proof = protocol.make_proof(
        players.holder, cast.LOCK_ID, heard.nonce, Action.UNLOCK, False, protocol.token_hash(token)
    )
    await phone.hello()  # a new session has a new nonce
    await phone.present(token)
    body = protocol.act_body(Action.UNLOCK, False, proof)
    acted = protocol.read_acted(*await phone.ask(protocol.Op.ACT, body))
    return "opened" if acted.status == protocol.Status.OK else acted.reason


async def _stolen(phone: Phone, players: cast.Cast) -> int | str | None:
    return await _open(phone, players.token(), players, with_holder=False)


ATTACKS = (
    Attack("phone", "tries an expired token", _expired, Reason.Expired, Reason.Expired),
    Attack("phone", "tries a token for another lock", _elsewhere, Reason.AudienceMismatch, Reason.AudienceMismatch),
    Attack("thief", "tries a token he signed himself", _forged, None, Reason.TokenForged),
    Attack("thief", "plays back a proof he overheard", _replayed, None, Reason.ProofForged),
    Attack("thief", "tries a stolen token, without its key", _stolen, None, Reason.ProofForged),
)


async def play(stage: Stage, players: cast.Cast, radio: VirtualRadio, lock: EmulatedLock) -> None:
    """Run every attack; each is checked three ways: what the phone is told, what is on record, what the strike did."""
    stage.heading("Five attacks")
    for attack in ATTACKS:
        before = len(lock.pin_trace)
        stage.say(attack.who, attack.name)
        async with BumblePhone(radio, attack.who) as radio_phone:
            await radio_phone.connect(await radio_phone.scan(names.hint(cast.LOCK_ID)))
            told = await attack.run(Phone(radio_phone, cast.LOCK_ID), players)
        await stage.expect(
            f"{protocol.reason_name(attack.recorded)} on record",
            lambda r, wanted=attack.recorded: r.get(1) == describe.LOCK_OPERATION_ERROR and r.get(4) == wanted,
        )
        moved = [entry for entry in lock.pin_trace[before:] if entry[1] == "STRIKE" and entry[2]]
        said = "nothing" if told is None else protocol.reason_name(told) if isinstance(told, int) else told
        is_ok = told == attack.told and not moved
        stage.check(attack.who, "is left standing", f"was told {said}; the strike did not move", is_ok)
