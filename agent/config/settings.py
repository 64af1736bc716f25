"""Configuration: one frozen tree, validated once, of what `loading` reads.

Every key is a dataclass field that carries its own text, unit and bounds; the example file, the reference page and the
error messages are made from these, so that they cannot disagree (agent/commands/config.py). Only the composition root
imports this module: the parts get values, never the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  (the tree's types are read at run time)
from dataclasses import dataclass, field
from pathlib import Path

from wattshed.agent.config.node_settings import NodeSettings
from wattshed.agent.config.split_settings import SplitSettings
from wattshed.agent.inputs.keys import key
from wattshed.agent.inputs.toml import meant

METERS = ("nvml", "auto", "simulated")


def _wrong_meter(meter: str) -> str:
    if meter in METERS or meter.startswith("simulated:") or "/" in meter or (meter and Path(meter).exists()):
        return ""
    known = ", ".join(METERS)
    return f"{meter!r} is neither {known}, simulated:FILE nor an existing trace{meant(meter, METERS)}"


def _wrong_listen(addresses: tuple[str, ...]) -> str:
    for address in addresses:
        match = re.fullmatch(r"(\[[\w:.%]+\]|[^\s:\[\]]*):(\d{1,5})", address, re.ASCII)
        if not match or int(match[2]) > 65_535:
            return f"{address!r} is not a valid address; write HOST:PORT, [IPv6]:PORT, or :PORT for all"
    return ""


def _wrong_socket(path: str) -> str:
    return "" if path in {"", "auto"} or path.startswith("/") else f"{path!r} is neither an absolute path nor auto"


def _wrong_url(url: str) -> str:
    return "" if re.match(r"https?://[^/\s]", url) else f"{url!r} is not a URL; write http://127.0.0.1:8000"


def _wrong_currency(currency: str) -> str:
    return (
        "" if re.fullmatch(r"\w{0,8}|[^\w\s]", currency) else f"{currency!r} is not a currency; write EUR or the like"
    )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How often the GPUs are read. Faster than a sensor publishes buys nothing, and every call holds the driver."""

    window_s: float = key(
        1.0,
        "Length of a window: the stretch of time that is accounted for, recorded and published at once.",
        "s",
        low=0.1,
        high=10,
    )
    counter_hz: float = key(
        1.0, "Readings of the energy counter, average power and throttling.", "Hz", low=0.01, high=10
    )
    power_hz: float = key(2.0, "Readings of instant power.", "Hz", low=0.01, high=10)
    burst_hz: float = key(
        0.0,
        "Readings of instant power while it changes fast, for peaks and ramps; 0 turns it off.",
        "Hz",
        low=0,
        high=10,
    )
    process_s: float = key(5.0, "Time between two reads of the process lists.", "s", low=0.5, high=300)
    wake_sleeping_gpus: bool = key(
        True, "Read a GPU although the kernel has put it to sleep (that wakes it); false leaves it asleep, as a gap."
    )


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What is kept of the recording made with `record`; the oldest segments go first."""

    max_bytes: int = key(10_000_000_000, "Largest size of the recording on disk; 0 for no limit.", "bytes", low=0)
    max_age_s: float = key(0.0, "Age at which segments are removed; 0 for no limit.", "s", low=0)


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """What is kept of every job for good, in the state folder: it answers what a job used after it has ended."""

    enabled: bool = key(True, "Keep the history.")
    slot_s: int = key(
        3600,
        "What runs on, and idle power, has a part in the history for every so many seconds of UTC: 900 or 3600.",
        "s",
        low=900,
        high=3600,
    )
    max_age_days: float = key(
        400.0, "Parts, and jobs that ended, are dropped after this; sums of days stay.", "d", low=1
    )
    max_bytes: int = key(
        1_000_000_000, "Largest size of the history; the oldest parts go first.", "bytes", low=1_000_000
    )
    socket: str = key(
        "auto",
        "Unix socket at which every user of this host may ask for their own jobs; auto: api.sock in $RUNTIME_DIRECTORY "
        "(systemd), else in /run/wattshed (root makes it), else in $XDG_RUNTIME_DIR/wattshed or /tmp/wattshed-UID, for "
        "you alone; empty: none.",
        check=_wrong_socket,
    )
    admin_group: str = key("", "Members of this group see everybody's jobs there, as root does; empty: root alone.")
    tcp_users: tuple[str, ...] = key(
        (), "Users of web_config_file, and names of client certificates, that see everybody's jobs over TCP."
    )


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What the history keeps of people. Metrics and recordings have their own setting: `jobs.names`."""

    users: str = key(
        "names",
        "What stands for a user in the history: the name, a pseudonym (a keyed hash), or none: then only "
        "administrators can ask for jobs. Without names the history has no names of jobs, programs and pods either.",
        choices=("names", "pseudonyms", "none"),
    )
    key_file: str = key(
        "",
        "The key of the hashes, the same file at all hosts of a site; needed for pseudonyms and none.",
        path=True,
    )
    user_days: float = key(
        90.0,
        "So long after its end a job loses its user, and a day's sums are their accounts' alone.",
        "d",
        low=1,
    )


