"""Exceptions, and the library's log.

Every error of the library is an :class:`Error` with its status and its message. Those that a program is likely to tell apart
have classes of their own; where Python has an exception for the same thing, they are that as well.
"""

import logging
from typing import TYPE_CHECKING, Optional

from . import _native

if TYPE_CHECKING:
    from ._native import Results

__all__ = [
    "Error",
    "InvalidArgumentError",
    "ClosedError",
    "ConfigError",
    "UnsupportedError",
    "StorageError",
    "NoSpaceError",
    "BufferTooSmallError",
    "TooLargeError",
    "BusyError",
    "DeadlineError",
    "CancelledError",
    "LockedError",
    "FormatError",
    "AccessError",
    "OutOfMemoryError",
    "PoisonedError",
    "ForkedError",
    "PinnedError",
]


class Error(Exception):
    """What the library said went wrong.

    ``status`` is one of the numbers ``NIXL_STORE_ERROR_*`` of ``nixl_store.h``, ``name`` its name. ``results`` are those of
    the batch, where the error is an item's.
    """

    status: int = 0
    results: "Optional[Results]" = None

    @property
    def name(self) -> str:
        """The status's name, such as ``NIXL_STORE_ERROR_BUSY``."""
        return _native.status_name(self.status)


class InvalidArgumentError(Error, ValueError):
    """An argument cannot be accepted; nothing was done."""


class ClosedError(Error):
    """The store is closed or being closed, or the ticket was consumed."""


class ConfigError(Error, ValueError):
    """The configuration cannot be used; the message names the setting and the line."""


class UnsupportedError(Error):
    """The backend is not built in, or a device, driver or library is missing; the message names it."""


class StorageError(Error):
    """The operating system or the backend reported an error."""


class NoSpaceError(Error):
    """The device or the pool is full, and nothing can be evicted."""


class BufferTooSmallError(Error):
    """The memory given to a get is smaller than the object."""


class TooLargeError(Error):
    """The object is larger than a slot or than the capacity."""


class BusyError(Error):
    """A bounded queue or table is full; try again later."""


class DeadlineError(Error, TimeoutError):
    """The deadline passed before the item was started."""


class CancelledError(Error):
    """Cancelled before it was started."""


class LockedError(Error):
    """Another process or store owns the static pool; the message says which."""


class FormatError(Error):
    """What is on storage was made with other parameters; nothing in it was touched."""


class AccessError(Error, PermissionError):
    """The operating system denied access."""


class OutOfMemoryError(Error, MemoryError):
    """Memory, or a thread, could not be had."""


class PoisonedError(Error):
    """The library caught a bug of its own in this store; all that is left to do is to close it."""


class ForkedError(Error):
    """The process forked after the store was opened; the child may only close it."""


class PinnedError(Error):
    """Not removed, because it is pinned."""


# By the numbers of nixl_store.h, which are never used anew. What is not here is an Error as such.
_BY_STATUS: dict[int, type[Error]] = {
    3: PinnedError,
    -1: InvalidArgumentError,
    -2: ClosedError,
    -3: ConfigError,
    -4: UnsupportedError,
    -5: StorageError,
    -6: NoSpaceError,
    -7: NoSpaceError,
    -8: BufferTooSmallError,
    -9: TooLargeError,
    -11: BusyError,
    -12: DeadlineError,
    -13: CancelledError,
    -14: ClosedError,
    -15: LockedError,
    -16: FormatError,
    -17: AccessError,
    -18: OutOfMemoryError,
    -19: PoisonedError,
    -20: ForkedError,
}


def from_status(status: int, message: str) -> Error:
    """The exception for a status, with the library's message."""
    error = _BY_STATUS.get(status, Error)(message or _native.status_name(status))
    error.status = status
    return error


_logger = logging.getLogger("nixl_store")
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


def log_message(level: int, message: str, time_unix_ns: Optional[int] = None) -> None:
    """Hands one message of the library to the logger ``nixl_store``, with the time at which the library sent it."""
    number = _LEVELS.get(level, logging.ERROR)
    if not _logger.isEnabledFor(number):
        return
    record = _logger.makeRecord(_logger.name, number, "nixl_store", 0, "%s", (message,), None)
    if time_unix_ns is not None:
        late_ms = record.created * 1e3 - time_unix_ns / 1e6
        record.created = time_unix_ns / 1e9
        record.msecs = float(time_unix_ns // 10**6 % 1000)
        record.relativeCreated -= late_ms
    _logger.handle(record)
