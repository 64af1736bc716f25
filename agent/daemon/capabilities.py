"""What this host can and cannot measure, with the reason and the remedy for each "no"."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.clock import Clock
    from wattshed.agent.config.node_settings import NodeSettings
    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.meters.meter import NvmlMeter
    from wattshed.agent.window import Device
    from wattshed.exporters.snapshot import Snapshot

LEARN_US = 3_000_000
WINDOWS = 3
READINGS = ("energy", "average", "instant")
REMEDY = (
    "update the driver; where the board has no meter at all, only a meter of the host or of its feed can measure it"
)
HEAL = "known once the GPU answers again; see the end of this report"
SICK_REMEDY = (
    "see `dmesg` for XID 119 or 120 (the GPU's own processor does not answer); reset it (`nvidia-smi --gpu-reset`) or "
    "restart the host; if it happens again, have the board replaced (RMA)"
)
KUBELET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something works here; if not, why, and what to do."""

    name: str
    reason: str = ""
    remedy: str = ""

    def tree(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"works": not self.reason, "reason": self.reason, "remedy": self.remedy if self.reason else ""}


def report(
    meter: str,
    proc_root: Path = Path("/proc"),
    kubelet: Path = KUBELET,
    which: Callable[[str], str | None] = shutil.which,
    node: NodeSettings | None = None,
) -> dict[str, Any]:
    """Find out what can be measured.

    Parameters
    ----------
    meter : str
        As after ``--meter``.
    proc_root, kubelet : Path
    which : callable
        Finds a program.
    node : NodeSettings, optional
        Where meters of the host are, and what is known about them.

    Returns
    -------
    dict
        Schema ``wattshed.check/1``.
    """
    from wattshed.agent.meters.errors import MeterError, NoMeter  # noqa: PLC0415 - the command line is parsed without it

    tree: dict[str, Any] = {
        "schema": "wattshed.check/1",
        "host": socket.gethostname(),
        "meter": meter.partition(":")[0],
        "can_measure": False,
        "reason": "",
        "library": "",
        "driver": "",
        "gpus": [],
        "jobs": {f.name: f.tree() for f in job_sources(proc_root, kubelet, which)},
        "kernels": _kernels(),
        "host_meters": {"meters": [], "not_read": []},
    }
    if tree["meter"] == "nvml":
        tree["host_meters"] = _host_meters(node, proc_root, None)
    with tempfile.TemporaryDirectory(prefix="wattshed-simulated-") as folder:
        try:
            opened, clock, proc_root, shown = _open(meter, tree["host"], Path(folder), proc_root)
        except MeterError as error:
            tree["reason"] = (
                f"the driver is not responding ({error}); see `nvidia-smi` and the permissions of /dev/nvidia*"
            )
        except NoMeter as error:
            tree["reason"] = str(error)
        else:
            if shown is not None:
                tree["host_meters"] = _host_meters(node, proc_root, shown)
            tried = _try_out(opened, clock, tree["host"], proc_root)
            if tried is None:
                tree["reason"] = "the driver went away, or only a new process can use it; see the log and `nvidia-smi`"
            else:
                _describe(opened, tried, tree)
    return tree


def _host_meters(
    node: NodeSettings | None, proc_root: Path, simulated: tuple[HostFiles, Path] | None
) -> dict[str, Any]:
    """Tell which meters this host, or a simulated one, has beside its GPUs' own."""
    from wattshed.agent.clock import RealClock  # noqa: PLC0415
    from wattshed.agent.config.node_settings import NodeSettings  # noqa: PLC0415
    from wattshed.agent.daemon.host_check import host_report  # noqa: PLC0415

    return host_report(node or NodeSettings(), RealClock(), proc_root, simulated)


def _kernels() -> dict[str, Any]:
    """Tell in which form the kernels of `wattshed run` begin here, and why; this process keeps to it."""
    from wattshed.agent.daemon.compiling import begin  # noqa: PLC0415
    from wattshed.kernels.cache import passed_over  # noqa: PLC0415

    form = begin()
    return {"form": form.name, "cpu": form.cpu, "reason": form.reason, "passed_over": list(passed_over())}


def _open(
    meter: str, host: str, folder: Path, proc_root: Path
) -> tuple[NvmlMeter, Clock, Path, tuple[HostFiles, Path] | None]:
    """Open the driver, or a simulated one with a process tree and meters of the host of its own."""
    from wattshed.agent.clock import RealClock  # noqa: PLC0415
    from wattshed.agent.meters.meter import NvmlMeter  # noqa: PLC0415
    from wattshed.agent.meters.nvml import Nvml  # noqa: PLC0415
    from wattshed.agent.meters.sight import own_namespace, seen_from  # noqa: PLC0415
    from wattshed.agent.simulation.node import SimulatedNode  # noqa: PLC0415

    kind, _, script = meter.partition(":")
    if kind not in {"nvml", "simulated"}:
        raise InputError(f"--meter {meter!r}: check knows nvml, simulated and simulated:FILE")
    clock, shown = RealClock(), None
    if kind == "simulated":
        node = SimulatedNode(clock, folder, script)
        proc_root, shown = node.proc_root, (node.sys, node.drop_dir)
        opened = NvmlMeter(Nvml(clock, node.library), clock, host, simulated=True, proc_root=proc_root)
    else:
        opened = NvmlMeter(Nvml(clock), clock, host, known=seen_from(own_namespace()), proc_root=proc_root)
    opened.open()
    return opened, clock, proc_root, shown


