"""The pickle inside a PyTorch checkpoint, read as a table of tensors: it is followed on paper and never executed.

A pickle is a program. This follows the few instructions that `torch.save` writes, with inert records in the place of
everything that a real unpickler would import or call, and stops at the first thing that a checkpoint does not need.
"""

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jaxinterp.models._files._entries import Entry, Unusable, is_count, shown

MOST_WORK = 1_000_000
"""Instructions and items after which a pickle is given up; an Inception-ResNet-v2 takes 70 000."""

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
_INERT = {"torch.device", "torch.serialization._get_layout", "_codecs.encode", "builtins.set", "__builtin__.set"}
_KINDS = {
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_tensor_v3": "a tensor of a type that weights do not have",
    "torch._tensor._rebuild_from_type_v2": "a tensor of a subclass",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor, which has no values",
}
_PLAIN = "save dense float32 tensors, or the weights as .safetensors"
_UNTRUSTED = "do not load it; ask for a .safetensors file, or save model.state_dict() alone where you trust it"


class Symbol(NamedTuple):
    """A name that a real unpickler would import."""

    name: str


class Inert(NamedTuple):
    """Something that is of no interest to the weights, a device for one."""

    name: str


class Storage(NamedTuple):
    """A block of values in the file."""

    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage, strides in values."""

    storage: Storage
    shape: tuple[int, ...]

    @property
    def entry(self) -> Entry:
        """Its shape and type."""
        return Entry(self.shape, self.storage.dtype)


_MARK = Symbol("(")


def read_table(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """Follows one pickle and leaves the stream behind it.

    Returns:
        The object, made of dicts, lists, tuples, plain values, `Tensor` and the records above, and the storages by key.

    Raises:
        Unusable: a pickle that is broken, or that holds more than tensors and plain values.
    """
    table = _Table()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            table.follow(opcode.name, argument)
        return table.stack[-1], table.storages
    except (ValueError, IndexError, KeyError, TypeError, EOFError, OverflowError, UnicodeError, AttributeError) as error:
        raise Unusable(f"a pickle that is cut or broken: {shown(error)}", "download or save it again") from error


class _Table:
    """The stack and the memo of an unpickler, of inert records."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.work = 0

    def follow(self, name: str, argument: Any) -> None:
        """One instruction."""
        self.spend(1)
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Unusable(f"a pickle with the instruction {name}, which torch.save does not write for weights", _UNTRUSTED)

    def spend(self, work: int) -> None:
        """Counts work, which sharing could otherwise multiply without end."""
        self.work += work
        if self.work > MOST_WORK:
            raise Unusable(f"a pickle of more than {MOST_WORK} instructions", _UNTRUSTED)

    def since_mark(self) -> list[Any]:
        """What is on the stack above the last mark, both removed."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        self.spend(len(items))
        return items

    def symbol(self, module: str, name: str) -> None:
        """An import, which is looked up in the table of what checkpoints need."""
        full = f"{module}.{name}"
        if full in _KINDS:
            raise Unusable(f"a checkpoint with {_KINDS[full]}", _PLAIN)
        if not _is_known(full):
            raise Unusable(f"a pickle that would import {shown(full)}, which is no part of weights", _UNTRUSTED)
        self.stack.append(Symbol(full))

    def call(self) -> None:
        """A call, of which only the known ones mean something."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise Unusable(f"a pickle that calls {shown(type(function).__name__)}", _UNTRUSTED)
        self.spend(sum(len(item) for item in arguments if isinstance(item, list | dict)))
        self.stack.append(_called(function.name, arguments))

    def storage(self) -> None:
        """A block of values, by ('storage', type, key, location, count, and in old files a view)."""
        identity = self.stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise Unusable("a pickle that refers to something outside it that is no storage", _UNTRUSTED)
        _, kind, key, location, count = identity[:5]
        dtype = _storage_type(kind.name) if isinstance(kind, Symbol) else None
        if dtype is None or not isinstance(key, str) or not is_count(count):
            raise Unusable(f"a checkpoint whose storage {_plain(key)} is broken", "download or save it again")
        if location == "meta":
            raise Unusable("a checkpoint with a meta tensor, which has no values", _PLAIN)
        if identity[5:] not in ((), (None,)):
            raise Unusable("a checkpoint with views of storages, as PyTorch before 0.4 wrote them", "save it again")
        found = self.storages.setdefault(key, Storage(key, dtype, count))
        if found != (key, dtype, count):
            raise Unusable(f"a checkpoint that describes its storage {shown(key)!r} twice", "download or save it again")
        self.stack.append(found)

    def extend(self, items: list[Any]) -> None:
        """Appends to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise Unusable("a pickle that appends to what is no list", _UNTRUSTED)
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Sets items of the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise Unusable("a pickle that sets an item of what is no dict", _UNTRUSTED)
        for key, value in zip(_keys(items[::2]), items[1::2], strict=True):
            if key in target:
                raise Unusable(f"a checkpoint that has {shown(key)!r} twice", "download or save it again")
            target[key] = value

    def build(self) -> None:
        """Attributes of an object, which only dicts of weights have here and which are dropped."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise Unusable("a pickle that sets attributes of what is no dict", _UNTRUSTED)


