"""The recording of a real card that the project carries: its joules, to the last digit, from every form."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MINUTE = ROOT / "examples/recordings/h200-minute"


@pytest.fixture
def replayed(wattshed):
    """The document of a replay, with its numbers as they are written."""

    def replay(path):
        code, out, err = wattshed("replay", path, "--format", "json")
        assert code == 0, err
        return json.loads(out, parse_float=Decimal)

    return replay


def test_its_joules_are_known_to_the_last_digit_and_add_up(replayed):
    told = replayed(MINUTE)
    jobs = {job["job"]: job["energy_j"] for job in told["jobs"]}
    assert set(jobs) == {"user:0/kit-train", "user:0/kit-serve"}
    assert told["total_j"] == Decimal("22530.878475")  # the card itself replayed it to that
    assert sum(jobs.values()) + told["idle_j"] + told["unattributed_j"] == told["total_j"]
    for job in told["jobs"]:
        assert job["static_j"] + job["dynamic_j"] == job["energy_j"]
    (gpu,) = told["gpus"]
    assert (gpu["model"], gpu["method"], gpu["flags"]) == ("NVIDIA H200", "counter", [])
    assert (gpu["samples"], gpu["energy_j"], gpu["counter_j"]) == (119, told["total_j"], Decimal("22491.84"))


def test_bills_are_those_of_the_day_within_their_sigma(replayed):
    """Whoever changes how jobs are billed may move them, by what the bills say of themselves."""
    steps = json.loads((ROOT / "docs/measurements/h200/results.json").read_text())["steps"]
    day = next(step for step in steps if step["step"] == "10-sample")["replay"]
    for job in replayed(MINUTE)["jobs"]:
        assert abs(float(job["energy_j"]) - day["jobs"][job["job"]]) < day["sigma"][job["job"]]


def test_both_programs_are_billed_while_they_were_there(replayed):
    """By their own logs: one ended 18.25 s after the other, and had opened the card 11.03 s before that."""
    train, serve = sorted(replayed(MINUTE)["jobs"], key=lambda job: job["start_s"])
    assert (train["command"], serve["command"]) == ("kit-train", "kit-serve")
    assert float(serve["end_s"] - train["end_s"]) == pytest.approx(55.68 - 37.43, abs=0.5)  # between readings
    assert float(train["end_s"] - serve["start_s"]) == pytest.approx(37.43 - 26.40, abs=1.0)  # between windows


def test_as_parquet_it_is_a_tenth_of_the_size_and_the_same(wattshed, replayed, tmp_path):
    small = tmp_path / "minute.parquet"
    assert wattshed("convert", MINUTE, small)[0] == 0
    native, parquet = replayed(MINUTE), replayed(small)
    for about_the_file in ("sources", "device_reason"):
        assert native.pop(about_the_file) != parquet.pop(about_the_file)
    assert parquet == native
    (segment,) = MINUTE.rglob("*.arrows")
    assert small.stat().st_size * 8 < segment.stat().st_size < 250_000


def test_it_names_nobody():
    (segment,) = MINUTE.rglob("*.arrows")
    data = segment.read_bytes()
    found = set(re.findall(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", data, re.IGNORECASE))
    assert found == {b"00000000-0000-4000-8000-000000000001"}
    assert {*re.findall(rb'"host":"(.*?)"', data)} == {b"node"}
    assert not re.search(rb"/(?:opt|usr|home|root|tmp|work)/", data)
