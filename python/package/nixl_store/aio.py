"""Batches of a store as awaitables, told of by its eventfd: no thread of Python waits for them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Callable, Optional

from ._native import Results
from .store import Store

__all__ = ["AsyncStore"]

_ITEMS_IN_FLIGHT_DEFAULT = 2048
"""Half of what a store takes at one time with ``nixl_store_queue_items`` at its default."""


class AsyncStore:
    """A store for one event loop, in whose thread it is made and used.

    ``items_in_flight`` bounds the items that are submitted at one time, so that a submit never waits for room in the store
    with the loop standing still; further batches wait for their turn, in their order. Keep it below the setting
    ``nixl_store_queue_items`` divided by the number of users of the store. A batch larger than that goes alone.

    Close it before the store: a store that is closed tells nobody any more, and what is awaited then ends with
    :meth:`close` of this.

    Cancelling an await asks for its batch to end early; its memory is kept, and in use, until it has completed.
    """

    def __init__(self, store: Store, *, items_in_flight: int = _ITEMS_IN_FLIGHT_DEFAULT) -> None:
        if items_in_flight < 1:
            raise ValueError("items_in_flight is 1 or more")
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue = store.queue()
        self._limit = items_in_flight
        self._items = 0
        self._waiting: set["asyncio.Future[Results]"] = set()
        self._turns: deque[tuple["asyncio.Future[None]", int]] = deque()
        self._loop.add_reader(self._queue.fileno(), self._drain)
        self._closed = False

    @property
    def store(self) -> Store:
        """The store itself, for what does not wait."""
        return self._store

    async def put(
        self,
        keys: Sequence[Any],
        memory: Sequence[Any],
        *,
        keep: bool = False,
        exact: bool = False,
        admit: bool = False,
        request: int = 0,
        deadline: Optional[float] = None,
    ) -> Results:
        """As :meth:`nixl_store.Store.put_batch`."""
        return await self._batch(
            len(keys),
            lambda tag: self._queue.submit_put(
                keys, memory, keep=keep, exact=exact, admit=admit, request=request, deadline=deadline, tag=tag
            ),
        )

    async def get(
        self,
        keys: Sequence[Any],
        memory: Sequence[Any],
        *,
        exact: bool = False,
        request: int = 0,
        deadline: Optional[float] = None,
    ) -> Results:
        """As :meth:`nixl_store.Store.get_batch`."""
        return await self._batch(
            len(keys),
            lambda tag: self._queue.submit_get(
                keys, memory, exact=exact, request=request, deadline=deadline, tag=tag
            ),
        )

    async def lookup(self, keys: Sequence[Any], *, request: int = 0) -> list[Optional[int]]:
        """As :meth:`nixl_store.Store.lookup`. ``request``: see ``Store.submit_put()``."""
        results = await self._batch(
            len(keys), lambda tag: self._queue.submit_lookup(keys, request=request, tag=tag)
        )
        return results.lengths

    async def prefix_match(self, keys: Sequence[Any], *, request: int = 0) -> int:
        """As :meth:`nixl_store.Store.prefix_match`. ``request``: see ``Store.submit_put()``."""
        if not keys:
            return 0
        results = await self._batch(
            len(keys), lambda tag: self._queue.submit_lookup(keys, chain=True, request=request, tag=tag)
        )
        return results.prefix

    async def remove(self, keys: Sequence[Any]) -> list[bool]:
        """As :meth:`nixl_store.Store.remove_batch`."""
        return (await self._batch(len(keys), lambda tag: self._queue.submit_remove(keys, tag=tag))).found

    async def pin(self, keys: Sequence[Any]) -> list[bool]:
        """As :meth:`nixl_store.Store.pin_batch`."""
        return (await self._batch(len(keys), lambda tag: self._queue.submit_pin(keys, tag=tag))).found

    async def unpin(self, keys: Sequence[Any]) -> list[bool]:
        """As :meth:`nixl_store.Store.unpin_batch`."""
        return (await self._batch(len(keys), lambda tag: self._queue.submit_unpin(keys, tag=tag))).found

    async def close(self) -> None:
        """Waits for every batch that was submitted here, then lets go of the store, which stays open.

        Batches that wait for their turn are cancelled. Closing it again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        for turn, _ in self._turns:
            turn.cancel()
        if self._store.closed:
            # Its descriptor is gone, and tells nobody any more.
            self._drain()
        if self._waiting:
            await asyncio.wait(set(self._waiting))
        self._loop.remove_reader(self._queue.fileno())

    async def __aenter__(self) -> "AsyncStore":
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def _batch(self, items: int, submit: Callable[[tuple["asyncio.Future[Results]", int]], int]) -> Results:
        if self._closed:
            raise RuntimeError("this AsyncStore was closed")
        await self._turn(items)
        future: "asyncio.Future[Results]" = self._loop.create_future()
        try:
            number = submit((future, items))
        except BaseException:
            self._give_back(items)
            raise
        self._waiting.add(future)
        try:
            # The future itself stays for the completion, which comes whatever becomes of this await.
            results = await asyncio.shield(future)
        except asyncio.CancelledError:
            self._queue.cancel(number)
            raise
        results.raise_for_error()
        return results

    async def _turn(self, items: int) -> None:
        """Waits until that many items may be submitted, and counts them."""
        if not self._turns and self._fits(items):
            self._items += items
            return
        turn: "asyncio.Future[None]" = self._loop.create_future()
        self._turns.append((turn, items))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn had come when the await was cancelled.
                self._give_back(items)
            else:
                self._next_turns()
            raise

    def _fits(self, items: int) -> bool:
        return self._items == 0 or self._items + items <= self._limit

    def _give_back(self, items: int) -> None:
        self._items -= items
        self._next_turns()

    def _next_turns(self) -> None:
        while self._turns:
            turn, items = self._turns[0]
            if not turn.done():
                if not self._fits(items):
                    return
                self._items += items
                turn.set_result(None)
            self._turns.popleft()

    def _drain(self) -> None:
        for _, (future, items), results in self._queue.drain():
            self._waiting.discard(future)
            self._give_back(items)
            if not future.done():
                future.set_result(results)
