"""Which firmware this is: the version for people, and its place in the one line of updates (SPEC.md section 20)."""

VERSION = "0.7.0"
# higher with every release, never used twice: a lock takes no update at or below the highest that it has confirmed
SEQUENCE = 7
