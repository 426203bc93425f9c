"""Part three: a real `lmcache server`, restarted.

Usage: serve.py <directory>; DEMO_QUICK=1 tries one adapter only.

An engine stores the KV cache of some requests: engine -> server (L1, memory) -> adapter (L2, disk). The server is
stopped, and a new one with an empty L1 is asked for the same requests: its lookup has to prefetch them from L2. Then
one bit is flipped in a chunk on the disk and a third server is asked. The exit code is 1 if with one of nixl-store's
adapters an engine got wrong bytes, or missed what was sound.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import sys
import tempfile
from typing import NamedTuple

import adapters
import engine
import processes
from lmcache_server import Server

QUICK = os.environ.get("DEMO_QUICK", "0") not in ("", "0")
REQUESTS = 3
TOTAL = REQUESTS * engine.CHUNKS
# Request and chunk whose bit is flipped: in the middle of a request, so that what is before it can be used.
DAMAGED = (1, 2)


class Seen(NamedTuple):
    """What was seen with one adapter."""

    healthy: bool
    restarted: engine.Reused
    damaged: engine.Reused


def log_path() -> str:
    """Where servers and engines say what they do."""
    return os.path.join(os.environ.get("DEMO_OUT", "."), "serve.log")


def ask(function, server: Server, *arguments):
    """The engine, in a process of its own."""
    outcome = processes.run(function, server.rpc_url, server.url, *arguments, log=log_path())
    if outcome.error:
        raise RuntimeError(outcome.error)
    return outcome.answer


def flip_a_bit(folder: str, head: bytes) -> None:
    """Turns one bit over in the middle of the chunk that begins so, wherever the adapter put it."""
    for path in sorted(pathlib.Path(folder).rglob("*")):
        at = path.read_bytes().find(head) if path.is_file() else -1
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + engine.CHUNK_BYTES // 2)
                byte = file.read(1)[0]
                file.seek(at + engine.CHUNK_BYTES // 2)
                file.write(bytes([byte ^ 1]))
            return
    raise RuntimeError(f"the chunk to damage is nowhere in {folder}")


def attempt(adapter: adapters.Adapter, parent: str) -> Seen:
    """All three servers with one adapter."""
    folder = tempfile.mkdtemp(prefix="serve.", dir=parent)
    spec = adapter.spec(adapters.Place(folder, True, TOTAL, engine.CHUNK_BYTES, spare=TOTAL))
    align_bytes = engine.CHUNK_BYTES if adapter.align_bytes > 4096 else 4096
    try:
        with Server(spec, align_bytes, log_path()) as server:
            stored = ask(engine.compute_and_store, server, REQUESTS)
            server.wait_until_stored()
            storage = server.storage()
        with Server(spec, align_bytes, log_path()) as server:
            restarted = ask(engine.reuse, server, stored)
        flip_a_bit(folder, stored.heads[DAMAGED[0]][DAMAGED[1]])
        with Server(spec, align_bytes, log_path()) as server:
            damaged = ask(engine.reuse, server, stored)
        return Seen(bool(storage["is_healthy"]), restarted, damaged)
    finally:
        shutil.rmtree(folder)


def cells(reused: engine.Reused) -> str:
    """Hits and the verdict on their bytes, in two columns."""
    verdict = f"{sum(reused.wrong)} WRONG" if any(reused.wrong) else "right" if any(reused.right) else "-"
    return f"{sum(reused.hits):4} of {TOTAL}  {verdict:8}"


def good(seen: Seen) -> bool:
    """What nixl-store promises: all that is sound is a hit, and no byte is wrong."""
    unharmed = TOTAL - (engine.CHUNKS - DAMAGED[1])
    return (
        seen.healthy
        and sum(seen.restarted.right) == TOTAL
        and sum(seen.damaged.right) == unharmed
        and not any(seen.restarted.wrong + seen.damaged.wrong)
    )


def main() -> int:
    """Tries the adapters and prints what an engine got."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    compared = adapters.chosen()
    if QUICK:
        compared = [adapter for adapter in compared if adapter.name != adapters.NATIVE_PLUGIN.name][:1]
    # Imported here, before the forks, for all of them.
    import lmcache.cli.commands.bench.server_bench.client  # noqa: F401
    import lmcache.v1.multiprocess.transfer_context  # noqa: F401

    print(f"  {REQUESTS} requests of {engine.CHUNKS} chunks of 4 MiB, stored by an engine, then asked for again.\n")
    print(f"  {'':25}  {'server restarted':19}  {'a bit flipped on disk':21} server")
    print(f"  {'':25}  {'chunks hit  bytes':19}  {'chunks hit  bytes':21} healthy")
    failed = False
    for adapter in compared:
        try:
            seen = attempt(adapter, os.path.abspath(sys.argv[1]))
        except RuntimeError as error:
            print(f"  {adapter.name:25}  {error}")
            failed = failed or adapter.ours
            continue
        healthy = "yes" if seen.healthy else "NO"
        print(f"  {adapter.name:25}  {cells(seen.restarted)}  {cells(seen.damaged)}  {healthy}", flush=True)
        failed = failed or adapter.ours and not good(seen)
    print(
        "\n  Real: lmcache server, its L1, its store and prefetch controllers, its HTTP"
        "\n  interface, its protocol, and its own client in the place of an engine."
        "\n  Not here: a GPU. The KV cache is in host memory, handed over as shared memory."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
