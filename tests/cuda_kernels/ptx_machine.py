"""A machine for the PTX of the kernels: 32 lanes a warp, device memory with bounds, in plain Python.

The kernels' source is compared with the library on a CPU by check.cpp. What is shipped is the PTX that a compiler made
of it, and this runs that. It knows the instructions that are in there and no others; one that it does not know is an
error. Each stretch of instructions without a branch becomes a Python function over the registers of a lane. Lanes go
their own ways; a shuffle waits for all of them.
"""

import re

LANES = 32
MASK = {32: 0xFFFFFFFF, 64: 0xFFFFFFFFFFFFFFFF}
# Where constants of the module lie, apart from all device memory.
CONSTANT_BASE = 0x10000


class Fault(Exception):
    """What a GPU would not have let pass."""


class Memory:
    """Ranges of device memory by their addresses; what lies between them may not be touched."""

    def __init__(self):
        self.ranges = []

    def add(self, address, data):
        self.ranges.append((address, data))
        return data

    def find(self, address, size):
        if address % size:
            raise Fault(f"{address:#x} is not aligned to {size}")
        for base, data in self.ranges:
            if base <= address and address + size <= base + len(data):
                return data, address - base
        raise Fault(f"{size} bytes at {address:#x} are out of bounds")

    def load(self, address, size):
        data, at = self.find(address, size)
        return int.from_bytes(data[at : at + size], "little")

    def load_pair(self, address):
        data, at = self.find(address, 16)
        return int.from_bytes(data[at : at + 8], "little"), int.from_bytes(data[at + 8 : at + 16], "little")

    def store(self, address, size, *values):
        data, at = self.find(address, size)
        each = size // len(values)
        data[at : at + size] = b"".join(value.to_bytes(8, "little")[:each] for value in values)


def permuted(a, b, selector):
    source = (b << 32 | a).to_bytes(8, "little")
    picked = [source[selector >> 4 * i & 7] for i in range(4)]
    if selector & 0x8888:
        raise NotImplementedError("prmt that replicates a sign")
    return int.from_bytes(bytes(picked), "little")


# Instructions that compute: what to make of the operands, a to d, with {m} the mask and {n} the bits of the type.
EXPRESSIONS = {
    "add": "({a} + {b}) & {m}",
    "sub": "({a} - {b}) & {m}",
    "neg": "-{a} & {m}",
    "mul.lo": "{a} * {b} & {m}",
    "mul.hi": "{a} * {b} >> {n}",
    "mul.wide": "{a} * {b}",
    "div": "{a} // {b}",
    "min": "min({a}, {b})",
    "and": "{a} & {b}",
    "or": "{a} | {b}",
    "xor": "{a} ^ {b}",
    "shl": "{a} << {b} & {m} if {b} < {n} else 0",
    "shr": "{a} >> {b}",
    "mov": "{a}",
    "cvt.u64": "{a}",
    "cvt.u32": "{a} & 0xffffffff",
    "selp": "{a} if {c} else {b}",
    "prmt": "permuted({a}, {b}, {c})",
    "bfi": "{b} & ~((1 << {d}) - 1 << {c}) & {m} | ({a} & (1 << {d}) - 1) << {c}",
    "shf.r.wrap": "({b} << 32 | {a}) >> ({c} & 31) & {m}",
    "shf.l.wrap": "({b} << 32 | {a}) << ({c} & 31) >> 32 & {m}",
    "setp.lt": "{a} < {b}",
    "setp.le": "{a} <= {b}",
    "setp.gt": "{a} > {b}",
    "setp.ge": "{a} >= {b}",
    "setp.eq": "{a} == {b}",
    "setp.ne": "{a} != {b}",
}
# Where the sign of an operand matters to one of these, it is not among the kernels' instructions.
UNSIGNED_ONLY = {"mul.hi", "mul.wide", "div", "min", "shr", "setp.lt", "setp.le", "setp.gt", "setp.ge"}
SIZES = {"u8": 1, "u32": 4, "u64": 8}
SPECIAL = {"%tid.x": "tid", "%ntid.x": "ntid", "%ctaid.x": "ctaid", "%nctaid.x": "nctaid"}


