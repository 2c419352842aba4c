"""What a fleet's locks say of themselves at the broker: whether they are there, and the state of lock and door."""

import asyncio
import json
from collections.abc import Callable

from ..collector.broker import Broker
from ..commanding_broker import connected
from ..errors import LinkError
from .member import Member

_PAUSE_S = 1.0
_MAX_STATE = 1024


async def watch(broker: Broker, member: Callable[[str], Member | None]) -> None:
    """Keep the members' `is_online` and `state` as the broker says, until cancelled and over every loss of it."""
    while True:
        try:
            async with connected(broker) as client:
                for topic in ("vitrine/+/availability", "vitrine/+/state"):
                    await client.subscribe(topic, qos=1)
                async for message in client.messages:
                    _, lock_id, about = str(message.topic).split("/")
                    one = member(lock_id)
                    if one is not None and isinstance(message.payload, bytes) and len(message.payload) <= _MAX_STATE:
                        _take(one, about, message.payload)
        except LinkError:
            await asyncio.sleep(_PAUSE_S)


def _take(member: Member, about: str, payload: bytes) -> None:
    if about == "availability":
        member.is_online = payload == b"online"
        return
    try:
        state = json.loads(payload)
    except ValueError:
        state = None
    member.state = state if isinstance(state, dict) else {}
