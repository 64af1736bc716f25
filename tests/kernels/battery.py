"""Every kernel on the same recordings, as one JSON document: run as a program, it shows what another mode computes."""

import json
import sys

import numpy as np

from tests.kernels.recordings import columns, node
from wattshed.kernels import (
    cells,
    convolution,
    dealing,
    energy,
    ensemble,
    jobs,
    kept_lines,
    lines,
    quantiles,
    windows,
    word_rows,
)
from wattshed.kernels.billing import late_rows, learned_doubt, learning, shares, slots, watts
from wattshed.kernels.words import PAD

GAP = 5_000_000


def hostile():
    """Numbers at the edge of what 32, 63 and 64 bits hold."""
    big = 2**31 - 1
    return columns(
        [
            [(k * 3_000_000_000_000, 2_000_000 + k) for k in range(50)],
            [(-(2**39), big), (-(2**39) + 1, 0), (2**33, big), (2**33, 1), (2**41, big), (2**41 + 7, -1)],
            [],
            [(5, 1)],
        ]
    )


def usage(recording):
    """Overlapping jobs of every kind on the first GPUs."""
    start = int(recording[0][0])
    rows = np.array([0, 3, 5, 5, *[5] * (len(recording[2]) - 4)], np.int64)
    begin = start + np.array([-5, 40, 90, 0, 60]) * 1_000_003
    end = begin + np.array([100, 100, 10**6, 50, 20]) * 1_000_007
    activity, busy = np.array([500_000, 300_001, 7, -1, -1]), np.array([900_000] * 3 + [-1] * 2)
    share = np.array([-1, -1, -1, 333_333, 500_000])
    idle = np.full(len(recording[2]) - 1, 70_001)
    return idle, rows, begin, end, activity, busy, share, np.array([1, 1, 1, 1, 1], np.int8)


def table():
    """What each kernel of cells says of a few lines."""
    text = b"".join(b"2026/03/01 00:00:0%d.250, GPU-%d, %d.%d W,%d\r\n" % (i, i % 3, i * 97, i, i) for i in range(9))
    text += b"ragged\n2026/03/02 00:00:00.000, GPU-0, 7 W,\n"
    data, following = np.zeros(len(text) + 64, np.uint8), np.empty(len(text) + 1, np.uint32)
    data[: len(text)] = np.frombuffer(text, np.uint8)
    count, lines = cells.index(data, len(text), ord(","), following), text.count(b"\n")
    first, places, others = np.zeros(lines, np.uint32), np.zeros(lines, np.int32), np.zeros((lines, 3), np.int64)
    rows = cells.lay_out(following, count, 4, first, places, others)
    these = (data, following, first, rows)
    out = {name: np.zeros(rows, np.int64) for name in ("stamps", "milliwatts")}
    shape = np.zeros((2, 32), np.uint8)
    shape[0, :23], shape[1, :23] = (
        list(b"0000/00/00 00:00:00.000"),
        [255 * (c == 48) for c in b"0000/00/00 00:00:00.000"],
    )
    read = [cells.stamps(*these, 0, shape.view("<u8").astype(np.uint64), 23, 3, out["stamps"])]
    read.append(cells.quantities(*these, 2, ord("W"), 1, 1e3, 1.0, out["milliwatts"]))
    read.append(cells.decimals(*these, 3, decimals := np.zeros(rows)))
    found, codes = np.zeros((cells.MOST_TEXTS, 3), np.int64), np.zeros(rows, np.int32)
    read.append(cells.texts(*these, 1, found, np.full(cells.TEXT_SLOTS, -1, np.int32), codes))
    offsets, cut = np.zeros(rows + 1, np.int32), np.zeros(len(text), np.uint8)
    cells.gather(*these, 1, offsets, cut)
    return [read, following[:count], first, places, others, *out.values(), decimals, found[:3], codes, offsets, cut]


def padded(text):
    """The bytes of a text, and zeros behind them that may be read."""
    return np.frombuffer(text + bytes(PAD), np.uint8)


def stacked(*texts):
    """Texts below each other, and how long each is."""
    longest = max(map(len, texts))
    table = np.frombuffer(b"".join(text.ljust(longest, b"\0") for text in texts), np.uint8)
    return table.reshape(len(texts), longest), np.array([len(text) for text in texts], np.int64)


def reports():
    """Which lines of two reports are kept, and where a word stands in them."""
    text = b"Time : now\nGPU 0\n    Fan : 3\n    Clocks\n        SM : 5\n    Power\n        Draw : 7 W\n        X : y\n"
    xml = b"<log>\n<gpu>\n<fan>\n<rpm>3</rpm>\n</fan>\n<clocks>\n<power>70 W</power>\n</clocks>\n</gpu>\n</log>\n"
    wanted = stacked(b"power", b"draw"), stacked(b"log", b"gpu", b"power")
    held, out = np.zeros((kept_lines.DEEPEST, 4), np.int64), []
    for data, names, choose, state, *room in (
        (text, wanted[0], kept_lines.report_lines, 2),
        (xml, wanted[1], kept_lines.element_lines, 0, held),
    ):
        count, of = data.count(b"\n"), np.array([state], np.int64)
        begins, numbers, kept = np.zeros(count, np.int64), np.zeros(count, np.int32), np.zeros(len(data), np.uint8)
        chosen = choose(padded(data), len(data), *names, of, *room, begins, numbers)
        size = kept_lines.gather_lines(padded(data), begins[:chosen], kept)
        out += [begins, numbers, kept, [chosen, size, int(of[0]), lines.newlines(padded(data), len(data))]]
        out.append(lines.places(padded(data), len(data), b"7", 9))
    return out


