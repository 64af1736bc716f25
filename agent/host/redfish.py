"""The power of a host as its BMC tells it over Redfish: sessions, where watts are found, and what they are worth.

Three places are known, in this order: ``EnvironmentMetrics.PowerWatts`` of the chassis, the inputs of all its power
supplies, and ``Power.PowerControl[0]``, which is older. A chassis that holds sleds is shared by several hosts, and the
sled is this one.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from wattshed.agent.errors import InputError
from wattshed.agent.host.ipmi import NoPowerError, PowerReading
from wattshed.agent.wire.http import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.wire.http import Answer

ROOT = "/redfish/v1"
MOST_BYTES, MOST_CHASSIS, MOST_SUPPLIES = 1_000_000, 64, 32
MOST_W, MOST_KWH = 200_000, 1e9
MILLIWATTS = {"W": 1e3, "kW": 1e6, "mW": 1.0}
OLDEST_S = 60.0
"""A reading is not of now if it is older, by the BMC's own clock, or if its time has stood still for longer."""
IDLE_S = 2.0
"""A connection that was not used for so long is not used again."""
_SHARED = frozenset({"Sled", "Blade", "Module"})
_DURATION = re.compile(r"PT(?:(\d{1,6})M)?(?:(\d{1,6}(?:\.\d{1,9})?)S)?")


class Asks(Protocol):
    """Sends one request; `agent.wire.http.Client` is one."""

    def ask(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], *, most_bytes: int
    ) -> Answer:
        """Return the answer; raises NoAnswerError."""

    def close(self) -> None:
        """Hang up; the next request connects again."""


