"""The project's CUDA kernels: the same integers as the CPU's, how fast, and from which size the card wins."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

from .clock import now_ns
from .copies import free_bytes, on_the_card, over_the_bus
from .figures import rounded
from .recorded import recording, same, usage
from .replayed import fleets, power_passes, replays, turned
from .results import child_environment

PREDICTION = (
    "Kernels compile and run; the first call of each takes 0.2 to 3 s. Every answer equals the CPU's bit for bit, on "
    "clean and dirty data, from host memory, from the card, and from arrays of CuPy and PyTorch. A copy within an "
    "H200 reads and writes 4.0 to 4.5 TB/s with buffers of gigabytes (H100: 2.8 to 3.1); the bus gives 8 to 20 GB/s "
    "from pageable and 45 to 60 GB/s from pinned memory. integrate on resident columns reaches 15 to 30 % of the copy "
    "at 10**9 samples and 8 to 20 % at 10**8; quantiles stay below 10 %. From host memory the "
    "card loses at every size, except windows and job_energy of 10**7 dirty samples; resident integrate and quantiles "
    "win from 10**7 samples on, job_energy from 10**8. draw_counts loses, as its "
    "counts cross the bus. auto stays on the CPU for host memory, and is right. replay --device cuda, cpu and auto "
    "print the same joules, and cuda sums a recording of power alone on the card. Rewritten since the last card, so "
    "guessed: windows and job_energy reach 5 to 20 % of the copy and win resident at 10**8; bootstrap wins where it "
    "takes the CPU more than 0.1 s; turned sums of 16 fleets of a day at 1 s take the card 5 to 30 ms, 16 cores' one "
    "thread 30 to 60; the power pass of 10**8 clean samples takes the card 0.4 to 1.5 times as long as "
    "16 cores, of dirty ones as long, for those are walked here."
)
GAP_US, WINDOW_US, GPUS = 5_000_000, 60_000_000, 8
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
DIRTY_TO = 10**7  # beyond that leaving rows out takes the CPU seconds
LARGEST_TIMES = 10  # the last recording, as often side by side on the card
TURN_NS = 120_000_000
DRAWS = ((20, 4_096), (200, 4_096), (1_000, 16_384), (2_000, 65_536))  # replicates, blocks
JOBS = 50
RESERVED_S = 35.0  # for what comes after the recordings, and the largest of them
PACKAGES = (
    "numba",
    "numba-cuda",
    "numpy",
    "llvmlite",
    "cuda-bindings",
    "cuda-core",
    "torch",
    "cupy-cuda13x",
    "nvidia-nvvm",
)


def toolkit() -> str:
    """Let numba find NVVM where only the toolkit has it; says where that is."""
    if "CUDA_HOME" in os.environ:
        return "CUDA_HOME was set"
    nvcc = shutil.which("nvcc")
    for home in [Path(nvcc).resolve().parent.parent] * bool(nvcc) + [Path("/usr/local/cuda")]:
        if (home / "nvvm").is_dir():
            os.environ["CUDA_HOME"] = str(home)
            return "CUDA_HOME set to the toolkit's folder"
    return "no toolkit's folder"


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def warm() -> int:
    """Compile the CPU's kernels in a process of its own, for the cache that we share."""
    program = "from wattshed.kernels.warm import warm_up; warm_up()"
    return subprocess.run([sys.executable, "-c", program], env=child_environment(), check=False).returncode


def timed(call, simulated: bool) -> tuple[float, float, object]:
    """First call and best of the next ones, ms, and the answer."""
    begun = now_ns()
    answer = call()
    first = now_ns() - begun
    quickest, used = None, 0
    while quickest is None or (used < TURN_NS and not simulated):
        begun = now_ns()
        call()
        took = now_ns() - begun
        quickest, used = min(took, quickest or took), used + took
    return round(first / 1e6, 3), round(quickest / 1e6, 3), answer


def ways(time_us, offsets) -> dict:
    """Name of a kernel -> call of it with columns, wherever they are, and a device."""
    from wattshed.kernels.energy import integrate
    from wattshed.kernels.jobs import job_energy
    from wattshed.kernels.quantiles import quantiles
    from wattshed.kernels.windows import windows

    used = usage(time_us, offsets, JOBS)
    return {
        "integrate": lambda t, p, d: integrate(t, p, offsets, GAP_US, device=d),
        "windows": lambda t, p, d: windows(t, p, offsets, WINDOW_US, GAP_US, device=d),
        "quantiles": lambda t, p, d: quantiles(t, p, offsets, GAP_US, device=d),
        "job_energy": lambda t, p, d: job_energy(t, p, offsets, GAP_US, *used, device=d),
    }


