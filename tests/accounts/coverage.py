"""How often the stated 95 % intervals hold, simulated through the real books: ``python -m tests.accounts.coverage``.

Every case makes many GPUs with what the books cannot know drawn at random (gain of the card, watts per activity of each
job, where an edge falls between two readings), books them in one window, and counts for how many of the published
energies the truth lies within 1.96 sigma.
"""

import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.accounts.made import S, device
from tests.meters.driver_rows import BASE_US, Driver, TickDriver
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import PRIOR_SIGMA_OF_LIMIT
from wattshed.agent.accounts.uncertainty import gpu_sigma_j, job_sigma_j
from wattshed.agent.meters.shares import ACTIVE, INTERVAL, LATEST, Shares
from wattshed.agent.window import JobKey, Owner, Readings, Usage, Window

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
with (Path(__file__).parents[2] / "agent" / "inputs" / "gpus.csv").open(encoding="utf-8") as file:
    IDLE_SHARES = np.array([float(row["idle_w"]) / float(row["tdp_w"]) for row in csv.DictReader(file)])
GPUS = 1000
IDLE_W, LIMIT_W, GAIN = 70.0, 700.0, 0.04
UNKNOWN, HELD = -1, -2  # in place of an activity


@dataclass
class Case:
    """Readings and usage of many GPUs in one window.

    ``shown_w`` (float[g, n]) at ``time_us`` (int64[n]), below 0 none; ``counter_j`` the same or None. ``jobs`` are rows
    of (gpu, name, start_us, end_us, activity, share), and ``true_j`` is by name, or by GPU where no job is asked for.
    ``facts`` of the devices may be one dict for all of them. All is one window, or windows of ``window_us``, in which
    each row of usage lies.
    """

    time_us: np.ndarray
    shown_w: np.ndarray
    counter_j: np.ndarray | None
    jobs: list
    true_j: dict
    facts: dict | list
    run_us: int = 0
    window_us: int = 0


def held(case):
    """Book a case; the share of intervals that hold, and the median sigma relative to the energy."""
    return within(*booked(case))


def within(shown, true, sigma):
    """How many of these intervals hold (1.96 sigma), and the median sigma relative to the energy."""
    return float(np.mean(np.abs(shown - true) <= 1.96 * sigma)), float(np.median(sigma / shown))


def window_of(case, devices, seq, start_us, end_us):
    """What of a case lies in a window, whose end is of it in the last one alone."""
    now = (case.time_us >= start_us) & ((case.time_us < end_us) | (case.time_us[-1] == end_us))
    gpus, power = len(case.shown_w), np.round(case.shown_w[:, now] * 1e3)
    seen = power > 0
    readings = Readings(
        np.concatenate([[0], np.cumsum(seen.sum(axis=1))]).astype(np.int64),
        np.broadcast_to(case.time_us[now], power.shape)[seen].astype(np.int64),
        np.where(power > 0, power, -1)[seen].astype(np.int32),
        np.full(int(seen.sum()), -1)
        if case.counter_j is None
        else np.floor(case.counter_j[:, now] * 1e3)[seen].astype(np.int64),
    )
    jobs = [row for row in case.jobs if not case.window_us or start_us <= row[2] < end_us]
    gpu, names, since_us, until_us, activity, share = list(zip(*jobs, strict=True)) or [()] * 6
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    rows_gpu, since_us, until_us = (np.array(each, np.int64) for each in (gpu, since_us, until_us))
    activity, held_us = np.array(activity, np.float64), until_us - since_us
    active_us = np.where(activity >= 0, np.rint(activity * held_us), activity).astype(np.int64)
    usage = Usage(
        rows_gpu.astype(np.int32),
        np.array([place[name] for name in names], np.int32),
        since_us,
        until_us,
        active_us,
        np.array(share, np.int32),
        (activity != HELD).astype(np.int8),
    )
    busy = np.bincount(rows_gpu, np.maximum(activity, 0) * held_us, gpus)
    busy[rows_gpu[activity == UNKNOWN]] = -1
    owners = tuple(Owner(JobKey(name)) for name in place)
    return Window("h", seq, start_us, end_us, devices, readings, busy.astype(np.int64), owners, usage)


