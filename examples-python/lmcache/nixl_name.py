"""Makes NIXL importable as `nixl` from the one package that is installed.

The package `nixl` holds nothing but a choice between builds of NIXL, by the CUDA version that torch was built for. The
demo moves no GPU memory, and one build is enough.
"""

from __future__ import annotations

import importlib
import sys


def provide() -> None:
    """After this `import nixl._api` works, as LMCache's adapter does it."""
    for build in ("nixl", "nixl_cu13", "nixl_cu12"):
        try:
            package, interface = importlib.import_module(build), importlib.import_module(f"{build}._api")
        except ImportError:
            continue
        sys.modules["nixl"], sys.modules["nixl._api"] = package, interface
        return
    raise SystemExit("NIXL is not installed: pip install --no-deps nixl-cu12")