class Contest:
    """Times and compares; the table is written after every row."""

    def __init__(self, kit, copy: float) -> None:
        self.kit, self.copy = kit, copy
        self.table, self.equal = [], {}

    def row(self, kernel: str, n: int, nbytes: int, cpu, **others) -> dict:
        """Time one kernel on the CPU and in other ways, and compare their answers."""
        row = {"kernel": kernel, "n": n}
        right = None
        for where, call in {"cpu": cpu, **others}.items():
            if self.kit.left < 5:
                row["cut short"] = True
                break
            try:
                row[f"{where} first ms"], row[f"{where} ms"], answer = timed(call, self.kit.simulated)
            except Exception as error:
                self.kit.error(f"{kernel} {n} {where}", error)
                self.equal[f"{kernel} {where}"] = False
                continue
            right = answer if where == "cpu" else right
            if where != "cpu":
                known = self.equal.get(f"{kernel} {where}", True)
                self.equal[f"{kernel} {where}"] = known and right is not None and same(right, answer)
        if self.copy and row.get("resident ms"):
            row["share of copy"] = rounded(nbytes / (row["resident ms"] / 1e3) / self.copy, 4)
        self.table.append(row)
        self.kit.put(table=self.table, equal=self.equal)
        return row


def one_recording(kit, cuda, contest: Contest, n: int, gpus: int, *, dirty: bool):
    """Each kernel on one recording; returns it, and its columns on the card."""
    from wattshed.kernels import devices

    time_us, power_mw, offsets = recording(n, gpus, dirty=dirty)
    there = (cuda.to_device(time_us), cuda.to_device(power_mw))
    for name, way in ways(time_us, offsets).items():
        row = contest.row(
            name + " dirty" * dirty, len(time_us), time_us.nbytes + power_mw.nbytes,
            partial(way, time_us, power_mw, "cpu"),
            host=partial(way, time_us, power_mw, "cuda"), resident=partial(way, *there, "cuda"),
        )  # fmt: skip
        if not dirty:
            row["auto"] = devices.choose("auto", time_us=time_us, power_mw=power_mw).device
    return (time_us, power_mw, offsets), there


def recordings(kit, cuda, contest: Contest) -> None:
    """Each kernel on each size, clean and dirty; the largest at last side by side with itself."""
    sizes, gpus, dirty_to = ((60, 200), 2, 60) if kit.simulated else (SIZES, GPUS, DIRTY_TO)
    for n in sizes:
        if kit.left < RESERVED_S and not kit.simulated:
            kit.put(cut_short_at=n)
            return
        if n <= dirty_to:
            one_recording(kit, cuda, contest, n, gpus, dirty=True)
        data, there = one_recording(kit, cuda, contest, n, gpus, dirty=False)
    if not kit.simulated:
        largest(kit, cuda, contest, data, there)


def largest(kit, cuda, contest: Contest, data, there) -> None:
    """Sum ten times the last recording, which is laid side by side on the card and never on the host."""
    from wattshed.kernels.energy import integrate

    time_us, power_mw, offsets = data
    n, nbytes = len(time_us), LARGEST_TIMES * (time_us.nbytes + power_mw.nbytes)
    if free_bytes(cuda) < 1.2 * nbytes:
        kit.put(largest="too little memory")
        return
    columns = [cuda.device_array(LARGEST_TIMES * n, column.dtype) for column in data[:2]]
    for turn in range(LARGEST_TIMES):
        for whole, part in zip(columns, there, strict=True):
            whole[turn * n : (turn + 1) * n].copy_to_device(part)
    many = np.concatenate([offsets, *(offsets[1:] + turn * n for turn in range(1, LARGEST_TIMES))])
    once = integrate(time_us, power_mw, offsets, GAP_US)
    expected = tuple(np.tile(part, LARGEST_TIMES) for part in once)
    contest.row(
        "integrate", LARGEST_TIMES * n, nbytes, lambda: expected,
        resident=partial(integrate, *columns, many, GAP_US, device="cuda"),
    )  # fmt: skip
    del contest.table[-1]["cpu ms"], contest.table[-1]["cpu first ms"]


def draws(kit, contest: Contest) -> None:
    """Draws of the fleet's ensembles."""
    from wattshed.kernels.ensemble import draw_counts

    for replicates, blocks in ((3, 20),) if kit.simulated else DRAWS:
        draw = partial(draw_counts, 5, replicates, blocks)
        contest.row("draw_counts", replicates * blocks, 0, draw, host=partial(draw, device="cuda"))


