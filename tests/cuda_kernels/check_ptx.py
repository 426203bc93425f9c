#!/usr/bin/env python3
"""Runs the checked-in PTX of the kernels and compares it with the library's checksums and with plain copies."""

import pathlib
import random
import unittest

from ptx_machine import Fault, Memory, kernels_of

HERE = pathlib.Path(__file__).parent
PTX = HERE.parents[1] / "src/cuda/kernels/kernels.ptx"
# Where the arrays lie; far from each other, so that no access reaches from one to the next.
DATA, TABLE, TARGET = 0x7000000000, 0x7100000000, 0x7200000000
GUARD = 0x6B


def bytes_of(seed, length):
    """The bytes that a seed stands for; main.rs has the same."""
    data = bytearray(length)
    for at in range(length):
        seed = (seed * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        data[at] = seed >> 56
    return data


def words(*values):
    return bytearray(b"".join(value.to_bytes(8, "little") for value in values))


def rows():
    for line in (HERE / "sums.tsv").read_text().splitlines():
        if not line.startswith("#"):
            seed, length, total = line.split("\t")
            yield int(seed), int(length), int(total, 16)


class PtxTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kernels = kernels_of(PTX.read_text())

    def compare_sums(self, chosen, skew, grid=2, threads=64):
        memory, table, at = Memory(), [], DATA
        for seed, length, _ in chosen:
            # Each block is an allocation of its own: not a byte beside it may be read.
            address = at + skew
            memory.add(address, bytes(bytes_of(seed, length)))
            table += [address, length]
            at += (length // 256 + 2) * 256
        memory.add(TABLE, bytes(words(*table)))
        sums = memory.add(TARGET, bytearray([GUARD] * 8 * len(chosen)))
        self.kernels["nixl_store_checksum"].run(grid, threads, [TABLE, len(chosen), TARGET], memory)
        found = [int.from_bytes(sums[i : i + 8], "little") for i in range(0, len(sums), 8)]
        for (_, length, total), value in zip(chosen, found):
            self.assertEqual(value, total, f"{length} bytes, {skew} past an aligned address")

    def test_sums_are_the_librarys(self):
        all_rows = list(rows())
        short = [row for row in all_rows if row[1] <= 240]
        middle = [row for row in all_rows if 240 < row[1] <= 2100]
        long = [row for row in all_rows if row[1] > 2100]
        for skew in (0, 4, 1):
            self.compare_sums(short[skew % 3 :: 3] + middle[skew :: 23] + long[skew :: 131], skew)
        around_rounds = [row for row in middle if row[1] % 64 in (0, 1, 63)]
        self.compare_sums(around_rounds, 0, grid=3, threads=128)

    def test_the_machine_keeps_to_bounds_and_alignment(self):
        row = (1, 500, 0)
        with self.assertRaisesRegex(Fault, "out of bounds"):
            memory = Memory()
            memory.add(DATA, bytes(bytes_of(1, row[1] - 1)))
            memory.add(TABLE, bytes(words(DATA, row[1])))
            memory.add(TARGET, bytearray(8))
            self.kernels["nixl_store_checksum"].run(1, 32, [TABLE, 1, TARGET], memory)
        with self.assertRaisesRegex(Fault, "not aligned"):
            self.kernels["nixl_store_checksum"].run(1, 32, [TABLE + 4, 1, TARGET], Memory())

    def compare_copies(self, numbers, count, longest, grid, threads):
        pieces, at, offset = [], 0, 0
        for _ in range(count):
            length = numbers.randrange(longest + 1)
            at += numbers.randrange(40)
            offset += numbers.choice((0, numbers.randrange(40)))
            pieces.append((at, offset, length))
            at, offset = at + length, offset + length
        table = bytes(words(*[word for at_piece, o, n in pieces for word in (DATA + at_piece, o, n)]))
        for kernel, from_memory in (("nixl_store_gather", True), ("nixl_store_scatter", False)):
            memory = Memory()
            in_memory, in_buffer = bytes_of(1, at), bytes_of(2, offset)
            source, target = (in_memory, in_buffer) if from_memory else (in_buffer, in_memory)
            expected, before = bytearray(target), bytes(source)
            for at_piece, o, n in pieces:
                start_from, start_to = (at_piece, o) if from_memory else (o, at_piece)
                expected[start_to : start_to + n] = source[start_from : start_from + n]
            memory.add(TABLE, table)
            memory.add(DATA, in_memory)
            memory.add(TARGET + 1, in_buffer)
            self.kernels[kernel].run(grid, threads, [TABLE, count, TARGET + 1], memory)
            self.assertEqual(target, expected, kernel)
            self.assertEqual(source, before, kernel)

    def test_pieces_are_copied_and_nothing_else(self):
        numbers = random.Random(1)
        for longest, count in ((1, 3), (40, 200), (700, 40), (9000, 6)):
            for grid, threads in ((1, 32), (3, 96), (20, 64)):
                self.compare_copies(numbers, count, longest, grid, threads)


if __name__ == "__main__":
    unittest.main()
