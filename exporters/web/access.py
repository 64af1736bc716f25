"""Who may read: basic authentication with bcrypt off the event loop, the rate limit, the allowed client names."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_PASSWORD = 72  # bytes; bcrypt ignores or refuses what lies beyond
MAX_CACHED = 100
MAX_WAITING = 32
NOBODY = "$2b$10$PZsap9HtvU3bMV0zZVGMYOJ.mT3R0lZa3KZNCzOhuxGE7On.29/jm"
"""Hash that an unknown user is compared with, so that the time does not tell which names exist."""


class Busy(Exception):  # noqa: N818 - a state, not a fault
    """Too many passwords wait to be checked."""


class Passwords:
    """Checks passwords in one thread of its own and remembers results, without keeping a password.

    Right and wrong answers are remembered apart, so that a flood of wrong ones never makes a known scraper wait.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="wattshed-bcrypt")
        self._salt = os.urandom(16)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._waiting: dict[bytes, asyncio.Future[bool]] = {}

    async def allow(self, users: Mapping[str, str], header: str) -> bool:
        """Check an Authorization header's value against bcrypt hashes by user name.

        Raises
        ------
        Busy
            If ``MAX_WAITING`` checks are under way.
        """
        user, password = credentials(header)
        if user is None or len(password) > MAX_PASSWORD:
            return False
        hashed = users.get(user, NOBODY)
        key = hashlib.blake2b(
            b"\0".join((user.encode(), hashed.encode(), password)), digest_size=32, key=self._salt
        ).digest()
        for answer, cache in self._known.items():
            if key in cache:
                cache.move_to_end(key)
                return answer
        if key not in self._waiting:
            if len(self._waiting) >= MAX_WAITING:
                raise Busy
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._executor, _check, password, hashed.encode())
            self._waiting[key] = future
            future.add_done_callback(lambda done: self._settle(key, done, known=user in users))
        return await asyncio.shield(self._waiting[key]) and user in users

    def _settle(self, key: bytes, done: asyncio.Future[bool], *, known: bool) -> None:
        del self._waiting[key]
        if not done.cancelled():
            cache = self._known[done.result() and known]
            cache[key] = None
            if len(cache) > MAX_CACHED:
                cache.popitem(last=False)

    def close(self) -> None:
        """Let the thread go."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _check(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # such as a NUL byte, which some releases refuse
        return False


def credentials(header: str) -> tuple[str | None, bytes]:
    """Read ``Basic BASE64`` as (user, password bytes); (None, b"") if it is anything else."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else (None, b"")
    except (binascii.Error, ValueError):
        return None, b""


class RateLimit:
    """A token bucket over all requests: one token per ``interval_s``, at most ``burst`` saved up."""

    def __init__(self, interval_s: float, burst: int, clock: Callable[[], float]) -> None:
        self._interval, self._burst, self._clock = interval_s, burst, clock
        self._tokens, self._at = float(burst), clock()

    def allow(self) -> bool:
        """Take a token, if there is one; always True without an interval."""
        if self._interval <= 0:
            return True
        now = self._clock()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) / self._interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def names_of(certificate: Mapping[str, Any] | None) -> set[str]:
    """Read the subject alternative names (DNS, IP, e-mail, URI) of a peer certificate."""
    return {value for _, value in certificate.get("subjectAltName", ())} if certificate else set()
