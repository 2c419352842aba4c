"""Ed25519 and SHA-512 for stock firmware. Imports nothing of ours."""
