"""Functions of which every call is a window."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from contextlib import AbstractContextManager

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class NewWindow(Protocol):
    """Makes a window."""

    def __call__(self, *, nests: bool) -> AbstractContextManager[object]:
        """Return one; ``nests``: windows that are entered while it runs are within it."""


def decorated(function: _Function, window: NewWindow) -> _Function:
    """Return a function of which every call is a window: of a generator, all of its run.

    A generator's window does not hold those that its caller enters between two items.

    Parameters
    ----------
    function : callable
        ``def``, ``async def``, and generator functions of both kinds.
    window : NewWindow
    """
    made: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def made_coroutine(*args: Any, **kwargs: Any) -> Any:
            with window(nests=True):
                return await function(*args, **kwargs)

        made = made_coroutine
    elif inspect.isasyncgenfunction(function):

        async def made_stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with window(nests=False):
                async for item in function(*args, **kwargs):
                    yield item

        made = made_stream
    elif inspect.isgeneratorfunction(function):

        def made_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with window(nests=False):
                return (yield from function(*args, **kwargs))

        made = made_generator
    else:

        def made_function(*args: Any, **kwargs: Any) -> Any:
            with window(nests=True):
                return function(*args, **kwargs)

        made = made_function
    return cast("_Function", functools.wraps(function)(made))
