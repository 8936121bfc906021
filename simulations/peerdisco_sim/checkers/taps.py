"""Listening to the methods of one node's own objects, from the outside.

A tap replaces a method on one instance by a wrapper that tells an observer and changes nothing
else. Nodes are built anew at each boot, so a tap dies with the process that it listens to.
Observers get the arguments as they were given; what they raise is a bug of the checker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Observer = Callable[..., object]


def before(target: object, method: str, observe: Observer) -> None:
    """Call `observe(*arguments)` before each call of the method."""
    original = getattr(target, method)

    def tapped(*args: Any, **kwargs: Any) -> Any:
        observe(*args, **kwargs)
        return original(*args, **kwargs)

    _replace(target, method, tapped)


def after(target: object, method: str, observe: Observer) -> None:
    """Call `observe(result, *arguments)` after each call of the method that returned."""
    original = getattr(target, method)

    def tapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        observe(result, *args, **kwargs)
        return result

    _replace(target, method, tapped)


def around(target: object, method: str, observe: Callable[..., Observer]) -> None:
    """Call `finish = observe(*arguments)` before each call of the method, `finish(result)` after.

    `finish` is not called when the method raises.
    """
    original = getattr(target, method)

    def tapped(*args: Any, **kwargs: Any) -> Any:
        finish = observe(*args, **kwargs)
        result = original(*args, **kwargs)
        finish(result)
        return result

    _replace(target, method, tapped)


def around_async(target: object, method: str, observe: Callable[..., Observer]) -> None:
    """Like `around`, for a coroutine method; `finish` is called when it has been awaited."""
    original: Callable[..., Awaitable[Any]] = getattr(target, method)

    async def tapped(*args: Any, **kwargs: Any) -> Any:
        finish = observe(*args, **kwargs)
        result = await original(*args, **kwargs)
        finish(result)
        return result

    _replace(target, method, tapped)


def _replace(target: object, method: str, wrapper: Callable[..., Any]) -> None:
    # Only instances: a class is shared by all nodes of the world.
    assert not isinstance(target, type)
    setattr(target, method, wrapper)
