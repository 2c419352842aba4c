"""Many emulated locks at once, each a process with keys and flash of its own, at one broker and one collector."""
