"""The digest is the store's: the values below came from the Rust crate twox-hash that the library uses."""

from __future__ import annotations

import unittest

import context  # noqa: F401
import xxh3

# Effective keys of the replay: the length of an empty namespace in one byte, then the key.
KEYS = {
    "bench-trace/block/0": 0xE9A6B34BD918FF79A8B9556E88500B3F,
    "bench-trace/block/7": 0x87F3F0FE5CA70F45AA2E864BCA81E007,
    "bench-trace/block/182789": 0xDA4045148FFE71986B3BAF64229B69CD,
    "bench-trace/block/18446744073709551615": 0xF818BFF6A1CBF70803B0AE727965CE3C,
}
# Lengths at both ends of each number of pairs; byte i is 7 i + 3.
LENGTHS = {
    17: 0xBFD327EDCC2FBD12EEED7654312A26D7,
    32: 0x4F130F27AB6BAF45D761FD22E8AD5262,
    33: 0xD15B272993D9830F4193C535612AC940,
    45: 0x53E78B811500813C69152E7BCE3A2DBD,
    64: 0xFED953FE6A8B2B63AA549D72C69CD267,
    65: 0x9F5580903F79BEC343622EA01271A860,
    96: 0x2A350495986DB37A0AB63BCFBC907ABB,
    97: 0x3FFE2E0F781D623C8D17D1AFEC22619E,
    128: 0x1B1962A096BAC78BC580008B6C92AC53,
}


class Digest(unittest.TestCase):
    def test_keys_of_the_replay_have_the_digest_that_the_store_computes(self) -> None:
        for key, expected in KEYS.items():
            with self.subTest(key):
                self.assertEqual(xxh3.digest(b"\0" + key.encode()), expected)

    def test_every_number_of_pairs_is_right(self) -> None:
        for length, expected in LENGTHS.items():
            with self.subTest(length):
                self.assertEqual(xxh3.digest(bytes((7 * i + 3) % 256 for i in range(length))), expected)

    def test_lengths_that_take_another_path_are_refused(self) -> None:
        for length in (0, 16, 129):
            with self.subTest(length), self.assertRaises(ValueError):
                xxh3.digest(bytes(length))


if __name__ == "__main__":
    unittest.main()
