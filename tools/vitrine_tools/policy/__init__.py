"""Why a lock opens, or does not: an implementation of the decision of its own, made from SPEC.md alone.

Nothing here comes from the firmware, so that where the two differ one of them is wrong.
"""
