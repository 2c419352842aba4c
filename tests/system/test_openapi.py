"""The lock does over HTTP what its OpenAPI document says, whatever is sent: by schemathesis, a few hundred requests."""

import asyncio
import json
import subprocess
import sys

import pytest

from support.http_client import free_port, network_blob
from support.store import FAULT, of_kind
from vitrine_tools.protocol import Op
from vitrine_tools.schemas import openapi

CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"
LIMIT_S = 60


async def run(document, port, *words):
    """Run schemathesis against a lock; return (exit status, what it said)."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", f"http://127.0.0.1:{port}"],
        *words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=document.parent,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, said.decode()


@pytest.fixture
async def lock(store):
    lock = store.lock(virtual=False)
    lock.http_port = free_port()
    lock.flash.create()
    lock.flash.nvs_put("vitrine", "network", network_blob(lock.http_port))
    async with lock:
        await lock.wait_advertising()
        yield lock


async def test_the_lock_keeps_to_its_document(lock, tmp_path):
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(openapi.document()))
    status, said = await run(
        document, lock.http_port, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
        "--max-examples", "15", "--generation-deterministic",
    )  # fmt: skip
    assert status == 0, said
    assert f"Selected: {len(Op)}/{len(Op)}" in said and f"Tested: {len(Op)}" in said, said
    assert not of_kind(lock, FAULT), lock.events[-5:]
