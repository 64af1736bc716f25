"""``wattshed meters``: readers of a BMC in processes of their own; the agent takes what they leave."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.host.exchange import FOLDER

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.host.ipmi import PowerReading
    from wattshed.agent.host.polling import ReadingSink

TIMEOUT_S = 5.0
_EXAMPLES = """examples:
  wattshed meters ipmi --once              what does the BMC of this host say?
  wattshed meters redfish --once --url https://bmc.example \\
      --login wattshed --password-file bmc.password
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    from wattshed.agent.wire.credentials import add_client_flags  # noqa: PLC0415 - where its flags are wanted

    parser = commands.add_parser(
        "meters",
        help="read the power of the whole host from its BMC, for the agent",
        description="Read the power of the whole host from its BMC, again and again, and leave it where the agent "
        "finds it. The agent itself never asks a BMC: whoever may, can switch the host off.",
        epilog=_EXAMPLES,
    )
    kinds = parser.add_subparsers(title="readers", metavar="READER", required=True)
    ipmi = kinds.add_parser(
        "ipmi",
        help="by IPMI, from the kernel's device",
        description="Ask the BMC of this host for its power, by DCMI's one request over the kernel's IPMI device. "
        "Needs to open the device, which is root's.",
    )
    ipmi.add_argument("--device", metavar="PATH", default="/dev/ipmi0", help="the device (default /dev/ipmi0)")
    ipmi.add_argument(
        "--boundary", choices=("ac", "dc"), default="ac",
        help="whether the BMC tells the power at the mains or behind the supplies (default ac)",
    )  # fmt: skip
    _add_common(ipmi, 5)
    ipmi.set_defaults(run=run_ipmi)
    redfish = kinds.add_parser(
        "redfish",
        help="by Redfish, over HTTPS",
        description="Ask a BMC for the power of this host by Redfish, in one session that is closed at the end.",
    )
    redfish.add_argument("--url", metavar="U", help="the BMC: https://HOST ($WATTSHED_URL)")
    redfish.add_argument(
        "--chassis", metavar="ID", default="", help="which chassis is this host's, if there are several"
    )
    redfish.add_argument(
        "--pin", metavar="SHA256", default="", help="trust the server with this certificate alone, whoever signed it"
    )
    _add_common(redfish, 10)
    add_client_flags(redfish, "who asks, and whom to trust")
    redfish.set_defaults(run=run_redfish)


def _add_common(parser: argparse.ArgumentParser, period_s: int) -> None:
    parser.add_argument(
        "--period", metavar="S", default=str(period_s), help=f"seconds between two readings (default {period_s})"
    )
    parser.add_argument("--domain", metavar="D", default="node", help="what is metered (default node)")
    parser.add_argument(
        "--into", metavar="DIR", default=FOLDER,
        help=f"folder of root's that the agent looks into (default {FOLDER}); -: overwrite the file that standard "
        "output is",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="print one reading, and leave nothing anywhere")


def run_ipmi(args: argparse.Namespace) -> int:
    """Read by IPMI until told to stop.

    Raises
    ------
    InputError
        There is no device, or its BMC knows no such request.
    """
    from dataclasses import replace  # noqa: PLC0415

    from wattshed.agent.host.ipmi import Ipmi  # noqa: PLC0415 - a command imports its parts when it runs

    bmc = Ipmi(args.device, TIMEOUT_S)
    try:
        return _poll(args, "ipmi", lambda: replace(bmc.read(), boundary=args.boundary))
    finally:
        bmc.close()


def run_redfish(args: argparse.Namespace) -> int:
    """Read by Redfish until told to stop.

    Raises
    ------
    InputError
        A flag cannot be understood, or the BMC lets nobody in with what was given.
    """
    import re  # noqa: PLC0415
    from dataclasses import replace  # noqa: PLC0415

    from wattshed.agent.errors import InputError  # noqa: PLC0415
    from wattshed.agent.host.redfish import Redfish, RedfishSession  # noqa: PLC0415
    from wattshed.agent.wire.credentials import credentials_of, url_of  # noqa: PLC0415
    from wattshed.agent.wire.http import Address, Client  # noqa: PLC0415

    address = Address.parse(url_of(args), "--url", "https://bmc.example")
    who = credentials_of(args)
    if not who.login:
        raise InputError("--login and --password-file say who asks the BMC: give both")
    pin = args.pin.replace(":", "").lower()
    if pin and not re.fullmatch(r"[0-9a-f]{64}", pin):
        raise InputError("--pin takes the SHA-256 of a certificate: 64 hexadecimal digits")
    if address.scheme != "https" and address.host not in {"127.0.0.1", "::1", "localhost"}:
        raise InputError("--url: a password goes over https:// only")
    trust = replace(who, login="", password="", pin=pin)  # basic authentication would open a session for each request
    session = RedfishSession(
        Client(address, timeout_s=TIMEOUT_S, credentials=trust, direct=True), who.login, who.password
    )
    try:
        return _poll(args, "redfish", Redfish(session, args.chassis, _period_s(args)).read)
    finally:
        session.close()


def _period_s(args: argparse.Namespace) -> float:
    from wattshed.agent.replay.given import quantity  # noqa: PLC0415

    return min(quantity(args.period, "--period", 1), 3600.0)


def _poll(args: argparse.Namespace, name: str, read: Callable[[], PowerReading]) -> int:
    """Read once, or until a signal comes; returns the exit code."""
    from wattshed.agent.errors import Faults  # noqa: PLC0415
    from wattshed.agent.host.checking import KwhCheck  # noqa: PLC0415
    from wattshed.agent.host.exchange import boot_of  # noqa: PLC0415
    from wattshed.agent.host.ipmi import NoPowerError  # noqa: PLC0415
    from wattshed.agent.host.polling import document, poll  # noqa: PLC0415
    from wattshed.agent.printing.logs import set_up_log  # noqa: PLC0415

    period_s = _period_s(args)
    if args.once:
        try:
            reading = read()
        except NoPowerError as error:
            sys.stderr.write(f"wattshed: no reading: {error}\n")
            return 1
        sigma = f", sigma {reading.sigma_ppm / 1e4:g} %" if reading.sigma_ppm >= 0 else ""
        sys.stdout.write(f"{reading.power_mw / 1e3:g} W ({reading.boundary}{sigma})\n")
        return 0
    set_up_log("info", "auto", os.environ, sys.stderr)
    check, faults = KwhCheck(3 * period_s), Faults()
    boot, stop = boot_of(), threading.Event()
    sink = _sink(args.into, name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def put(reading: PowerReading, monotonic_us: int) -> None:
        period_us = round(1e6 * period_s)
        sink.put(document(name, args.domain, reading, boot_id=boot, monotonic_us=monotonic_us, period_us=period_us))
        if reading.energy_kwh >= 0 and (said := check.add(monotonic_us / 1e6, reading.power_mw, reading.energy_kwh)):
            faults.note(name, said, "its watts are used")

    poll(read, put, period_s, faults, stop, part=name)
    return 0


def _sink(into: str, name: str) -> ReadingSink:
    from wattshed.agent.errors import InputError  # noqa: PLC0415
    from wattshed.agent.host.polling import OpenedFile, RenamedFile  # noqa: PLC0415

    if into != "-":
        if not Path(into).is_dir():
            raise InputError("is no folder; systemd-tmpfiles --create makes it", into)
        return RenamedFile(Path(into), name)
    if not os.fstat(sys.stdout.fileno()).st_mode & 0o100000:
        raise InputError("--into -: standard output is no file")
    return OpenedFile(sys.stdout.fileno())
