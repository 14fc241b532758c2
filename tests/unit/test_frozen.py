"""Our quick dataclasses are held against the standard library's."""

import copy
import dataclasses
import inspect
import pickle
from functools import cached_property
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage import frozen


def _classes(made_by: Any) -> tuple[Any, Any, Any]:
    @made_by.dataclass(frozen=True, slots=True, kw_only=True)
    class Noun:
        """A noun."""

        a: int
        b: str = "b"
        c: tuple[int, ...] = made_by.field(default_factory=tuple)

    @made_by.dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        parts: tuple[int, ...]
        text: str = made_by.field(default="", compare=False)

    @made_by.dataclass(frozen=True, eq=False, kw_only=True)
    class Identity:
        a: int
        b: int = 2

        @cached_property
        def total(self) -> int:
            return self.a + self.b

    return Noun, Ordered, Identity


NOUN, ORDERED, IDENTITY = _classes(frozen)
REAL = _classes(dataclasses)


@frozen.dataclass(frozen=True, slots=True, kw_only=True)
class Picklable:
    a: int
    b: tuple[int, ...] = ()


@given(st.integers(), st.text(), st.lists(st.integers()).map(tuple))
def test_a_noun_reads_prints_and_compares_like_the_librarys(a: int, b: str, c: tuple[int, ...]) -> None:
    ours, theirs = NOUN(a=a, b=b, c=c), REAL[0](a=a, b=b, c=c)
    assert (ours.a, ours.b, ours.c) == (theirs.a, theirs.b, theirs.c)
    assert repr(ours) == repr(theirs).replace("test_frozen.", "")
    assert ours == NOUN(a=a, b=b, c=c)
    assert hash(ours) == hash(NOUN(a=a, b=b, c=c))
    assert ours != theirs
    assert ours != NOUN(a=a + 1, b=b, c=c)


@given(*[st.lists(st.integers(0, 3), max_size=3).map(tuple)] * 2, st.text())
def test_order_is_the_librarys_and_ignores_what_is_not_compared(one: tuple[int, ...], two: tuple[int, ...], text: str) -> None:
    ours, theirs = (ORDERED(one, text), ORDERED(two)), (REAL[1](one, text), REAL[1](two))
    for compare in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__"):
        assert getattr(ours[0], compare)(ours[1]) == getattr(theirs[0], compare)(theirs[1])
    assert (hash(ours[0]) == hash(ours[1])) >= (one == two)


def test_defaults_are_filled_and_what_is_needed_is_needed() -> None:
    assert NOUN(a=1) == NOUN(a=1, b="b", c=())
    for wrong in ({}, {"a": 1, "d": 2}):
        with pytest.raises(TypeError):
            NOUN(**wrong)
    with pytest.raises(TypeError):
        NOUN(1)


@pytest.mark.parametrize("value", [NOUN(a=1), ORDERED((1,)), IDENTITY(a=1)])
def test_nothing_can_be_changed(value: Any) -> None:
    name = next(iter(dataclasses.fields(value))).name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, name)


def test_the_library_finds_its_way_in_our_classes() -> None:
    for ours, theirs in zip((NOUN, ORDERED, IDENTITY), REAL, strict=True):
        assert dataclasses.is_dataclass(ours)
        seen = [[(field.name, field.type, field.default, field.kw_only) for field in dataclasses.fields(one)] for one in (ours, theirs)]
        assert seen[0] == seen[1]
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
        assert ours.__match_args__ == theirs.__match_args__
        assert hasattr(ours, "__slots__") == hasattr(theirs, "__slots__")
    assert dataclasses.asdict(NOUN(a=1)) == {"a": 1, "b": "b", "c": ()}
    assert dataclasses.replace(NOUN(a=1), a=2) == frozen.replace(NOUN(a=1), a=2) == NOUN(a=2)


@pytest.mark.parametrize("value", [NOUN(a=1), ORDERED((1,)), IDENTITY(a=1)])
def test_one_with_other_fields_is_made_as_the_library_does(value: Any) -> None:
    name = next(iter(dataclasses.fields(value))).name
    made, real = value.__replace__(**{name: 3}), dataclasses.replace(value, **{name: 3})
    assert [getattr(made, field.name) for field in dataclasses.fields(made)] == [
        getattr(real, field.name) for field in dataclasses.fields(real)
    ]
    with pytest.raises(TypeError, match="unknown"):
        frozen.replace(value, unknown=3)


def test_a_class_compared_by_identity_is_and_can_remember() -> None:
    one = IDENTITY(a=1)
    assert one != IDENTITY(a=1)
    assert one.total == 3
    assert one.__dict__["total"] == 3


def test_values_survive_copying_and_pickling() -> None:
    value = Picklable(a=1, b=(2, 3))
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes


def test_a_class_that_is_not_frozen_is_refused() -> None:
    with pytest.raises(TypeError):
        frozen.dataclass(frozen=False)