def monitor():
    """Rows of a monitor with a stamp before each line, and their rounds, as if they had none."""
    text = b"01:02 # gpu pwr\n01:02 0 70.5\n01:03 1 -\n01:04 0 9\n01:04 x 9\n"
    values, numbers, reached = np.zeros((9, 3), np.int64), np.zeros(9, np.int32), np.zeros(3, np.int64)
    forms = np.array([(5, 0, 0, 0, 1_000_000, 1, -1), (0, 0, 0, 0, 1, 1, -1)], np.int64)
    written = np.array([[1, 2], [0, 1000]], np.int64), forms, stacked(b"00:00", b"", b"")[0], *stacked(b"# gpu pwr")
    rows = word_rows.word_rows(padded(text), 0, len(text), ord(" "), 0, *written, values, numbers, reached)
    last, rounds = np.full(word_rows.LARGEST_INDEX + 1, -1, np.int64), np.zeros(rows, np.int64)
    count = word_rows.count_rounds(np.ascontiguousarray(values[:rows, 1]), -1, last, rounds)
    return [values, numbers, reached, last[:3], rounds, [rows, count]]


def laid_out():
    """Columns as they lie in a file, made whole and laid out window by window."""
    whole = np.zeros(7, np.int64)
    wrong = dealing.whole_numbers(np.array([70.5, 0.0005, -1.0, np.nan, 1e300, 3.0, 4.0]), 1000.0, 1.0, whole)
    gpu, time = np.array([0, 1, 0, 1, 1, 0, 0], np.int32), np.array([10, 10, 11, 12, 15, 16, 40])
    place, edges = np.array([1, 0], np.int32), np.array([10, 12, 12, 30])
    return [whole, [wrong], *dealing.deal_windows(gpu, time, np.abs(whole).astype(np.int32), place, edges)]


def turned():
    """Series, how many copies of them are added up, and by how many steps each is turned, in two sets."""
    rng = np.random.default_rng(4)
    for each, steps, copies, largest in ((1, 1, 5, 9), (2, 5, 300, 2**20), (1, 8, 3, 2**60), (3, 7, 2**20, 2**41)):
        drawn = rng.multinomial(copies, np.full(each * steps, 1 / (each * steps)), 2)
        yield rng.integers(-largest, largest, (each, steps)), copies, drawn.reshape(2, each, steps)


