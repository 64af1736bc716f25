"""What a simulated node truly draws beside its GPUs: every package, its memory, every module and the whole node.

Power is whole milliwatts and energy whole nanojoules, as for the GPUs (`workload.Timeline`), and the parts sum to the
node exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.simulation.host_scenario import HostWatts, Watts
    from wattshed.agent.simulation.workload import Job, Timeline

CORE_PERMILLE = 700
"""Of a package's energy, what its cores draw: the rest is caches and fabric."""


@dataclass(frozen=True, slots=True)
class BesideTruth:
    """The joules that really flow beside the GPUs, to compare any meter's with.

    Attributes
    ----------
    host : HostWatts
    lines : tuple of Timeline
        Of the GPUs.
    packages : tuple of int
        The package of each GPU; on a superchip, its module.
    hbm_mw : tuple of int, mW
        Of each GPU, what its memory draws beside it within the module.
    """

    host: HostWatts
    lines: tuple[Timeline, ...]
    packages: tuple[int, ...]
    hbm_mw: tuple[int, ...]

    @property
    def origin_us(self) -> int:
        """When energies begin."""
        return self.lines[0].origin_us if self.lines else 0

    def nj(self, domain: str, start_us: int, end_us: int) -> int:
        """Energy of a domain over a stretch, nJ.

        Parameters
        ----------
        domain : str
            ``node``, also as ``power_meter``; its parts ``gpu``, ``cpu``, ``memory`` and ``rest``; ``accelN``; of
            package N, ``package-N`` (alone: ``cpu-N``), ``core-N``, ``dram-N`` and ``sysio-N``; of a superchip
            ``grace-N`` and ``module-N``.
        """
        return self.counted_nj(domain, end_us) - self.counted_nj(domain, start_us)

    def counted_nj(self, domain: str, time_us: int) -> int:
        """Energy of a domain since the origin, nJ."""
        name, _, number = domain.partition("-")
        if number:
            return self._of_package(name, int(number), time_us)
        each = range(self.host.packages)
        if domain.startswith("accel"):
            return self._gpu(int(domain.removeprefix("accel")), time_us)
        if domain == "gpu":
            return sum(self._gpu(gpu, time_us) for gpu in range(len(self.lines)))
        if domain == "cpu":
            return sum(self._of_package("package", n, time_us) for n in each)
        if domain == "memory":
            return sum(self._of_package("dram", n, time_us) for n in each)
        if domain == "rest":
            return sum(self._of_package("sysio", n, time_us) for n in each) + self._rest(time_us)
        if domain in {"node", "power_meter"}:
            return sum(self.counted_nj(part, time_us) for part in ("gpu", "cpu", "memory", "rest"))
        raise ValueError(f"no domain {domain!r}")

    def _of_package(self, name: str, package: int, time_us: int) -> int:
        mine = [gpu for gpu, its in enumerate(self.packages) if its == package]
        if name == "grace":
            return sum(self._of_package(part, package, time_us) for part in ("package", "dram", "sysio"))
        if name == "module":
            hbm_nj = sum(self.hbm_mw[gpu] for gpu in mine) * (time_us - self.origin_us)
            return hbm_nj + sum(self._gpu(gpu, time_us) for gpu in mine) + self._of_package("grace", package, time_us)
        if name == "core":
            return self._of_package("package", package, time_us) * CORE_PERMILLE // 1000
        if name in {"package", "cpu"}:
            cores_nj = self.host.core_mw * self.core_us(package, time_us)
            return self._draw(self.host.cpu, mine, time_us) + cores_nj
        if name in {"dram", "memory"}:
            return self._draw(self.host.memory, mine, time_us)
        if name == "sysio":
            return self._draw(self.host.sysio, mine, time_us)
        raise ValueError(f"no domain {name!r} of a package")

    def _rest(self, time_us: int) -> int:
        """Energy of what no part has: with it, memory of GPUs that is metered apart from them."""
        hbm_nj = sum(self.hbm_mw) * (time_us - self.origin_us)
        return self._draw(self.host.rest, list(range(len(self.lines))), time_us) + hbm_nj

    def _draw(self, watts: Watts, gpus: list[int], time_us: int) -> int:
        since_us = time_us - self.origin_us
        above_nj = sum(self._gpu(gpu, time_us) - self.lines[gpu].idle_mw * self._there_us(gpu, time_us) for gpu in gpus)
        return watts.idle_mw * since_us + above_nj * watts.per_gpu_permille // 1000

    def _there_us(self, gpu: int, time_us: int) -> int:
        """For how long a GPU was on the host."""
        return max(0, time_us - self.lines[gpu].since_us) if self.lines[gpu].since_us else time_us - self.origin_us

    def _gpu(self, gpu: int, time_us: int) -> int:
        line = self.lines[gpu]
        if not line.since_us:
            return line.energy_nj(time_us)
        return line.energy_nj(max(time_us, line.since_us)) - line.energy_nj(line.since_us)

    def core_us(self, package: int, time_us: int) -> int:
        """Core-microseconds that jobs kept a package busy for since the origin: on that of their first GPU."""
        if not self.lines:
            return 0
        jobs = [job for job in self.lines[0].jobs if job.cores and self.packages[job.gpus[0]] == package]
        return sum(self.job_core_us(job, time_us) for job in jobs)

    def job_core_us(self, job: Job, time_us: int) -> int:
        """Core-microseconds that one job used since the origin, in all its cycles."""
        return job.cores * self._ran_us(job, time_us)

    def _ran_us(self, job: Job, time_us: int) -> int:
        line = self.lines[0]
        cycle, offset_us = divmod(time_us - line.origin_us, line.cycle_us)
        return cycle * (job.end_us - job.start_us) + min(max(0, offset_us - job.start_us), job.end_us - job.start_us)


@dataclass(frozen=True, slots=True)
class DomainFlow:
    """The energy of one domain; a :class:`agent.simulation.sensors.Flow`."""

    truth: BesideTruth
    domain: str

    def energy_nj(self, time_us: int) -> int:
        """Energy since the origin, nJ."""
        return self.truth.counted_nj(self.domain, time_us)