def booked(case):
    """Book a case: energies as shown, as they are, and one sigma (J)."""
    gpus = len(case.shown_w)
    end_us = int(case.time_us[-1])
    facts = case.facts if isinstance(case.facts, list) else [case.facts] * gpus
    devices = tuple(device(i, **facts[i]) for i in range(gpus))
    accounts, length_us = Accounts(), case.window_us or end_us
    for seq, start_us in enumerate(range(0, end_us, length_us)):
        accounts.add(window_of(case, devices, seq, start_us, start_us + length_us))
    accounts.finish()
    found = []
    if case.jobs:
        for name, true_j in case.true_j.items():
            job = accounts.ledger.jobs[JobKey(name)]
            found.append((job.energy_hnj / 2e9, true_j, job_sigma_j(job, accounts.gpus)))
    else:
        for gpu, account in enumerate(accounts.gpus.values()):
            found.append((account.energy_hnj / 2e9, case.true_j[gpu], gpu_sigma_j(account, case.run_us)))
    return np.array(found).T


def gains(rng, n=GPUS):
    """Shown over true power of ``n`` cards."""
    return 1 + GAIN * rng.standard_normal((n, 1))


def trapezoid_j(time_us, watts):
    """Energy from the first time to each (float[g, n], J)."""
    steps = np.diff(time_us) / 1e6 * (watts[:, 1:] + watts[:, :-1]) / 2
    return np.concatenate([np.zeros((len(watts), 1)), np.cumsum(steps, axis=1)], axis=1)


