"""The OpenAPI document comes from the lock's own tables, and says no more than they."""

import pytest

from vitrine_tools import protocol
from vitrine_tools.schemas import openapi


def test_every_request_is_there():
    paths = openapi.document()["paths"]
    assert set(paths) == {f"/v1/{op.name.lower()}" for op in protocol.Op}
    assert [path for path, item in paths.items() if "get" in item] == ["/v1/hello", "/v1/status", "/v1/fresh"]


def test_fields_are_those_of_the_lock():
    paths = openapi.document()["paths"]
    link = openapi.tables()
    for number, name in enumerate(link["_PATHS"]):
        item = paths[f"/v1/{name}"]
        operation = item.get("get") or item["post"]
        schema = operation["responses"]["200"]["content"][openapi.JSON]["schema"]
        told = set(link["_ANSWERS"][number].split()) - ({"-", "reason"} if name == "command" else {"-"})
        assert set(schema["properties"]) == told, name


def test_a_field_that_nobody_described_makes_no_document(tmp_path):
    source = tmp_path / "http.py"
    source.write_text(openapi.SOURCE.read_text().replace('"token"', '"tokens"'))
    with pytest.raises(openapi.TableError, match="tokens"):
        openapi._body(openapi.tables(source)["_FIELDS"][1], required=True)
    source.write_text("_PATHS = ()\n")
    with pytest.raises(openapi.TableError, match="lacks _ANSWERS, _BODY_MAX"):
        openapi.tables(source)
