"""Frozen dataclasses that are quick to define: ``dataclass``, ``field`` and ``replace`` with the meaning they have in ``dataclasses``.

``dataclasses`` writes and compiles six methods of every class where it stands, which over all nouns is half of a cold start. Here
``__init__`` and ``__replace__`` are compiled when they are needed first, the other methods are shared, and ``dataclasses`` itself is
imported only when somebody asks a class for its fields. Type checkers see the real ones. Only frozen classes without inheritance are made.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

T = TypeVar("T")
_MISSING: Any = object()


class _Field:
    """What a class says of one field: its default, or how to make one, and whether it is compared."""

    __slots__ = ("compare", "default", "factory")

    def __init__(self, default: Any, factory: Any, *, compare: bool) -> None:
        self.default, self.factory, self.compare = default, factory, compare


class _OnDemand:
    """A class attribute made, and kept in this one's place, when somebody asks for it."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: Any, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: Any) -> Any:
        made = self._make(owner)
        setattr(owner, self._name, made)
        return made


def _dataclass_fields(owner: Any) -> dict[str, Any]:
    """What ``dataclasses`` keeps in ``__dataclass_fields__``, for it and for converters."""
    import dataclasses  # noqa: PLC0415 - the import that this module saves

    found = {}
    for name, own in owner.__frozen_fields__.items():
        given = {key: value for key, value in (("default", own.default), ("default_factory", own.factory)) if value is not _MISSING}
        made: Any = dataclasses.field(**given, compare=own.compare, kw_only=owner.__frozen_kw_only__)
        made.name, made.type, made._field_type = name, owner.__annotations__[name], dataclasses._FIELD  # type: ignore[attr-defined] # noqa: SLF001 - what dataclasses itself writes there
        found[name] = made
    return found


def _signature(owner: Any) -> Any:
    import inspect  # noqa: PLC0415 - as above

    kind = inspect.Parameter.KEYWORD_ONLY if owner.__frozen_kw_only__ else inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                kind,
                default=own.default if own.default is not _MISSING else empty if own.factory is _MISSING else own.factory,
                annotation=owner.__annotations__[name],
            )
            for name, own in owner.__frozen_fields__.items()
        ]
    )


def _field(*, default: Any = _MISSING, default_factory: Any = _MISSING, compare: bool = True) -> Any:
    return _Field(default, default_factory, compare=compare)


def _setters(owner: Any, fields: dict[str, _Field]) -> tuple[dict[str, Any], dict[str, str]]:
    """What compiled methods call to give each field of a new instance its value: a slot's own setter where it has one; and the calls."""
    if "__slots__" not in owner.__dict__:
        return {"_set": object.__setattr__}, {name: f"_set(_made, {name!r}, " for name in fields}
    return {f"_set_{name}": getattr(owner, name).__set__ for name in fields}, {name: f"_set_{name}(_made, " for name in fields}


def _init_of(owner: Any) -> Callable[..., None]:
    """``__init__``, compiled."""
    fields: dict[str, _Field] = owner.__frozen_fields__
    scope, give = _setters(owner, fields)
    scope["_MISSING"] = _MISSING
    arguments, body = [], []
    for name, own in fields.items():
        value = name
        if own.factory is not _MISSING:
            scope[f"_make_{name}"] = own.factory
            arguments.append(f"{name}=_MISSING")
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        elif own.default is not _MISSING:
            scope[f"_default_{name}"] = own.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        body.append(f"{give[name]}{value})")
    star = ["*"] if owner.__frozen_kw_only__ and arguments else []
    return _compiled("__init__", ["_made", *star, *arguments], body or ["pass"], scope)