def _try_out(meter: NvmlMeter, clock: Clock, host: str, proc_root: Path) -> Snapshot | None:
    """Meter for some windows, and return what `wattshed run` would publish after them; None if the run would end.

    What a driver says that it can do, and what it then does, are two things: a check that works as a run does cannot
    differ from it (docs/decisions/0923).
    """
    from wattshed.agent.accounts.attribution import Accounts  # noqa: PLC0415
    from wattshed.agent.accounts.publishing import Publisher  # noqa: PLC0415
    from wattshed.agent.jobs.procfs import exists  # noqa: PLC0415
    from wattshed.agent.meters.errors import RestartNeeded  # noqa: PLC0415
    from wattshed.agent.meters.sampler import Sampler  # noqa: PLC0415
    from wattshed.agent.meters.schedule import Rates  # noqa: PLC0415

    sampler = Sampler(meter, clock, host, Rates(learn_us=LEARN_US), alive=partial(exists, proc_root))
    accounts, published = Accounts(live=True), None
    publisher = Publisher(host, "", meter.kind, meter.library, clock.now_us())
    try:
        for _ in range(WINDOWS):
            window, _ = sampler.next()
            accounts.add(window)
            published = publisher.publish(accounts, window, calls={}, late_s=0.0, duty=0.0, faults={})
    except RestartNeeded:
        return None
    finally:
        sampler.close()
    return published


def _describe(meter: NvmlMeter, tried: Snapshot, tree: dict[str, Any]) -> None:
    sources = {gpu.uuid: gpu.energy_source for gpu in tried.gpus}
    devices = meter.devices
    tree["library"] = meter.library
    tree["driver"] = devices[0].driver
    tree["gpus"] = [_gpu(device, sources[device.uuid]) for device in devices]
    tree["can_measure"] = tried.up
    if sick := [
        f"GPU {gpu_handle.device.index} is {gpu_handle.sick}" for gpu_handle in meter.gpu_handles if gpu_handle.sick
    ]:
        tree["reason"] = f"{'; '.join(sick)}; {SICK_REMEDY}"
    elif not tried.up:
        tree["reason"] = _why_not(tried, tree["gpus"])
    elif meter.unseen:
        tree["reason"] = f"{meter.unseen} more GPU(s) do not answer; see the log and `nvidia-smi`"


def _why_not(tried: Snapshot, gpus: list[dict[str, Any]]) -> str:
    """Say why nothing can be measured, and what to do about it."""
    if any(gpu["energy_source"] != "none" for gpu in gpus) or not any(gpu.up for gpu in tried.gpus):
        return tried.unmetered
    able = gpus[0]["capabilities"]
    told = "; ".join(f"{name}: {able[name]['reason'] or 'answers, with no usable number'}" for name in READINGS)
    return f"no GPU reports energy or power ({told}); {REMEDY}"


def _gpu(device: Device, source: str) -> dict[str, Any]:
    from wattshed.agent.meters.probe import REMEDIES  # noqa: PLC0415

    able = device.capabilities
    return {
        "gpu": device.index,
        "uuid": device.uuid,
        "model": device.model,
        "architecture": device.architecture,
        "pci_bus_id": device.pci_bus_id,
        "simulated": device.simulated,
        "limit_w": device.limit_mw / 1e3 if device.limit_mw > 0 else None,
        "energy_source": source,
        "publication_ms": {
            name: device.publication_us[name] / 1e3 if name in device.publication_us else None for name in READINGS
        },
        "capabilities": {
            name: Finding(name, reason, HEAL if reason.startswith("sick") else REMEDIES.get(name, "")).tree()
            for name, reason in able.items()
        },
    }


def job_sources(proc_root: Path, kubelet: Path, which: Callable[[str], str | None]) -> list[Finding]:
    """Where jobs can be known from: the kernel always, the others where they are."""
    own = (proc_root / "self/cgroup").exists()
    foreign = (proc_root / "1/cgroup").exists() and os.access(proc_root / "1/cgroup", os.R_OK)
    cgroup = (
        "" if own and foreign else "other users' processes are hidden" if own else f"{proc_root} is not a process tree"
    )
    return [
        Finding("cgroup", cgroup, "mount /proc without hidepid, or add the agent to the group that may see it"),
        squeue_works(which("squeue")),
        Finding(
            "kubernetes",
            "" if kubelet.exists() else "no kubelet socket here",
            f"on Kubernetes nodes: mount {kubelet} into the agent's container",
        ),
    ]


def squeue_works(squeue: str | None) -> Finding:
    """Whether the queue answers: a squeue without a controller behind it names nobody."""
    if not squeue:
        return Finding("slurm", "no squeue here", "on Slurm nodes: install the client commands")
    from wattshed.agent.jobs.commands import run  # noqa: PLC0415 - as every part that a check looks at

    reason = ""
    try:
        run(
            [squeue, "--noheader", "--user=root", "--format=%i"], threading.Event()
        )  # a short answer, from the controller
    except OSError as error:
        reason = f"{squeue} cannot be run: {error.strerror}"
    except subprocess.SubprocessError as error:
        reason = str(error)
    return Finding("slurm", reason, "on Slurm nodes: `squeue` must work for the agent's user; elsewhere, nothing to do")
