"""A technician's right: which files make one, what a lock is shown, and what a refusal is told as."""

import pytest

from vitrine_tools import keys, protocol, tokens
from vitrine_tools.errors import ToolError
from vitrine_tools.field.authority import MINTED_S, Authority, ServiceError
from vitrine_tools.phone import Unready
from vitrine_tools.protocol import Acted, Action, Hello, Reason, Status
from vitrine_tools.tokens import Claims

LOCK = "case-12"
ISSUER, HOLDER, OTHER = (keys.PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
NONCE, CNONCE = b"n" * 16, b"c" * 16


def token(**claims):
    wanted = Claims.for_holder(
        HOLDER.public, (LOCK,), now_s=1_800_000_000, valid_s=3600, **({"scopes": ("service",)} | claims)
    )
    return tokens.issue(wanted, ISSUER)


class Phone:
    """A session that notes what a lock would see, and answers acts as it is told."""

    lock_id = LOCK

    def __init__(self, *answers):
        self.answers = list(answers)
        self.presented, self.acts = [], []
        self.fresh_asked = 0

    async def hello(self):
        return Hello(LOCK, 1, NONCE, 0, 0, bytes(32))

    async def present(self, data):
        self.presented.append(data)
        return True

    async def fresh(self):
        self.fresh_asked += 1
        return CNONCE, 0

    async def act(self, action, *, token, holder, nonce, is_user_verified):
        self.acts.append((action, token, holder.public, nonce, is_user_verified))
        return self.answers.pop(0) if self.answers else Acted(Status.OK, 0, b"m" * 16, 1, 1)


def refusal(reason, status=Status.REFUSED):
    return Acted(status, reason, NONCE, None, None)


async def test_a_token_is_shown_as_it_is():
    data = token()
    authority, phone = Authority(data, HOLDER, is_user_verified=True), Phone()
    acted = await authority.ask(phone, Action.SERVICE)
    assert phone.presented == [data] and phone.fresh_asked == 0
    assert phone.acts == [(Action.SERVICE, data, HOLDER.public, NONCE, True)]
    await authority.again(phone, Action.TEST, acted.nonce)
    assert phone.acts[1][0] == Action.TEST and phone.acts[1][3] == b"m" * 16


async def test_an_issuer_makes_one_that_needs_no_time_once():
    authority, phone = Authority(issuer=ISSUER, sub=b"engineer"), Phone()
    await authority.ask(phone, Action.SERVICE)
    made = tokens.parse(phone.presented[0])
    claims = made.claims
    assert made.is_signed_by(ISSUER.public) and claims.audiences == (LOCK,) and claims.scopes == ("service",)
    assert (claims.exi_s, claims.cnonce, claims.sub, claims.exp_s, claims.nbf_s) == (
        MINTED_S,
        CNONCE,
        b"engineer",
        None,
        None,
    )
    assert phone.acts[0][2] == claims.holder != ISSUER.public
    await authority.ask(phone, Action.SERVICE)
    assert phone.presented[1] == phone.presented[0] and phone.fresh_asked == 1


async def test_a_refusal_says_what_can_be_done():
    for acted, words in (
        (refusal(Reason.ScopeMissing), "token issue --scope service"),
        (refusal(Reason.TimeUntrusted), "use --key"),
        (refusal(Reason.LifetimeExceeded), "LifetimeExceeded"),
        (refusal(99), "reason 99"),
        (refusal(None), "proved nothing"),
        (refusal(None, Status.BUSY), "busy"),
    ):
        with pytest.raises(ServiceError, match=words) as caught:
            await Authority(token(), HOLDER).ask(Phone(acted), Action.SERVICE)
        assert caught.value.acted is acted


async def test_a_lock_that_does_not_even_say_hello():
    phone = Phone()

    async def hello():
        raise Unready(refusal(Reason.NotProvisioned))

    phone.hello = hello
    with pytest.raises(ServiceError, match="vitrine provision"):
        await Authority(token(), HOLDER).ask(phone, Action.SERVICE)


async def test_a_session_that_has_no_nonce_does_not_go_on():
    with pytest.raises(ToolError, match="no session"):
        await Authority(token(), HOLDER).again(Phone(), Action.TEST, None)
    with pytest.raises(ToolError, match="no session"):
        await Authority(issuer=ISSUER).again(Phone(), Action.TEST, NONCE)


def test_files_that_make_a_right_and_files_that_make_none(tmp_path):
    holder, other, issuer, data = (tmp_path / name for name in ("holder.pem", "other.pem", "issuer.pem", "token"))
    HOLDER.save(holder)
    OTHER.save(other)
    ISSUER.save(issuer)
    data.write_bytes(token())
    Authority.load(data, holder, None)
    Authority.load(None, None, issuer, sub=b"engineer")
    for files, words in (
        ((None, None, None), "give --token"),
        ((data, None, None), "give --token"),
        ((None, holder, None), "give --token"),
        ((data, holder, issuer), "give --token"),
        ((None, holder, issuer), "give --token"),
        ((data, None, issuer), "give --token"),
        ((data, other, None), "not the key"),
    ):
        with pytest.raises(ToolError, match=words):
            Authority.load(*files)
    with pytest.raises(ToolError, match="--sub"):
        Authority.load(data, holder, None, sub=b"engineer")


def test_every_reason_of_this_tools_advice_is_one():
    from vitrine_tools.field import authority

    assert all(protocol.reason_name(reason) in Reason.__members__ for reason in authority._ADVICE)
