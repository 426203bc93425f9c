#!/usr/bin/env python3
"""Compiles CUDA C++ to PTX with NVRTC, on any x86-64 Linux: neither a GPU nor a driver is needed.

    nvrtc.py LIBRARY_DIR SOURCE PTX

LIBRARY_DIR holds libnvrtc.so.12 and its built-ins. Headers beside the source are handed over by name, so that no path
is known to the compiler and none can be in what it writes.
"""

import ctypes
import pathlib
import re
import sys

# The oldest that the kernels are meant for, Volta; every later GPU's driver compiles its PTX.
ARCHITECTURE = "compute_70"
OPTIONS = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17"]
VARIABLE = re.compile(r"\.(?:global|const) .*? (\w{8,})(?:\[\d+\])?(?: = .*)?;$")


def main(library_dir, source, ptx):
    library_dir, source = pathlib.Path(library_dir), pathlib.Path(source)
    # NVRTC asks the loader for its built-ins by name, and finds those that are loaded.
    for builtins in library_dir.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(library_dir / "libnvrtc.so.12"))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(name, *arguments):
        status = getattr(nvrtc, name)(*arguments)
        return None if status == 0 else f"{name}: {nvrtc.nvrtcGetErrorString(status).decode()}"

    def must(name, *arguments):
        error = call(name, *arguments)
        if error:
            sys.exit(error)

    def text(size, get):
        bytes_needed = ctypes.c_size_t()
        must(size, program, ctypes.byref(bytes_needed))
        buffer = ctypes.create_string_buffer(bytes_needed.value)
        must(get, program, buffer)
        return buffer.value.decode()

    def strings(values):
        return (ctypes.c_char_p * len(values))(*[value.encode() for value in values])

    headers = sorted(source.parent.glob("*.h"))
    program = ctypes.c_void_p()
    must(
        "nvrtcCreateProgram",
        ctypes.byref(program),
        source.read_bytes(),
        source.name.encode(),
        len(headers),
        strings([header.read_text() for header in headers]),
        strings([header.name for header in headers]),
    )
    error = call("nvrtcCompileProgram", program, len(OPTIONS), strings(OPTIONS))
    log = text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").strip()
    if log:
        print(log, file=sys.stderr)
    # A warning is an error here: nobody would read it.
    if error or log:
        sys.exit(error or "NVRTC warns")
    pathlib.Path(ptx).write_text(without_unused(text("nvrtcGetPTXSize", "nvrtcGetPTX")))


def without_unused(ptx):
    """The PTX without variables that no code names: constants that became immediate operands, and those of NVRTC's own
    headers."""
    kept = []
    for line in ptx.splitlines(keepends=True):
        variable = VARIABLE.match(line)
        if not variable or ptx.count(variable.group(1)) > 1:
            kept.append(line)
    return "".join(kept)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
