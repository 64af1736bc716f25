"""Every parser of something that others write: one function of bytes each, which returns, or refuses with a reason.

hypothesis runs the targets in the suite (test_fuzz.py), and atheris from the command line (atheris_run.py).
A target lets through only the refusals that its parser declares; anything else is a finding.
"""

import re
import struct
import tempfile
from datetime import UTC
from pathlib import Path

from tests.fleet.recorded import recorded
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.config.loading import load
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.claims import scenario
from wattshed.agent.fleet.decide.grid_exports import HourlyChoice
from wattshed.agent.fleet.decide.hourly_sources import read_sources
from wattshed.agent.fleet.demand import transformer
from wattshed.agent.fleet.estimate import reading
from wattshed.agent.fleet.live import inventory
from wattshed.agent.jobs import podresources, queue
from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.simulation.scenario import read_scenario
from wattshed.agent.traces.jobs.jobs_file import read_jobs
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import WindowBatch
from wattshed.exporters.formats import negotiation
from wattshed.exporters.web import access, web_config

CORPUS = Path(__file__).parent / "corpus"


def _file(data, name, read, *allowed):
    """Hand the bytes over as a file; a refusal names it and says why."""
    with tempfile.TemporaryDirectory(prefix="wattshed-fuzz-") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            read(path)
        except (InputError, *allowed) as error:
            assert str(error)  # noqa: PT017


def _text(data):
    return data.decode("utf-8", "surrogateescape")


def configuration(data):
    """wattshed.agent.config.loading."""
    _file(data, "config.toml", lambda path: load(path, {"HOME": "/"}))


def cgroup(data):
    """wattshed.agent.jobs.cgroup: whatever a path says, what lies below user.slice is never another manager's job."""
    text = _text(data)
    owner = identify(text)
    lines = [line for line in text.split("\n") if line]
    if lines and all(re.match(r"\d+:[^:/]*:/user\.slice/", line) for line in lines):
        assert owner.runtime in {"none", "systemd-user", "podman", "podman-monitor", "docker", "containerd", "flux"}


def squeue(data):
    """wattshed.agent.jobs.queue."""
    try:
        queue.parse(_text(data), "node1", {"gpu": 1})
    except ValueError as error:
        assert len(str(error)) < 10_000  # noqa: PT017


def pod_resources(data):
    """wattshed.agent.jobs.podresources: the kubelet's message, from the wire."""
    try:
        podresources.grants_of(data)
    except RuntimeError as error:
        assert str(error)  # noqa: PT017


def _account(path):
    options = Options(local=UTC)
    for chain in find([str(path)], options):
        accounts, at_once = Accounts(ledger=Ledger(1000)), Accounts(ledger=Ledger(1000))
        for window in chain.windows(options):
            assert window.end_us >= window.start_us
            accounts.add(window)
        said = chain.reports[0].rejected
        for item in chain.batches(options):
            at_once.add_batch(item) if isinstance(item, WindowBatch) else at_once.add(item)
        assert chain.reports[0].rejected == said
        accounts.finish()
        at_once.finish()
        assert [a.totals for a in accounts.gpus.values()] == [a.totals for a in at_once.gpus.values()]
        assert [a.power.quantiles() for a in accounts.gpus.values()] == [
            a.power.quantiles() for a in at_once.gpus.values()
        ]
        parts = {key: a.idle_hnj + a.unattributed_hnj for key, a in accounts.gpus.items()}
        for _, key, static, dynamic in accounts.ledger.shares():
            parts[key] += static + dynamic
        for key, account in accounts.gpus.items():
            assert account.energy_hnj >= 0
            assert parts[key] == account.energy_hnj


def trace_csv(data):
    """wattshed.agent.traces: nvidia-smi and other delimited text, through to the joules."""
    _file(data, "trace.csv", _account)


def trace_text(data):
    """wattshed.agent.traces: anything whose name says nothing (dmon, exposition)."""
    _file(data, "trace.txt", _account)


def trace_json(data):
    """wattshed.agent.traces: a Prometheus query's answer."""
    _file(data, "trace.json", _account)


def trace_native(data):
    """wattshed.agent.traces: a segment of our own, torn or flipped."""
    _file(data, "000000000001.arrows", _account)


def jobs_file(data):
    """wattshed.agent.traces.jobs.jobs_file: CSV and sacct."""
    _file(data, "jobs.csv", lambda path: read_jobs(path, UTC))


def meter_scenario(data):
    """wattshed.agent.simulation.scenario."""
    _file(data, "node.toml", read_scenario)


def fleet_toml(data):
    """wattshed.agent.fleet: scenarios, inventories and transformers."""
    _file(data, "fleet.toml", scenario.read)
    _file(data, "fleet.toml", inventory.read_inventory)
    _file(data, "fleet.toml", transformer.read_transformer)


def fleet_csv(data):
    """wattshed.agent.fleet: populations, samples and series."""

    def both(path):
        known = reading.read_population(path)
        reading.read_sample(path, known)

    _file(data, "fleet.csv", both)
    _file(data, "fleet.csv", recorded)


def hourly_csv(data):
    """wattshed.agent.fleet.decide: exports of grids and weather, and tables of one's own."""
    columns = {"time": "time", "price": "price"}
    _file(data, "hourly.csv", lambda path: read_sources([str(path)], columns, HourlyChoice()))


def web(data):
    """wattshed.exporters.web.web_config."""
    _file(data, "web.yml", web_config.load, web_config.WebConfigError)


def headers(data):
    """What a client says of itself: Accept, Accept-Encoding, Authorization."""
    text = data.decode("latin-1")
    negotiation.wants_openmetrics(text)
    negotiation.wants_gzip(text)
    access.credentials(text)


def state(data):
    """wattshed.agent.accounts.state: never refuses to start, never believes half a file."""
    with tempfile.TemporaryDirectory(prefix="wattshed-fuzz-") as folder:
        (Path(folder) / "state.json").write_bytes(data)
        accounts = Accounts(ledger=Ledger(1000), live=True)
        restored = StateFile(Path(folder), "host", "boot").restore(accounts, Calibrator())
        assert restored.found or restored.problems
        assert all("\n" not in problem for problem in restored.problems)


TARGETS = {
    one.__name__: one
    for one in (
        configuration, cgroup, squeue, pod_resources, trace_csv, trace_text, trace_json, trace_native, jobs_file,
        meter_scenario, fleet_toml, fleet_csv, hourly_csv, web, headers, state,
    )
}  # fmt: skip


def seeds(name):
    """The corpus of one target: files that are valid, or once were a finding."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def grow(data, steps):
    """Change bytes by (kind, place, byte) steps: what a torn write, a flipped bit or a hostile editor does."""
    for kind, place, byte in steps:
        at = place % (len(data) + 1)
        if kind == 0:
            data = data[:at] + bytes([byte]) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + 1 + byte % 32 :]
        elif kind == 2:
            data = data[:at] + bytes([byte]) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + data[at // 2 : at // 2 + 1 + byte] + data[at:]
        elif kind == 4:
            data = (
                data[:at]
                + (b"-1", b"nan", b"1e999", b"99999999999999999999", b"\0", b"\xff", b'"', b"\n")[byte % 8]
                + data[at:]
            )
        else:
            data = data[:at] + struct.pack("<q", (byte - 128) << 55) + data[at + 8 :]
    return data
