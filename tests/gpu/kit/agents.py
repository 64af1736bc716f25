"""Runs the project's commands as processes of their own, and reads their pages."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.request
from decimal import Decimal

from .clock import now_ns
from .results import child_environment, module
from .scrubbing import scrub

LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
GPU_FACTS = ("energy_j", "covered_s", "method", "samples", "counter_j", "power_j", "sigma_j", "flags")


def environment(kit) -> dict[str, str]:
    """Return the environment of the project's commands: their files in the step's folder, no compilation."""
    state = kit.tmp / "state"
    state.mkdir(exist_ok=True)
    return child_environment() | {
        "KIT_SIMULATED": "1" if kit.simulated else "0",
        "WATTSHED_HOST": "node",
        "WATTSHED_JIT": "off",
        "WATTSHED_STATE_DIR": str(state),
        "WATTSHED_CACHE_DIR": str(kit.tmp / "cache"),
        "WATTSHED_LOG_FORMAT": "text",
    }


def call(kit, *arguments: str, limit_s: float = 60.0, jit: bool = False) -> tuple[int, str, str, float]:
    """Run a command to its end: (exit code, output, errors, seconds)."""
    env = environment(kit)
    if jit:
        del env["WATTSHED_JIT"]
    begun = now_ns()
    limit_s = max(2.0, min(limit_s, kit.left - 1))
    command = [*module("agent_main"), *arguments]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        kit.error(" ".join(arguments[:1]), error)
        return -1, "", "timed out", (now_ns() - begun) / 1e9
    return done.returncode, done.stdout, done.stderr, (now_ns() - begun) / 1e9


def meter(kit, script: str | None = None) -> str:
    """What goes after --meter."""
    if not kit.simulated:
        return "nvml"
    if script is None:
        return "simulated"
    file = kit.tmp / f"agent-{now_ns()}.toml"
    file.write_text(script)
    return f"simulated:{file}"


def free_port() -> int:
    """Return a port of this host that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Agent:
    """A running agent, which ends by itself after ``seconds``."""

    def __init__(self, kit, seconds: float, *, script: str | None = None, record: str = "", more=()) -> None:
        self.kit, self.port = kit, free_port()
        listen = f"127.0.0.1:{self.port}"
        arguments = ["run", "--meter", meter(kit, script), "--for", f"{seconds:.1f}", "--listen", listen, *more]
        if record:
            arguments += ["--record", record]
        self.begun_ns = now_ns()
        with (kit.raw / "agent.log").open("a") as log:
            self.process = subprocess.Popen(
                [*module("agent_main"), *arguments], env=environment(kit), stdout=subprocess.DEVNULL, stderr=log
            )

    def ready(self, within_s: float = 20.0) -> float | None:
        """Wait until a window was accounted: seconds since the start, or None."""
        while now_ns() - self.begun_ns < within_s * 1e9 and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.page("/-/ready")
                return (now_ns() - self.begun_ns) / 1e9
            time.sleep(0.05)
        return None

    def page(self, path: str = "/metrics") -> tuple[int, str]:
        """Scrape: (time ns, text)."""
        before = now_ns()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text = answer.read().decode()
        return (before + now_ns()) // 2, text

    def stop(self, within_s: float = 15.0) -> int:
        """Wait for its end, or ask for it; returns its exit code."""
        for patience_s, ask in ((within_s, self.process.terminate), (5.0, self.process.kill)):
            try:
                return self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                ask()
        return self.process.wait()


def series(text: str) -> list[tuple[str, dict[str, str], Decimal]]:
    """Return the numbers of a page: (name, labels, value)."""
    found = []
    for line in text.splitlines():
        match = LINE.match(line)
        if match and not line.startswith("#"):
            with contextlib.suppress(ArithmeticError):
                found.append((match[1], dict(LABEL.findall(match[2] or "")), Decimal(match[3])))
    return found


def conservation(text: str) -> dict:
    """Whether jobs and components, with the jobs that ended, add up to each card's energy, exactly."""
    gpus: dict[str, Decimal] = {}
    parts: dict[str, Decimal] = {}
    for name, labels, value in series(text):
        if name == "wattshed_gpu_energy_joules_total":
            gpus[labels["gpu_uuid"]] = value
        elif name in {"wattshed_job_energy_joules_total", "wattshed_ended_jobs_energy_joules_total"}:
            parts[labels["gpu_uuid"]] = parts.get(labels["gpu_uuid"], Decimal(0)) + value
    apart = [abs(value - parts.get(uuid, Decimal(0))) for uuid, value in gpus.items()]
    return {
        "gpus": len(gpus),
        "joules": float(sum(gpus.values())),
        "largest_difference_j": float(max(apart, default=0)),
        "holds": bool(gpus) and not any(apart),
    }


def job_joules(text: str) -> dict[str, dict[str, float]]:
    """Joules by job and component, over all cards."""
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in series(text):
        if name == "wattshed_job_energy_joules_total":
            parts = found.setdefault(labels["job"], {})
            parts[labels["component"]] = parts.get(labels["component"], 0.0) + float(value)
    return found


def replay(kit, *arguments: str, limit_s: float = 40.0) -> dict:
    """Replay to JSON: totals, span, cards and jobs; or what it said if it would not."""
    code, out, err, took = call(kit, "replay", *arguments, "--format", "json", limit_s=limit_s)
    try:
        tree = json.loads(out)
    except json.JSONDecodeError:
        return {"exit": code, "seconds": took, "said": scrub(err[-400:])}
    told = {name: tree.get(name) for name in ("total_j", "idle_j", "unattributed_j", "start_s", "end_s", "notes")}
    jobs = tree.get("jobs", [])
    return told | {
        "exit": code,
        "seconds": took,
        "jobs": {j["job"]: j["energy_j"] for j in jobs},
        "sigma": {j["job"]: j["sigma_j"] for j in jobs},
        "gpus": [{name: gpu.get(name) for name in GPU_FACTS} for gpu in tree.get("gpus", [])],
    }
