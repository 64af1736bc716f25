"""Questions about jobs over HTTP: who may ask what, in threads of their own, and never for long.

Over a Unix socket the kernel says who asks: everybody gets their own jobs, administrators all of them. Over TCP nobody
is known unless the web configuration asks for a password or a certificate, and then those who are named for it get all.
Whoever may not see a job gets the same answer as if there were none. What one may ask, `/api/v1/access` tells.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from wattshed.exporters.formats.negotiation import wants_gzip
from wattshed.exporters.numbers import plain
from wattshed.exporters.web.peer import Caller
from wattshed.exporters.web.site import GZIP_FROM, JSON, SAFE, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.exporters.web.peer import Access
    from wattshed.exporters.web.power_steps import PowerStep

Told = TypeVar("Told")
JOBS, REPORT, PARTS = "/api/v1/jobs", "/api/v1/report", "/api/v1/parts"
ACCESS, ACCESS_SCHEMA = "/api/v1/access", "wattshed.access/1"
RELAYED = "x-wattshed-uid"
"""Header in which a relay says which user of its own host asks."""
LIMIT_S = 5.0
"""A question that takes longer is ended."""
AT_ONCE = 4
"""Questions that are answered at a time; of one user at most half as many."""
BUSY = "too many questions at a time; ask again"
AGAIN_S = 0.05
MOST_PARAMETERS = 50


class AskedQuestion(Protocol):
    """One question to a history; answered in one thread, and interrupted from another."""

    def answer(self, path: str, params: Mapping[str, str], uid: int | None) -> tuple[int, Mapping[str, Any]]:
        """Return HTTP's status and a document; of one user's jobs only, if a user is given."""

    def interrupt(self) -> None:
        """End it soon; does nothing while there is nothing to end."""


class PowerQuestion(Protocol):
    """One question for the power of a host's GPUs, likewise."""

    def power(self, since_us: int, until_us: int, step_us: int) -> tuple[Sequence[PowerStep], str]:
        """Return the steps of a time, and why they are not all of it."""

    def interrupt(self) -> None:
        """End it soon; does nothing while there is nothing to end."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, over which connection.

    Attributes
    ----------
    caller : Caller or None
        Who the kernel says it is, over a Unix socket.
    names : frozenset of str
        The user whose password was right, and the names of a certificate that was verified.
    known : bool
        Over TCP: the web configuration asks everybody who they are.
    relayed : bool
        ``caller`` is who the kernel of another host says it is, told by a relay that is believed.
    """

    caller: Caller | None = None
    names: frozenset[str] = frozenset()
    known: bool = False
    relayed: bool = False


