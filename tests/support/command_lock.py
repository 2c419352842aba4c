"""A lock for tests of the tools: the firmware's own commands, under real signatures, on CPython."""

import time

from vitrine.access.provision import Issuer
from vitrine.access.revocation import Revocations, empty
from vitrine.access.scopes import parse_scopes
from vitrine.crypto import ed25519
from vitrine_tools import cbor, protocol
from vitrine_tools.keys import PrivateKey
from vitrine_tools.protocol import Op, Status

from .command_lab import LOCK, Lab

ISSUER = PrivateKey.from_seed(b"i" * 32)
NOW_S = int(time.time())


class FirmwareLock(Lab):
    """A lock whose commands are the firmware's, with the real signatures; also a session for MemoryTransport."""

    def __init__(self):
        super().__init__()
        self.now = (NOW_S, 1, 2)
        issuers = self.provision.issuers
        issuers[0] = Issuer(ISSUER.public.raw, "admin", parse_scopes("unlock admin"), [LOCK, "group:jewellery"], 60)
        self.blob.blob = empty([issuer.kid for issuer in issuers])
        self.revocations = Revocations(self.blob, self.ledger)
        self.verify = lambda issuer, message, signature: ed25519.verdict(issuer.public_key, message, signature)
        self.commands = self.new_commands()
        self.nonce = b"0123456789abcdef"
        self.answer = None
        self.seen = []

    def age_ms(self, cnonce, now_ms):
        return 1000 if cnonce == self.nonce else None

    def handle(self, request):
        op, request_id, body = cbor.decode(request, protocol.MAX_REQUEST)
        if self.answer is not None:
            status, answer = self.answer
        elif op == Op.FRESH:
            status, answer = Status.OK, {1: self.nonce, 2: self.now[1]}
        else:
            assert op == Op.COMMAND
            self.seen.append(body)
            result = self.commands.execute(body, 1)
            status, answer = (Status.OK if result.is_done else Status.REFUSED), result.body()
        return cbor.encode([request_id, int(status), answer])