class Kernel:
    """One entry of a module, translated."""

    def __init__(self, name, body, constants):
        self.constants, self.registers, self.parameters = constants, {}, {}
        self.name, self.blocks, self.labels = name, [], {}
        lines = []
        for statement in statements_of(body):
            label = re.fullmatch(r"(\$\w+):", statement)
            # What falls off the end of a block goes on in the next one.
            if label:
                self.close(lines, fall_through=True)
                self.labels[label.group(1)] = len(self.blocks)
                continue
            predicate, instruction, operands = re.fullmatch(r"(?:@(!?%\w+)\s+)?([\w.:]+)\s*(.*)", statement).groups()
            operands = re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s]+", operands)
            if instruction in ("bra", "bra.uni"):
                condition = "True" if predicate is None else self.value(predicate.lstrip("!"))
                negated = "not " if predicate and predicate[0] == "!" else ""
                lines.append(f"if {negated}{condition}: return labels['{operands[0]}']")
                self.close(lines, fall_through=True)
            elif predicate is not None:
                raise NotImplementedError(statement)
            elif instruction == "ret":
                lines.append("return None")
                self.close(lines)
            elif instruction.startswith("shfl"):
                self.close(lines, fall_through=True)
                self.blocks.append(self.shuffle(instruction, operands))
            else:
                lines.extend(self.translate(instruction, operands))
        self.close(lines)

    def close(self, lines, fall_through=False):
        """Makes a function of the lines so far."""
        if not lines:
            return
        if fall_through:
            lines.append(f"return {len(self.blocks) + 1}")
        source = "def block(r, s, p, memory):\n" + "".join(f"    {line}\n" for line in lines)
        names = {"labels": self.labels, "permuted": permuted, "constants": self.constants}
        exec(compile(source, self.name, "exec"), names)
        self.blocks.append(names["block"])
        lines.clear()

    def value(self, operand):
        """A Python expression for an operand."""
        if operand in SPECIAL:
            return f"s['{SPECIAL[operand]}']"
        if operand.startswith("%"):
            return f"r[{self.registers.setdefault(operand, len(self.registers))}]"
        if re.fullmatch(r"-?\d+", operand):
            return str(int(operand) & MASK[64])
        return str(self.constants.addresses[operand])

    def address(self, operand):
        base, offset = re.fullmatch(r"\[([%\w$]+)(?:\+(-?\d+))?\]", operand).groups()
        return f"({self.value(base)} + {offset or 0} & {MASK[64]})"

    def pair(self, operand):
        low, high = operand.strip("{}").replace(" ", "").split(",")
        return self.value(low), self.value(high)

    def translate(self, instruction, operands):
        words = instruction.split(".")
        kind = words[-1]
        if words[0] == "ld" and words[1] == "param":
            name = operands[1].strip("[]")
            return [f"{self.value(operands[0])} = p['{name}']"]
        if words[:2] == ["ld", "const"]:
            return [f"{self.value(operands[0])} = constants.load({self.address(operands[1])}, {SIZES[kind]})"]
        if instruction == "ld.global.nc.v2.u64":
            low, high = self.pair(operands[0])
            return [f"{low}, {high} = memory.load_pair({self.address(operands[1])})"]
        if words[:3] == ["ld", "global", "nc"]:
            return [f"{self.value(operands[0])} = memory.load({self.address(operands[1])}, {SIZES[kind]})"]
        if instruction == "st.global.cs.v2.u64":
            return [f"memory.store({self.address(operands[0])}, 16, {', '.join(self.pair(operands[1]))})"]
        if words[:3] == ["st", "global", "cs"]:
            return [f"memory.store({self.address(operands[0])}, {SIZES[kind]}, {self.value(operands[1])})"]
        if instruction == "mov.b64" and operands[0].startswith("{"):
            low, high = self.pair(operands[0])
            whole = self.value(operands[1])
            return [f"{low}, {high} = {whole} & {MASK[32]}, {whole} >> 32"]
        if instruction == "mov.b64" and operands[1].startswith("{"):
            low, high = self.pair(operands[1])
            return [f"{self.value(operands[0])} = {high} << 32 | {low}"]
        bits = 64 if kind.endswith("64") else 32
        # A conversion is named after what it makes, anything else up to its type.
        operation = ".".join(words[:2]) if words[0] == "cvt" else ".".join(words[:-1])
        if operation not in EXPRESSIONS or (operation in UNSIGNED_ONLY and kind[0] != "u"):
            raise NotImplementedError(instruction)
        values = dict(zip("abcd", (self.literal(operand, bits) for operand in operands[1:])))
        return [f"{self.value(operands[0])} = {EXPRESSIONS[operation].format(m=MASK[bits], n=bits, **values)}"]

    def literal(self, operand, bits):
        """As value(), with a number cut to the bits of its type."""
        value = self.value(operand)
        return str(int(value) & MASK[bits]) if value.isdigit() else value

    def shuffle(self, instruction, operands):
        if instruction != "shfl.sync.bfly.b32":
            raise NotImplementedError(instruction)
        target = operands[0].split("|")[0]
        places = [int(self.value(name)[2:-1]) for name in (target, *operands[1:])]
        return Shuffle(*places)

    def run(self, grid, threads, parameters, memory):
        values = {f"{self.name}_param_{at}": value for at, value in enumerate(parameters)}
        for block in range(grid):
            for first in range(0, threads, LANES):
                special = [
                    {"tid": first + lane, "ntid": threads, "ctaid": block, "nctaid": grid} for lane in range(LANES)
                ]
                self.run_warp(special, values, memory)

    def run_warp(self, special, parameters, memory):
        registers = [[None] * len(self.registers) for _ in range(LANES)]
        at = [0] * LANES
        while True:
            ready = [pc for pc in at if pc is not None and not isinstance(self.blocks[pc], Shuffle)]
            if ready:
                # The lanes that are behind go first, so that ways which parted meet again.
                pc = min(ready)
                for lane in range(LANES):
                    if at[lane] == pc:
                        at[lane] = self.blocks[pc](registers[lane], special[lane], parameters, memory)
            elif at == [None] * LANES:
                return
            elif at == [at[0]] * LANES:
                self.blocks[at[0]].exchange(registers)
                at = [at[0] + 1] * LANES
            else:
                raise Fault(f"lanes of {self.name} wait for each other at different places: {at}")


