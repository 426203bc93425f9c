#!/usr/bin/env python3
"""Asks LMCache itself what its dynamic NIXL backend calls a key's file, and opens such files as it does.

The functions are taken from the installed (or unpacked) lmcache package when this runs, by parsing
its sources: importing them would need torch, CUDA and NIXL. Nothing of LMCache is kept here.

    lmcache_names.py write names.tsv          make the golden file anew
    lmcache_names.py check names.tsv          compare it, key by key, with the package
    lmcache_names.py read DIR KEY LENGTH      print, in hex, what LMCache reads for a key
    lmcache_names.py put DIR KEY LENGTH BYTE  write as LMCache does: LENGTH times BYTE

--source DIR names the directory that holds the package `lmcache`; else it must be installed:
pip install --no-deps lmcache==0.5.6
"""

import argparse
import ast
import dataclasses
import importlib.util
import logging
import os
import pathlib
import random
import sys
import types
import typing
import urllib.parse

VERSION = "0.5.6"


def find_package(source):
    """The package's directory, without importing it; None if there is none."""
    if source:
        package = pathlib.Path(source) / "lmcache"
        return package if package.is_dir() else None
    spec = importlib.util.find_spec("lmcache")
    return pathlib.Path(spec.origin).parent if spec and spec.origin else None


def package_version(package):
    for info in package.parent.glob("lmcache-*.dist-info"):
        return info.name[len("lmcache-") : -len(".dist-info")]
    return "unknown"


class Torch(types.ModuleType):
    """Stands in for torch: every attribute is an object equal to itself alone."""

    def __getattr__(self, name):
        value = type("dtype", (), {"__repr__": lambda self: name})()
        setattr(self, name, value)
        return value


class Anything:
    """Stands in for names that occur in annotations only."""

    def __getitem__(self, _):
        return self


def evaluate(path, wanted, namespace):
    """Runs those top-level statements of a source that define a wanted name, and no others."""
    found = set()
    body = []
    for node in ast.parse(path.read_text()).body:
        names = {getattr(node, "name", None)}
        names |= {t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)}
        names |= {a.asname or a.name for a in getattr(node, "names", []) if isinstance(a, ast.alias)}
        # The optional data types are added under an `if`.
        conditional = isinstance(node, ast.If) and any(
            isinstance(n, ast.Name) and n.id in wanted for n in ast.walk(node)
        )
        if names & wanted or conditional:
            found |= names & wanted
            body.append(node)
    if wanted - found:
        sys.exit(f"{path} does not define {sorted(wanted - found)}: is it lmcache {VERSION}?")
    exec(compile(ast.Module(body=body, type_ignores=[]), str(path), "exec"), namespace)


def methods(path, class_name, wanted, namespace):
    """The wanted methods of one class of a source, as functions."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            body = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name in wanted]
            if len(body) != len(wanted):
                sys.exit(f"{class_name} in {path} lacks one of {sorted(wanted)}: is it lmcache {VERSION}?")
            exec(compile(ast.Module(body=body, type_ignores=[]), str(path), "exec"), namespace)
            return [namespace[name] for name in wanted]
    sys.exit(f"{path} has no class {class_name}: is it lmcache {VERSION}?")


class Reference:
    """LMCache's own functions."""

    def __init__(self, package):
        self.torch = Torch("torch")
        keys = {
            "torch": self.torch,
            "dataclass": dataclasses.dataclass,
            "field": dataclasses.field,
            "Optional": typing.Optional,
            "Union": typing.Union,
            "List": typing.List,
            # Dataclasses look their module up.
            "__name__": __name__,
        }
        evaluate(
            package / "utils.py",
            {"TORCH_DTYPE_TO_STR_DTYPE", "STR_DTYPE_TO_TORCH_DTYPE", "CacheEngineKey", "LayerCacheEngineKey"},
            keys,
        )
        self.Key = keys["CacheEngineKey"]
        self.LayerKey = keys["LayerCacheEngineKey"]
        self.dtypes = keys["STR_DTYPE_TO_TORCH_DTYPE"]
        backend = {
            "os": os,
            "url_quote": urllib.parse.quote,
            "logger": logging.getLogger("lmcache"),
            "dataclass": dataclasses.dataclass,
            "Optional": typing.Optional,
            "List": typing.List,
            "Sequence": typing.Sequence,
            "CacheEngineKey": self.Key,
            "__name__": __name__,
        }
        source = package / "v1/storage_backend/nixl_storage_backend.py"
        evaluate(
            source,
            {"NixlDesc", "_close_file_descs", "_unlink_file_descs", "DEFAULT_FILE_CREATE_MODE", "url_quote"},
            backend,
        )
        names = ["_format_object_key", "_format_object_key_url_safe", "_build_descs"]
        functions = methods(source, "NixlDynamicStorageBackend", names, backend)
        self.backend = type("Backend", (), dict(zip(names, functions)))()
        self.backend._use_b128_object_keys = False
        self.backend.direct_io_flag = 0
        self.backend.agent = types.SimpleNamespace(mem_type="FILE")

    def name(self, key):
        return self.backend._format_object_key(key)

    def open(self, directory, key, write):
        """A descriptor as the backend opens it."""
        self.backend.path = directory
        (desc,) = self.backend._build_descs([key], write=write)
        return desc.device_id


