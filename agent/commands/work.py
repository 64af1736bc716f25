"""``wattshed work --scrape URL``: read the page of this job's own inference server, and tell the agent what it did.

For servers that the agent cannot read itself: in another network namespace, behind a socket of systemd, or with
``work.servers = "off"``. Whose work it is, the agent decides by this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from wattshed.agent.replay.given import quantity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.work_units.counting import Baseline
    from wattshed.agent.work_units.servers import WorkServer

_EXAMPLES = """examples:
  wattshed work --scrape http://127.0.0.1:8000     beside a server, in its job
  wattshed work --scrape http://127.0.0.1:8002 --kind triton --model ensemble
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "work",
        help="tell the agent what this job's inference server did",
        description="Read the metrics page of an inference server every few seconds, and tell the agent of this host "
        "its tokens and requests as work of the job that this command runs in.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--scrape", metavar="URL", required=True, help="the server; without a path, that of its kind")
    parser.add_argument("--kind", metavar="K", default="", help="vllm, sglang, trtllm, tgi, llamacpp, ...")
    parser.add_argument("--model", metavar="M", default="", help="only what this model did")
    parser.add_argument("--interval", metavar="S", default="5", help="seconds between two pages (default 5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read and tell until a signal comes.

    Raises
    ------
    InputError
        A flag cannot be understood.
    """
    from wattshed.agent.errors import InputError  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.wire.agent_socket import agent_socket  # noqa: PLC0415
    from wattshed.agent.wire.http import Address  # noqa: PLC0415
    from wattshed.agent.work_units.kinds import KINDS  # noqa: PLC0415
    from wattshed.agent.work_units.servers import WorkServer  # noqa: PLC0415

    if args.kind and args.kind not in KINDS:
        raise InputError(f"{args.kind!r} is none of {', '.join(KINDS)}", "--kind")
    interval_s = quantity(args.interval, "interval in seconds", 0.1)
    address = Address.parse(args.scrape, "--scrape", "http://127.0.0.1:8000")
    telling = Telling(WorkServer(address, args.kind, args.model), agent_socket(os.environ, os.geteuid()), _say)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        telling.once()
        stop.wait(interval_s)
    telling.once()
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"wattshed: {line}\n")


class Telling:
    """Reads a server, and tells the agent; what cannot be told now is told later.

    Parameters
    ----------
    server : WorkServer
    agent : str
        Path of its socket; empty: there is none yet.
    say : callable
        Called with a line for the user, once for each trouble.
    """

    def __init__(self, server: WorkServer, agent: str, say: Callable[[str], None]) -> None:
        self._server, self._agent, self._say = server, agent, say
        self._before: Baseline | None = None
        self._began_s = time.time()
        self._untold: Counter[str] = Counter()
        self._said = ""

    def once(self) -> None:
        """Read the page, and tell what was done since the one before."""
        from wattshed.agent.wire.http import NoAnswerError  # noqa: PLC0415 - as above
        from wattshed.agent.work_units.counting import Baseline, count  # noqa: PLC0415
        from wattshed.agent.work_units.page import PageRefusedError  # noqa: PLC0415
        from wattshed.agent.work_units.servers import read_server  # noqa: PLC0415

        url = self._server.address.url
        trouble = ""
        try:
            page = read_server(self._server)
        except NoAnswerError as error:
            trouble = f"{url} {error}"
        except PageRefusedError as error:
            trouble = f"{url}: {error}; its work is not counted"
        else:
            now_us = time.time_ns() // 1000
            if self._before is None and page.started is not None and page.started >= self._began_s:
                self._before = Baseline("", round(page.started * 1e6), page.started)  # it began after this did
            done, self._before = count(page, self._before, "", now_us)
            self._untold.update({unit: number for unit, number in done.counts.items() if number})
        self._trouble(self._tell() or trouble)

    def _tell(self) -> str:
        """Tell what was not told yet; returns what is in the way, or nothing."""
        from wattshed.agent.wire.agent_socket import MOST_COUNT, AgentAbsentError, ask  # noqa: PLC0415 - as above

        for unit, number in list(self._untold.items()):
            try:
                answer = ask(self._agent, {"op": "add", "unit": unit, "count": min(number, MOST_COUNT)})
            except AgentAbsentError as error:
                return str(error)
            if why := answer.get("error", ""):
                return f"the agent refuses {unit}: {why}"
            if "ok" not in answer:
                return f"the agent does not take {unit} now"
            self._untold[unit] -= min(number, MOST_COUNT)
            if not self._untold[unit]:
                del self._untold[unit]
        return ""

    def _trouble(self, trouble: str) -> None:
        if trouble and trouble != self._said:
            self._say(trouble)
        self._said = trouble
