#!/usr/bin/env python3
"""Checks that the folders of src are the architecture: arrows point down, files form no circle, rooms and files are small.

What points at what is read from `use` declarations and from paths that begin with crate, self or super. A name belongs to
the file of the deepest module on its path; one that a module only imports or re-exports, to the file where it comes from.
"""

import collections
import pathlib
import re
import sys

# The rooms, from the top down. A room uses those in later rows, and none that stands beside it in its own.
ROWS = [
    ["capi", "inspect"],
    ["store"],
    ["lane"],
    ["placement"],
    ["catalog", "layout", "backend", "batch"],
    ["s3", "cuda", "cufile", "hf3fs"],
    ["memory", "config", "status"],
    ["sys"],
    ["log", "metrics"],
    ["error", "sync"],
]
# Of the lines of src, tests not counted, a room may hold one in so many.
ROOM_SHARE = 5
# Lines of a file, its tests included; and files that may be longer, each with the reason.
FILE_LINES_MAX = 500
LONG_FILES = {}

TOKEN = re.compile(
    r"""
      (?P<skip> //[^\n]* | /\*.*?\*/ | b?"(?:\\.|[^"\\])*" | b?r(?P<hash>\#*)".*?"(?P=hash) | b?'(?:\\.[^']*|[^'\\])' )
    | (?P<test> \#\[cfg\((?:test|all\(test\b[^\]]*)\)\] )
    | (?P<word> \w+ | :: | [^\s\w] )
    """,
    re.VERBOSE | re.DOTALL,
)
LEVELS = {name: level for level, row in enumerate(ROWS) for name in row}


# A path to something: from the crate's root, where it is written, and whether a test writes it.
Path = collections.namedtuple("Path", "words line in_test")


class File:
    """What one source file says: the modules in it, the paths that it uses, the names that it imports."""

    def __init__(self, path, module, is_test):
        self.path, self.module, self.is_test = path, module, is_test
        text = path.read_text()
        self.lines, self.test_lines = text.count("\n"), text.count("\n") if is_test else 0
        self.modules, self.test_children = {module}, set()
        self.uses, self.imports = [], {}
        found = [match for match in TOKEN.finditer(text) if match.lastgroup not in ("skip", "hash")]
        self.tokens = [(m.lastgroup, m.group(), text.count("\n", 0, m.start()) + 1) for m in found]
        self.read()

    def word(self, at):
        return self.tokens[at][1] if at < len(self.tokens) else ""

    def read(self):
        module, depth, stack, tests, at = self.module, 0, [], None, 0
        test_depth, test_start, gated = None, 0, False
        while at < len(self.tokens):
            kind, word, line = self.tokens[at]
            in_test = self.is_test or test_depth is not None
            if kind == "test":
                gated = True
            elif word == "mod" and self.word(at + 2) in ("{", ";"):
                child = (*module, self.word(at + 1))
                if self.word(at + 2) == ";":
                    self.test_children |= {child} if gated else set()
                else:
                    self.modules.add(child)
                    stack.append((depth, module, test_depth))
                    module = child
                    if gated and not in_test:
                        test_depth, test_start = depth, line
                    depth += 1
                at, gated = at + 2, False
            elif word == "{":
                depth += 1
            elif word == "}":
                depth -= 1
                if stack and stack[-1][0] == depth:
                    _, module, before = stack.pop()
                    if before is None and test_depth is not None:
                        self.test_lines += line - test_start + 1
                    test_depth = before
            elif word == "use" and self.word(at - 1) != "+":
                at = self.read_tree(at + 1, module, (), in_test, at)
            elif word in ("crate", "self", "super") and self.word(at + 1) == "::":
                words = [word]
                while self.word(at + 1) == "::" and re.match(r"\w", self.word(at + 2)):
                    words.append(self.word(at + 2))
                    at += 2
                self.uses.append(Path(absolute(module, words), line, in_test))
            if word in (";", "{", "}"):
                gated = False
            at += 1

    def read_tree(self, at, module, prefix, in_test, start):
        """Reads one tree of a `use` declaration; returns where it ends."""
        words, line = list(prefix), self.tokens[start][2]
        while re.match(r"\w|::", self.word(at)) and self.word(at) != "as":
            if self.word(at) != "::":
                words.append(self.word(at))
            at += 1
        if self.word(at) == "{":
            at += 1
            while self.word(at) not in ("}", ""):
                at = self.read_tree(at, module, words, in_test, start)
                at += self.word(at) == ","
            return at + 1
        if len(words) > 1 and words[-1] == "self":
            words.pop()
        name = words[-1] if words else ""
        if self.word(at) == "as":
            name, at = self.word(at + 1), at + 2
        if self.word(at) == "*":
            at, name = at + 1, None
        path = Path(absolute(module, words), line, in_test)
        self.uses.append(path)
        if name and not in_test:
            self.imports[(*module, name)] = path.words
        return at


