"""The part of the crypto benchmark that runs in MicroPython: times, garbage, and work for the instruction counter.

micropython crypto_device.py WAY TEETH ROUNDS     (stdin: key, message, signature in hex, one line; MICROPYPATH: the
firmware, this folder)

WAY is textbook, bytecode, any (key), pinned, or load (imports and keys, nothing verified). Prints one JSON object:
the shortest verification in microseconds, and the bytes of heap that one leaves behind.
"""
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportRedeclaration=false

import gc
import json
import sys
import time

way = sys.argv[1]
teeth = int(sys.argv[2])
rounds = int(sys.argv[3])
key, message, signature = [bytes.fromhex(part) for part in sys.stdin.readline().split()]
bad = bytes([signature[0] ^ 1]) + signature[1:]

if way == "textbook":
    from textbook_ed25519 import verify

    def work(sig):
        return verify(key, message, sig)

else:
    from vitrine.crypto import comb, ed25519, edwards_int

    if way == "bytecode":
        from vitrine.crypto import sha512_int

        ed25519.engine = edwards_int
        ed25519.sha512 = sha512_int.sha512
    if way in ("pinned", "load"):
        public_key = ed25519.PublicKey(key)
        table = None
        if teeth:
            for table in comb.build(public_key, teeth):  # noqa: B007
                pass
            public_key.use_table(table)

        def work(sig):
            return public_key.verify(message, sig)

    else:

        def work(sig):
            return ed25519.verify(key, message, sig)


best = garbage = 0
if way != "load":
    if not work(signature) or work(bad):
        raise SystemExit("wrong answer")
    gc.collect()
    for _ in range(rounds):
        if way in ("textbook", "bytecode"):
            gc.collect()  # what they leave behind shall not slow them down here
        start = time.ticks_us()
        work(signature)
        elapsed = time.ticks_diff(time.ticks_us(), start)
        best = min(best, elapsed) if best else elapsed
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    work(signature)
    garbage = gc.mem_alloc() - before
print(json.dumps({"us": best, "garbage": garbage}))
