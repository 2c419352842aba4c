"""Host tools for Vitrine locks: keys, tokens, provisioning, the phone's side of a session, the emulator.

Nothing here imports the firmware: tokens, proofs and frames are made and read by an independent implementation
(cryptography and cbor2), so that a mistake in one is not repeated by the other.
"""

__version__ = "0.7.0"