@dataclass(frozen=True, slots=True)
class Jobs:
    """Whom the energy is billed to."""

    mapping_dir: str = key(
        "",
        "Folder that a root-owned prolog writes (file N, N.gi or a UUID; one job per line); empty: not used.",
        path=True,
    )
    environ_hint: bool = key(
        False,
        "Read the environment of processes as a last hint for their job. Its owner writes it, so it is only a hint; "
        "needs the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.",
    )
    names: bool = key(True, "Publish job names, which are free text written by users.")
    max_series: int = key(
        10_000,
        "Largest number of jobs with series of their own at a time; the rest are counted in _other.",
        "owners",
        low=1,
        high=1_000_000,
    )
    keep_ended_s: float = key(
        300.0,
        "How long an ended job stays published; must be longer than a scrape interval of Prometheus.",
        "s",
        low=0,
        high=86_400,
    )


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """Where user, account and partition of Slurm's jobs come from; who used a GPU comes from the kernel."""

    enabled: str = key("auto", "auto asks squeue where it is installed.", choices=("auto", "on", "off"))
    squeue: tuple[str, ...] = key(("squeue",), "The command, with arguments that go before wattshed's own.")
    node: str = key("", "This node's NodeName; empty: Slurm is asked which of its nodes this host is.")


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Where the holders of GPUs come from on a Kubernetes node."""

    enabled: str = key("auto", "auto asks the kubelet where its socket exists.", choices=("auto", "on", "off"))
    socket: str = key("/var/lib/kubelet/pod-resources/kubelet.sock", "The kubelet's PodResources socket.", path=True)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One inference server whose page is read: ``[[work.server]]``."""

    url: str = key("", "Where it is, http://127.0.0.1:8000; without a path, that of its kind.", check=_wrong_url)
    kind: str = key(
        "",
        "What it is; empty: the names on its page tell.",
        choices=("", "vllm", "sglang", "trtllm", "tgi", "llamacpp", "lmdeploy", "triton", "nim"),
    )
    model: str = key("", "Only what this model did; Triton needs it where one model is made of others.")
    job: str = key(
        "",
        "Whose work it is, as metrics call the job (slurm:1234, unit:vllm.service); empty: that of the job in whose "
        "cgroup the server listens. Only a file of root's, or of the agent's own user, may say.",
    )
    header_file: str = key(
        "", "File with a header that the server wants, such as Authorization: Bearer ...; empty: none.", path=True
    )


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """What jobs do with their energy: tokens, requests, images, steps."""

    told: bool = key(True, "Take down the work that jobs tell of themselves at `socket`.")
    servers: str = key(
        "off",
        "auto reads the pages of inference servers that jobs on GPUs run at `ports` of 127.0.0.1; off reads only those "
        "of [[work.server]].",
        choices=("off", "auto"),
    )
    ports: tuple[int, ...] = key(
        (8000, 8080, 30000, 23333, 8002), "Ports where inference servers are looked for.", low=1, high=65_535
    )
    interval_s: float = key(5.0, "Time between two reads of a page.", "s", low=0.5, high=300)
    server: tuple[ServerSettings, ...] = key((), "A server whose page is read, wherever it is.")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known about one GPU's meter, from a comparison with an outside one."""

    gain: float = key(1.0, "True power divided by shown power.", "1", low=0.5, high=2)
    offset_w: float = key(0.0, "Added after the gain.", "W", low=-100, high=100)
    sigma: float = key(0.02, "One sigma of the gain error that is left.", "1", low=0, high=1)


