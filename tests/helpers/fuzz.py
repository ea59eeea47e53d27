"""Payloads for the command topics that nobody should send."""

import json
import random


def fuzzed(rng: random.Random, good: bytes) -> bytes:
    """A payload that somebody might send by mistake or on purpose."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:  # a good one with a few bytes changed
        changed = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    if kind == 2:
        return good[: rng.randrange(len(good))]
    if kind == 3:
        values = [None, -1, 2**70, 1e308, "x" * 500, [], {}, True, "\ud800", "2026-03-01"]
        keys = ["id", "ts", "note", "epoch", "from_seq", "to_seq", "__class__", ""]
        return json.dumps({rng.choice(keys): rng.choice(values) for _ in range(rng.randrange(6))}).encode()
    if kind == 4:
        return b"{" * rng.randrange(1, 1500)
    return good * rng.randrange(2, 40)