def absolute(module, words):
    """The path from the crate's root; a path that begins with neither crate, self nor super is taken for a child's."""
    if words and words[0] == "crate":
        return tuple(words[1:])
    base, words = list(module), list(words)
    while words and words[0] in ("self", "super"):
        if words.pop(0) == "super" and base:
            base.pop()
    return (*base, *words)


def module_of(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


class Tree:
    """All files below a root, and the arrows between them."""

    def __init__(self, root):
        self.root, self.files, gated = root, {}, set()
        # Parents first, since they say which of their children are tests.
        for path in sorted(root.rglob("*.rs"), key=lambda path: (len(module_of(path, root)), path)):
            module = module_of(path, root)
            is_test = any(module[:length] in gated for length in range(1, len(module) + 1))
            self.files[module] = File(path, module, is_test)
            gated |= self.files[module].test_children
        self.owner = {name: file for file in self.files.values() for name in file.modules}
        self.imports = {name: target for file in self.files.values() for name, target in file.imports.items()}

    def resolve(self, words):
        """The file that a path leads to; None for another crate's."""
        for _ in range(16):
            known = next((n for n in range(len(words), 0, -1) if words[:n] in self.owner), 0)
            moved = next((n for n in range(known + 1, len(words) + 1) if words[:n] in self.imports), 0)
            if not moved or self.imports[words[:moved]] == words[:moved]:
                return self.owner.get(words[:known]) if known else None
            words = (*self.imports[words[:moved]], *words[moved:])
        return None

    def arrows(self):
        """Each (file, file, path) where one uses the other."""
        for file in self.files.values():
            for path in file.uses:
                target = self.resolve(path.words)
                if target and target is not file:
                    yield file, target, path

    def name(self, file):
        return str(file.path.relative_to(self.root.parent))


def check_arrows(tree):
    for room in sorted({file.module[0] for file in tree.files.values() if file.module} - LEVELS.keys()):
        yield f"{room} is no room of scripts/check-layers.py: give it a row"
    for file, target, path in tree.arrows():
        room, used = (LEVELS.get("".join(end.module[:1])) for end in (file, target))
        if file.module[:1] != target.module[:1] and None not in (room, used) and used <= room:
            how = "beside it" if used == room else "above it"
            yield f"{tree.name(file)}:{path.line}: {file.module[0]} uses {'::'.join(path.words)}, which is {how}"


def check_circles(tree):
    """A module and its own children are one thing in Rust: a parent names its children, which use its types. Their arrows
    do not count, nor do those of tests; all others may form no circle of any length."""
    arrows = {}
    for file, target, path in tree.arrows():
        a, b = file.module, target.module
        if not path.in_test and a and b and a[: len(b)] != b and b[: len(a)] != a:
            arrows.setdefault(file, {}).setdefault(target, path)
    reached = {}
    for start in arrows:
        reached[start], waiting = set(), [start]
        while waiting:
            for target in arrows.get(waiting.pop(), ()):
                if target not in reached[start]:
                    reached[start].add(target)
                    waiting.append(target)
    circles = {
        frozenset(other for other in seen if start in reached.get(other, ()))
        for start, seen in reached.items()
        if start in seen
    }
    for circle in sorted(circles, key=lambda circle: min(map(tree.name, circle))):
        lines = [
            f"\n    {tree.name(file)}:{path.line} uses {'::'.join(path.words)} of {tree.name(target)}"
            for file in sorted(circle, key=tree.name)
            for target, path in arrows[file].items()
            if target in circle
        ]
        yield f"{len(circle)} files use each other in a circle:" + "".join(lines)


def check_sizes(tree):
    rooms = {}
    for file in tree.files.values():
        if file.lines > FILE_LINES_MAX and tree.name(file) not in LONG_FILES:
            yield f"{tree.name(file)}: {file.lines} lines, at most {FILE_LINES_MAX}: one idea a file"
        room = file.module[0] if file.module else "lib"
        rooms[room] = rooms.get(room, 0) + file.lines - file.test_lines
    whole = sum(rooms.values())
    for room, lines in rooms.items():
        if lines * ROOM_SHARE > whole:
            yield f"{room}: {lines} of {whole} lines without tests, more than one in {ROOM_SHARE}: split the room"


def problems(root):
    tree = Tree(root)
    return [*check_arrows(tree), *check_circles(tree), *check_sizes(tree)]


def main():
    here = pathlib.Path(__file__).resolve().parent
    found = problems(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "src")
    print("\n".join(found) or "check-layers: arrows point down, no circles, rooms and files within bounds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
