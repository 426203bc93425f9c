"""LMCache's keys and memory objects, made as its own benchmark makes them. Needs LMCache."""


import torch
from lmcache.v1.distributed.api import ObjectKey
from lmcache.v1.memory_management import MemoryFormat, MemoryObj, MemoryObjMetadata, TensorMemoryObj

ALIGN_BYTES = 4096


def object_key(number: int, salt: str = "") -> ObjectKey:
    """A key like no other."""
    return ObjectKey(
        chunk_hash=number.to_bytes(16, "big"),
        model_name="meta-llama/Llama-3.1-8B",
        kv_rank=number % 8,
        object_group_id=0,
        cache_salt=salt,
    )


class Arena:
    """One piece of memory, as LMCache's L1 is, from which memory objects are cut."""

    def __init__(self, length: int) -> None:
        backing = torch.zeros(length + ALIGN_BYTES, dtype=torch.uint8)
        offset = -backing.data_ptr() % ALIGN_BYTES
        self.bytes = backing[offset : offset + length]
        self.used = 0

    def take(self, length: int, content: bytes = b"") -> MemoryObj:
        """The next piece, with that content."""
        room = -(-length // ALIGN_BYTES) * ALIGN_BYTES
        assert self.used + room <= len(self.bytes), "the arena is too small"
        raw = self.bytes[self.used : self.used + room]
        self.used += room
        if content:
            raw[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        metadata = MemoryObjMetadata(
            shape=torch.Size([length]),
            dtype=torch.uint8,
            address=raw.data_ptr(),
            phy_size=room,
            ref_count=1,
            fmt=MemoryFormat.BINARY_BUFFER,
            shapes=[torch.Size([length])],
            dtypes=[torch.uint8],
        )
        return TensorMemoryObj(raw, metadata, parent_allocator=None)


def content_of(memory: MemoryObj) -> bytes:
    """The bytes of a memory object."""
    return bytes(memory.byte_array)


def bits(bitmap: "object", count: int) -> list[bool]:
    """A bitmap's bits."""
    return [bitmap.test(index) for index in range(count)]  # type: ignore[attr-defined]
