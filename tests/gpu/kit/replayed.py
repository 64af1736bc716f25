"""Replays on both devices, and the passes that they are made of: the same integers, and how long each takes."""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from .agents import call as command
from .figures import rounded
from .recorded import recording

GAP_US, GPUS = 5_000_000, 8
PASSES = (10**6, 10**7, 10**8)
FLEETS = ((200, 64, 100_000), (1_000, 512, 20_000))  # replicates, jobs, steps
TURNED = ((16, 1, 3_600), (16, 1, 86_400), (4, 20, 86_400))  # fleets at a time, traces, steps
RECORDED_ROWS, WINDOW_ROWS = 4 * 10**7, 1 << 16
WHERE = ("device", "device_reason", "device_rows")


def power_passes(kit, contest) -> None:
    """Book power with its histograms: on all cores, and on the card, from host memory with the way there."""
    from wattshed.kernels.billing.histogram import PowerHistogram
    from wattshed.kernels.billing.power_runs import book_runs
    from wattshed.kernels.billing.reconcile import new_state
    from wattshed.kernels.columns import Columns
    from wattshed.kernels.power_on_card import PowerOnCard

    def booked(run, book):
        state, histograms = new_state(GPUS), [PowerHistogram() for _ in range(GPUS)]
        of_each = [np.full(GPUS, limit) for limit in (900_000, GAP_US, 70_000)]
        got = book([run], state, *of_each, histograms)
        quantiles = np.array([one.quantiles() for one in histograms])
        return np.array(got.energy_hnj), np.array(got.static_hnj), got.diagnostics, state, quantiles

    for n in (400,) if kit.simulated else PASSES:
        for dirty in (False, True):
            if kit.left < 20:
                return
            time_us, power_mw, offsets = recording(n, GPUS, dirty=dirty)
            at = np.zeros(1, np.int64)
            run, card = Columns(offsets.reshape(1, -1), time_us, at, at, power_mw, at), PowerOnCard()
            name = "power pass dirty" if dirty else "power pass"
            contest.row(name, n, 12 * n, partial(booked, run, book_runs), host=partial(booked, run, card))
            kit.put(**{f"{name} {n}": {"on card": card.rows_on_card, "here": card.rows_here, "trouble": card.trouble}})


def fleets(kit, contest) -> None:
    """Draw and multiply ensembles: counts stay on the card."""
    from wattshed.kernels.ensemble import bootstrap

    for replicates, jobs, steps in ((3, 5, 20),) if kit.simulated else FLEETS:
        totals = np.random.default_rng(jobs).integers(0, 10**7, (jobs, steps))
        draw = partial(bootstrap, totals, replicates, 5)
        contest.row("bootstrap", replicates * jobs * steps, 0, draw, host=partial(draw, device="cuda"))


def turned(kit, contest) -> None:
    """Add up units of fleets that replay traces from starts of their own: integer transforms on the card."""
    from wattshed.kernels.convolution import TurnedSums

    for sets, traces, steps in ((2, 2, 20),) if kit.simulated else TURNED:
        random = np.random.default_rng(steps)
        series, units = random.integers(0, 10**7, (traces, steps)), 10 * traces * steps
        counts = random.multinomial(units, np.full(traces * steps, 1 / (traces * steps)), sets)
        here, there = (TurnedSums(series, units, device=device) for device in ("cpu", "cuda"))
        starts = counts.reshape(sets, traces, steps)
        contest.row("turned sums", counts.size, 0, partial(here, starts), host=partial(there, starts))


def power_recording(kit):
    """Write a native recording of power alone; returns its folder."""
    from wattshed.agent.bench.made_windows import HOST, devices, power_window
    from wattshed.agent.traces.native.recorder import Recorder

    folder, n = kit.tmp / "power", 400 if kit.simulated else RECORDED_ROWS
    time_us, power_mw, offsets = recording(n, GPUS)
    recorder = Recorder(folder, HOST, segment_s=float("inf"), sync_s=float("inf"))
    each, of = int(offsets[1]), devices(GPUS, GAP_US)
    by_gpu_us, by_gpu_mw = time_us.reshape(GPUS, each), power_mw.reshape(GPUS, each)
    since_us = int(time_us.min())
    for seq, first in enumerate(range(0, each, WINDOW_ROWS)):
        times, powers = (of_all[:, first : first + WINDOW_ROWS] for of_all in (by_gpu_us, by_gpu_mw))
        own = np.arange(GPUS + 1, dtype=np.int64) * times.shape[1]
        until_us = int(times.max()) + 1
        recorder.append(power_window(seq, (since_us, until_us), of, own, (times.ravel(), powers.ravel())))
        since_us = until_us
    recorder.close()
    return folder


def table_of_jobs(kit):
    """Write a table of jobs that take turns on the GPUs of `power_recording`; returns its path."""
    from wattshed.agent.bench.made_files import write_jobs

    path = kit.tmp / "jobs.csv"
    write_jobs(path, 16 if kit.simulated else 1_000, (400 if kit.simulated else RECORDED_ROWS) // GPUS, GPUS)
    return path


def everywhere(kit, trace, *options) -> dict[str, object]:
    """Replay a trace with each device; what is the same leaves out where sums were made."""
    # One after the other: what the first has to compile the next ones find.
    answers = {
        device: command(
            kit, "replay", str(trace), *options, "--format", "json", "--device", device, jit=not kit.simulated
        )
        for device in ("cpu", "cuda", "auto")
    }
    found = {f"{device} s": rounded(seconds) for device, (_, _, _, seconds) in answers.items()}
    if bad := {device: (code, errors[-300:]) for device, (code, _, errors, _) in answers.items() if code}:
        return found | {"failed": bad}
    told = {device: json.loads(out) for device, (_, out, _, _) in answers.items()}
    where = {device: {name: answer.pop(name) for name in WHERE} for device, answer in told.items()}
    alike = all(answer == told["cpu"] for answer in told.values())
    return found | {"where": where, "total_j": told["cpu"]["total_j"], "same": alike}


def replays(kit) -> dict[str, object]:
    """Replay a recorded trace on both devices: the sharing step's recording, or a simulated node's, and power alone."""
    trace = kit.work / "raw" / "05-sharing" / "recording"
    if not trace.exists():
        trace = kit.tmp / "trace"
        code, _, errors, _ = command(
            kit, "record", str(trace), "--meter", "simulated", "--for", f"{kit.seconds(3.0):.1f}"
        )
        if code:
            return {"record": errors[-300:]}
    found = everywhere(kit, trace)
    if found.get("same") is True and kit.left > 30:
        recorded = power_recording(kit)
        power = everywhere(kit, recorded)
        kit.put(replay_of_power=power)
        found["same"] = power.get("same") is True and power["where"]["cuda"]["device"] == "cuda"
        if kit.left > 30:
            jobs = everywhere(kit, recorded, "--jobs", str(table_of_jobs(kit)))
            kit.put(replay_of_jobs=jobs)
            found["same"] = found["same"] and jobs.get("same") is True and jobs["where"]["cuda"]["device"] == "cuda"
    return found