def learned():
    """Watts of three jobs on two GPUs, learned over some slots, and what rows weigh by them then."""
    n, rng = watts.FEATURES + 3, np.random.default_rng(8)
    of_slots = (
        np.full((2, slots.RING), -1),
        *np.zeros((2, 2, slots.RING), np.int64),
        np.zeros((2, slots.RING, n), np.int64),
    )
    prior = np.array([315.0, 250.0])
    beliefs = watts.Beliefs(np.zeros((2, n)), np.zeros((2, n, n)), np.ones(2), np.zeros((2, n)), prior)
    beliefs.mean[:, 0], beliefs.covariance[:, 0, 0] = prior, prior**2
    states = watts.KeptStates(np.full((2, 2), -1), np.zeros((2, 2, n)), np.zeros((2, 2, n, n)))
    uses, spent = np.zeros((2, len(watts.USES)), np.int64), np.zeros((2, n, 2), np.int64)
    cells = late_rows.CELLS
    late = late_rows.LateRows(
        np.full((2, cells), -1), *np.zeros((2, 2, cells, n), np.int64), np.zeros((2, n), np.int64)
    )
    gpu, places = np.array([0, 0, 0, 1, 1]), np.array([[3, 4, -2], [3, 5, -1]])
    told, (unlike, guessed) = np.zeros((4, 5), np.int64), np.zeros((2, 5), np.int64)
    held, seen_us = np.full(2, np.nan), np.zeros((2, n), np.int64)
    for second in range(30):
        start, end = (np.full(5, us) for us in (second * 1_000_000, (second + 1) * 1_000_000))
        rate = rng.integers(0, 300_000, 5)
        rate[3:] = [-1, 0] if second == 23 else rate[3:]
        feature = np.where(gpu == 1, rate // 2, -1) * np.ones((2, 1), np.int64)
        live = np.array([1, 1, 1, 1, second != 23])
        power = np.array([100_000, 690_000 if second == 20 else 200_000, 300_000, 300_000])
        usage = [gpu, np.arange(5) % 3, start, end, rate, live, *feature, rate, rate]
        seen = np.concatenate([*usage, [-1, 400_000], [0, 2, 4], power])
        gauges = np.array([700.0, np.nan, 0.1 * (second > 26), np.nan])
        window = np.array([[start[0], end[0], 5, 2, 4]])
        dynamic = rate * np.array([200, 700, 400, 300, 500]) * 2_000
        booked = np.concatenate([*usage[:4], dynamic, [0, dynamic[3:].sum() * (second == 8)]])
        hole = np.array([[0], [start[0]], [end[0]]])[:, : second == 12]
        one, other = (seen, gauges, window), (booked, np.array([[5, 2]]), hole)
        calls = [(one, other, end[:2])]
        if second > 10:  # the energy first: whichever is first with a new slot opens it
            calls = [
                ([each[:0] for each in one], other, end[:0]),
                (one, (booked[:0], other[1][:0], hole[:, :0]), end[:2]),
            ]
        for one, other, known_us in calls:
            learning.learn(
                *one, places, np.array([0.0, 350.0]), *other, known_us, 0, 0.997, 0.6,
                *of_slots, *beliefs, *states, held, seen_us, uses, spent, np.empty((2, n)),
            )  # fmt: skip
        table, method = np.array(usage), np.full(5, shares.BY_ACTIVITY)
        watts.weigh(table, places, states.slot, states.mean, prior, 2.0, told)
        learned_doubt.doubt(
            table, told, dynamic, method, unlike, guessed, states.mean, states.covariance, prior, 0.6, *late,
            np.zeros(5),
        )  # fmt: skip
    return [*of_slots, *beliefs, *states, *late, uses, spent, seen_us, np.nan_to_num(held), told, guessed]


def battery(*, device="cpu", rows=150):
    """Name of a kernel and recording -> its integers."""
    out = {}
    for name, recording, gap in (("node", node(1, rows), GAP), ("hostile", hostile(), 2**62)):
        out[f"energy {name}"] = energy.integrate(*recording, gap, device=device)
        out[f"quantiles {name}"] = [quantiles.quantiles(*recording, gap, (0, 500_000, 990_000), device=device)]
    steady = node(1, rows, broken=0.0)
    out["quantiles steady"] = [quantiles.quantiles(*steady, GAP, device=device)]
    ordinary = node(1, rows)
    out["counts"] = [ensemble.draw_counts(5, 3, 11, first=2, device=device)]
    out["windows"] = windows.windows(*ordinary, 7_000_000, GAP, device=device)
    out["jobs"] = jobs.job_energy(*ordinary, GAP, *usage(ordinary), device=device)
    out |= {"cells": table(), "reports": reports(), "monitor": monitor(), "laid out": laid_out(), "watts": learned()}
    totals = np.random.default_rng(3).integers(0, 2**35, (11, 9))
    out["bootstrap"] = [ensemble.bootstrap(one, 5, 6, device=device) for one in (totals, totals << 20)]
    out["turned"] = [convolution.TurnedSums(*one, device=device)(counts) for *one, counts in turned()]
    return {name: [np.asarray(part).tolist() for part in answer] for name, answer in out.items()}


def resident_battery(*, rows=60, lay=None):
    """The same, with columns that lie on the device; ``lay`` puts an array there."""
    from wattshed.kernels.cuda_target import cuda

    lay = lay or cuda.to_device
    out = {}
    for name, (time_us, power_mw, offsets), gap in (("node", node(1, rows), GAP), ("hostile", hostile(), 2**62)):
        there = (lay(time_us), lay(power_mw), offsets)
        out[f"energy {name}"] = energy.integrate(*there, gap, device="cuda")
        out[f"quantiles {name}"] = [quantiles.quantiles(*there, gap, (0, 500_000, 990_000), device="auto")]
    time_us, power_mw, offsets = ordinary = node(1, rows)
    there = (lay(time_us), lay(power_mw), offsets)
    out["windows"] = windows.windows(*there, 7_000_000, GAP, device="auto")
    out["jobs"] = jobs.job_energy(*there, GAP, *usage(ordinary), device="cuda")
    return {name: [np.asarray(part).tolist() for part in answer] for name, answer in out.items()}


def one_by_one(kernel, count, *args, rows):
    """Every task alone, the last one first."""
    for task in reversed(range(count)):
        kernel(*args, task, task + 1)


def shrink(setting):
    """Make chunks small, so that little data crosses many of them."""
    for module, size in ((energy, 16), (windows, 16), (jobs, 16), (quantiles, 32)):
        setting(module, "CHUNK", size)
        setting(module, "each", one_by_one)
    setting(energy, "CUDA_BLOCK", 16)
    setting(quantiles, "_GUESS_FROM", 40)
    for module in (windows, jobs):
        setting(module, "CUDA_CHUNK", 5)


if __name__ == "__main__":
    shrink(setattr)
    how, rows = sys.argv[1], int(sys.argv[2])
    answer = resident_battery(rows=rows) if how == "resident" else battery(device=how, rows=rows)
    answer["modules"] = sorted(name for name in ("numba", "llvmlite") if name in sys.modules)
    json.dump(answer, sys.stdout)
