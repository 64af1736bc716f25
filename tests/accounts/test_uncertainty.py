"""What is said about how wrong an energy is, held against external power meters and against its own rules."""

import csv
import datetime as dt
import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest

from tests.accounts.made import S, device, window
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.uncertainty import (
    SPREAD,
    gpu_sigma_j,
    job_sigma_j,
    part_time_floor,
    sees_part,
    split_spread,
)
from wattshed.agent.window import JobKey

RECORDINGS = Path(os.environ.get("WATTSHED_TRACES", Path(__file__).parents[3] / "shared/traces")) / "yang-pmd"


def external_meter(folder):
    """Time (s) and power (W) of the riser-card meter: records of a tick and four (voltage, current) pairs."""
    packed = folder / "PMD_data.bin.gz"
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / "PMD_data.bin").read_bytes()
    records = np.frombuffer(raw[: len(raw) // 18 * 18], "<u2").reshape(-1, 9).astype(np.int64)
    seconds = np.concatenate([[0], np.cumsum(np.diff(records[:, 0]) % 65536)]) / 2933.5e3
    adc = records[:, 1:] >> 4
    adc[adc >= 2048] = 0
    power = 0.007568 * 0.0488 * (adc[:, 0::2] * adc[:, 1::2]).sum(axis=1)
    return int((folder / "PMD_start_ts.txt").read_text()) / 1e6 - 0.05 + seconds, power


def own_meter(folder):
    """Time (s) and power.draw (W) of nvidia-smi; its stamps are naive, one hour ahead of UTC."""
    with (folder / "gpudata.csv").open() as file:
        head, *rows = csv.reader(file, skipinitialspace=True)
    zone = dt.timezone(dt.timedelta(hours=1))
    stamps = [dt.datetime.strptime(row[0], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=zone).timestamp() for row in rows]
    return np.array(stamps), np.array([float(row[head.index("power.draw [W]")]) for row in rows])


def clip(times, power, begin, end):
    inside = times[(times > begin) & (times < end)]
    grid = np.concatenate([[begin], inside, [end]])
    return grid, np.interp(grid, times, power)


@pytest.mark.parametrize(
    ("name", "model", "architecture", "error"),
    [
        ("A100_TR", "NVIDIA A100-PCIE-40GB", "Ampere", -0.0557),
        ("3090_TR", "NVIDIA GeForce RTX 3090", "Ampere", -0.0487),
        ("5050_3090", "NVIDIA GeForce RTX 3090", "Ampere", -0.0698),
    ],
)
def test_the_stated_interval_covers_the_external_meter(name, model, architecture, error):
    folder = RECORDINGS / name
    if not folder.exists():
        pytest.skip("the recordings with an external meter are not here; set WATTSHED_TRACES to their folder")
    stamps = [int(line) / 1e6 for line in (folder / "timestamps.csv").read_text().split()[1:]]
    begin, end = stamps[0], stamps[-1] + 0.5
    times, power = clip(*external_meter(folder), begin, end)
    true_j = float(np.trapezoid(power, times))
    times, power = clip(*own_meter(folder), begin, end)
    rows = [(round(t * 1e6), round(p * 1e3), -1) for t, p in zip(times, power, strict=True)]
    card = device(model=model, architecture=architecture, idle_mw=-1)
    accounts = Accounts()
    accounts.add(window(rows[0][0], rows[-1][0], [rows], devices=(card,)))
    accounts.finish()
    (account,) = accounts.gpus.values()
    shown_j = account.energy_hnj / 2e9
    assert shown_j / true_j - 1 == pytest.approx(error, abs=2e-4)
    assert abs(shown_j - true_j) < 1.96 * gpu_sigma_j(account)


def test_part_time_sensors_by_model_and_architecture():
    assert sees_part(device(model="NVIDIA A100-SXM4-80GB", architecture="Ampere"))
    assert sees_part(device(model="NVIDIA H100 80GB HBM3", architecture="Hopper"))
    assert sees_part(device(model="", architecture=""))
    assert not sees_part(device(model="NVIDIA A10", architecture="Ampere"))
    assert not sees_part(device(model="NVIDIA GeForce RTX 4090", architecture="Ada"))


def test_the_floor_of_a_part_time_sensor():
    assert [part_time_floor(s) for s in (0.1, 1, 10, 60, 3600)] == pytest.approx([0.10, 0.10, 0.03, 0.01, 0.01])
    assert 0.01 < part_time_floor(30) < part_time_floor(20) < 0.03


def one_gpu(rows, usage=(), **facts):
    accounts = Accounts()
    accounts.add(window(rows[0][0], rows[-1][0], [rows], usage, devices=(device(**facts),)))
    accounts.finish()
    (account,) = accounts.gpus.values()
    return accounts, account


def test_gain_is_all_there_is_with_a_counter():
    rows = [(t * S, 300_000, t * 300_000) for t in range(101)]
    _, account = one_gpu(rows, sigma_gain_ppm=20_000)
    assert gpu_sigma_j(account) == pytest.approx(0.02 * 30_000)


def test_a_gap_can_hide_anything_between_idle_and_the_limit():
    rows = [(t * S, 300_000, -1) for t in [*range(50), *range(100, 150)]]
    _, account = one_gpu(rows, architecture="Turing", sigma_gain_ppm=0, publication_us={"instant": S})
    # 51 s are booked as nothing; uniform between 70 and 700 W, the root mean square of that is 426 W.
    assert gpu_sigma_j(account) == pytest.approx(51 * (385**2 + 630**2 / 12) ** 0.5)


def test_a_hole_that_only_the_counter_bridges_is_no_disagreement():
    rows = [(t * S, 300_000, t * 300_000) for t in [*range(60), *range(200, 260)]]
    _, account = one_gpu(rows, sigma_gain_ppm=0)
    assert account.disagreement == pytest.approx(0, abs=1e-9)
    assert gpu_sigma_j(account) == 0


def test_what_is_estimated_over_a_reset_may_have_been_anything():
    rows = [(t * S, 300_000, (t if t < 60 else t - 80) * 300_000) for t in [*range(60), *range(100, 160)]]
    _, account = one_gpu(rows, sigma_gain_ppm=0)  # it counts anew from 80 s on: 21 s of the hole are estimated
    assert account.energy_hnj == 159 * 300_000 * 2 * S
    assert gpu_sigma_j(account) == pytest.approx(21 * 630 / 6**0.5)
    late = [(t, p, c if t < 60 * S else c - 20 * 300_000) for t, p, c in rows if not 60 * S <= t < 101 * S]
    late = [(t + 100 * S * (t > 60 * S), p, c) for t, p, c in late]
    _, account = one_gpu(late, sigma_gain_ppm=0)  # a whole two minutes: only what the counter says
    assert account.energy_hnj == (59 + 1 + 58) * 300_000 * 2 * S
    assert gpu_sigma_j(account) == pytest.approx((142 - 1) * (385**2 + 630**2 / 12) ** 0.5)


def test_a_frozen_sensor_widens_the_interval():
    rows = [(t * S, 46_190, -1) for t in range(200)]
    _, account = one_gpu(rows, architecture="Turing", sigma_gain_ppm=0, publication_us={"instant": S})
    assert gpu_sigma_j(account, 199 * S) == pytest.approx(199 * 630 / 3**0.5)


def test_a_contradicted_counter_widens_to_cover_both():
    rows = [(t * S, 300_000, t * 150_000) for t in range(101)]
    _, account = one_gpu(rows, sigma_gain_ppm=0)
    assert gpu_sigma_j(account) == pytest.approx(15_000)


def test_gains_of_a_jobs_gpus_add_up_linearly():
    rows = [(t * S, 300_000, t * 300_000) for t in range(101)]
    usage = [(i, "job", 0, 100 * S, -1, -1, 1) for i in range(4)]
    accounts = Accounts()
    accounts.add(
        window(0, 100 * S, [rows] * 4, usage, devices=tuple(device(i, publication_us={"instant": 1}) for i in range(4)))
    )
    (job,) = accounts.ledger.jobs.values()
    assert job_sigma_j(job, accounts.gpus) == pytest.approx(0.04 * 120_000, rel=1e-3)


def shared(activities, shares=(-1, -1), gpus=1):
    """Two jobs for 100 s at 300 W: sigma (J) of their split, without gain, edges and idle power; dynamic energy."""
    rows = [(t * S, 300_000, t * 300_000) for t in range(101)]
    usage = [
        (gpu, name, 0, 100 * S, round(activity * 100 * S) if activity >= 0 else -1, share, 1)
        for gpu in range(gpus)
        for name, activity, share in zip("ab", activities, shares, strict=True)
    ]
    devices = tuple(device(i, sigma_gain_ppm=0, idle_sigma_mw=0) for i in range(gpus))
    accounts = Accounts()
    accounts.add(window(0, 100 * S, [rows] * gpus, usage, devices=devices))
    accounts.finish()
    sigmas = []
    for job in accounts.ledger.jobs.values():
        for line in job.lines.values():
            line.edges = 0
        sigmas.append(job_sigma_j(job, accounts.gpus))
    return sigmas, 23_000.0


def test_a_split_by_activity_is_off_by_what_watts_differ():
    sigmas, dynamic_j = shared((0.5, 0.5))
    assert sigmas == pytest.approx([SPREAD * dynamic_j * 0.5 * 0.5**0.5] * 2, rel=1e-6)
    sigmas, dynamic_j = shared((0.6, 0.2))
    assert sigmas == pytest.approx([SPREAD * dynamic_j * 0.75 * 0.25 * 2**0.5] * 2, rel=1e-6)


def test_over_the_gpus_of_one_job_the_split_errs_alike():
    one, four = shared((0.6, 0.2))[0], shared((0.6, 0.2), gpus=4)[0]
    assert four == pytest.approx([4 * sigma for sigma in one], rel=1e-6)


def test_a_job_that_alone_is_active_is_as_well_known_as_one_alone():
    assert shared((0.9, 0.0))[0] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_split_without_activities_could_have_been_anything():
    sigmas, dynamic_j = shared((-1, -1))
    assert sigmas == pytest.approx([dynamic_j / 12**0.5] * 2, rel=1e-6)
    sigmas, dynamic_j = shared((-1, -1), shares=(750_000, 250_000))
    assert sigmas == pytest.approx([dynamic_j * (0.75 * 0.25 / 3) ** 0.5] * 2, rel=1e-6)


def test_what_nobody_active_used_may_have_been_any_jobs():
    sigmas, dynamic_j = shared((0.0, 0.0))
    assert sigmas == pytest.approx([dynamic_j * (1 / 9 + 2 / 27) ** 0.5] * 2, rel=1e-6)


def test_two_jobs_of_120_and_480_w_lie_within_two_sigma():
    """At half the GPU each, both are billed what the mean of them draws."""
    rows = [(t * S, 370_000, t * 370_000) for t in range(601)]
    usage = [(0, name, 0, 600 * S, 300 * S, -1, 1) for name in ("light", "heavy")]
    accounts, _ = one_gpu(rows, usage)
    for name, watts in (("light", 120), ("heavy", 480)):
        job = accounts.ledger.jobs[JobKey(name)]
        off_j = job.energy_hnj / 2e9 - (watts / 2 + 35) * 600
        assert abs(off_j) == pytest.approx(54_000)
        assert 1 < abs(off_j) / job_sigma_j(job, accounts.gpus) < 2


def test_a_jobs_own_gap_is_in_its_sigma_and_in_no_other_jobs():
    rows = [(t * S, 300_000 + t % 2, -1) for t in [*range(50), *range(100, 200)]]
    usage = [(0, "before", 0, 120 * S, -1, -1, 1), (0, "after", 120 * S, 199 * S, -1, -1, 1)]
    accounts, account = one_gpu(rows, usage, architecture="Turing", sigma_gain_ppm=0, publication_us={"instant": S})
    before, after = (accounts.ledger.jobs[JobKey(name)] for name in ("before", "after"))
    assert job_sigma_j(before, accounts.gpus) == pytest.approx(gpu_sigma_j(account), rel=1e-2)
    assert job_sigma_j(after, accounts.gpus) < 500


def test_time_that_is_not_read_yet_is_in_the_sigma_of_the_job_until_the_counter_tells_of_it():
    """A GPU cannot be read from second 50 on: what its job used since is billed to nobody yet."""
    accounts, sigmas = Accounts(), []
    for n in range(200):
        t = n * S
        told = [(t + S // 2, 300_000, 300_000 * n)] if not 50 <= n < 150 else []
        usage = [(0, "slurm:1", t, t + S, -1, 1_000_000, int(bool(told)))]
        accounts.add(window(t, t + S, [told], usage, (device(sigma_gain_ppm=0),)))
        (job,) = accounts.ledger.jobs.values()
        sigmas.append(job_sigma_j(job, accounts.gpus))
        off_j = 300 * (n + 0.5) - job.energy_hnj / 2e9
        assert off_j < 2 * sigmas[-1] + 5 * 300
    assert sigmas[49] < 500
    assert sigmas[149] == pytest.approx(100 * math.hypot(385, 630 / 12**0.5), rel=0.02)
    assert sigmas[199] < 500


def test_gpus_that_were_never_read_lack_what_their_job_used_all_in_one_direction():
    def sigma(gpus):
        devices = tuple(device(i) for i in range(gpus))
        usage = [(gpu, "slurm:1", 0, 100 * S, -1, 1_000_000, 0) for gpu in range(gpus)]
        accounts = Accounts()
        accounts.add(window(0, 100 * S, [[]] * gpus, usage, devices))
        return job_sigma_j(accounts.ledger.jobs[JobKey("slurm:1")], accounts.gpus)

    assert sigma(1) == pytest.approx(100 * math.hypot(385, 630 / 12**0.5))
    assert sigma(4) == pytest.approx(4 * sigma(1))


def test_a_contradicted_counter_is_in_the_sigma_of_its_jobs():
    rows = [(t * S, 300_000, t * 150_000) for t in range(101)]
    accounts, account = one_gpu(rows, [(0, "job", 0, 100 * S, -1, -1, 1)], sigma_gain_ppm=0)
    (job,) = accounts.ledger.jobs.values()
    assert job_sigma_j(job, accounts.gpus) == pytest.approx(gpu_sigma_j(account), rel=1e-3)


def test_readings_far_apart_blur_the_edges_of_a_job():
    def sigma(apart):
        rows = [(t * S, 300_000, t * 300_000) for t in range(0, 601, apart)]
        accounts, _ = one_gpu(rows, [(0, "job", 100 * S, 500 * S, -1, -1, 1)], sigma_gain_ppm=0)
        (job,) = accounts.ledger.jobs.values()
        return job_sigma_j(job, accounts.gpus)

    assert sigma(20) == pytest.approx(20 * 230 / 6**0.5, rel=0.05)
    assert sigma(20) > 10 * sigma(1)


@pytest.mark.parametrize(
    ("own", "beside", "span_w"),
    [
        ({"limit_mw": 500_000}, {}, 500),
        ({"model": "NVIDIA H100 80GB HBM3"}, {"limit_mw": 400_000}, 700),  # its data sheet
        ({"model": "NVIDIA H100 80GB HBM3"}, {"model": "NVIDIA H100 80GB HBM3", "limit_mw": 450_000}, 450),
        ({"model": "NVIDIA X1"}, {"limit_mw": 400_000}, 400),  # what else is on its host
        ({"model": "NVIDIA X1"}, {}, 1400),  # as much as the largest board that there is
        ({}, {}, 1400),
    ],
)
def test_an_unseen_stretch_of_a_gpu_with_an_unknown_limit_can_hide_what_such_boards_draw(own, beside, span_w):
    devices = (device(0, **{"idle_mw": -1, "limit_mw": -1, **own}), device(1, **{"limit_mw": -1, **beside}))
    accounts = Accounts()
    usage = [(gpu, "job", 0, 100 * S, -1, 1_000_000, 0) for gpu in range(2)]
    rows = [[], [(t * S, 300_000, 300_000 * t) for t in range(101)]]
    accounts.add(window(0, 100 * S, rows, usage, devices))
    never = accounts.account(devices[0])
    assert gpu_sigma_j(never) == pytest.approx(100 * math.hypot(span_w / 2, span_w / 12**0.5))
    (job,) = accounts.ledger.jobs.values()
    drawn_j = span_w * 0.9 * 100 + 30_000
    assert drawn_j - job.energy_hnj / 2e9 < 1.96 * job_sigma_j(job, accounts.gpus)


@pytest.mark.parametrize(
    ("capabilities", "wider"),
    [({}, False), ({"process_rows": ""}, False), ({"process_rows": "not known"}, True),
     ({"process_rows": "not known", "process_utilisation": "refused"}, False)],
)  # fmt: skip
def test_a_split_by_rows_of_which_it_is_not_known_what_they_mean_is_less_certain(capabilities, wider):
    """Where rows are refused, nothing is split by them."""
    spread = split_spread(device(capabilities=capabilities))
    assert (spread > 1.5 * SPREAD) if wider else spread == SPREAD
