"""The parameters of an adapter, and what both adapters do alike."""

import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ..store import Store

logger = logging.getLogger("nixl_store.lmcache")

# Arguments of Store that an adapter's parameters may have beside the settings.
_OPENING = ("chunk_bytes", "worker_id", "world_size", "cache_namespace")


def open_store(params: Mapping[str, Any]) -> Store:
    """Opens the store that an adapter's parameters describe.

    ``config_file`` names LMCache's YAML file; or the settings of such a file are given inline, by their names. ``chunk_bytes``,
    ``worker_id``, ``world_size`` and ``cache_namespace`` are as for :class:`nixl_store.Store`.
    """
    settings: dict[str, Any] = dict(params)
    opening = {name: settings.pop(name) for name in _OPENING if name in settings}
    config_file = settings.pop("config_file", None)
    if config_file is None:
        return Store(settings=settings, **opening)
    if settings:
        others = ", ".join(sorted(settings))
        raise TypeError(f"settings are given by config_file or inline, not by both: beside it there are {others}")
    return Store(config_file, **opening)


class Complaints:
    """Errors for the log: at most one line a second, with the number of those that were left out."""

    _SECONDS_APART = 1.0

    def __init__(self) -> None:
        self._next = 0.0
        self._left_out = 0

    def say(self, what: str, why: object) -> None:
        """Logs that something failed."""
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        more = f" ({self._left_out} more like this)" if self._left_out else ""
        self._next, self._left_out = now + self._SECONDS_APART, 0
        logger.warning("%s: %s%s", what, why, more)


class Refusals:
    """Batches that were refused at submit: they complete as failed, like any other.

    LMCache waits for the completion of each task that it submits. An exception at submit would end requests that other adapters
    have a part in, and leave their locks.
    """

    def __init__(self) -> None:
        # Numbers of submitted batches are positive.
        self._numbers = itertools.count(-1, -1)

    def submit(self, submit: Callable[[], int]) -> "tuple[int, Optional[Exception]]":
        """Submits: the batch's number, and the exception if it was refused."""
        try:
            return submit(), None
        except Exception as error:  # noqa: BLE001 - whatever it is, the task has to complete
            return next(self._numbers), error
