"""Pickles read without executing anything: a pickle is a program for a small stack machine, and this is the machine.

Python's own `pickle` looks up any name a program asks for and calls it. This one never imports and never looks up:
a name that the table `known` holds stands for what the table says; any other becomes a `Global`, a label. Calling a
label gives a `Placeholder`, which keeps the label, the arguments and the state as plain data. What is built for real:
None, bool, int, float, str, bytes, bytearray, list, tuple, dict, set, and what the functions in `known` make.

A program is refused (FileFormatError with the byte) for opcodes that torch never writes, for names no honest file
holds (os.system, eval), for calling what another call gave, and for anything that would need far more memory than the
file has bytes. Instructions: Lib/pickletools.py of CPython describes each.
"""

import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from minires.errors import FileFormatError
from minires.io import files
from minires.io.pickle_names import OLD_MODULES, REFUSED_MODULES, REFUSED_NAMES, Builder, Global, Placeholder

_SPARE = 128 << 20  # bytes of Python objects that any pickle may need, beyond _PER_BYTE for each of its own bytes
_PER_BYTE = 8
_COSTS = {"tuple": 56, "list": 64, "dict": 100, "set": 224, "call": 200, "mark": 72, "memo": 100, "item": 100}
_DEEPEST = 500  # containers inside each other
_LONGEST_NAME = 500
_LONGEST_NUMBER = 255  # bytes of one whole number
_SCALARS = (type(None), bool, int, float, str, bytes)