class Shuffle:
    """shfl.sync.bfly.b32: registers of the result, the word, the distance, the clamp and the mask."""

    def __init__(self, target, word, distance, clamp, mask):
        self.target, self.word, self.distance, self.clamp, self.mask = target, word, distance, clamp, mask

    def exchange(self, registers):
        for lane in registers:
            if lane[self.clamp] != 31 or lane[self.mask] & MASK[32] != MASK[32]:
                raise Fault("a shuffle of a part of the warp")
        received = [registers[at ^ lane[self.distance]][self.word] for at, lane in enumerate(registers)]
        for lane, word in zip(registers, received):
            lane[self.target] = word


class Constants(Memory):
    """The constants of a module, each at an address of its own."""

    def __init__(self, text):
        super().__init__()
        self.addresses = {}
        at = CONSTANT_BASE
        for name, values in re.findall(r"^\.const .* (\w+)\[\d+\] = \{([^}]*)\};", text, re.MULTILINE):
            self.addresses[name] = at
            data = self.add(at, bytes(int(value) for value in values.split(",")))
            at += (len(data) + 511) // 256 * 256


def statements_of(body):
    """Labels and instructions, without what declares registers."""
    for line in body.splitlines():
        statement = re.sub(r"//.*", "", line).strip().rstrip(";")
        if statement and statement not in "{}" and not statement.startswith("."):
            yield statement


def kernels_of(text):
    """The kernels of a module by name."""
    constants = Constants(text)
    entries = re.findall(r"\.entry (\w+)\(.*?\n\{\n(.*?)\n\}\n", text, re.DOTALL)
    return {name: Kernel(name, body, constants) for name, body in entries}
