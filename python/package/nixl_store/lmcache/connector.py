"""For LMCache's adapters of the type ``native_plugin``."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional

from ..store import Store
from .options import Complaints, Refusals, open_store

Completion = tuple[int, bool, str, Optional[list[bool]]]

_PUT = True


class Connector:
    """A connector with one eventfd for all that it does, as LMCache's ``native_plugin`` asks for one.

    Its parameters are the settings of the YAML file by name, or ``config_file``; see :func:`open_store`. ``exact_length``: an
    object is loaded only if it has exactly the length of the memory given for it, which is right unless LMCache's ``serde``
    is on.

    Keys stand for their content: what is stored under a key with the same length is left as it is and not written again.
    """

    def __init__(self, *, exact_length: bool = True, **params: Any) -> None:
        self._store = open_store(params)
        self._queue = self._store.queue()
        self._exact = exact_length
        self._refusals = Refusals()
        self._refused: deque[Completion] = deque()
        self._complaints = Complaints()

    @property
    def store(self) -> Store:
        """The store, for its stats and its health."""
        return self._store

    def event_fd(self) -> int:
        """The descriptor that polls readable while completions wait."""
        return self._queue.fileno()

    def submit_batch_set(self, keys: Sequence[str], views: Sequence[memoryview]) -> int:
        """Stores a batch."""
        return self._submit(
            "a store",
            lambda: self._queue.submit_put(keys, views, keep=True, exact=self._exact, tag=_PUT),
        )

    def submit_batch_get(self, keys: Sequence[str], views: Sequence[memoryview]) -> int:
        """Loads a batch."""
        return self._submit("a load", lambda: self._queue.submit_get(keys, views, exact=self._exact))

    def submit_batch_exists(self, keys: Sequence[str]) -> int:
        """Looks a batch up."""
        return self._submit("a lookup", lambda: self._queue.submit_lookup(keys))

    def submit_batch_delete(self, keys: Sequence[str]) -> int:
        """Removes a batch."""
        return self._submit("a removal", lambda: self._queue.submit_remove(keys))

    def drain_completions(self) -> list[Completion]:
        """The batches that have completed: number, whether it went well, message, and for each key whether it did.

        A store went well if nothing failed; an object that the ``cache_policy`` REUSE declined did not, and its key's answer is
        that it is not stored. Of everything else each key's answer counts by itself, so that one that failed is one miss.
        """
        completions: list[Completion] = []
        while self._refused:
            completions.append(self._refused.popleft())
        for number, tag, results in self._queue.drain():
            if results.status < 0:
                self._complaints.say("a batch of LMCache's had errors", results.message)
            went_well = results.status >= 0 if tag is _PUT else True
            completions.append((number, went_well, results.message, results.found))
        return completions

    def close(self) -> None:
        """Completes what is under way and closes the store."""
        self._store.close()

    def _submit(self, what: str, submit: Callable[[], int]) -> int:
        number, error = self._refusals.submit(submit)
        if error is not None:
            self._complaints.say(f"{what} was refused", error)
            self._refused.append((number, False, str(error), None))
            self._queue.wake()
        return number