class Unpickler:
    """Runs the program that begins at `data[start]`.

    place: where data[0] lies in the file `path`, for error messages. known: dotted name -> value, or Builder.
    persistent: makes an object of a persistent id; it raises ValueError or TypeError for one that it does not know.
    After `load`, `position` is behind the program and `ignored` holds the names that became labels.
    """

    def __init__(
        self, data: bytes | memoryview, path: files.PathLike, known: Mapping[str, Any],
        persistent: Callable[[Any], Any] | None = None, start: int = 0, place: int = 0,
    ) -> None:  # fmt: skip
        self._data, self._path, self._known, self._persistent = memoryview(data), path, known, persistent
        self.position, self._place, self._opcode = start, place, start
        self.ignored: dict[str, Global] = {}
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below the marks
        self._memo: dict[int, Any] = {}
        self._memory = _SPARE + _PER_BYTE * len(data)  # left to spend
        self._copies = 4 * len(data) + 4096  # bytes and items that calls may copy

    def load(self) -> Any:
        """The object that the program leaves."""
        data, opcodes = self._data, OPCODES
        try:
            while True:
                self._opcode = self.position
                opcode = data[self.position]
                self.position += 1
                if opcode == 0x2E:  # STOP
                    break
                if opcode not in opcodes:
                    raise self.error(f"the opcode {opcode:#04x} is not one that torch.save writes")
                opcodes[opcode](self)
            result = self._stack.pop()
        except IndexError:
            ended = self._opcode >= len(data)
            reason = "the pickle is cut off" if ended else "an instruction takes a value that is not there"
            raise self.error(reason) from None
        self._check_depth(result)
        return result

    def error(self, reason: str) -> FileFormatError:
        """The error for a fault at the instruction that runs."""
        return FileFormatError(self._path, self._place + self._opcode, reason)

    # -------------------------------------------------------------------------------------------------- bounds

    def _spend(self, kind: str, count: int = 1) -> None:
        self._memory -= _COSTS[kind] * count
        if self._memory < 0:
            raise self.error("the pickle builds more objects than a file of its size can need")

    def _check_depth(self, root: Any) -> None:
        """Refuse containers nested so deeply that printing or comparing them would overflow the stack."""
        seen, waiting = set(), deque([(root, 0)])
        while waiting:
            value, depth = waiting.popleft()
            if not isinstance(value, list | tuple | dict | Placeholder) or id(value) in seen:
                continue
            if depth > _DEEPEST:
                raise self.error(f"containers are nested over {_DEEPEST} deep")
            seen.add(id(value))
            if isinstance(value, Placeholder):
                inside: Any = (value.args, value.state, value.items)
            else:
                inside = value.values() if isinstance(value, dict) else value
            waiting.extend((item, depth + 1) for item in inside)

    def _take(self, count: int) -> memoryview:
        """The next `count` bytes of the program."""
        if count > len(self._data) - self.position:
            raise self.error(f"{count} bytes are announced, {len(self._data) - self.position} are left")
        self.position += count
        return self._data[self.position - count : self.position]

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _key(self, key: Any) -> Any:
        """`key`, if it may be one: hashing other values can be made slow, or overflow the stack."""
        for part in key if type(key) is tuple else (key,):
            if type(part) not in _SCALARS and not isinstance(part, Global | Placeholder):
                raise self.error(f"a key of the type {type(part).__name__}")
            if type(part) is int and part.bit_length() > 64:  # whole numbers can be chosen so that their hashes agree
                raise self.error("a key of more than 64 bits")
        return key

    # ------------------------------------------------------------------------------------------- plain values

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _long(self, length: int) -> None:
        if not 0 <= length <= _LONGEST_NUMBER:
            raise self.error(f"a whole number of {length} bytes")
        self._push(int.from_bytes(self._take(length), "little", signed=True))

    def _text(self, length: int) -> None:
        try:
            self._push(str(self._take(length), "utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise self.error("text that is not valid UTF-8") from error

    def _old_text(self, length: int) -> None:
        """Python 2's str, which is text or bytes: text if it is valid UTF-8."""
        content = bytes(self._take(length))
        try:
            self._push(content.decode())
        except UnicodeDecodeError:
            self._push(content)

    def _protocol(self) -> None:
        version = self._number("B")
        if version > 5:
            raise self.error(f"protocol {version} of pickle is not known")

    def _frame(self) -> None:
        length = self._number("<Q")
        if length > len(self._data) - self.position:
            raise self.error(f"a frame of {length} bytes, {len(self._data) - self.position} are left")

    # ---------------------------------------------------------------------------------------------- containers

    def _empty(self, kind: str, value: Any) -> None:
        self._spend(kind)
        self._push(value)

    def _mark(self) -> None:
        self._spend("mark")
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _tuple(self, length: int) -> None:
        self._spend("tuple")
        if len(self._stack) < length:
            raise IndexError
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _tuple_since_mark(self) -> None:
        self._spend("tuple")
        self._push(tuple(self._since_mark()))

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        row = target.items if isinstance(target, Placeholder) else target
        if type(row) is not list:
            raise self.error(f"items are appended to a {type(target).__name__}")
        row.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if len(items) % 2:
            raise self.error("a key without a value")
        pairs = list(zip(items[::2], items[1::2], strict=True))
        self._spend("item", len(pairs))
        if type(target) in (dict, OrderedDict):
            target.update((self._key(key), value) for key, value in pairs)
        elif isinstance(target, Placeholder):
            target.items.extend(pairs)
        else:
            raise self.error(f"items are set in a {type(target).__name__}")

    def _add_items(self) -> None:
        items, target = self._since_mark(), self._stack[-1]
        if type(target) is not set:
            raise self.error(f"items are added to a {type(target).__name__}")
        self._spend("item", len(items))
        target.update(self._key(item) for item in items)

    def _frozenset(self) -> None:
        items = self._since_mark()
        self._spend("set")
        self._spend("item", len(items))
        self._push(frozenset(self._key(item) for item in items))

    # ------------------------------------------------------------------------------------------------ the memo

    def _remember(self, index: int) -> None:
        self._spend("memo")
        self._memo[index] = self._stack[-1]

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self.error(f"the memo has no entry {index}")
        self._push(self._memo[index])

    # ------------------------------------------------------------------------------------------ names and calls

    def _global_of_lines(self) -> None:
        module, name = self._line(), self._line()
        self._global(module, name)

    def _line(self) -> str:
        content = bytes(self._data[self.position : self.position + _LONGEST_NAME + 1])
        line, newline, _ = content.partition(b"\n")
        if not newline:
            raise self.error("a name without an end")
        self.position += len(line) + 1
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise self.error("a name that is not valid UTF-8") from error

    def _global_of_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str or len(name) + len(module) > 2 * _LONGEST_NAME:
            raise self.error("a name that is not text")
        self._global(module, name)

    def _global(self, module: str, name: str) -> None:
        dotted = f"{OLD_MODULES.get(module, module)}.{name}"
        if not dotted.isprintable():
            raise self.error(f"the name {dotted!r}")
        if dotted.split(".")[0] in REFUSED_MODULES or dotted in REFUSED_NAMES:
            raise self.error(f"the file asks for {dotted}, which no weights need: this looks like an attack")
        if dotted in self._known:
            self._push(self._known[dotted])
            return
        if dotted not in self.ignored:
            self._spend("call")
            self.ignored[dotted] = Global(dotted)
        self._push(self.ignored[dotted])

    def _call(self) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        self._push(self._result(function, args))

    def _call_with_names(self) -> None:
        named, args, function = self._stack.pop(), self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global) or type(named) is not dict:
            raise self.error(f"named arguments for {function!r}"[:200])
        self._push(self._result(function, args))
        self._stack[-1].items.append(named)

    def _result(self, function: Any, args: Any) -> Any:
        if type(args) is not tuple:
            raise self.error(f"arguments that are a {type(args).__name__}")
        self._spend("call")
        if isinstance(function, Global):
            return Placeholder(function.name, args)
        if not isinstance(function, Builder):
            raise self.error(f"a call of a {type(function).__name__}")
        self._copies -= sum(len(arg) for arg in args if isinstance(arg, str | bytes | list | tuple | dict))
        if self._copies < 0:
            raise self.error("calls copy the same values again and again")
        try:
            return function.function(*args)
        except (ValueError, TypeError) as error:
            raise self.error(f"{function.name}: {error}"[:500]) from error

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
        elif type(target) is OrderedDict and type(state) in (dict, OrderedDict):
            pass  # attributes of the dictionary: torch's `_metadata`, the versions of modules, which nothing here needs
        elif hasattr(target, "restore"):
            try:
                target.restore(state)
            except (ValueError, TypeError) as error:
                raise self.error(f"{type(target).__name__}: {error}"[:500]) from error
        else:
            raise self.error(f"a state is set in a {type(target).__name__}")

    def _persistent_id(self) -> None:
        if self._persistent is None:
            raise self.error("a persistent id where there are none")
        self._spend("call")
        try:
            self._push(self._persistent(self._stack.pop()))
        except (ValueError, TypeError) as error:
            raise self.error(f"persistent id: {error}"[:500]) from error


OPCODES: dict[int, Callable[[Unpickler], Any]] = {
    0x80: Unpickler._protocol, 0x95: Unpickler._frame,
    # plain values
    ord("N"): lambda u: u._push(None), 0x88: lambda u: u._push(True), 0x89: lambda u: u._push(False),
    ord("K"): lambda u: u._push(u._number("B")), ord("M"): lambda u: u._push(u._number("<H")),
    ord("J"): lambda u: u._push(u._number("<i")), ord("G"): lambda u: u._push(u._number(">d")),
    0x8A: lambda u: u._long(u._number("B")), 0x8B: lambda u: u._long(u._number("<i")),
    ord("X"): lambda u: u._text(u._number("<I")), 0x8C: lambda u: u._text(u._number("B")),
    0x8D: lambda u: u._text(u._number("<Q")),
    ord("U"): lambda u: u._old_text(u._number("B")), ord("T"): lambda u: u._old_text(u._number("<I")),
    ord("C"): lambda u: u._push(bytes(u._take(u._number("B")))),
    ord("B"): lambda u: u._push(bytes(u._take(u._number("<I")))),
    0x8E: lambda u: u._push(bytes(u._take(u._number("<Q")))),
    0x96: lambda u: u._push(bytearray(u._take(u._number("<Q")))),
    # containers
    ord("("): Unpickler._mark, ord("1"): Unpickler._since_mark, ord("0"): lambda u: u._stack.pop(),
    ord("]"): lambda u: u._empty("list", []), ord("}"): lambda u: u._empty("dict", {}),
    ord(")"): lambda u: u._push(()), 0x8F: lambda u: u._empty("set", set()),
    0x85: lambda u: u._tuple(1), 0x86: lambda u: u._tuple(2), 0x87: lambda u: u._tuple(3),
    ord("t"): Unpickler._tuple_since_mark,
    ord("a"): lambda u: u._extend([u._stack.pop()]), ord("e"): lambda u: u._extend(u._since_mark()),
    ord("s"): lambda u: u._set_items([u._stack.pop() for _ in "vk"][::-1]),
    ord("u"): lambda u: u._set_items(u._since_mark()),
    0x90: Unpickler._add_items, 0x91: Unpickler._frozenset,
    # the memo
    ord("q"): lambda u: u._remember(u._number("B")), ord("r"): lambda u: u._remember(u._number("<I")),
    0x94: lambda u: u._remember(len(u._memo)),
    ord("h"): lambda u: u._recall(u._number("B")), ord("j"): lambda u: u._recall(u._number("<I")),
    # names and calls
    ord("c"): Unpickler._global_of_lines, 0x93: Unpickler._global_of_stack,
    ord("R"): Unpickler._call, 0x81: Unpickler._call, 0x92: Unpickler._call_with_names,
    ord("b"): Unpickler._build, ord("Q"): Unpickler._persistent_id,
}  # fmt: skip
