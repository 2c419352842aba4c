"""Schemas: valid themselves, as the code's own tables have it, and refusing what does not fit."""

import copy
import json
import re
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from support.message_tap import FrameTap, cbor_misfit, journal_misfit, misfit, topic_misfit
from support.paths import ROOT
from support.session_lab import VECTORS, Lab
from vitrine_tools import cbor, commanding, configuration, cose, keys, protocol, tokens
from vitrine_tools.audit import records
from vitrine_tools.audit.sealed import Keys, acknowledge, make_batch
from vitrine_tools.commanding import Command
from vitrine_tools.errors import ToolError
from vitrine_tools.protocol import Op, Reason, Status
from vitrine_tools.schemas import asyncapi, payloads
from vitrine_tools.schemas.forms import project
from vitrine_tools.tokens import Claims

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # two of its fields are called as a method of pydantic's
    from asyncapi3.models import AsyncAPI3

ISSUER = keys.PrivateKey.from_seed(b"i" * 32)
HOLDER = keys.PrivateKey.from_seed(b"h" * 32)
LOCK = "case-12"


def test_every_schema_is_one():
    for name in payloads.NAMES:
        schema = payloads.schema(name)
        Draft202012Validator.check_schema(schema)
        assert schema["title"] and schema["$id"].endswith(name)
    # what a schema says that bytes contain is one of the schemas
    contained = set(re.findall(r"contains: ([a-z-]+)", json.dumps([payloads.schema(name) for name in payloads.NAMES])))
    assert contained and contained <= set(payloads.NAMES)


def test_the_asyncapi_document_is_one_and_refers_to_what_it_has():
    document = asyncapi.document()
    AsyncAPI3.model_validate(document)
    for reference in references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema["schema"])
    # each channel is used, each topic is one of SPEC.md's, each of those is there
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    assert used | {"answer"} == set(document["channels"])
    spec = (ROOT / "firmware" / "SPEC.md").read_text()
    section = spec[spec.index("\n## 10. MQTT") : spec.index("\n### 10.1")]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    told = {topic for line in rows for topic in re.findall(r"`(vitrine/[^`]+)`", line.split("|")[1])}
    topics = {channel["address"] for channel in document["channels"].values()} - {
        protocol.REQUEST_UUID,
        protocol.ANSWER_UUID,
    }
    assert {topic.replace("LOCK", "{lock}").replace("NAME", "{group}") for topic in told} == topics


def test_a_document_that_is_none_is_refused():
    for spoil in (
        lambda d: d.pop("info"),
        lambda d: d["info"].pop("title"),
        lambda d: d.update(asyncapi="2.6.0"),
        lambda d: d.update(unknown=1),
        lambda d: d["operations"]["sendState"].update(action="publish"),
        lambda d: d["operations"]["sendState"].pop("channel"),
    ):
        document = copy.deepcopy(asyncapi.document())
        spoil(document)
        with pytest.raises(ValidationError):
            AsyncAPI3.model_validate(document)


def test_bytes_are_told_from_text_and_counted():
    assert project({1: [b"\x0a\x1b", "h'0a1b", None, True], -70001: b""}) == {
        "1": ["h'0a1b'", "h'0a1b", None, True],
        "-70001": "h''",
    }
    good = [1, 7, 3, bytes(16)]
    assert cbor_misfit("acknowledgement", cbor.encode(good)) is None
    for bad in ([1, 7, 3, bytes(15)], [1, 7, 3, "0" * 32], [True, 7, 3, bytes(16)], [1, -1, 3, bytes(16)], good[:3]):
        assert cbor_misfit("acknowledgement", cbor.encode(bad)), bad


def test_records_are_as_the_firmware_bounds_them():
    from vitrine.audit import record

    kinds = {record._INT: "integer", record._BYTES: "string", record._TEXT: "string", record._BOOL: "boolean"}
    kinds |= {record._RANGE: "array", record._SUBS: "array"}
    properties = payloads.schema("record")["properties"]
    assert set(properties) == {str(key) for key in record._FIELDS} == {str(key) for key in records.FIELDS}
    assert set(properties["1"]["enum"]) == set(record._CLASS_OF_KIND)
    for key, (kind, least, most) in record._FIELDS.items():
        schema = properties[str(key)]
        if kind == record._BYTES:
            for size, fits in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
                assert size < 0 or Draft202012Validator(schema).is_valid(project(bytes(size))) is fits, (key, size)
        elif kind == record._INT and "enum" not in schema:
            assert (schema["minimum"], schema["maximum"]) == (least, most), key
        elif "enum" not in schema:
            assert schema["type"] == kinds[kind], key


