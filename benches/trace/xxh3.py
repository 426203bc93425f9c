"""XXH3-128 of short strings: the digest by which the store knows a key.

Only lengths of 17 to 128 bytes, where XXH3 takes one of its paths; every key of a replay is that long. Written after
the specification (Cyan4973/xxHash, doc/xxhash_spec.md) and compared with the store's own implementation in the tests.
"""

from __future__ import annotations

import struct

LENGTH_MIN, LENGTH_MAX = 17, 128

_MASK = (1 << 64) - 1
_PRIME_1, _PRIME_2, _PRIME_4 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63
_AVALANCHE = 0x165667919E3779F9

# The first 128 bytes of the default secret; longer inputs would need the rest.
_SECRET = struct.unpack("<16Q", bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
))


def digest(data: bytes) -> int:
    """XXH3-128 with seed 0."""
    length = len(data)
    if not LENGTH_MIN <= length <= LENGTH_MAX:
        raise ValueError(f"{length} bytes; this computes digests of {LENGTH_MIN} to {LENGTH_MAX}")
    low, high = length * _PRIME_1 & _MASK, 0
    # Pairs of 16 bytes, one from the front and one from the end, from the middle outward.
    for pair in range((length - 1) // 32, -1, -1):
        front_0, front_1 = struct.unpack_from("<2Q", data, 16 * pair)
        back_0, back_1 = struct.unpack_from("<2Q", data, length - 16 * (pair + 1))
        secret = _SECRET[4 * pair:4 * pair + 4]
        low = (low + _folded(front_0 ^ secret[0], front_1 ^ secret[1]) & _MASK) ^ (back_0 + back_1 & _MASK)
        high = (high + _folded(back_0 ^ secret[2], back_1 ^ secret[3]) & _MASK) ^ (front_0 + front_1 & _MASK)
    mixed = low * _PRIME_1 + high * _PRIME_4 + length * _PRIME_2 & _MASK
    return (-_avalanche(mixed) & _MASK) << 64 | _avalanche(low + high & _MASK)


def _folded(left: int, right: int) -> int:
    product = left * right
    return product & _MASK ^ product >> 64


def _avalanche(value: int) -> int:
    value = (value ^ value >> 37) * _AVALANCHE & _MASK
    return value ^ value >> 32
