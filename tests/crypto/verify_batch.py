"""Runs on the MicroPython unix port: answer a batch of signatures read from stdin, one JSON line for each case.

A line in: [key, message, signature] in hex. A line out: one character for each way to verify, in the order
any-key native, pinned native, any-key bytecode (a few only: slow), "-" where there is none.
"""

import json
import sys

from vitrine.crypto import comb, ed25519, edwards_int
from vitrine.crypto.ed25519 import PublicKey, verify

native = ed25519.engine
tables = {}
number = 0


def pinned(key, message, signature):
    """Verify with a comb table of 3 teeth: "-" for a key that cannot have one."""
    try:
        public_key = PublicKey(key)
    except ValueError:
        return "0"
    table = list(comb.build(public_key, 3))[-1]
    if not table:
        return "-"
    public_key.use_table(table)
    return "01"[public_key.verify(message, signature)]


while True:
    line = sys.stdin.readline()
    if not line:
        break
    case = [bytes.fromhex(part) for part in json.loads(line)]
    answer = "01"[verify(*case)]
    answer += pinned(*case) if number % 8 == 0 else "-"
    if number % 16 == 0:
        ed25519.engine = edwards_int
        answer += "01"[verify(*case)]
        ed25519.engine = native
    else:
        answer += "-"
    number += 1
    print(answer)
