"""Runs on the MicroPython unix port: SHA-512 of each line of stdin (hex, "-" for nothing), in hex."""

import sys

from vitrine.crypto.engine import sha512

while True:
    line = sys.stdin.readline().strip()
    if not line:
        break
    print(sha512(bytes.fromhex(line if line != "-" else "")).hex())
