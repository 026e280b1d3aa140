"""The oracle's chance: what is drawn of series and tick, to place a discrete value among quantiles."""

import hashlib


def drawn(series_id: str, tick: int) -> float:
    """In (0, 1): splitmix64 of the first eight bytes of the id's sha256, and the tick."""
    mask = 2**64 - 1
    x = int.from_bytes(hashlib.sha256(series_id.encode()).digest()[:8], "little")
    x = (x + tick * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (((x ^ (x >> 31)) >> 11) + 0.5) / 2**53
