"""What a value of a state file must be: all of it is checked before any of it is read, so nothing is half taken over.

A form is a function of a value and the name of its place; it raises ValueError, which names the place.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

Form = Callable[[Any, str], None]


def _fail(value: object, place: str) -> None:
    raise ValueError(f"{place} is {reprlib.repr(value)}")


def whole(below: int, least: int | None = None) -> Form:
    """Return the form of whole numbers from ``least`` to less than ``below``; by default as far below zero."""
    first = 1 - below if least is None else least

    def form(value: Any, place: str) -> None:
        if type(value) is not int or not first <= value < below:
            _fail(value, place)

    return form


def text(value: Any, place: str) -> None:
    """Let any text pass."""
    if type(value) is not str:
        _fail(value, place)


def flag(value: Any, place: str) -> None:
    """Let true and false pass."""
    if type(value) is not bool:
        _fail(value, place)


def real(below: float) -> Form:
    """Return the form of finite numbers that are nearer to zero than that."""

    def form(value: Any, place: str) -> None:
        if type(value) not in {int, float} or not abs(value) < below:
            _fail(value, place)

    return form


def maybe(form: Form) -> Form:
    """Return the form of what may be None too."""

    def checked(value: Any, place: str) -> None:
        if value is not None:
            form(value, place)

    return checked


def rows(form: Form) -> Form:
    """Return the form of a list of values of one form."""

    def checked(value: Any, place: str) -> None:
        if type(value) is not list:
            _fail(value, place)
        for at, one in enumerate(value):
            form(one, f"{place}[{at}]")

    return checked


def row(*forms: Form) -> Form:
    """Return the form of a list of so many values, each of its own form."""

    def checked(value: Any, place: str) -> None:
        if type(value) is not list or len(value) != len(forms):
            _fail(value, place)
        for at, (form, one) in enumerate(zip(forms, value, strict=True)):
            form(one, f"{place}[{at}]")

    return checked


def table(form: Form, keys: Form = text) -> Form:
    """Return the form of an object that has values of one form by any names."""

    def checked(value: Any, place: str) -> None:
        if type(value) is not dict:
            _fail(value, place)
        for name, one in value.items():
            keys(name, f"a name in {place}")
            form(one, f"{place}.{name}")

    return checked


def record(needed: Mapping[str, Form], others: Mapping[str, Form] | None = None, *, exact: bool = False) -> Form:
    """Return the form of an object with these names, and maybe ``others``; ``exact``: with no further ones."""
    known = needed.keys() | (others or {}).keys()

    def checked(value: Any, place: str) -> None:
        if type(value) is not dict:
            _fail(value, place)
        if exact and (unknown := value.keys() - known):
            raise ValueError(f"{place} has other fields: {', '.join(sorted(unknown))}")
        for name, form in needed.items():
            if name not in value:
                raise ValueError(f"{place} has no {name}")
            form(value[name], f"{place}.{name}")
        for name, form in (others or {}).items():
            if name in value:
                form(value[name], f"{place}.{name}")

    return checked


def numbers(kind: type, form: Form) -> Form:
    """Return the form of a dataclass of numbers of one form."""
    return record({one.name: form for one in fields(kind)}, exact=True)


def typed(kind: type, by_type: Mapping[str, Form]) -> Form:
    """Return the form of a dataclass by the types of its fields; those that have a default may be missing."""
    forms = {one.name: by_type[str(one.type)] for one in fields(kind)}
    free = {one.name for one in fields(kind) if one.default is not MISSING or one.default_factory is not MISSING}
    return record(
        {name: form for name, form in forms.items() if name not in free},
        {name: form for name, form in forms.items() if name in free},
        exact=True,
    )