def test_batches_and_what_is_in_them():
    journal_keys = Keys(b"r" * 32, LOCK, 1_800_000_000)
    body = {1: 2, 2: 1_800_000_000, 3: 1, 4: 0, 5: 1, 6: 7, 7: b"p-1", 8: bytes(16), 13: bytes(8), 18: 1}

    def batch(body):
        records = [(0, cbor.encode(body))]
        return make_batch(journal_keys, first=0, to=1, count=1, head=bytes(32), records=records)

    assert journal_misfit(batch(body)) is None
    assert journal_misfit(acknowledge(journal_keys, 7).to_bytes()) is None
    for change in (
        {1: 99},
        {2: -1},
        {32: 1},
        {31: bytes(31)},
        {7: b""},
        {7: "p-1"},
        {15: "x" * 33},
        {16: 1},
        {20: [1]},
    ):
        assert "record" in journal_misfit(batch(body | change)), change
    assert journal_misfit(batch({1: 2})) and journal_misfit(b"") and journal_misfit(cbor.encode([b"x", b"y"]))


def test_topics():
    good = {"lock": "Locked", "door": "DoorClosed", "time": "trusted", "scenario": "normal", "alarms": ["DoorAjar"]}
    good |= {"version": "0.7.0"}
    assert topic_misfit("state", json.dumps(good).encode()) is None
    for change in ({"lock": "locked"}, {"alarms": ["7"]}, {"alarms": ["DoorAjar"] * 2}, {"person": "anna"}):
        assert topic_misfit("state", json.dumps(good | change).encode()), change
    assert topic_misfit("availability", b"online") is None and topic_misfit("availability", b"Online")
    assert topic_misfit("fresh", b'{"cnonce": "%s", "time": "untrusted"}' % (b"0a" * 16)) is None
    assert topic_misfit("fresh", b'{"cnonce": "0a", "time": "untrusted"}') and topic_misfit("fresh", b"{")
    assert topic_misfit("result", b'{"id": "%s", "reason": "Granted"}' % (b"0a" * 8)) is None
    assert topic_misfit("result", b'{"id": "%s", "reason": "Fine"}' % (b"0a" * 8))


def test_tokens_and_proofs():
    claims = Claims.for_holder(
        HOLDER.public,
        (LOCK, "group:x"),
        now_s=1_800_000_000,
        valid_s=60,
        scopes=("unlock", "hold"),
        windows=((62, 540, 1020),),
        sub=b"p-1",
        ref=b"sale",
        uses=1,
        persons=2,
        needs_uv=True,
        is_duress=True,
        revoke=(0, 1, ((1, bytes(8), 0), (4, 7, 0))),
    )
    token = tokens.parse(tokens.issue(claims, ISSUER))
    assert cbor_misfit("token", token.data) is None
    assert cbor_misfit("token-header", token.sign1.protected) is None
    assert cbor_misfit("token-claims", token.sign1.payload) is None
    whole = cbor.decode(token.sign1.payload, 512)
    for change in (
        {4: -1},
        {9: "unlock  hold"},
        {9: "open"},
        {-70002: False},
        {-70003: 0},
        {10: 1},
        {40: 5},
        {7: b"x"},
    ):
        assert misfit("token-claims", project(whole | change)), change
    for case in VECTORS["cases"].values():
        if case.get("reason", 0) == 0 and case.get("proof"):
            assert cbor_misfit("proof", bytes.fromhex(case["proof"])) is None
    without_time = {key: value for key, value in whole.items() if key not in (4, 5, 6)} | {39: bytes(16), 40: 60}
    assert misfit("token-claims", project(without_time | {7: bytes(8)})) is None
    assert misfit("token-claims", project(without_time | {7: bytes(9)}))
    for missing in (2, 3, 7, 8, 9, 39, 40):
        rest = {key: value for key, value in (without_time | {7: bytes(8)}).items() if key != missing}
        assert bool(misfit("token-claims", project(rest))) is (missing != 2), missing
    payload = protocol.proof_payload(LOCK, bytes(16), 1, True, bytes(32))
    assert cbor_misfit("proof-payload", payload) is None


BODIES = {
    1: 1_800_000_000,
    2: {1: 0, 2: [[1, bytes(8), 0], [4, 7, 0]], 3: bytes(8)},
    3: configuration.Configuration().to_body(),
    4: {2: True},
    5: {1: 1, 2: b"sale-4711"},
    6: None,
    7: None,
}


