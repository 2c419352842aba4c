"""Tells what phones say over bleak, HTTP and a console's wire, in a test's own process and in programs that it runs.

`sitecustomize` beside this (in tap_site/) does it in each Python that a test starts: notes go to the file $VITRINE_TAP,
one JSON list a line, and the test reads them when it is over. Imports nothing that a program does not import itself.

A note is ["ble", connection, "written" or "notified", hex of a chunk], or ["wire", connection, "asked" or "answered",
hex of a message], or ["http", op, request, HTTP status, answer] with the hex of both bodies' CBOR, empty where none is.
"""

import functools
import importlib.abc
import importlib.machinery
import itertools
import json
import os
import sys

BLEAK, HTTP = "vitrine_tools.ble.bleak_link", "vitrine_tools.http_phone"
CONSOLE = "vitrine_tools.field.console_link"
_numbers = itertools.count(1)


def _name_of(connection):
    if not hasattr(connection, "tap_name"):
        connection.tap_name = f"{os.getpid()}-{next(_numbers)}"
    return connection.tap_name


def wrap_bleak(module, note):
    """The module's BleakLink, with its two ways told of; returns what to set: [(class, name, function)]."""
    link = module.BleakLink
    write_chunk, read_chunk = link.write_chunk, link.read_chunk

    @functools.wraps(write_chunk)
    async def tapped_write(self, chunk):
        note(["ble", _name_of(self), "written", bytes(chunk).hex()])
        await write_chunk(self, chunk)

    @functools.wraps(read_chunk)
    async def tapped_read(self):
        chunk = await read_chunk(self)
        note(["ble", _name_of(self), "notified", bytes(chunk).hex()])
        return chunk

    return [(link, "write_chunk", tapped_write), (link, "read_chunk", tapped_read)]


def wrap_http(module, note):
    """The same of the module's HttpPhone."""
    phone, cbor = module.HttpPhone, module.cbor
    exchange = phone._exchange

    @functools.wraps(exchange)
    def tapped_exchange(self, op, body):
        code, session, data = exchange(self, op, body)
        request = "" if op in module.GETS else cbor.encode(body).hex()
        note(["http", int(op), request, code, cbor.encode(data).hex() if code in module.STATUSES else ""])
        return code, session, data

    return [(phone, "_exchange", tapped_exchange)]


def wrap_console(module, note):
    """The same of the module's Wire."""
    wire = module.Wire
    exchange, answer = wire.exchange, wire.answer

    @functools.wraps(exchange)
    def tapped_exchange(self, request, timeout_s):
        note(["wire", _name_of(self), "asked", bytes(request).hex()])
        return exchange(self, request, timeout_s)

    @functools.wraps(answer)
    def tapped_answer(self, end_s):
        message = answer(self, end_s)
        note(["wire", _name_of(self), "answered", bytes(message).hex()])
        return message

    return [(wire, "exchange", tapped_exchange), (wire, "answer", tapped_answer)]


WRAPS = {BLEAK: wrap_bleak, HTTP: wrap_http, CONSOLE: wrap_console}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds these modules as always, and has them wrapped when they have been imported."""

    def __init__(self, note):
        self._note = note

    def find_spec(self, name, path, target=None):
        wrap = WRAPS.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if wrap else None
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for owner, attribute, function in wrap(module, self._note):
                setattr(owner, attribute, function)

        spec.loader.exec_module = exec_module
        return spec


def install(path):
    """In a program of a test's: add the notes to this file."""

    def note(what):
        with open(path, "a") as file:  # one write of a line at the end: programs do not mix theirs
            file.write(json.dumps(what) + "\n")

    sys.meta_path.insert(0, _Finder(note))
