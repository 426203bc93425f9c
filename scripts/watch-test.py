#!/usr/bin/env python3
"""Runs a program, and shows and kills it and all that it started if it does not end in time: watch-test.py SECONDS PROGRAM ...

Cargo runs each test binary through this (`make test-rust`), so that a test that waits for ever fails and says where it
waits: the threads of a test binary are named after their tests. Exits with what the program exits with, 124 if it was killed.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

# Lines of a thread's stack that are shown, in the kernel and by the debugger.
KERNEL_LINES_MAX = 8
DEBUGGER_LINES_MAX = 24
# Seconds that the debugger may take for one process.
DEBUGGER_SECONDS_MAX = 60
# What timeout(1) exits with.
TIMED_OUT = 124


def read(path):
    try:
        return path.read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def tasks(process):
    try:
        return sorted(pathlib.Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []


def family(process):
    """A process and all that it started, itself first."""
    found = [process]
    for one in found:
        for task in tasks(one):
            found += [int(child) for child in read(task / "children").split()]
    return found


def show(process, out):
    """Where the threads of a process are. Stacks in the kernel are shown to root only."""
    print(f"process {process}: {read(pathlib.Path(f'/proc/{process}/cmdline'))}", file=out)
    for task in tasks(process):
        print(f"  {read(task / 'comm')}: {read(task / 'wchan')}, system call {read(task / 'syscall')}", file=out)
        for line in read(task / "stack").splitlines()[:KERNEL_LINES_MAX]:
            print(f"    {line}", file=out)
    if not shutil.which("gdb"):
        return
    command = ["gdb", "-batch", "-nx", "-p", str(process), "-ex", f"thread apply all bt {DEBUGGER_LINES_MAX}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=DEBUGGER_SECONDS_MAX).stdout
        print("\n".join(line[:200] for line in told.splitlines() if line.startswith(("#", "Thread"))), file=out)
    except subprocess.TimeoutExpired:
        print("  (the debugger does not end either)", file=out)


def main(arguments):
    seconds, command = float(arguments[0]), arguments[1:]
    program = subprocess.Popen(command)
    # An interrupt from the terminal reaches the program as well; its end is waited for, as a shell would.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = program.wait(seconds)
    except subprocess.TimeoutExpired:
        out = sys.stderr
        print(f"\nwatch-test: {command[0]} does not end within {seconds:g} s; where it is:", file=out)
        processes = family(program.pid)
        for process in processes:
            show(process, out)
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        program.wait()
        return TIMED_OUT
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
