"""Where the states of hosts come from: Slurm's command or a file with what it printed, and the BMCs of silent hosts.

A BMC is asked by Redfish for ``PowerState`` of the system, and for its watts where an address for them is given
(``PowerControl`` of Power, or ``PowerWatts`` of EnvironmentMetrics: DMTF DSP2046). What cannot be read is a warning.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.live.states import HostState, host_names, nodes_of, read_states
from wattshed.agent.wire.credentials import Credentials, password_in
from wattshed.agent.wire.http import Address, Client, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wattshed.agent.inputs.toml import Table

_AT_ONCE = 32
_MOST_BYTES = 2**20
_MOST_W = 1e6
_EXAMPLE = "https://{host}-bmc.example/redfish/v1/Systems/1"


@dataclass(frozen=True, slots=True)
class Bmcs:
    """The BMCs of hosts that do not answer. ``{host}`` in an address is the host's name without port and domain."""

    system: str
    power: str = ""
    credentials: Credentials = field(default_factory=Credentials)
    timeout_s: float = 5.0

    def ask(self, host: str) -> tuple[str, float | None] | None:
        """``PowerState`` and watts of one host; None where its BMC does not answer."""
        system = self._get(self.system, host)
        if not isinstance(state := system.get("PowerState"), str):
            return None
        return state, _watts(self._get(self.power, host)) if self.power else None

    def _get(self, pattern: str, host: str) -> dict[str, Any]:
        address = Address.parse(pattern.replace("{host}", host_names(host)[-1]), "states.bmc", _EXAMPLE)
        try:
            with closing(Client(address, timeout_s=self.timeout_s, credentials=self.credentials)) as client:
                answer = client.get(most_bytes=_MOST_BYTES)
            found = json.loads(answer.content) if answer.taken else {}
        except (NoAnswerError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _watts(power: dict[str, Any]) -> float | None:
    """Watts in a Power or an EnvironmentMetrics resource."""
    controls, reading = power.get("PowerControl"), power.get("PowerWatts")
    first = controls[0] if isinstance(controls, list) and controls else reading
    if not isinstance(first, dict):
        return None
    watts = first.get("PowerConsumedWatts", first.get("Reading"))
    return float(watts) if isinstance(watts, int | float) and 0.0 <= watts < _MOST_W else None


@dataclass(frozen=True, slots=True)
class StateSources:
    """``[states]`` of a FLEET.toml: one of a command and a file, and BMCs."""

    command: tuple[str, ...] = ()
    file: str = ""
    bmcs: Bmcs | None = None
    timeout_s: float = 10.0

    def hosts(self) -> tuple[dict[str, HostState], tuple[str, ...]]:
        """Host -> state, and what went wrong; nothing is known then.

        Raises
        ------
        InputError
            If the file is wrong: a person can correct that.
        """
        if self.file:
            return read_states(self.file), ()
        if not self.command:
            return {}, ()
        name = " ".join(self.command)
        try:
            done = subprocess.run(
                self.command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {}, (f"{name} does not end within {self.timeout_s:g} s: the states of hosts are unknown",)
        except OSError as error:
            return {}, (f"{name} cannot be run ({error.strerror}): the states of hosts are unknown",)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            return {}, (f"{name} fails ({said[0][:200]}): the states of hosts are unknown",)
        try:
            return nodes_of(done.stdout.decode(errors="replace"), name), ()
        except InputError as error:
            return {}, (f"what {name} prints {error.message}: the states of hosts are unknown",)

    def asked_of_bmcs(self, states: Mapping[str, HostState]) -> tuple[dict[str, HostState], tuple[str, ...]]:
        """Bring the states of silent hosts up to what their BMCs say; and the warnings.

        Parameters
        ----------
        states : mapping of host -> HostState
            Of the hosts that do not answer.
        """
        if self.bmcs is None or not states:
            return dict(states), ()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(self.bmcs.ask, states))
        pairs = list(zip(states.items(), found, strict=True))
        brought = {host: state if seen is None else _seen(state, *seen) for (host, state), seen in pairs}
        if not (silent := [host for (host, _), seen in pairs if seen is None]):
            return brought, ()
        return brought, (f"{len(silent)} of {len(pairs)} BMCs asked did not answer (such as that of {silent[0]!r})",)


def _seen(state: HostState, power_state: str, watts: float | None) -> HostState:
    """Return what is known of a host once its BMC was asked."""
    if power_state == "Off":
        return replace(state, state="off", on=False, node_w=None)
    if power_state == "On":
        return replace(state, state="down" if state.state == "off" else state.state, on=True, node_w=watts)
    return replace(state, state="down")  # PoweringOn, PoweringOff, Paused: on its way


def sources_of(table: Table, folder: Path) -> StateSources:
    """Read ``[states]`` of a FLEET.toml.

    Raises
    ------
    InputError
        Naming the line, if it cannot be used.
    """
    table.only(("command", "file", "timeout_s", "bmc"))
    if ("command" in table) == ("file" in table) and "bmc" not in table:
        table.fail("needs one of command (such as scontrol show nodes --json) and file")
    if "command" in table and "file" in table:
        table.fail("goes without command: a file has what it printed", "file")
    file = str(folder / table.text("file")) if "file" in table else ""
    command = tuple(table.text("command").split()) if "command" in table else ()
    bmcs = _bmcs(table.table("bmc"), folder) if "bmc" in table else None
    return StateSources(command, file, bmcs, table.number("timeout_s", 10.0, above=0))


def _bmcs(table: Table, folder: Path) -> Bmcs:
    table.only(("system", "power", "login", "password_file", "ca_file", "timeout_s"))
    for key in ("system", "power"):
        if key in table:
            try:
                Address.parse(table.text(key).replace("{host}", "host"), "it", _EXAMPLE)
            except InputError as error:
                table.fail(error.message, key)
    if ("login" in table) != ("password_file" in table):
        table.fail("login and password_file go together: give both")
    password = password_in(str(folder / table.text("password_file"))) if "password_file" in table else ""
    ca_file = str(folder / table.text("ca_file")) if "ca_file" in table else ""
    return Bmcs(
        table.text("system"),
        table.text("power", "", empty=True),
        Credentials(table.text("login", "", empty=True), password, ca_file),
        table.number("timeout_s", 5.0, above=0),
    )
