"""``wattshed collect``: every agent's jobs in one place, and what is done there to the history of one agent."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from wattshed.agent.errors import Faults, InputError
from wattshed.agent.wire.credentials import add_client_flags, credentials_of

if TYPE_CHECKING:
    import argparse
    from types import FrameType

LOG = logging.getLogger(__name__)
SOCKET = "/run/wattshed-collect/collect.sock"
CONFIG = "/etc/wattshed/collect.toml"
_EXAMPLES = """examples:
  wattshed collect --config collect.toml
      ask all agents that the file names, for ever
  wattshed jobs --url unix:/run/wattshed-collect/collect.sock
      everybody's jobs, on the collector's host
  wattshed collect reset node017
      take a history whose disk was restored
  wattshed collect forget node017
      wait no longer for a host that is gone
  wattshed collect erase --user ada
      take a user out of the history; no sum changes
  wattshed collect --relay https://collector:9962 \\
      --cert-file login1.pem --ca-file site.pem
      let the users of a login node ask for their own jobs
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], *, version: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "collect",
        help="keep every agent's jobs in one database, for a site",
        description="Ask agents for what their histories hold, and keep it in one database (SQLite or PostgreSQL).",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("reset", "forget", "erase"),
        help="do this to the database and end (reset and forget: also while the collector runs; erase: while it is "
        "stopped); without it the collector runs",
    )
    parser.add_argument("store", metavar="STORE", nargs="?", help="reset, forget: the host, address or id of a store")
    parser.add_argument("--config", metavar="F", default=CONFIG, help=f"settings (default {CONFIG})")
    parser.add_argument("--user", metavar="U", help="erase: the name or the user id")
    parser.add_argument(
        "--relay",
        metavar="URL",
        help="collect nothing: let the users of this login node ask that collector about their own jobs",
    )
    parser.add_argument("--socket", metavar="PATH", default=SOCKET, help=f"--relay: listen here (default {SOCKET})")
    add_client_flags(parser, "a collector that is relayed to")
    parser.set_defaults(run=_run, version=version)


def _run(args: argparse.Namespace) -> int:
    if (args.action == "erase") != bool(args.user) or (args.action == "erase" and args.store):
        raise InputError("erase and --user go together, as in `wattshed collect erase --user ada`")
    if args.action in {"reset", "forget"} and not args.store:
        raise InputError(f"{args.action}: which STORE? as in `wattshed collect {args.action} node017`")
    from wattshed.agent.history.sql import DatabaseError  # noqa: PLC0415

    try:
        return _administer(args) if args.action else _relay(args) if args.relay else _collect(args)
    except DatabaseError as error:
        sys.stderr.write(f"wattshed: {error}\n")
        return 1


def _administer(args: argparse.Namespace) -> int:
    from wattshed.agent.collect.config import read_settings  # noqa: PLC0415 - the rest of the room is not needed
    from wattshed.agent.collect.stores import find, forget, reset  # noqa: PLC0415
    from wattshed.agent.history.forgetting import erase_user  # noqa: PLC0415
    from wattshed.agent.history.opening import open_database  # noqa: PLC0415
    from wattshed.agent.history.privacy import Privacy  # noqa: PLC0415

    settings = read_settings(args.config)
    # A collector that runs remembers what erasing takes away.
    database = open_database(settings.database, only=args.action == "erase")
    if args.action == "erase":
        privacy = Privacy.of_settings(settings.users, settings.key_file)
        said = f"{erase_user(database, args.user, privacy)} jobs and sums of days are nobody's in particular now"
        sys.stdout.write(f"{said}\n")
        return 0
    store_id, host = find(database, args.store)
    if args.action == "reset":
        reset(database, store_id)
        said = "what it has that is not here yet is taken when it is asked next"
    else:
        said = f"is not waited for; jobs that ran there when it was heard of last: {forget(database, store_id)}"
    sys.stdout.write(f"{host}: {said}\n")
    return 0


def _relay(args: argparse.Namespace) -> int:
    from wattshed.agent.collect.relay import Relay  # noqa: PLC0415
    from wattshed.agent.daemon.systemd import Notifier  # noqa: PLC0415

    ended, notifier = _until_ended(), Notifier(os.environ)
    relay = Relay(args.relay, credentials_of(args), args.socket)
    try:
        relay.start()
        notifier.ready(f"relaying from {args.socket}")
        ended.wait()
        notifier.stopping()
    finally:
        relay.stop()
    return 0


def _until_ended() -> threading.Event:
    """Log to standard error, and return what SIGTERM and SIGINT set."""
    from wattshed.agent.printing.logs import set_up_log  # noqa: PLC0415

    set_up_log("info", "auto", os.environ, sys.stderr)
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return ended


def _collect(args: argparse.Namespace) -> int:
    from wattshed.agent.collect.config import read_settings  # noqa: PLC0415
    from wattshed.agent.collect.serve import CollectServer  # noqa: PLC0415
    from wattshed.agent.collect.service import SiteCollector  # noqa: PLC0415
    from wattshed.agent.daemon.systemd import Notifier  # noqa: PLC0415

    ended = _until_ended()
    settings, faults, notifier = read_settings(args.config), Faults(), Notifier(os.environ)
    collector = SiteCollector(settings, faults)
    try:
        server = CollectServer(settings, collector, faults, args.version)
        server.start()
        try:
            collector.start()
            LOG.info("collecting into %s", collector.name)
            notifier.ready(f"collecting into {collector.name}")
            ended.wait()
            notifier.stopping()
        finally:
            server.stop()
    finally:
        collector.stop()
    return 0