class JobsApi:
    """Answers `/api/v1/jobs`, `/api/v1/report`, `/api/v1/parts` and `/api/v1/access`.

    Parameters
    ----------
    access : Access
        Who sees all over a Unix socket.
    tcp_users : frozenset of str
        Users and names of certificates that see all over TCP.
    relays : frozenset of str
        Names of certificates that may say which user asks; who is relayed sees their own jobs, whoever they are.
    limit_s : float, s
    at_once : int
    """

    def __init__(
        self,
        access: Access,
        tcp_users: frozenset[str] = frozenset(),
        relays: frozenset[str] = frozenset(),
        *,
        limit_s: float = LIMIT_S,
        at_once: int = AT_ONCE,
    ) -> None:
        self._access, self._tcp_users, self._relays = access, tcp_users, relays
        self._limit_s, self._at_once = limit_s, at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="wattshed-question")
        self._asked: Counter[object] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions: Callable[[], AskedQuestion] | None = None
        self._powers: Callable[[], PowerQuestion] | None = None
        self._why_not, self._closed = "the agent is starting", False

    def open(self, questions: Callable[[], AskedQuestion], powers: Callable[[], PowerQuestion] | None = None) -> None:
        """Answer from now on; may be called from any thread.

        Parameters
        ----------
        questions, powers : callable
            Make a question; called in a thread of its own. Without the second nothing is known of former power.
        """
        self._questions, self._powers, self._closed = questions, powers, False

    def close(self, why: str) -> None:
        """Say from now on why there are no answers."""
        self._questions, self._powers, self._why_not, self._closed = None, None, why, True

    def is_asked(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return path in (JOBS, REPORT, PARTS, ACCESS) or path.startswith(f"{JOBS}/")

    def over_tcp(self, user: str, certified: frozenset[str], headers: Mapping[str, str], *, known: bool) -> Asker:
        """Return who asks over TCP.

        Parameters
        ----------
        user : str
            Whose password was right; empty if none was asked for.
        certified : frozenset of str
            Names of a certificate that was verified.
        headers : mapping
            Lower-case names.
        known : bool
            See `Asker`.
        """
        told = headers.get(RELAYED)
        if told is None:
            return Asker(None, certified | ({user} if user else frozenset()), known)
        # Only a relay says for whom it asks; whoever else does is nobody, not even who they are themselves.
        believed = bool(self._relays & certified) and told.isascii() and told.isdecimal() and len(told) < 11
        return Asker(Caller(int(told) if believed else -1), known=known, relayed=True)

    def sees_all(self, asker: Asker) -> bool:
        """Tell whether somebody may see everybody's jobs."""
        if asker.relayed:
            return False
        if asker.caller is not None:
            return self._access.sees_all(asker.caller)
        return asker.known and bool(self._tcp_users & asker.names)

    async def answer(self, method: str, target: str, headers: Mapping[str, str], asker: Asker) -> Response:
        """Answer one request; target is a path of these, with its query."""
        if method not in ("GET", "HEAD"):
            return refusal(405, "method not allowed", ("Allow", "GET, HEAD"))
        path, _, query = target.partition("?")
        uid = self._own(asker)
        may_ask = uid is not None or self.sees_all(asker)
        if path == ACCESS:
            return self._access_of(asker, uid, may_ask=may_ask)
        if not may_ask:
            return refusal(403, self._why_nothing(asker))
        try:
            params = _parameters(query)
        except ValueError as error:
            return refusal(400, str(error))
        whose: object = uid if uid is not None else "all"
        if self._questions is None or self._is_busy(whose):
            return refusal(503, self._why_not if self._questions is None else BUSY, ("Retry-After", "1"))
        question, compressed = self._questions(), wants_gzip(headers.get("accept-encoding", ""))
        done = await self._in_a_thread(question, partial(_answered, question, (path, params, uid), compressed), whose)
        return done or refusal(503, f"{self._too_long}; ask for less", ("Retry-After", "5"))

    def _own(self, asker: Asker) -> int | None:
        """Return the user whose jobs alone somebody may see; None if that is all jobs, or none."""
        return None if self.sees_all(asker) or asker.caller is None else self._access.own(asker.caller)

    def _access_of(self, asker: Asker, uid: int | None, *, may_ask: bool) -> Response:
        if self._closed:
            return access_told("none", self._why_not)
        if not may_ask:
            return access_told("refused", self._why_nothing(asker))
        if self._questions is None:
            return access_told("later", self._why_not)
        return access_told("all" if uid is None else "own")

    async def power(self, since_us: int, until_us: int, step_us: int) -> tuple[Sequence[PowerStep], str]:
        """Return the power of the host's GPUs in a time that is over, and why it is not all of it.

        GPUs' power is for everybody who may see the page; whose it was, whoever calls this keeps to themselves.
        """
        whose = "page"
        if self._powers is None or self._is_busy(whose):
            return (), BUSY if self._powers is not None else "" if self._questions is not None else self._why_not
        question = self._powers()
        done = await self._in_a_thread(question, partial(question.power, since_us, until_us, step_us), whose)
        return done or ((), self._too_long)

    @property
    def _too_long(self) -> str:
        return f"the question took more than {self._limit_s:g} s"

    def _is_busy(self, whose: object) -> bool:
        return self._asked.total() >= self._at_once or self._asked[whose] >= max(1, self._at_once // 2)

    def stop(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_a_thread(
        self, question: AskedQuestion | PowerQuestion, answering: Callable[[], Told], whose: object
    ) -> Told | None:
        """Return what is answered in a thread of its own, None if that takes too long."""
        self._asked[whose] += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, answering)
        running.add_done_callback(lambda _: self._over(whose))
        try:
            done, _ = await asyncio.wait({running}, timeout=self._limit_s)
        except asyncio.CancelledError:  # who asked is gone
            self._end(question, running)
            raise
        if done:
            return running.result()
        self._end(question, running)
        return None

    def _over(self, whose: object) -> None:
        self._asked[whose] -= 1
        if not self._asked[whose]:
            del self._asked[whose]

    def _end(self, question: AskedQuestion | PowerQuestion, running: asyncio.Future[Any]) -> None:
        """Interrupt a question until it has ended."""

        async def again() -> None:
            while not running.done():
                question.interrupt()
                await asyncio.sleep(AGAIN_S)
            running.exception()  # nobody waits for it

        task = asyncio.get_running_loop().create_task(again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _why_nothing(self, asker: Asker) -> str:
        if asker.relayed:
            return "who asks for another user is no relay that is believed here, or the user is nobody in particular"
        if asker.caller is not None:
            return "this user stands for users that are not known here, and sees no jobs"
        if not asker.known:
            return (
                "jobs are told over TCP only where the web configuration has users or requires client certificates; "
                "on the host itself, ask the Unix socket"
            )
        return "history.tcp_users does not name who asks"


def refusal(status: int, why: str, *headers: tuple[str, str]) -> Response:
    """Say in one line why there is no answer."""
    body = json.dumps({"error": why}).encode()
    return Response(status, JSON, body + b"\n", (*SAFE, ("Cache-Control", "no-store"), *headers))


def access_told(jobs: str, why: str = "") -> Response:
    """Say to somebody what they may ask, so that they need not try.

    Parameters
    ----------
    jobs : str
        ``all`` or ``own`` jobs; ``later``: there are no answers yet; ``refused``; ``none``: nobody keeps any here.
    why : str
        One line, where they may not.
    """
    body = json.dumps({"schema": ACCESS_SCHEMA, "jobs": jobs, "why": why}).encode()
    return Response(200, JSON, body + b"\n", (*SAFE, ("Cache-Control", "no-store")))


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict")
    except ValueError as error:
        raise ValueError(f"the query cannot be read ({error})") from None
    params: dict[str, str] = {}
    for name, value in pairs:
        if name in params:
            raise ValueError(f"{name}: is given twice")
        params[name] = value
    return params


def _answered(question: AskedQuestion, asked: tuple[str, Mapping[str, str], int | None], compressed: bool) -> Response:
    status, document = question.answer(*asked)
    body = json.dumps(plain(document), separators=(",", ":"), allow_nan=False).encode() + b"\n"
    headers: tuple[tuple[str, str], ...] = (*SAFE, ("Cache-Control", "no-store"), ("Vary", "Accept-Encoding"))
    if status == 503:
        headers = (*headers, ("Retry-After", "5"))
    if compressed and len(body) >= GZIP_FROM:
        body, headers = gzip.compress(body, compresslevel=1, mtime=0), (*headers, ("Content-Encoding", "gzip"))
    return Response(status, JSON, body, headers)
