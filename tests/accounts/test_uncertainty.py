"""What is said about how wrong an energy is, held against external power meters and against its own rules."""

import csv
import datetime as dt
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from made import S, device, window

from agent.accounts.attribution import Accounts
from agent.accounts.uncertainty import gpu_sigma_j, job_sigma_j, part_time_floor, sees_part

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
    _, account = one_gpu(rows, architecture="Turing", sigma_gain_ppm=0)
    # 51 s are booked as nothing; uniform between 70 and 700 W, the root mean square of that is 426 W.
    assert gpu_sigma_j(account) == pytest.approx(51 * (385**2 + 630**2 / 12) ** 0.5)


def test_a_hole_that_only_the_counter_bridges_is_no_disagreement():
    rows = [(t * S, 300_000, t * 300_000) for t in [*range(60), *range(200, 260)]]
    _, account = one_gpu(rows, sigma_gain_ppm=0)
    assert account.disagreement == pytest.approx(0, abs=1e-9)
    assert gpu_sigma_j(account) == 0


def test_a_frozen_sensor_widens_the_interval():
    rows = [(t * S, 46_190, -1) for t in range(200)]
    _, account = one_gpu(rows, architecture="Turing", sigma_gain_ppm=0)
    assert gpu_sigma_j(account, 199 * S) == pytest.approx(199 * 630 / 12**0.5)


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
    assert job_sigma_j(job, accounts.gpus) == pytest.approx(0.04 * 120_000, rel=1e-6)


def test_a_guessed_split_could_have_been_all_or_nothing():
    rows = [(t * S, 300_000, t * 300_000) for t in range(101)]
    usage = [(0, name, 0, 100 * S, -1, -1, 1) for name in ("a", "b")]
    accounts, _ = one_gpu(rows, usage, sigma_gain_ppm=0, publication_us={"instant": 1})
    for job in accounts.ledger.jobs.values():
        assert job_sigma_j(job, accounts.gpus) == pytest.approx(11_500 / 12**0.5, rel=1e-3)