def _replace_of(owner: Any) -> Callable[..., Any]:
    """``__replace__``, compiled: a new instance with some fields of another value and all others of this one's."""
    fields: dict[str, _Field] = owner.__frozen_fields__
    scope, give = _setters(owner, fields)
    scope |= {"_MISSING": _MISSING, "_new": object.__new__, "_owner": owner}
    body = [f"{give[name]}_self.{name} if {name} is _MISSING else {name})" for name in fields]
    named = ["*", *(f"{name}=_MISSING" for name in fields)] if fields else []
    return _compiled("__replace__", ["_self", "/", *named], ["_made = _new(_owner)", *body, "return _made"], scope)


def _compiled(name: str, arguments: list[str], body: list[str], scope: dict[str, Any]) -> Callable[..., Any]:
    exec(f"def {name}({', '.join(arguments)}):\n" + "\n".join(f"    {line}" for line in body), scope)  # noqa: S102 - as dataclasses does; the names are those of our own classes
    return scope[name]  # type: ignore[no-any-return]


def _on_first_call(name: str, make: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
    """A method that is compiled when an instance needs it first, and from then on stands in this one's place."""

    def first(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = make(type(self))
        setattr(type(self), name, made)
        return made(self, *args, **kwargs)

    return first


def _refuse(self: Any, name: str, *_value: object) -> NoReturn:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - the import that this module saves

    raise FrozenInstanceError(f"{type(self).__qualname__}.{name} cannot be changed")


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__frozen_fields__)})"


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__frozen_fields__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__frozen_fields__, state, strict=True):
        object.__setattr__(self, name, value)


def _comparisons(fields: dict[str, _Field], *, order: bool) -> dict[str, Any]:
    """Equality, hash and order over the values of the compared fields."""
    names = [name for name, own in fields.items() if own.compare]
    key: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807 - it becomes a class's own
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807 - as above
        return hash(key(self))

    made: dict[str, Any] = {"__eq__": __eq__, "__hash__": __hash__}
    if order:
        made["__lt__"] = lambda one, other: key(one) < key(other) if other.__class__ is one.__class__ else NotImplemented
        made["__le__"] = lambda one, other: key(one) <= key(other) if other.__class__ is one.__class__ else NotImplemented
        made["__gt__"] = lambda one, other: key(one) > key(other) if other.__class__ is one.__class__ else NotImplemented
        made["__ge__"] = lambda one, other: key(one) >= key(other) if other.__class__ is one.__class__ else NotImplemented
    return made


def _dataclass(*, frozen: bool, slots: bool = False, kw_only: bool = False, eq: bool = True, order: bool = False) -> Any:
    if not frozen:
        raise TypeError("only frozen classes are made here; use dataclasses for another")

    def decorate(cls: Any) -> Any:
        space = dict(cls.__dict__)
        fields = {}
        for name in space.get("__annotations__", ()):
            default = space.get(name, _MISSING)
            fields[name] = default if isinstance(default, _Field) else _Field(default, _MISSING, compare=True)
            space.pop(name, None)
            if not slots and fields[name].default is not _MISSING:
                space[name] = fields[name].default
        space.setdefault("__repr__", _repr)
        space |= {
            "__frozen_fields__": fields,
            "__frozen_kw_only__": kw_only,
            "__dataclass_fields__": _OnDemand(_dataclass_fields),
            "__signature__": _OnDemand(_signature),
            "__init__": _on_first_call("__init__", _init_of),
            "__replace__": _on_first_call("__replace__", _replace_of),
            "__match_args__": () if kw_only else tuple(fields),
            "__setattr__": _refuse,
            "__delattr__": _refuse,
            **(_comparisons(fields, order=order) if eq else {}),
            **({"__slots__": tuple(fields), "__getstate__": _getstate, "__setstate__": _setstate} if slots else {}),
        }
        for name in ("__dict__", "__weakref__"):
            space.pop(name, None)
        made = type(cls)(cls.__name__, cls.__bases__, space)
        made.__qualname__ = cls.__qualname__
        return made

    return decorate


def _replace(value: Any, /, **changes: Any) -> Any:
    return value.__replace__(**changes)


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    dataclass, field, replace = _dataclass, _field, _replace

__all__ = ["dataclass", "field", "replace"]