@dataclass(frozen=True, slots=True)
class Export:
    """What scrapers and collectors get."""

    dcgm_hostname_label: str = key(
        "Hostname",
        "Spelling of the host label at /metrics/dcgm; dcgm-exporter itself changed it in 2026.",
        choices=("Hostname", "hostname"),
    )
    otlp_endpoint: str = key("", "OpenTelemetry collector to push to (http://host:4318); empty: none.")
    otlp_interval_s: float = key(15.0, "Time between two pushes.", "s", low=1, high=3600)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet that this host represents, if any."""

    inventory: str = key("", "Fleet inventory (TOML) to extrapolate with; empty: none.", path=True)


@dataclass(frozen=True, slots=True)
class Prices:
    """What energy costs: shown on the page beside it. Reports have their own: `wattshed report --price`."""

    currency: str = key("", "Currency of the price, such as EUR.", check=_wrong_currency)
    per_kwh: float = key(0.0, "Price of a kWh; 0: no cost is shown.", "currency/kWh", low=0, high=1_000_000)
    carbon_g_per_kwh: float = key(0.0, "Carbon intensity of a kWh; 0: none is shown.", "gCO2e/kWh", low=0, high=10_000)


@dataclass(frozen=True, slots=True)
class Log:
    """What is logged to standard error."""

    level: str = key(
        "info", "The least severe messages that are logged.", choices=("debug", "info", "warning", "error")
    )
    format: str = key(
        "auto",
        "journald puts <priority> first; auto does so when standard error is the journal.",
        choices=("auto", "text", "journald", "json"),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. The first keys are the flags of `wattshed run`, by the same names."""

    meter: str = key(
        "nvml",
        "nvml, auto, simulated, simulated:FILE, or a recorded trace. nvml waits for the driver and meters nothing "
        "until then; auto is for trying things out: nvml, else simulated, and it says so.",
        check=_wrong_meter,
    )
    listen: tuple[str, ...] = key(
        ("127.0.0.1:9961",), "Addresses to serve at: HOST:PORT, [IPv6]:PORT, or :PORT for all.", check=_wrong_listen
    )
    web_config_file: str = key("", "TLS and users, in Prometheus' exporter-toolkit format; empty: neither.", path=True)
    record: str = key("", "Folder to record every window to; empty: no recording.", path=True)
    for_seconds: float = key(
        0.0, "Stop so long after it is ready, or after as long without a driver; 0: never.", "s", low=0
    )
    host: str = key("", "Name of this host in all output; empty: what the system says.")
    state_dir: str = key(
        "", "Totals and checkpoints; empty: $STATE_DIRECTORY (systemd), else $XDG_STATE_HOME/wattshed.", path=True
    )
    cache_dir: str = key(
        "",
        "Compiled kernels; empty: $CACHE_DIRECTORY (systemd), else $XDG_CACHE_HOME/wattshed. $NUMBA_CACHE_DIR goes "
        "first. Of other commands `wattshed warm` and `wattshed check` read it here, and all know the variables.",
        path=True,
    )
    socket: str = key(
        "auto",
        "Unix socket at which jobs ask for their own joules and tell their work (`wattshed.measure`, "
        "`wattshed.add_work`); auto: agent.sock, found as `history.socket` is; empty: none.",
        check=_wrong_socket,
    )
    control_socket: str = key(
        "auto",
        "Unix socket at which `wattshed release` has the agent let go of the driver; auto: control.sock, found as "
        "`history.socket` is; empty: none.",
        check=_wrong_socket,
    )
    control_group: str = key(
        "wattshed-admin", "Members of this group may ask there, besides root; empty, or no such group: root alone."
    )
    proc_root: str = key(
        "/proc", "Where the host's /proc is (a container without hostPID mounts it elsewhere).", path=True
    )
    jit: str = key(
        "auto",
        "How the code that bills runs; the same integers in every form. auto: a compiled library where there is one "
        "(so, objects), else plain Python (off). numba compiles at the start, in the agent. cpu means auto.",
        choices=("auto", "so", "objects", "numba", "off", "cpu"),
    )
    default_sigma: float = key(
        0.04, "One sigma of the gain of a meter that was not calibrated (NVIDIA boards: 4 %).", "1", low=0, high=1
    )
    sampling: Sampling = field(default_factory=Sampling)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)
    jobs: Jobs = field(default_factory=Jobs)
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    work: WorkSettings = field(default_factory=WorkSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    export: Export = field(default_factory=Export)
    fleet: Fleet = field(default_factory=Fleet)
    prices: Prices = field(default_factory=Prices)
    log: Log = field(default_factory=Log)
    idle_watts: Mapping[str, float] = key(
        {},
        "Power of an idle GPU, by UUID or model name; what is measured here takes precedence.",
        "W",
        low=0,
        high=2000,
    )
    calibration: Mapping[str, Calibration] = key({}, 'The meter of one GPU, by UUID: [calibration."GPU-..."].')