def steady(rng, seconds):
    """Loads that change every few seconds, one reading a second: (time_us, watts)."""
    time_us = np.arange(seconds + 1, dtype=np.int64) * S
    level = rng.uniform(100, 650, (GPUS, seconds // 5 + 1)).repeat(5, axis=1)[:, : seconds + 1]
    return time_us, level


def counter(rng):
    time_us, true_w = steady(rng, 60)
    shown_w = true_w * gains(rng)
    return Case(
        time_us, shown_w, trapezoid_j(time_us, shown_w), [], dict(enumerate(trapezoid_j(time_us, true_w)[:, -1])), {}
    )


def sampled(rng, seconds, part_ms, facts):
    """Square waves of 0.05 to 2 s, of which a sensor averages ``part_ms`` of every 100 ms, read twice a second."""
    step_us = 5_000
    grid = np.arange(seconds * S // step_us) * step_us
    period = np.exp(rng.uniform(np.log(0.05e6), np.log(2e6), (GPUS, 1)))
    duty, phase = rng.uniform(0.2, 0.8, (GPUS, 1)), rng.uniform(0, 1, (GPUS, 1))
    high, low = rng.uniform(300, 650, (GPUS, 1)), rng.uniform(80, 250, (GPUS, 1))
    true_w = np.where((grid / period + phase) % 1 < duty, high, low)
    time_us = np.arange(0, seconds * S + 1, S // 2)
    # A reading shows the newest mean of its sensor, which is at most 100 ms old.
    each = true_w.reshape(GPUS, -1, 20)[:, :, 20 - part_ms // 5 :].mean(axis=2)
    newest = np.minimum(time_us // 100_000, each.shape[1] - 1)
    return Case(time_us, each[:, newest] * gains(rng), None, [], dict(enumerate(true_w.sum(axis=1) * 0.005)), facts)


FULL = {"model": "Tesla T4", "architecture": "turing"}
PART = {"model": "NVIDIA H100 80GB HBM3", "architecture": "hopper"}


def gap(rng):
    """Nothing is read for 10 to 100 s, in which power was anything between idle and the limit."""
    time_us, true_w = steady(rng, 300)
    length, inside = rng.integers(10, 101, (GPUS, 1)), rng.uniform(IDLE_W, LIMIT_W, (GPUS, 1))
    hidden = (time_us > 100 * S) & (time_us < (100 + length) * S)
    true_w = np.where(hidden, inside, true_w)
    true_j = trapezoid_j(time_us, true_w)[:, -1]
    return Case(time_us, np.where(hidden, -1e-3, true_w * gains(rng)), None, [], dict(enumerate(true_j)), FULL)


def frozen(rng):
    """The sensor stands still for 10 min at what it showed then."""
    time_us = np.arange(0, 601, dtype=np.int64) * S
    shown = rng.uniform(IDLE_W, LIMIT_W, (GPUS, 1))
    true_j = rng.uniform(IDLE_W, LIMIT_W, GPUS) * 600
    return Case(time_us, np.repeat(shown, 601, axis=1), None, [], dict(enumerate(true_j)), FULL, run_us=600 * S)


def disagreement(rng):
    """Counter and power differ by 30 to 60 %, and either may be the one that is right."""
    time_us, true_w = steady(rng, 60)
    off = rng.uniform(1.3, 1.6, (GPUS, 1)) ** rng.choice([-1, 1], (GPUS, 1))
    is_right = rng.random((GPUS, 1)) < 0.5
    true_j = trapezoid_j(time_us, true_w)
    shown = gains(rng)
    return Case(
        time_us, true_w * np.where(is_right, off, 1) * shown, true_j * np.where(is_right, 1, off) * shown, [],
        dict(enumerate(true_j[:, -1])), {},
    )  # fmt: skip


def alone(rng, seconds, *, by_counter, read_s=1.0, hidden_s=0):
    """One job on each GPU, which begins and ends anywhere between two readings; idle before and after."""
    around = 5
    step_us = 10_000
    grid = np.arange(int((seconds + 2 * around) * S / step_us)) * step_us
    start = (around + rng.uniform(-1, 1, (GPUS, 1))) * S
    end = start + seconds * S
    start, end = start // step_us * step_us, end // step_us * step_us
    busy_w, idle_w = rng.uniform(200, 650, (GPUS, 1)), IDLE_W + rng.normal(0, 2, (GPUS, 1))
    gain, at = gains(rng), np.arange(0, len(grid), int(read_s * S / step_us))
    shown, energy, true_j = np.empty((GPUS, len(at))), np.empty((GPUS, len(at))), {}
    for gpu in range(GPUS):  # one after the other: all of them at once are hundreds of megabytes
        there = (grid >= start[gpu]) & (grid < end[gpu])
        true_w = np.where(there, busy_w[gpu], idle_w[gpu])
        shown_w = true_w * gain[gpu]
        shown[gpu] = shown_w[at]
        energy[gpu] = np.concatenate([[0], np.cumsum(shown_w)])[at] * step_us / 1e6
        true_j[str(gpu)] = float((true_w * there).sum()) * step_us / 1e6
    if hidden_s:
        shown = np.where((grid[at] > (around + 5) * S) & (grid[at] < (around + 5 + hidden_s) * S), -1e-3, shown)
    jobs = [(g, str(g), int(start[g, 0]), int(end[g, 0]), 1.0, UNKNOWN) for g in range(GPUS)]
    return Case(
        grid[at].astype(np.int64), shown, energy if by_counter else None, jobs, true_j, {} if by_counter else FULL
    )


def spread_watts(rng, n):
    """Watts at full activity of jobs of whom nothing is known: mean 1, relative sd 0.6, none below a tenth."""
    sigma = np.sqrt(np.log(1 + 0.6**2))
    return np.maximum(np.exp(rng.normal(-(sigma**2) / 2, sigma, n)), 0.1) * 350


def shared(rng, watts, pattern, *, jobs=(2, 2), share=None, told=True, gpus=1, active_rows=False):
    """Jobs that share each GPU for five minutes, seen in slots of 5 s.

    ``watts(rng, n)`` at full activity; ``pattern`` "steady", "bursty" or "phases"; ``share(rng, n)`` is reserved,
    and a job's activity is within it. Jobs run on ``gpus`` GPUs, the same ones together and alike on each. With
    ``active_rows`` they rest for a part of each second, which the driver's rows leave out.
    """
    slots, slot_us = 60, 5 * S
    time_us = np.arange(slots + 1, dtype=np.int64) * slot_us
    true_w, rows, true_j = np.zeros((GPUS, slots)), [], {}
    idle_w = IDLE_W + rng.normal(0, 2, GPUS)
    for gpu in range(GPUS):
        if gpu % gpus == 0:
            n = int(rng.integers(jobs[0], jobs[1] + 1))
            reserved = share(rng, n) if share else np.full(n, UNKNOWN)
            most = reserved / 1e6 if share else rng.dirichlet(np.full(n, 3.0))
            active = np.ones((n, slots)) * rng.uniform(0.6, 1.0, (n, 1))
            if pattern == "bursty":
                active[0] *= np.arange(slots) % rng.integers(2, 7) == 0
            elif pattern == "phases":
                active *= (np.arange(slots) // rng.integers(3, 15, (n, 1)) + rng.integers(0, 2, (n, 1))) % 2 * 0.8 + 0.2
            active *= most[:, None]
            works = rng.uniform(0.2, 1, (n, 1)) if active_rows else 1.0
            draws = watts(rng, n)[:, None] * active * works
        true_w[gpu] = idle_w[gpu] + draws.sum(axis=0)
        seen = np.clip(active * (1 + 0.02 * rng.standard_normal(active.shape)), 0, 1)
        for j in range(n):
            name = f"{gpu // gpus}-{j}"
            idle_j = idle_w[gpu] * 5 * slots * (most[j] if share else 1 / n)
            true_j[name] = true_j.get(name, 0) + float(draws[j].sum()) * 5 + idle_j
            activity = seen[j] if told else np.full(slots, UNKNOWN)
            rows += [(gpu, name, i * slot_us, (i + 1) * slot_us, activity[i], int(reserved[j])) for i in range(slots)]
    shown_w = true_w * gains(rng)
    counter_j = np.concatenate([np.zeros((GPUS, 1)), np.cumsum(shown_w * 5, axis=1)], axis=1)
    facts = {"capabilities": {"process_rows": "not known"}} if active_rows else {}
    return Case(time_us, np.concatenate([shown_w[:, :1], shown_w], axis=1), counter_j, rows, true_j, facts)


def held_beside(rng, *, learned):
    """A job that only holds its half of a GPU for five minutes, beside one that works all the time.

    Idle power is what such a card draws by what was learned, or that of any model: then the books have a prior.
    """
    time_us, busy_w = steady(rng, 300)
    models = IDLE_SHARES[rng.integers(0, len(IDLE_SHARES), (GPUS, 1))] * LIMIT_W
    idle_w = IDLE_W + rng.normal(0, 2, (GPUS, 1)) if learned else models
    true_w = busy_w + idle_w
    shown_w = true_w * gains(rng)
    rows, true_j = [], {}
    for gpu in range(GPUS):
        rows += [(gpu, f"{gpu}-works", 0, 300 * S, 0.8, 500_000), (gpu, f"{gpu}-holds", 0, 300 * S, HELD, 500_000)]
        true_j[f"{gpu}-holds"] = 150 * float(idle_w[gpu, 0])
        true_j[f"{gpu}-works"] = float(trapezoid_j(time_us, true_w[gpu : gpu + 1])[0, -1]) - true_j[f"{gpu}-holds"]
    facts = {} if learned else {"idle_sigma_mw": round(LIMIT_W * 1e3 * PRIOR_SIGMA_OF_LIMIT)}
    return Case(time_us, shown_w, trapezoid_j(time_us, shown_w), rows, true_j, facts)


def hidden_for(rng, watts, lasts, *, reset=False, owners=()):
    """Half a minute is read, then nothing for ``lasts`` (float[g], s), then half a minute again, beside a counter.

    ``watts`` (float[g, 2]) are read before and after; ``owners`` are (name, first second, last second, true watts) with
    arrays of numbers, of whom one after the other has the GPU. The counter tells what all of them drew, unless it is
    ``reset`` while nobody looks.
    """
    end = int(60 + lasts.max()) + 1
    time_us = np.arange(end + 1, dtype=np.int64) * S
    seconds = np.arange(end)[None, :]
    true_w, back = np.full((GPUS, end), IDLE_W), 30 + lasts[:, None]
    jobs, true_j = [], {}
    for name, first, last, draws in owners:
        there = np.clip(np.minimum(last[:, None], seconds + 1) - np.maximum(first[:, None], seconds), 0, 1)
        true_w = true_w + there * (draws(seconds) - IDLE_W)
        for g in range(GPUS):
            key = f"{g}-{name}"
            jobs.append((g, key, round(first[g] * S), round(last[g] * S), 1.0, UNKNOWN))
            true_j[key] = float((there[g] * draws(seconds)[g]).sum())
    unseen = (time_us[None, :] > 30 * S) & (time_us[None, :] < back * S)
    gain = gains(rng)
    shown = np.where(time_us[None, :] <= 30 * S, watts[:, :1], watts[:, 1:]) * gain
    energy = np.concatenate([np.zeros((GPUS, 1)), np.cumsum(true_w * gain, axis=1)], axis=1)
    if reset:
        at = np.ceil(back[:, 0]).astype(int)
        energy = np.where(time_us[None, :] >= back * S, energy - energy[np.arange(GPUS), at][:, None], energy)
    true_j = true_j or dict(enumerate(true_w.sum(axis=1)))
    return Case(time_us, np.where(unseen, -1e-3, shown), energy, jobs, true_j, {})


def reload(rng, *, owned):
    """The driver is reloaded: nothing tells what was used in 5 to 50 s, in which power was anything."""
    lasts = rng.integers(5, 51, GPUS).astype(float)
    watts, inside = rng.uniform(150, 650, (GPUS, 2)), rng.uniform(IDLE_W, LIMIT_W, (GPUS, 1))

    def draws(seconds):
        hidden = (seconds >= 30) & (seconds < 30 + lasts[:, None])
        return np.where(hidden, inside, np.where(seconds < 30, watts[:, :1], watts[:, 1:]))

    zero, end = np.zeros(GPUS), 60 + lasts
    case = hidden_for(rng, watts, lasts, reset=True, owners=[("job", zero, np.full(GPUS, end.max() + 1), draws)])
    if not owned:
        case.true_j = {g: case.true_j[f"{g}-job"] for g in range(GPUS)}
        case.jobs = []
    return case


def crossed(rng, *, changed):
    """A hole of 10 to 100 s in which one job ended and another began, or one went on; the counter tells of it.

    What each drew in it lay around what was read of it outside.
    """
    lasts = rng.integers(10, 101, GPUS).astype(float)
    watts = rng.uniform(150, 650, (GPUS, 2))
    if not changed:
        watts[:, 1] = watts[:, 0]
    ends = 30 + lasts * rng.uniform(0, 1, GPUS)
    begins = ends + (30 + lasts - ends) * rng.uniform(0, 1, GPUS) * (rng.random(GPUS) < 0.5)
    hidden_w = np.maximum(watts * (1 + 0.4 * rng.standard_normal((GPUS, 2))), IDLE_W + 5)

    def draws(which):
        return lambda seconds: np.where(
            (seconds >= 30) & (seconds < 30 + lasts[:, None]), hidden_w[:, which, None], watts[:, which, None]
        )

    until = np.full(GPUS, int(60 + lasts.max()) + 1.0)
    if not changed:
        return hidden_for(rng, watts, lasts, owners=[("job", np.zeros(GPUS), until, draws(0))])
    owners = [("before", np.zeros(GPUS), ends, draws(0)), ("after", begins, until, draws(1))]
    return hidden_for(rng, watts, lasts, owners=owners)


def unseen(rng, *, changed):
    """A hole of 10 to 100 s in which a job ended at a time that nobody saw, and perhaps another one began.

    What each drew in it lay around what was read of it outside. Power is read each second, in windows of 10 s.
    """
    lasts, every = rng.integers(1, 11, GPUS) * 10.0, 10
    ends = 30 + lasts * rng.uniform(0, 1, GPUS)
    begins = ends + (30 + lasts - ends) * rng.uniform(0, 1, GPUS) if changed else np.full(GPUS, 1e9)
    watts = rng.uniform(150, 650, (GPUS, 2))
    if not changed:
        watts[:, 1] = IDLE_W
    hidden_w = np.maximum(watts * (1 + 0.2 * rng.standard_normal((GPUS, 2))), IDLE_W + 5)

    def draws(which):
        return lambda seconds: np.where(
            (seconds >= 30) & (seconds < 30 + lasts[:, None]), hidden_w[:, which, None], watts[:, which, None]
        )

    end = int(60 + lasts.max()) // every * every
    owners = [("before", np.zeros(GPUS), ends, draws(0))]
    if changed:
        owners.append(("after", begins, np.full(GPUS, end + 1.0), draws(1)))
    case = hidden_for(rng, watts, lasts, owners=owners)
    case.time_us, case.shown_w, case.counter_j = (
        part[..., : end + 1] for part in (case.time_us, case.shown_w, case.counter_j)
    )
    case.shown_w = np.where(case.time_us == 30 * S, -1e-3, case.shown_w)  # the last reading is within a window
    # Nobody saw the edges: who was there is told by windows outside of the hole alone.
    case.jobs, case.window_us = [], every * S
    for start in range(0, end, every):
        for g in range(GPUS):
            outside = "before" if start < 30 else "after" if changed and start >= 30 + lasts[g] else None
            if outside:
                case.jobs.append((g, f"{g}-{outside}", start * S, (start + every) * S, 1.0, UNKNOWN))
    if changed:
        for g in range(GPUS):
            case.true_j[f"{g}-after"] = float((end - max(begins[g], 30 + lasts[g])) * watts[g, 1]) + float(
                max(30 + lasts[g] - begins[g], 0) * hidden_w[g, 1]
            )
    return case


def half_frozen(rng):
    """A sensor that lives for 5 min and then stands still, one job all the time."""
    time_us = np.arange(0, 601, dtype=np.int64) * S
    level = rng.uniform(100, 650, (GPUS, 120)).repeat(5, axis=1)
    level = np.concatenate([level, level[:, -1:]], axis=1)
    shown = np.where(time_us < 300 * S, level, level[:, 299:300])
    after = rng.uniform(IDLE_W, LIMIT_W, GPUS) * 300
    jobs = [(g, str(g), 0, 600 * S, 1.0, UNKNOWN) for g in range(GPUS)]
    true_j = {str(g): float(level[g, :300].sum() + after[g]) for g in range(GPUS)}
    return Case(time_us, shown * gains(rng), None, jobs, true_j, FULL)


def by_rows(rng, reading, *, known):
    """Jobs in bursts and steady ones, split by the rows of a driver with this reading.

    It is asked for each of its samples, or once in a second if its reading is not known. Two minutes, ``GPUS`` / 10.
    """
    seconds, count = 120, GPUS // 10
    true_w, rows, true_j, facts = np.zeros((count, seconds)), [], {}, []
    for gpu in range(count):
        n = int(rng.integers(2, 5))
        most = rng.dirichlet(np.full(n, 3.0)) * rng.uniform(60, 100)
        bursts = [rng.random(seconds * 6 + 60) < rng.choice([0.15, 0.5, 1.0]) for _ in range(n)]
        driver = Driver(reading, {j + 1: tuple(np.round(most[j] * bursts[j]).astype(int).tolist()) for j in range(n)})
        each = np.stack([driver.activities[j + 1] for j in range(n)])[:, 60:] / 100
        active = each.reshape(n, seconds, 6).mean(axis=2)
        draws = spread_watts(rng, n)[:, None] * active
        true_w[gpu] = IDLE_W + draws.sum(axis=0)
        shares, start_us = Shares(), BASE_US + 60 * driver.period_us
        shares.reading = reading if known else ""
        shares.begin(driver.rows(0, start_us), start_us, 0)
        for second in range(seconds):
            begin_us, end_us = start_us + second * S, start_us + (second + 1) * S
            asked = np.arange(begin_us, end_us, 150_000) + 150_000 if known else [begin_us + int(rng.uniform(0, S))]
            for now_us in [int(t) for t in asked] if shares.each_sample else [end_us]:
                shares.add(driver.rows(shares.ask(now_us), now_us), now_us)
            told = shares.take(float(active[:, second].sum())) or {}
            rows += [(gpu, f"{gpu}-{j}", second * S, (second + 1) * S, told.get(j + 1, 0.0), UNKNOWN) for j in range(n)]
        facts.append({"capabilities": {"process_rows": shares.reason}})
        true_j |= {f"{gpu}-{j}": float(draws[j].sum()) + IDLE_W * seconds / n for j in range(n)}
    shown_w = true_w * gains(rng, count)
    counter_j = np.concatenate([np.zeros((count, 1)), np.cumsum(shown_w, axis=1)], axis=1)
    shown_w = np.concatenate([shown_w[:, :1], shown_w], axis=1)
    return Case(np.arange(seconds + 1, dtype=np.int64) * S, shown_w, counter_j, rows, true_j, facts)


def by_ticks(rng, seconds):
    """The same on a driver that names one process a sample, by chance: jobs are not in step with it."""
    count, each_s = GPUS // 10, 5  # samples a second
    true_w, rows, true_j = np.zeros((count, seconds)), [], {}
    for gpu in range(count):
        n = int(rng.integers(2, 5))
        most = rng.dirichlet(np.full(n, 3.0)) * rng.uniform(60, 100)
        busy = most[:, None] * (rng.random((n, seconds * each_s)) < rng.choice([0.15, 0.5, 1.0], n)[:, None])
        whole = busy.sum(axis=0)
        edges = np.cumsum(busy, axis=0)
        named = (edges <= rng.random(whole.size) * whole).sum(axis=0)
        samples = [(0, 0)] * 80 + [(int(j) + 1 if w else 0, round(w)) for j, w in zip(named, whole, strict=True)]
        driver, shares = TickDriver(samples), Shares()
        active = busy.reshape(n, seconds, each_s).mean(axis=2) / 100
        draws = spread_watts(rng, n)[:, None] * active
        true_w[gpu] = IDLE_W + draws.sum(axis=0)
        start_us = BASE_US + 80 * driver.period_us
        shares.reading = INTERVAL
        shares.begin(driver.rows(0, start_us), start_us, 0)
        for second in range(seconds):
            end_us = start_us + (second + 1) * S
            shares.add(driver.rows(shares.ask(end_us), end_us), end_us)
            told = shares.take(float(active[:, second].sum())) or {}
            rows += [(gpu, f"{gpu}-{j}", second * S, (second + 1) * S, told.get(j + 1, 0.0), UNKNOWN) for j in range(n)]
        true_j |= {f"{gpu}-{j}": float(draws[j].sum()) + IDLE_W * seconds / n for j in range(n)}
    shown_w = true_w * gains(rng, count)
    counter_j = np.concatenate([np.zeros((count, 1)), np.cumsum(shown_w, axis=1)], axis=1)
    shown_w = np.concatenate([shown_w[:, :1], shown_w], axis=1)
    return Case(np.arange(seconds + 1, dtype=np.int64) * S, shown_w, counter_j, rows, true_j, [{}] * count)


def ratio(times):
    """Two jobs of which one draws so many times what the other does at the same activity."""
    return lambda rng, n: np.array([120.0, 120.0 * times])[rng.permutation(n)]


def instances(rng, n):
    """Reserved shares of MIG instances, in sevenths."""
    cut = np.sort(rng.choice(np.arange(1, 7), n - 1, replace=False)) if n > 1 else np.array([], int)
    return np.diff([0, *cut, 7]) * 1_000_000 // 7


CASES = {
    "GPU, counter": counter,
    "GPU, no counter, sensor that sees all the time, 60 s": lambda rng: sampled(rng, 60, 100, FULL),
    "GPU, no counter, sensor that sees all the time, 10 s": lambda rng: sampled(rng, 10, 100, FULL),
    "GPU, no counter, sensor that sees 25 of 100 ms, 60 s": lambda rng: sampled(rng, 60, 25, PART),
    "GPU, no counter, sensor that sees 25 of 100 ms, 10 s": lambda rng: sampled(rng, 10, 25, PART),
    "GPU, no counter, a gap of 10 to 100 s in 5 min": gap,
    "GPU, no counter, sensor frozen for 10 min": frozen,
    "GPU, counter and power differ by 30 to 60 %": disagreement,
    "job alone, 10 min": lambda rng: alone(rng, 600, by_counter=True),
    "job alone, 8 s": lambda rng: alone(rng, 8, by_counter=True),
    "job alone, 8 s, no counter": lambda rng: alone(rng, 8, by_counter=False),
    "job alone, 2 min, no counter, a gap of 60 s": lambda rng: alone(rng, 120, by_counter=False, hidden_s=60),
    "GPU, a driver reload of 5 to 50 s in a minute, estimated": lambda rng: reload(rng, owned=False),
    "job alone, a driver reload of 5 to 50 s in a minute, estimated": lambda rng: reload(rng, owned=True),
    "job alone, no counter, sensor frozen for 5 of 10 min": half_frozen,
    "job alone, a hole of 10 to 100 s that the counter covers": lambda rng: crossed(rng, changed=False),
    "2 jobs, of a hole in which one ended and the other began": lambda rng: crossed(rng, changed=True),
    "2 jobs by activity, same watts": lambda rng: shared(rng, ratio(1), "steady"),
    "2 jobs by activity, watts 1:2": lambda rng: shared(rng, ratio(2), "steady"),
    "2 jobs by activity, watts 1:4": lambda rng: shared(rng, ratio(4), "steady"),
    **{
        f"2 to 7 jobs by activity, watts with sd 60 %, {pattern}": (
            lambda rng, pattern=pattern: shared(rng, spread_watts, pattern, jobs=(2, 7))
        )
        for pattern in ("steady", "bursty", "phases")
    },
    "2 to 7 jobs by activity, the driver's rows not understood": (
        lambda rng: shared(rng, spread_watts, "phases", jobs=(2, 7), active_rows=True)
    ),
    **{
        f"2 to 4 jobs, in bursts too, rows are means of {text}, {how}": (
            lambda rng, reading=reading, known=known: by_rows(rng, reading, known=known)
        )
        for known, how in ((True, "known"), (False, "not known, asked once a second"))
        for reading, text in ((INTERVAL, "all samples"), (ACTIVE, "active ones"), (LATEST, "the newest"))
    },
    "2 to 4 jobs on the same 4 GPUs by activity, watts with sd 60 %": (
        lambda rng: shared(rng, spread_watts, "phases", jobs=(2, 4), gpus=4)
    ),
    "2 to 5 MIG instances by activity, watts with sd 60 %": (
        lambda rng: shared(rng, spread_watts, "phases", jobs=(2, 5), share=instances)
    ),
    "2 to 5 MIG instances by reserved share, activity unknown": (
        lambda rng: shared(rng, spread_watts, "phases", jobs=(2, 5), share=instances, told=False)
    ),
    "2 to 7 jobs equally, activity unknown": lambda rng: shared(rng, spread_watts, "phases", jobs=(2, 7), told=False),
    "2 jobs, of which one only holds its half, idle power learned": lambda rng: held_beside(rng, learned=True),
    "2 jobs, of which one only holds its half, idle power of any model": lambda rng: held_beside(rng, learned=False),
    "job alone, which ended in a hole of 10 to 100 s, and nobody saw when": lambda rng: unseen(rng, changed=False),
    "2 jobs, of which one ended and the other began in such a hole, and nobody saw when": (
        lambda rng: unseen(rng, changed=True)
    ),
    **{
        f"2 to 4 jobs, in bursts too, one process named a sample, {seconds} s": (
            lambda rng, seconds=seconds: by_ticks(rng, seconds)
        )
        for seconds in (120, 20, 5)
    },
}


@functools.cache
def result(name):
    """How often the interval held in a case, and median sigma over energy."""
    return held(CASES[name](np.random.default_rng(20_260_000 + list(CASES).index(name))))


def results():
    """Name of each case -> its result."""
    return {name: result(name) for name in CASES}


def table(found):
    """The results as the table of docs/accuracy.md."""
    rows = [f"| {name} | {100 * sigma:.0f} % | {100 * share:.0f} % |" for name, (share, sigma) in found.items()]
    return "\n".join(["| energy of | one sigma (median) | 95 % interval holds |", "|---|---|---|", *rows])


def generated(page, found):
    """The page with its table renewed."""
    return re.sub(
        r"(<!-- coverage: [^\n]*-->\n).*?(<!-- end of coverage -->)",
        lambda match: f"{match[1]}\n{table(found)}\n\n{match[2]}",
        page,
        count=1,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8"), results()), encoding="utf-8")