def test_commands():
    for number, body in BODIES.items():
        is_time = number == commanding.Number.TIME
        command = Command(
            number=number, audiences=(LOCK,), body=body, sequence=None if is_time else 9, cnonce=bytes(16)
        )
        sign1 = commanding.sign(command, ISSUER).sign1
        assert cbor_misfit("command-header", sign1.protected) is None
        assert cbor_misfit("command-payload", sign1.payload) is None, number
        assert cbor_misfit("command", cose.sign1(sign1.header, sign1.payload, ISSUER)) is None
        for wrong in ({1: 99}, {2: []}, {3: b"short"}, {4: 0}, {6: bytes(15)}, {8: 1}, {7: "x"}):
            assert misfit("command-payload", project(command.to_map() | wrong)), (number, wrong)
    unlimited = replace(Command(number=6, audiences=(LOCK,), body=None, sequence=1), cnonce=None, exp_s=None)
    assert misfit("command-payload", project(unlimited.to_map()))


def test_settings_are_the_configurations():
    settings = payloads.schema("command-payload")["oneOf"][2]["properties"]["7"]["properties"]["2"]["properties"]
    assert {int(key): value["title"] for key, value in settings.items()} == configuration.NAME_OF_KEY
    assert configuration.SETTINGS["lockout_tries"].most == settings["23"]["maximum"]


# what a lock takes for a request is what fits

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-2, 5), inner, max_size=4),
    max_leaves=6,
)
REQUESTS = (
    st.tuples(st.integers(-1, 9), st.integers(-1, 70_000), VALUES)
    | st.tuples(st.integers(0, 7), st.integers(0, 65_535), st.none() | st.binary(max_size=20))
    | st.tuples(st.just(2), st.just(1), st.fixed_dictionaries({1: VALUES, 2: VALUES | st.booleans(), 3: VALUES}))
    | st.tuples(
        st.just(2),
        st.just(1),
        st.fixed_dictionaries({1: st.integers(-5, 300), 2: st.booleans(), 3: st.binary(max_size=9)}),
    )
    | st.tuples(st.just(5), st.just(1), st.dictionaries(st.integers(1, 2), VALUES, min_size=1, max_size=2))
)


@settings(max_examples=300, deadline=None)
@given(REQUESTS)
def test_a_lock_calls_malformed_what_does_not_fit_and_nothing_else(request):
    data = cbor.encode(list(request))
    answer = cbor.decode(Lab().channel().handle(data), 512)
    assert (answer[1] == Status.MALFORMED) is bool(misfit("request", project(list(request)))), answer
    assert misfit("answer", project(answer)) is None
    if answer[1] != Status.MALFORMED:
        assert misfit(f"answer-{Op(request[0]).name.lower()}", project(answer)) is None


def test_an_unprovisioned_lock_answers_within_the_schema():
    lab = Lab(is_provisioned=False)
    for op in Op:
        answer = cbor.decode(lab.channel().handle(cbor.encode([op.value, 1, None])), 512)
        assert answer[2] == {1: int(Reason.NotProvisioned)}
        assert misfit(f"answer-{op.name.lower()}", project(answer)) is None


# the tap that the system tests have


def exchange(request, answer):
    """What the tap says of a request and its answer."""
    wrong = []
    tap = FrameTap(wrong)
    for chunk in protocol.split(cbor.encode(request), 247):
        tap.written(chunk)
    for chunk in protocol.split(cbor.encode(answer), 23):
        tap.notified(chunk)
    return wrong


def test_the_tap_finds_what_does_not_fit():
    hello = {1: LOCK, 2: 1, 3: bytes(16), 4: 1, 5: [3, bytes(32)]}
    assert exchange([0, 7, None], [7, 0, hello]) == []
    assert exchange([1, 7, b"x"], [7, 1, None]) == []
    assert exchange([0, 7, 1], [7, 3, None]) == []
    assert exchange([9, 7, None], [7, 3, None]) == []
    for request, answer in (
        ([0, 7, None], [7, 0, hello | {6: "anna"}]),
        ([0, 7, None], [7, 0, hello | {3: bytes(15)}]),
        ([0, 7, None], [7, 0, None]),  # right for identify, not for this
        ([0, 7, None], [7, 3, None]),  # fits, and is called malformed
        ([0, 7, 1], [7, 0, hello]),  # does not fit, and is taken
        ([2, 7, {1: 1, 2: True, 3: b""}], [7, 1, {1: 0, 2: bytes(16)}]),  # refused as Granted
        ([0, 7, None], [7, 4, None]),
        ([0, 7, None], "hello"),
    ):
        assert exchange(request, answer), (request, answer)


def test_the_command_line_prints_them(capsys):
    from vitrine_tools.commands import schema

    schema.list_names()
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(payloads.NAMES)
    for name in listed:
        schema.json_schema(name)
        assert json.loads(capsys.readouterr().out) == payloads.schema(name)
    schema.asyncapi()
    assert json.loads(capsys.readouterr().out) == asyncapi.document()
    with pytest.raises(ToolError, match="there is no schema 'x'"):
        schema.json_schema("x")


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
