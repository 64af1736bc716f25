"""wattshed bench growth: points in fresh processes, honest ends of series, slopes, and a picture."""

import argparse
import json
import sys

import pytest

from wattshed.agent.bench.growth_points import beyond, grow, slope
from wattshed.agent.bench.growth_series import SERIES, GrowingSeries
from wattshed.agent.bench.process import ProcessFailedError, measured
from wattshed.agent.commands import bench
from wattshed.agent.errors import InputError

ROOM = {"whole_s": 60.0, "prepare_s": 60.0, "peak_mib": 1_000.0, "disk_mib": 1_000.0}


def arguments(*words):
    top = argparse.ArgumentParser()
    bench.add_parser(top.add_subparsers())
    return top.parse_args(["bench", "growth", *words])


def cost(size, **more):
    return {"size": size, "whole_s": 1.0, "prepare_s": 0.0, "peak_mib": 80.0, "disk_mib": 0.0, **more}


def silent(_):
    pass


def test_a_process_has_its_own_peak_and_not_its_parents():
    large = bytearray(300 << 20)
    code = "x = bytearray(60 << 20); print(len(x))"
    spent = measured([sys.executable, "-I", "-c", code], limit_s=60)
    assert len(large) > len(spent.output) > 0
    assert spent.output == f"{60 << 20}\n"
    assert 60 < spent.peak_mib < 150
    assert spent.cpu_s > 0


@pytest.mark.parametrize(
    ("code", "why"), [("1/0", "ZeroDivisionError"), ("import time; time.sleep(60)", "was not done after 1 s")]
)
def test_a_process_that_fails_says_why(code, why):
    with pytest.raises(ProcessFailedError, match=why):
        measured([sys.executable, "-I", "-c", code], limit_s=1 if "sleep" in code else 60)


def test_a_program_that_is_not_there():
    with pytest.raises(ProcessFailedError, match="did not start"):
        measured(["/nowhere/program"], limit_s=60)


def test_what_would_be_too_much_is_left_out():
    assert beyond([], 10, ROOM) == ""
    assert beyond([cost(10)], 100, ROOM) == ""
    steady = [cost(10), cost(100, whole_s=1.1), cost(1_000, whole_s=2.1)]
    assert beyond(steady, 10_000, ROOM) == ""  # 0.0011 s for each more: 12 s
    assert beyond(steady, 100_000, ROOM) == "would take about 112 s, and there are 60"
    steep = [cost(100, whole_s=0.1), cost(1_000, whole_s=10.0)]
    assert beyond(steep, 2_000, ROOM) == ""
    assert beyond(steep, 3_000, ROOM) == "would take about 90 s, and there are 60"
    memory = [cost(10, peak_mib=100), cost(100, peak_mib=190)]
    assert beyond(memory, 1_000, ROOM) == "would take about 1,090 MiB of memory, and there are 1,000"
    assert "s to prepare it" in beyond([cost(1, prepare_s=1), cost(10, prepare_s=10)], 100, ROOM)
    assert "MiB of disk" in beyond([cost(10, disk_mib=200)], 100, ROOM)


def test_a_slope_is_of_the_last_tenfold_step():
    points = [{"size": 10**n, "seconds": 10.0 ** (2 * n), "peak_mib": 50.0} for n in range(4)]
    assert slope(points) == pytest.approx({"seconds": 2.0, "peak_mib": 0.0})
    uneven = [{"size": 8, "seconds": 1, "peak_mib": 1}, {"size": 30, "seconds": 9, "peak_mib": 9}]
    assert slope(uneven) is None
    assert slope([*uneven, {"size": 80, "seconds": 10, "peak_mib": 1}])["seconds"] == pytest.approx(1.0)
    assert slope([]) is None


def test_a_series_goes_on_with_what_it_has_when_a_point_fails(tmp_path):
    def command(folder):
        return ("--version",) if folder.name.endswith("-1") else ("replay", str(folder / "nothing"))

    odd = GrowingSeries("odd", "jobs", "what fails at its second size", (1, 10, 100), (), command=command)
    (grown,) = grow([odd], quick=False, limit_s=60, say=silent)
    assert [point["size"] for point in grown["points"]] == [1]
    assert grown["stopped"].startswith("10 jobs: failed: wattshed: ")
    assert grown["slope"] is None


def test_every_series_has_its_sizes():
    assert {one.axis for one in SERIES} == {"samples", "GPUs", "jobs", "hosts"}
    largest = {}
    for one in SERIES:
        assert list(one.sizes) == sorted(set(one.sizes))
        assert len(one.quick) == 2 < len(one.sizes)
        largest[one.axis] = max(one.sizes[-1], largest.get(one.axis, 0))
    assert largest == {"samples": 10**9, "GPUs": 10**5, "jobs": 10**6, "hosts": 10**4}


def test_what_users_do_is_measured(capsys, tmp_path):
    picture = tmp_path / "growth.svg"
    plot = []
    if pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed"):
        plot = ["--plot", str(picture)]
    given = arguments("--quick", "--json", "--only", "hosts", *plot)
    assert given.run(given) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "wattshed.growth/1"
    assert document["quick"] is True
    assert [one["name"] for one in document["series"]] == ["demand", "collect"]
    for one in document["series"]:
        assert [point["size"] for point in one["points"]] == [1, 10]
        assert all(point["seconds"] > 0 and point["peak_mib"] > 5 for point in one["points"])
        assert set(one["slope"]) == {"seconds", "peak_mib"}
        assert one["stopped"] == ""
    assert "collect, slope" in picture.read_text()


def test_bad_usage(tmp_path):
    given = arguments("--only", "nothing")
    with pytest.raises(InputError, match="no series has that in its name"):
        given.run(given)
    given = arguments("--plot", str(tmp_path / "no" / "a.svg"))
    with pytest.raises(InputError, match="does not exist"):
        given.run(given)
