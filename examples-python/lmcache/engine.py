"""The part of an inference engine: hands a KV cache to an LMCache server and gets it back.

It is LMCache's own client, the one behind `lmcache bench server --mode cpu`: it registers a paged KV cache in host
memory and speaks the server's protocol as the connector of an engine does. Only the GPU is missing.
"""

from __future__ import annotations

import time
from typing import Dict, List, NamedTuple, Tuple

# 8 layers of 8 heads of 64 in float16: a chunk of 256 tokens has 4 MiB.
KV_SHAPE = "(2,320,16,8,64):float16:8"
CHUNK_TOKENS = 256
CHUNK_BYTES = 4 * 1024 * 1024
CHUNKS = 4
# First bytes of a chunk, by which it is found in a file.
_HEAD_BYTES = 64
_POLL_SECONDS_MAX = 20.0


class Stored(NamedTuple):
    """What the engine computed and stored, request by request."""

    checksums: List[List[str]]
    heads: List[List[bytes]]


class Reused(NamedTuple):
    """What the engine got back instead of computing it."""

    hits: List[int]
    """Chunks of each request that the lookup promised."""

    right: List[int]
    """Chunks of each request whose bytes are those that were stored."""

    wrong: List[int]
    """Chunks of each request that were delivered with other bytes."""

    milliseconds: float
    """From the first lookup to the last byte."""


def connect(rpc_url: str, http_url: str):
    """LMCache's client, registered at a server."""
    from lmcache.cli.commands.bench.server_bench.client import ServerBenchClient
    from lmcache.cli.commands.bench.server_bench.config import BenchConfig

    config = BenchConfig(
        rpc_url=rpc_url, http_url=http_url, mode="cpu", transfer_mode="engine_driven", tp_size=1, use_mla=False,
        num_tokens=CHUNKS * CHUNK_TOKENS, kvcache_shape_spec=KV_SHAPE, num_blocks=320, block_size=16,
    )
    client = ServerBenchClient(config, print)
    client.start()
    return client


def compute_and_store(rpc_url: str, http_url: str, requests: int) -> Stored:
    """Stores the KV cache of some requests, which nobody has stored before."""
    client = connect(rpc_url, http_url)
    stored = Stored([], [])
    for number in range(requests):
        request = client.create_request(number, f"store-{number}-{time.monotonic_ns()}", "cold")
        if client.lookup(request).hit_chunks:
            raise RuntimeError("the cache was to be empty")
        stored.checksums.append(client.compute_checksums(request, 0, request.num_full_tokens))
        stored.heads.append(heads(client, request))
        if not client.store(request, 0, request.num_full_tokens).succeeded:
            raise RuntimeError("the server did not take what was stored")
        client.end_session(request)
    client.close()
    return stored


def reuse(rpc_url: str, http_url: str, stored: Stored) -> Reused:
    """Looks up the same requests, retrieves what is said to be there, and compares it."""
    client = connect(rpc_url, http_url)
    reused = Reused([], [], [], 0)
    elapsed = 0.0
    for number, checksums in enumerate(stored.checksums):
        request = client.create_request(number, f"reuse-{number}-{time.monotonic_ns()}", "warm")
        begin = time.monotonic()
        hits = client.lookup(request).hit_chunks
        elapsed += time.monotonic() - begin
        got: List[str] = []
        if hits:
            tokens = hits * request.chunk_size
            client.zero_destination(request, 0, tokens)
            begin = time.monotonic()
            client.retrieve(request, 0, tokens)
            elapsed += time.monotonic() - begin
            got = client.compute_checksums(request, 0, tokens)
        client.end_session(request)
        right = sum(one == other for one, other in zip(got, checksums))
        reused.hits.append(hits)
        reused.right.append(right)
        reused.wrong.append(len(got) - right)
    client.close()
    return reused._replace(milliseconds=elapsed * 1e3)


def heads(client, request) -> List[bytes]:
    """The first bytes of each chunk of a request: its first token's keys in the first layer."""
    layer = client._workers[0].kv_caches["layer.0"]
    blocks_in_chunk = request.num_blocks // request.total_chunks
    first = range(request.block_offset, request.block_offset + request.num_blocks, blocks_in_chunk)
    return [layer[0, block, 0].numpy().tobytes()[:_HEAD_BYTES] for block in first]
