"""The node that the pictures show: the simulated one, metered in virtual time, and served as it is then."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt

from tests.virtual import agent, simulated
from wattshed.agent.clock import VirtualClock
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.exporters.web.http import Server
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.virtual import VirtualAgent

HOST = "gpu-node-17"
BEGIN_US = 1_772_446_080_000_000  # Monday, 2 March 2026, 10:08 UTC
LIFE_S = 1_385  # then most of its jobs run, and as many have ended
STEP_S = 10
USER, PASSWORD = "operator", "pictures"  # of a server that lives as long as the pictures are taken


@dataclass
class Node:
    """A node in its folder.

    Attributes
    ----------
    url, socket : str
        Where it answers: the page, and questions about jobs.
    recording : Path
        What `wattshed record` would have kept of it.
    """

    folder: Path
    url: str
    socket: str
    recording: Path
    _agent: VirtualAgent
    _server: Server
    _opened: ExitStack
    _kept: dict[Callable[[], AbstractContextManager[str]], str] = field(default_factory=dict)

    @property
    def now_s(self) -> float:
        """The moment at which it stands, Unix seconds."""
        return self._agent.board.current().time_us / 1e6

    def kept(self, make: Callable[[], AbstractContextManager[str]]) -> str:
        """Open something that several pictures show, once; it is closed with the node."""
        if make not in self._kept:
            self._kept[make] = self._opened.enter_context(make())
        return self._kept[make]

    def live(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        _live(self._agent, self._server, seconds)


def _live(metering: VirtualAgent, server: Server, seconds: float) -> None:
    """Meter on, and have the page's history look every ten seconds, as the server does in real time."""
    end_us = metering.daemon.step().end_us + round((seconds - 1) * 1e6)
    seen_us = 0
    while (now_us := metering.daemon.step().end_us) < end_us:
        if now_us - seen_us >= STEP_S * 1_000_000:
            seen_us = now_us
            server.site.observe()


@contextmanager
def serving(folder: Path, life_s: float = LIFE_S) -> Iterator[Node]:
    """Let the simulated node live in a folder, and serve it.

    Parameters
    ----------
    folder : Path
        Empty.
    life_s : float, s
        How long it has been metered.
    """
    with ExitStack() as opened:
        # What is written need not outlive the machine.
        for name in ("fsync", "fdatasync"):
            opened.callback(setattr, os, name, getattr(os, name))
            setattr(os, name, lambda _: None)
        world, clock = simulated(folder, clock=VirtualClock(BEGIN_US))
        recorder = Recorder(folder / "recording", HOST)
        opened.callback(recorder.close)
        history = folder / "history.db"
        metering = agent(
            world, clock, state=folder / "state", history=history, recorder=recorder, host=HOST,
            version=version("wattshed"),
        )  # fmt: skip
        opened.callback(metering.kill)
        jobs = JobsApi(Access(frozenset({os.geteuid()})), frozenset({USER}))
        asked = partial(Question, partial(open_or_empty, history), HOST, metering.feed.view)
        jobs.open(partial(asked, clock=lambda: clock.now_us() / 1e6))
        web = folder / "web.yml"
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        web.write_text(f"basic_auth_users: {{{USER}: {hashed}}}\n")
        socket = f"{folder}/api.sock"
        server = Server(metering.board.current, ["127.0.0.1:0"], web, jobs=jobs, jobs_socket=socket, environ={})
        _live(metering, server, life_s)
        server.start()
        opened.callback(server.stop)
        yield Node(folder, server.addresses[0], socket, folder / "recording", metering, server, opened)


def environment(node: Node, columns: int, lines: int = 30) -> dict[str, str]:
    """Return what a command on that node finds in its environment."""
    kept = {name: os.environ[name] for name in ("NUMBA_CACHE_DIR", "HOME") if name in os.environ}
    return {
        **kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "xterm-256color", "TZ": "UTC",
        "COLUMNS": str(columns), "LINES": str(lines), "LANG": "C.UTF-8", "COLORTERM": "truecolor",
        "WATTSHED_URL": f"unix:{node.socket}",
    }  # fmt: skip
