"""Settings given as a mapping instead of a YAML file."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["settings_text"]

# What stands at the top level of LMCache's YAML; everything else is below `extra_config`.
_TOP = frozenset(["chunk_size", "nixl_buffer_size", "nixl_buffer_device", "cache_policy"])
_EXTRA = frozenset(["enable_nixl_storage", "use_direct_io"])


def settings_text(settings: Mapping[str, Any]) -> str:
    """The configuration that a flat mapping of settings stands for, as text for :class:`nixl_store.Store`.

    The names are those of the YAML file, at whichever of its two levels they stand there; ``extra_config`` may also be given as
    a mapping, as in the file. ``enable_nixl_storage`` is true unless it is given. Values that JSON has are taken: numbers,
    booleans, strings, lists, mappings.

    Raises TypeError for a name that no setting can have, and for a value that JSON does not have; what a setting may be says
    the library at open.
    """
    top: dict[str, Any] = {}
    extra: dict[str, Any] = {"enable_nixl_storage": True}
    nested = settings.get("extra_config")
    if nested is not None and not isinstance(nested, Mapping):
        raise TypeError(f"extra_config is {type(nested).__name__}; wanted is a mapping of settings")
    for name, value in settings.items():
        if name == "extra_config":
            continue
        if name in _TOP:
            top[name] = value
        elif name in _EXTRA or name.startswith("nixl_"):
            extra[name] = value
        else:
            known = ", ".join(sorted(_TOP | _EXTRA))
            raise TypeError(f"no setting is called {name!r}; there are {known}, and those that begin with nixl_")
    for name, value in (nested or {}).items():
        if extra.get(name, value) != value and name != "enable_nixl_storage":
            raise TypeError(f"{name} is given twice, in extra_config and beside it")
        extra[name] = value
    top["extra_config"] = extra
    # JSON is YAML; one setting a line, because the library's errors name the line.
    return json.dumps(top, indent=1, ensure_ascii=False)