def foreign(kit, cuda) -> dict[str, object]:
    """Whether arrays of other libraries give the same integers, and what is said of rows out of order on the card."""
    time_us, power_mw, offsets = recording(200 if kit.simulated else 10**5, 2)
    lay = {"numba": cuda.to_device}
    if not kit.simulated and importlib.util.find_spec("cupy"):
        lay["cupy"] = importlib.import_module("cupy").asarray
    if not kit.simulated and importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        lay["torch"] = lambda array: torch.from_numpy(array).cuda()
    found = {}
    for name, way in ways(time_us, offsets).items():
        right = way(time_us, power_mw, "cpu")
        for library, put in lay.items():
            try:
                found[f"{name} {library}"] = same(right, way(put(time_us), put(power_mw), "auto"))
            except Exception as error:
                found[f"{name} {library}"] = f"{type(error).__name__}: {error}"[:200]
    time_us[150] = 0
    for name, way in ways(time_us, offsets).items():
        said = []
        for t, p, device in ((time_us, power_mw, "cpu"), (lay["numba"](time_us), lay["numba"](power_mw), "cuda")):
            try:
                said.append(str(way(t, p, device)))
            except ValueError as error:
                said.append(str(error))
        found[f"{name} out of order"] = said[0] == said[1] and "row 150 of GPU" in said[0]
    return found


def wins(table: list[dict], where: str) -> dict[str, int | None]:
    """By kernel: the size from which on the card was quicker at every size; None if it was not at the last."""
    found = {}
    for name in dict.fromkeys(row["kernel"] for row in table):
        rows = [row for row in table if row["kernel"] == name and f"{where} ms" in row and "cpu ms" in row]
        since = None
        for row in reversed(rows):
            if row[f"{where} ms"] >= row["cpu ms"]:
                break
            since = row["n"]
        if rows:
            found[name] = since
    return found


def wrong_choices(table: list[dict]) -> list[str]:
    """Where auto chose a device that was more than a fifth slower than the other."""
    wrong = []
    for row in table:
        if "auto" in row and "cpu ms" in row and "host ms" in row:
            chosen = row["cpu ms" if row["auto"] == "cpu" else "host ms"]
            if chosen > 1.2 * min(row["cpu ms"], row["host ms"]) + 0.05:
                wrong.append(f"{row['kernel']} {row['n']}: {row['auto']}")
    return wrong


def measure(kit) -> None:
    """Try, compare, time."""
    kit.put(toolkit=toolkit(), versions=versions())
    with ThreadPoolExecutor() as pool:
        warmers = [] if kit.simulated else [pool.submit(warm)]
        from wattshed.kernels import devices

        begun = now_ns()
        why = devices.obstacle()
        kit.put(obstacle=why, obstacle_s=rounded((now_ns() - begun) / 1e9))
        if why:
            kit.verdict(False, f"no kernel runs: {why}")
            return
        from wattshed.kernels.cuda_target import cuda

        card = on_the_card(kit, cuda)
        kit.put(copy_gb_s={name: rounded(rate / 1e9, 1) for name, rate in card.items()})
        kit.put(warmed=[warmer.result() for warmer in warmers])
    try:
        kit.put(bus_gb_s={name: rounded(rate / 1e9, 1) for name, rate in over_the_bus(kit, cuda).items()})
        if not kit.simulated:  # plain Python reads 32 MiB for seconds
            speeds = devices.measure()._asdict()
            kit.put(speeds_that_auto_knows_gb_s={name: rounded(rate / 1e9, 1) for name, rate in speeds.items()})
    except Exception as error:
        kit.error("bus", error)
    contest = Contest(kit, max(card.values(), default=0.0))
    draws(kit, contest)
    fleets(kit, contest)
    turned(kit, contest)
    power_passes(kit, contest)
    recordings(kit, cuda, contest)
    other = foreign(kit, cuda)
    kit.put(foreign=other)
    replayed = replays(kit)
    kit.put(replay=replayed)
    conclude(kit, contest, other, replayed)


def conclude(kit, contest: Contest, other: dict, replayed: dict) -> None:
    """Put what came of it beside the prediction."""
    table = contest.table
    from_host, resident, wrong = wins(table, "host"), wins(table, "resident"), wrong_choices(table)
    shares, first_calls = {}, {}
    for row in table:
        if "host first ms" in row:
            first_calls.setdefault(row["kernel"].removesuffix(" dirty"), row["host first ms"])
        if "share of copy" in row:
            shares[row["kernel"]] = max(shares.get(row["kernel"], 0), row["share of copy"])
    kit.put(card_wins_from_host=from_host, card_wins_resident=resident, auto_was_wrong=wrong)
    kit.put(best_shares=shares, first_call_ms=first_calls)
    differ = [name for name, is_so in {**contest.equal, **other}.items() if is_so is not True]
    best = shares.get("integrate", 0.0)
    quick = kit.simulated or (0.15 <= best <= 0.3 and not wrong)
    fits = quick and not differ and replayed.get("same") is True
    equal = "all equal" if not differ else "DIFFER or fail: " + ", ".join(differ)
    kit.verdict(
        fits,
        f"{equal}; integrate resident {best:.0%} of a copy; card wins resident {resident}, from host {from_host}; "
        f"auto wrong: {wrong or 'never'}; replay the same: {replayed.get('same', 'failed')}",
    )