def _pop(table: _Table, count: int) -> list[Any]:
    items = table.stack[len(table.stack) - count :]
    if len(items) < count:
        raise ValueError("stack underflow")
    del table.stack[len(table.stack) - count :]
    return items


_PUSHES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
_PUSHES |= {"SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Inert("set"),
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
}
_STEPS: dict[str, Callable[[_Table, Any], Any]] = {
    "GLOBAL": lambda table, argument: table.symbol(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda table, _: table.symbol(*_pop(table, 2)),
    "TUPLE": lambda table, _: table.stack.append(tuple(table.since_mark())),
    "TUPLE1": lambda table, _: table.stack.append(tuple(_pop(table, 1))),
    "TUPLE2": lambda table, _: table.stack.append(tuple(_pop(table, 2))),
    "TUPLE3": lambda table, _: table.stack.append(tuple(_pop(table, 3))),
    "APPEND": lambda table, _: table.extend(_pop(table, 1)),
    "APPENDS": lambda table, _: table.extend(table.since_mark()),
    "SETITEM": lambda table, _: table.update(_pop(table, 2)),
    "SETITEMS": lambda table, _: table.update(table.since_mark()),
    "REDUCE": lambda table, _: table.call(),
    "BUILD": lambda table, _: table.build(),
    "BINPERSID": lambda table, _: table.storage(),
}


def _plain(value: Any) -> str:
    """A value as it may stand in a message; of what could be nested without end only the type."""
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return shown(list(value))
    return repr(shown(value)) if isinstance(value, str | int) else type(value).__name__


def _keys(keys: list[Any]) -> Iterator[Any]:
    for key in keys:
        if not isinstance(key, str | int | float | bool | None):
            raise Unusable(f"a checkpoint with a key that is a {type(key).__name__}", _PLAIN)
        yield key


def _is_known(name: str) -> bool:
    return name in _CALLS or name in _INERT or _storage_type(name) is not None or _is_dtype(name)


def _is_dtype(name: str) -> bool:
    return name.startswith("torch.") and name.removeprefix("torch.") in _STORAGES.values()


def _storage_type(name: str) -> str | None:
    """The type of the values in a storage class."""
    module, _, kind = name.rpartition(".")
    return _STORAGES.get(kind.removesuffix("Storage")) if module == "torch" and kind.endswith("Storage") else None


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    if name in _INERT:
        return Inert(name)
    if name not in _CALLS:
        raise Unusable(f"a pickle that calls {shown(name)}", _UNTRUSTED)
    return _CALLS[name](*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    """A view that lies inside its storage.

    Raises:
        Unusable: one that does not.
    """
    sound = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)
    if not sound or len(shape) != len(stride) or len(shape) > 32 or not all(map(is_count, [offset, *shape, *stride])):
        raise Unusable(f"a checkpoint with a tensor of shape {_plain(shape)} and strides {_plain(stride)}", _PLAIN)
    reach = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) + 1 if 0 not in shape else 0
    if reach > storage.length or math.prod(shape) > storage.length:
        raise Unusable(
            f"a checkpoint with a tensor of shape {list(shape)} in a storage of {storage.length} values",
            "download or save it again",
        )
    return Tensor(storage, shape)


def _dict(*arguments: Any) -> dict[Any, Any]:
    """An ordered dict: empty, or in old files of pairs."""
    given = arguments[0] if arguments else []
    pairs = list(given.items()) if type(given) is dict else given
    if type(pairs) is not list or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise Unusable("a checkpoint with a dict that is not made of pairs", "download or save it again")
    found = dict(zip(_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))
    if len(found) < len(pairs):
        raise Unusable("a checkpoint that has a name twice", "download or save it again")
    return found


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch.Size": lambda sides=(): tuple(sides),
}
