"""Seeds derived from what they are used for."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A seed that depends on every part and on nothing else (63 bits, equal on every machine)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