class PlainKey:
    """A key that is just its string, for strings that no CacheEngineKey gives."""

    def __init__(self, text):
        self.text = text

    def to_string(self):
        return self.text


def sample_keys(reference):
    """A few hundred keys, the same ones every time."""
    bf16 = reference.dtypes["bfloat16"]
    models = [
        "meta-llama/Llama-3.1-8B-Instruct",
        "Qwen/Qwen2.5-72B",
        "/models/local path/llama",
        "org/a_b",
        "org_a/b",
        "a@b",
        "100%",
        "a%2Fb",
        "a+b c",
        "..",
        ".hidden",
        "~home",
        "caf\u00e9",
        "\u6a21\u578b/\u5343\u554f",
        "\U0001f999",
        "e\u0301",
        "tab\there",
        "line\nbreak",
        "back\\slash",
        "quote'\"",
        "a" * 200,
        "m" * 300,
        "\u00e9" * 60,
        "",
    ]
    hashes = [0, 1, 0x1F3A, 2**63 - 1, 2**64 - 1, 2**255 + 17, -1, -(2**62), bytes(range(240, 256)), b"\x00"]
    keys = [reference.Key(model, 1, 0, 0xABCDEF, bf16, None) for model in models]
    keys += [reference.Key("m", world, worker, 7, bf16, None) for world, worker in ((1, 0), (8, 7), (64, 63))]
    keys += [reference.Key("org/m", 2, 1, value, bf16, None) for value in hashes]
    keys += [reference.Key("org/m", 2, 1, 5, dtype, None) for dtype in reference.dtypes.values()]
    tags = [
        {"lmcache.tag.user": "alice"},
        {"lmcache.tag.user": "a b", "lmcache.tag.b": "c%d"},
        {"lmcache.tag.path": "/x/y@z", "other": "ignored"},
        {"lmcache.tag.": ""},
        {"lmcache.tag.\u00fc": "\u6a21"},
        {"lmcache.tag.n": 3},
        {},
    ]
    keys += [reference.Key("org/m", 1, 0, 9, bf16, tag) for tag in tags]
    for layer in (0, 1, 31):
        keys += [reference.LayerKey("org/m", 1, 0, 9, bf16, tag, layer_id=layer) for tag in (None, tags[1])]
    # Every character of ASCII, and some beyond, alone and inside.
    keys += [PlainKey(chr(code)) for code in range(1, 128) if chr(code) != "."]
    keys += [PlainKey(f"a{chr(code)}b") for code in (0, 0x7F, 0x80, 0xA0, 0xFF, 0x3A9, 0x2028, 0xFFFD, 0x1F600)]
    keys += [PlainKey("a" * length) for length in (254, 255, 256, 1024)]
    keys += [PlainKey(" " * length) for length in (84, 85, 86)]
    dice = random.Random(20240607)
    alphabet = "abcXYZ012._-~/@%+ &=?#:;,!*'()[]{}|^`\"<>$\u00e9\u6a21\U0001f600"
    keys += [PlainKey("".join(dice.choices(alphabet, k=dice.randint(1, 60)))) for _ in range(100)]
    return keys


def escape(text):
    """Keeps a key on its line, in its column and readable: the rest becomes `\\u{hex}`."""
    return "".join(c if c.isprintable() and c != "\\" else f"\\u{{{ord(c):x}}}" for c in text)


def golden(reference):
    lines = [f"# key or text\tits string, with \\u{{hex}}\tfile name by lmcache {VERSION}; made by lmcache_names.py"]
    for key in sample_keys(reference):
        kind = "text" if isinstance(key, PlainKey) else "key"
        lines.append(f"{kind}\t{escape(key.to_string())}\t{reference.name(key)}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source")
    parser.add_argument("action", choices=["find", "write", "check", "read", "put"])
    parser.add_argument("arguments", nargs="*")
    arguments = parser.parse_args()
    package = find_package(arguments.source)
    if package is None or package_version(package) != VERSION:
        # Told apart from failure, so that a caller may skip.
        print(f"no lmcache {VERSION} here (pip install --no-deps lmcache=={VERSION})", file=sys.stderr)
        sys.exit(77)
    reference = Reference(package)
    if arguments.action == "write":
        (path,) = arguments.arguments
        pathlib.Path(path).write_bytes(golden(reference).encode("utf-8"))
    elif arguments.action == "check":
        (path,) = arguments.arguments
        kept = pathlib.Path(path).read_bytes().decode("utf-8").split("\n")
        fresh = golden(reference).split("\n")
        differing = [pair for pair in zip(kept, fresh) if pair[0] != pair[1]]
        if differing or len(kept) != len(fresh):
            sys.exit(f"{path}: {len(kept)} lines, fresh {len(fresh)}; first difference: {differing[:1]}")
        print(f"{len(fresh) - 2} names agree")
    elif arguments.action == "read":
        directory, key, length = arguments.arguments
        fd = reference.open(directory, PlainKey(key), write=False)
        print(os.pread(fd, int(length), 0).hex())
    elif arguments.action == "put":
        directory, key, length, byte = arguments.arguments
        fd = reference.open(directory, PlainKey(key), write=True)
        assert os.pwrite(fd, byte.encode() * int(length), 0) == int(length)


main()