class RedfishSession:
    """One session with a BMC: kept over polls, made anew when the BMC has dropped it, deleted at the end.

    BMCs allow few at a time (iDRAC about 8), and one that is left behind blocks others until it times out.

    Parameters
    ----------
    client : Asks
    user, password : str
    """

    def __init__(self, client: Asks, user: str, password: str) -> None:
        self._client, self._user, self._password = client, user, password
        self._token = self._place = ""
        self._asked_s = -IDLE_S

    def get(self, path: str) -> tuple[Mapping[str, Any], datetime | None]:
        """Return a resource, and the BMC's own time where it tells it.

        Raises
        ------
        NoPowerError
            It cannot be had now.
        InputError
            User or password is wrong.
        """
        answer = self._ask("GET", path)
        if answer.status == 401:  # the session has ended: BMCs drop them when they restart, or after some minutes
            self.close()  # or this BMC lets nobody read: then each poll would leave one behind
            answer = self._ask("GET", path)
        if not answer.taken:
            raise NoPowerError(f"{path} {answer}")
        try:
            found = json.loads(answer.content)
        except (ValueError, RecursionError):
            raise NoPowerError(f"{path} is not JSON") from None
        if not isinstance(found, dict):
            raise NoPowerError(f"{path} is no object")
        now = None
        with suppress(TypeError, ValueError, OverflowError):
            now = parsedate_to_datetime(answer.headers.get("Date", ""))
        return found, now

    def close(self) -> None:
        """Delete the session; a BMC that does not answer keeps it until it times out."""
        if self._token and self._place:
            self._client.close()  # the BMC may have hung up since the last poll
            with suppress(NoAnswerError):
                self._client.ask("DELETE", self._place, None, {"X-Auth-Token": self._token}, most_bytes=MOST_BYTES)
        self._token = self._place = ""

    def _ask(self, method: str, path: str) -> Answer:
        now_s = time.monotonic()
        if now_s - self._asked_s >= IDLE_S:
            self._client.close()  # BMCs hang up soon, and a request over that connection would fail
        self._asked_s = now_s
        try:
            if not self._token:
                self._log_in()
            headers = {"X-Auth-Token": self._token, "Accept": "application/json"}
            return self._client.ask(method, path, None, headers, most_bytes=MOST_BYTES)
        except NoAnswerError as error:
            raise NoPowerError(f"it {error}") from None

    def _log_in(self) -> None:
        content = json.dumps({"UserName": self._user, "Password": self._password}).encode()
        headers = {"Content-Type": "application/json"}
        path = f"{ROOT}/SessionService/Sessions"
        answer = self._client.ask("POST", path, content, headers, most_bytes=MOST_BYTES)
        token, place = answer.headers.get("X-Auth-Token", ""), answer.headers.get("Location", "")
        if answer.status == 401:
            raise InputError(f"the BMC does not let {self._user} in: {answer}")
        if not answer.taken or not token:
            raise NoPowerError(f"it opens no session: {answer}")
        self._token, self._place = token, _path({"@odata.id": urlsplit(place).path})


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the power of this host is."""

    kind: str
    path: str


class Redfish:
    """Reads the power of one host.

    Parameters
    ----------
    session : RedfishSession
    chassis : str
        The id of the chassis to read; empty: the only one that is this host's alone.
    period_s : float, s
        How often it is asked.
    """

    def __init__(self, session: RedfishSession, chassis: str = "", period_s: float = 10.0) -> None:
        self._session, self._chassis, self._period_s = session, chassis, period_s
        self._found: _Found | None = None
        self._read_at = ""  # the last reading's own time
        self._unmoved = 0

    def read(self) -> PowerReading:
        """Ask once.

        Raises
        ------
        NoPowerError
            There is no reading now.
        InputError
            There will never be one: the BMC lets us not in, has no such place, or several that may be meant.
        """
        if self._found is None:
            self._found = self._look()
        try:
            return {"metrics": self._metrics, "supplies": self._supplies, "control": self._control}[self._found.kind](
                self._found.path
            )
        except NoPowerError:
            self._found = None  # it may be elsewhere after an update of the firmware
            raise

    def _look(self) -> _Found:
        """Find where this host's power is."""
        chassis = dict(self._all_chassis())
        held = {
            _link(one, "Links", "ContainedBy") for one in chassis.values() if str(one.get("ChassisType")) in _SHARED
        }
        own = {path: one for path, one in chassis.items() if path not in held}
        if self._chassis:
            own = {path: one for path, one in chassis.items() if path.rsplit("/", 1)[-1] == self._chassis}
            if not own:
                known = ", ".join(path.rsplit("/", 1)[-1] for path in chassis)
                raise InputError(f"the BMC has no chassis {self._chassis}; it has {known}")
        whys: list[str] = []
        places = {path: found for path, one in own.items() if (found := self._place(one, whys)) is not None}
        if not places:
            raise NoPowerError(f"no chassis tells its power ({'; '.join(whys) or 'none says where'})")
        if len(places) > 1:
            known = ", ".join(path.rsplit("/", 1)[-1] for path in places)
            raise InputError(f"several chassis tell their power: {known}; name this host's with --chassis")
        return next(iter(places.values()))

    def _all_chassis(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        members = self._session.get(f"{ROOT}/Chassis")[0].get("Members")
        paths = [_path(member) for member in members[:MOST_CHASSIS]] if isinstance(members, list) else []
        for path in filter(None, paths):
            with suppress(NoPowerError):
                yield path, self._session.get(path)[0]

    def _place(self, chassis: Mapping[str, Any], whys: list[str]) -> _Found | None:
        """Return where a chassis tells its power: the first place of three that has a reading, or why none has."""
        supplies = _link(chassis, "PowerSubsystem")
        places = [
            ("metrics", _link(chassis, "EnvironmentMetrics"), self._metrics),
            ("supplies", f"{supplies}/PowerSupplies" if supplies else "", self._supplies),
            ("control", _link(chassis, "Power"), self._control),
        ]
        for kind, path, read in places:
            if path:
                try:
                    read(path)
                except NoPowerError as error:
                    whys.append(str(error))
                else:
                    return _Found(kind, path)
        return None

    def _metrics(self, path: str) -> PowerReading:
        """Read ``EnvironmentMetrics``; its sensor says how good it is."""
        metrics, now = self._session.get(path)
        power = metrics.get("PowerWatts")
        if not isinstance(power, dict):
            raise NoPowerError(f"{path} has no PowerWatts")
        source, sensor = power.get("DataSourceUri"), dict(power)
        if isinstance(source, str) and source.startswith("/"):
            with suppress(NoPowerError):
                more, now = self._session.get(source)
                sensor |= more
        state = (
            sensor.get("Status", {}).get("State", "Enabled") if isinstance(sensor.get("Status"), dict) else "Enabled"
        )
        if state != "Enabled":
            raise NoPowerError(f"{path} is {state!r:.40}")
        if (kind := sensor.get("ReadingType", "Power")) != "Power":
            raise NoPowerError(f"{path} shows {kind!r:.40}")
        self._fresh(sensor.get("ReadingTime"), now)
        accuracy = _number(sensor.get("Accuracy"), 100.0)
        seconds = _seconds(sensor.get("SensingInterval"))
        counter = metrics.get("EnergykWh")
        energy_kwh = _number(counter.get("Reading"), MOST_KWH) if isinstance(counter, dict) else None
        return PowerReading(
            _milliwatts(sensor, path),
            sigma_ppm=-1 if accuracy is None else round(1e4 * accuracy),
            window_us=-1 if seconds is None else round(1e6 * seconds),
            energy_kwh=-1.0 if energy_kwh is None else energy_kwh,
        )

    def _supplies(self, path: str) -> PowerReading:
        """Add up what goes into all power supplies; one that does not tell leaves no sum."""
        members = self._session.get(path)[0].get("Members")
        paths = [_path(member) for member in members[:MOST_SUPPLIES]] if isinstance(members, list) else []
        if not paths:
            raise NoPowerError(f"{path} has no members")
        total_mw = 0
        for supply in paths:
            metrics, _ = self._session.get(f"{supply}/Metrics")
            power = metrics.get("InputPowerWatts")
            total_mw += _milliwatts(power if isinstance(power, dict) else {}, supply, least=0)
        if not total_mw:
            raise NoPowerError("0 W")
        return PowerReading(total_mw)

    def _control(self, path: str) -> PowerReading:
        """Read ``PowerControl[0]``: the others are parts of it."""
        control = self._session.get(path)[0].get("PowerControl")
        if not isinstance(control, list) or not control or not isinstance(control[0], dict):
            raise NoPowerError(f"{path} has no PowerControl")
        return PowerReading(_milliwatts({"Reading": control[0].get("PowerConsumedWatts")}, path))

    def _fresh(self, read_at: object, now: datetime | None) -> None:
        """Refuse a reading that is old by the BMC's own clock, or whose time does not move."""
        if not isinstance(read_at, str):
            return
        self._unmoved = self._unmoved + 1 if read_at == self._read_at else 0
        self._read_at = read_at
        age_s = 0.0
        with suppress(ValueError, TypeError):
            age_s = (now - datetime.fromisoformat(read_at)).total_seconds() if now is not None else 0.0
        if age_s > max(OLDEST_S, 3 * self._period_s) or self._unmoved * self._period_s > OLDEST_S:
            raise NoPowerError(f"its reading is of {read_at:.40}")


def _milliwatts(sensor: Mapping[str, Any], path: str, least: int = 1) -> int:
    """Read a sensor's power; some firmware counts in kilowatts, and says so."""
    units, value = sensor.get("ReadingUnits") or "W", sensor.get("Reading")
    scale = MILLIWATTS.get(units) if isinstance(units, str) else None
    shown = _number(value, MOST_W * 1000)
    if shown is None or scale is None or not least <= round(shown * scale) <= MOST_W * 1000:
        raise NoPowerError(f"{path} has no watts ({value!r:.40}, {units!r:.20})")
    return round(shown * scale)


def _number(value: object, most: float) -> float | None:
    """Return a value if it is a number in its bounds; null, text, true, NaN and the like are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= most else None


def _seconds(text: object) -> float | None:
    """Read a duration such as ``PT0.25S``."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groups()):
        return None
    return 60 * int(match[1] or 0) + float(match[2] or 0)


def _path(member: object) -> str:
    """Return where a link leads, on the same BMC."""
    path = member.get("@odata.id") if isinstance(member, dict) else None
    able = isinstance(path, str) and path.startswith("/") and path.isascii() and path.isprintable() and " " not in path
    return path.rstrip("/") if able and isinstance(path, str) else ""


def _link(resource: Mapping[str, Any], *names: str) -> str:
    """Return where a link of a resource leads; empty if it has none."""
    at: object = resource
    for name in names:
        at = at.get(name) if isinstance(at, dict) else None
    return _path(at)
