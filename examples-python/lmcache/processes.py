"""Runs a function in a process of its own.

LMCache takes seconds to import, so it is imported once and each run is a fork of that process. A fork is as good as a
new process here: an adapter, its threads and its files exist only in the fork, and end with it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from typing import Any, Callable, NamedTuple

_PR_SET_PDEATHSIG = 1
_CONTEXT = multiprocessing.get_context("fork")


class Outcome(NamedTuple):
    """What became of a run: its answer, or why there is none."""

    answer: Any
    error: str


def run(function: Callable[..., Any], *arguments: Any, seconds: float = 120, log: str = os.devnull) -> Outcome:
    """Calls function(*arguments) in a process of its own and gives what it returns.

    What that process prints goes to the file `log`. It is killed after so many seconds.
    """
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_body, args=(sender, log, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            return Outcome(None, f"no answer in {seconds:.0f} s")
        return receiver.recv()
    except EOFError:
        process.join()
        return Outcome(None, f"the process ended with {process.exitcode}")
    finally:
        # Its answer is the last thing it does.
        process.kill()
        process.join()
        receiver.close()


def end_with_parent() -> None:
    """Lets the system kill this process when the one that started it is gone, however that ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _body(sender: Any, log: str, function: Callable[..., Any], arguments: tuple) -> None:
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(log, "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        outcome = Outcome(function(*arguments), "")
    except SystemExit as end:
        outcome = Outcome(None, f"exit code {end.code}")
    except BaseException as error:  # Whatever it was, the parent is to say so.
        traceback.print_exc()
        outcome = Outcome(None, f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send(outcome)
    sender.close()
    # Not sys.exit: threads of an adapter that failed to close must not keep the process.
    os._exit(0)
