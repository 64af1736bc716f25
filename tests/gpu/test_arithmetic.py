"""The kit's own arithmetic: what it concludes from a card is no better than this."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pynvml
import pytest

from tests.gpu.kit import figures, prices, row_rule, schedule, scrubbing, truths, waiting
from tests.gpu.kit.results import Kit
from wattshed.agent.simulation.scenario import read_scenario

MS = 1_000_000
KIT = Path(__file__).parent / "kit"


def load(name, *bursts, loops=1):
    """A load with bursts (from ms, to ms), so many loops a millisecond."""
    made, total = schedule.Load(name, [schedule.square(0, 1, "low", 0.1, 0.05)]), 0
    for a, b in bursts:
        total += (b - a) * loops
        made.log.append((a * MS, b * MS, total))
    return made


def test_busy_shares_and_work():
    one = load("one", (0, 10), (100, 130), loops=3)
    assert one.busy(0, 100 * MS) == pytest.approx(0.1)
    assert one.busy(5 * MS, 115 * MS) == pytest.approx(20 / 110)
    assert one.busy(10 * MS, 10 * MS) == 0
    assert one.loops(0, 115 * MS) == pytest.approx(30 + 45)
    both = [one, load("two", (5, 20), (130, 140))]
    assert schedule.union(both) == [(0, 20 * MS), (100 * MS, 140 * MS)]
    used = row_rule.busy_ns(both, 0, 200 * MS)
    assert used == {"one": pytest.approx((5 + 2.5 + 30) * MS), "two": pytest.approx((2.5 + 10 + 10) * MS)}
    assert sum(used.values()) == pytest.approx(60 * MS)


def test_a_drawn_schedule_is_the_same_for_the_process_and_for_the_simulation():
    segment = schedule.square(1.0, 4.0, "full", 0.06, 0.03, seed=7)
    bursts = [on for on, _, sm in schedule.simulated_steps(segment) if sm]
    lengths = schedule.drawn(segment)
    assert bursts[:20] == [pytest.approx(next(lengths)[0], abs=1e-6) for _ in range(20)]
    assert sum(seconds for seconds, *_ in schedule.simulated_steps(segment)) == pytest.approx(3.0, abs=0.003)


def test_the_simulated_driver_takes_the_schedule(tmp_path):
    loads = [
        schedule.Load("kit-a", [schedule.square(0.5, 2, "none", 1, 1), schedule.square(2.5, 4, "full", 0.1, 0.03)]),
        schedule.Load("kit-b", [schedule.steady(1, 3, "low")]),
    ]
    file = tmp_path / "node.toml"
    file.write_text(schedule.script(loads, lead_s=2.0))
    jobs = read_scenario(file).jobs
    assert [job.name for job in jobs] == ["kit-a", "kit-b"]
    log = schedule.ideal_log(loads[0])
    assert len(log) == 15
    assert log[0] == (2_500 * MS, 2_530 * MS, 30_000)


def test_ticks_that_nobody_saw_are_filled_in():
    seen = [0, 200, 400, 1000, 1000, 1201, 1400]
    assert [t // MS for t in row_rule.ticks([t * MS for t in seen])] == [0, 200, 400, 600, 800, 1000, 1201, 1400]
    assert row_rule.ticks([]) == []


def window(loads, *at_ms):
    return row_rule.samples(loads, [t * MS for t in at_ms])


def test_who_is_on_the_card_at_the_tick_is_credited_with_all():
    # Locked to 100 ms: one is busy from 0 to 10, the other from 30 to 70; the ticks fall to 5, that is, to the first.
    loads = [
        load("first", *((t, t + 10) for t in range(0, 1000, 100))),
        load("second", *((t + 30, t + 70) for t in range(0, 1000, 100))),
    ]
    taken = window(loads, 5, 205, 405, 605)
    assert [s.names for s in taken] == [frozenset({"first"})] * 3
    assert [s.percent for s in taken] == [pytest.approx(50)] * 3
    first, second = row_rule.bounds(taken, "first"), row_rule.bounds(taken, "second")
    assert first.explains(50)
    assert first.explains(48)
    assert not first.explains(10)
    assert not first.explains(None)
    assert second.explains(None)
    assert not second.explains(40)


def test_an_idle_tick_goes_to_who_was_there_last_and_a_row_is_divided_by_all_samples():
    loads = [load("first", (10, 60)), load("second", (250, 300))]
    taken = window(loads, 0, 200, 400, 600)
    assert [s.names for s in taken] == [frozenset({"first"}), frozenset({"second"}), frozenset({"second"})]
    assert row_rule.bounds(taken, "first").least == pytest.approx(25 / 3)
    second = row_rule.bounds(taken, "second")
    assert second.least == second.most == pytest.approx(25 / 3)
    assert second.own == pytest.approx(12.5)  # what the mean of its own samples would be


def test_samples_of_an_idle_card_make_rows_of_nothing():
    loads = [load("first", (10, 60)), load("second", (2000, 2050))]
    first, second = (row_rule.bounds(window(loads, 200, 400, 600), name) for name in ("first", "second"))
    assert (first.least, first.most, first.certain) == (0, 0, True)
    assert first.explains(0)
    assert not first.explains(None)  # the last one is named, so that it has a row
    assert second.explains(None)
    assert not second.explains(0)


def test_where_the_rule_cannot_tell_it_gives_bounds():
    loads = [load("first", (0, 400)), load("second", (0, 200))]
    taken = window(loads, 0, 100, 300)
    assert taken[0].names == {"first", "second"}
    told = row_rule.bounds(taken, "first")
    assert (told.least, told.most, told.certain) == (pytest.approx(50), pytest.approx(100), False)
    assert not row_rule.bounds(taken, "second").certain
    edge = window([load("first", (0, 100)), load("second", (200, 300))], 0, 200)  # a burst begins at the tick
    assert edge[0].names == {"first", "second"}


COUNTER = [(t * MS, 1000 + 10 * (t // 100 * 100)) for t in range(0, 2001, 20)]  # 10 W, published every 100 ms


def test_joules_over_a_span_that_begins_and_ends_between_steps():
    assert figures.joules(COUNTER, 500 * MS, 1500 * MS) == pytest.approx(10.0)
    assert figures.joules(COUNTER, 530 * MS, 1590 * MS) == pytest.approx(10.6)
    assert figures.joules(COUNTER, 0, 1000 * MS) is None  # before its first step nothing is known
    assert figures.joules(COUNTER, 500 * MS, 2100 * MS) is None
    assert figures.counter_watts(COUNTER, 330 * MS, 1777 * MS) == pytest.approx(10.0)
    holes = [(t, None if t % (60 * MS) else value) for t, value in COUNTER]
    assert figures.joules(holes, 530 * MS, 1590 * MS) == pytest.approx(10.6, abs=0.5)


def test_the_mean_of_samples_holds_each_for_the_time_before_it():
    samples = [(0, 5), (20, 10), (50, 40), (60, 100)]
    assert figures.mean_of_samples(samples, 0, 60) == pytest.approx((10 * 20 + 40 * 30 + 100 * 10) / 60)
    assert figures.mean_of_samples(samples, 10, 40) == pytest.approx((10 * 10 + 40 * 20) / 30)
    assert figures.mean_of_samples(samples, 10, 70) is None
    assert figures.mean_of_samples([], 0, 1) is None


def test_spreads_and_edges():
    told = figures.spread([float(v) for v in range(100)])
    assert (told["n"], told["p50"], told["p99"], told["max"]) == (100, 50.0, 99.0, 99.0)
    assert figures.spread([]) == {"n": 0}
    rows = [(0, 1), (1, 1), (2, None), (3, 2), (4, 2), (5, 3)]
    assert figures.edges(rows, 1) == [3, 5]
    assert prices.ranges([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert prices.ranges([]) == ""


def test_calls_are_told_apart_by_what_was_under_way():
    during, beside = waiting.apart([(0, 10), (15, 25), (40, 50), (61, 70)], [(20, 30), (45, 60)])
    assert (during, beside) == ([0.01, 0.01], [0.01, 0.009])
    rows = [(0, 10 * MS, 1), (10 * MS, 20 * MS, 2), (20 * MS, 23 * MS, 2), (55 * MS, 70 * MS, 3)]
    told = waiting.by_phase(rows, 100)
    assert told["that_bring_a_new_value"]["n"] == 2
    assert {k: v["n"] for k, v in told["by_ms_after_a_new_value"].items()} == {"0": 1, "30": 1}


@pytest.fixture
def shared():
    """Two loads on a counter of 100 W: alone, both, alone; 20 W idle, 40 W with a context open."""
    rows = [(t * MS, 100 * t // 100 * 100) for t in range(0, 5001, 100)]
    one = load("one", *((t, t + 30) for t in range(1000, 3000, 100)), loops=10)
    two = load("two", *((t + 40, t + 50) for t in range(2000, 4000, 100)), loops=2)
    one.about, two.about = {"opened_s": 1.0, "done_s": 3.0}, {"opened_s": 2.0, "done_s": 4.0}
    one.segments, two.segments = [schedule.steady(1, 3, "low")], [schedule.steady(2, 4, "low")]
    return rows, [one, two]


def test_two_truths_of_a_shared_card(shared):
    rows, loads = shared
    parts = truths.stretches(truths.present(loads), 500 * MS, 4500 * MS)
    assert [(p.begin_ns // MS, p.end_ns // MS, p.present) for p in parts] == [
        (500, 1000, ()),
        (1000, 2000, ("one",)),
        (2000, 3000, ("one", "two")),
        (3000, 4000, ("two",)),
        (4000, 4500, ()),
    ]
    busy = truths.busy_share(loads, rows, parts, idle_w=20.0)
    assert sum(busy.values()) == pytest.approx(400.0)
    assert busy["one"] == pytest.approx(100 + 10 + 80 * 0.75)
    assert busy["two"] == pytest.approx(100 + 10 + 80 * 0.25)
    own = truths.own_energy(loads, rows, parts, 40.0, {"one": (1.0, 2.0), "two": (3.0, 4.0)})
    assert own == {"one": pytest.approx(100 + 60 + 20), "two": pytest.approx(100 + 60 + 20)}


def test_what_nobody_of_several_did_is_nobodys():
    assert truths.shares(("a", "b"), {"a": 0.0, "b": 0.0}) == {truths.NOBODY: 1.0}
    assert truths.shares(("a",), {"a": 0.0}) == {"a": 1.0}
    assert truths.shares(("a", "b"), {"a": 0.3, "b": 0.1}) == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}


TOLD = """
    Serial Number                     : 1650000000001
    GPU UUID                          : GPU-0123abcd-aaaa-bbbb-cccc-0123456789ab
    GPU PDI                           : 0x0123456789abcdef
    Board ID                          : 0x6
    Product Name                      : NVIDIA H200
    Chassis Serial Number             : N/A
0::/kubepods/92fafa172a723bf2dc2985aeffa8667a
"""


def test_what_identifies_a_card_or_its_host_is_not_kept():
    kept = scrubbing.scrub(TOLD + "thishost.example.org says 9876543210 and 0x98765abcde", ("thishost", "9876543210"))
    for secret in ("1650000000001", "0123abcd", "0123456789abcdef", "0x6", "92fafa17", "thishost", "9876543210"):
        assert secret not in kept, secret
    assert "NVIDIA H200" in kept
    assert "Chassis Serial Number             : N/A" in kept
    assert scrubbing.PSEUDONYM in kept


def test_scrubbed_json_stays_json_and_keeps_what_names_nobody():
    facts = {
        "serial": "165",
        "board_id": 6,
        "uuid": "GPU-51a7ed00-0009-4000-8000-000000000000",
        "host": "somebody1",
        "nvmlDeviceGetUUID": 3.5,
        "value_mj": 1234567890123456789012345678,
        "mig": "MIG-0123abcd-aaaa-bbbb-cccc-0123456789ab",
        "where": "/tmp/gpukit-abcdef12/raw",
    }
    kept = json.loads(scrubbing.scrub(json.dumps(facts), ()))
    assert kept == facts | {
        "serial": "withheld",
        "board_id": 0,
        "host": "node",
        "mig": scrubbing.PSEUDONYM,
        "where": "WORK/raw",
    }


def test_what_the_driver_calls_a_card_is_known_beforehand(monkeypatch):
    """Also as numbers, in whatever way; and what a driver does not tell stops nothing."""
    answers = {"UUID": "GPU-0123abcd", "Serial": b"1650000000001", "BoardId": 1536, "Pdi": 0x0123456789ABCDEF}
    for name, value in answers.items():
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", lambda handle, value=value: value)
    for name, value in {"Init": None, "Shutdown": None, "DeviceGetCount": 1, "DeviceGetHandleByIndex": 0}.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda *_, value=value: value)
    found = scrubbing.card_secrets()
    assert found >= {"GPU-0123abcd", "0123abcd", "1650000000001", "81985529216486895", "123456789abcdef"}
    text = scrubbing.scrub('{"204": [3, 81985529216486895, 0], "205": "1650000000001"}', tuple(found - {"600"}))
    assert text == '{"204": [3, 0, 0], "205": "0"}'

    def refused(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetSerial", refused)
    monkeypatch.delattr(pynvml, "nvmlDeviceGetPdi")
    assert scrubbing.card_secrets() == {"GPU-0123abcd", "0123abcd", *scrubbing.written(1536)}


def test_a_page_with_pseudonyms_is_kept_as_it_is():
    page = 'wattshed_gpu_info{gpu_uuid="GPU-00000000-0000-4000-8000-000000000001",host="node"} 1\n'
    assert scrubbing.scrub(page, ()) == page


def test_a_result_is_written_anew_after_every_fact(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_SIMULATED", "1")
    kit = Kit(3, "periods", "as ever", work=tmp_path, left_s=5.0, scale=0.4, simulated=True)
    file = tmp_path / "03-periods.json"
    assert json.loads(file.read_text())["state"] == "running"
    kit.put(uuid="GPU-0123abcd-aaaa-bbbb-cccc-0123456789ab")
    kit.verdict(False, "other than expected")
    told = json.loads(file.read_text())
    assert (told["verdict"], told["line"], told["uuid"]) == ("SURPRISE", "other than expected", scrubbing.PSEUDONYM)
    kit.put(load_failed=True)
    kit.verdict(True, "as expected")
    assert json.loads(file.read_text())["verdict"] == "unknown"
    assert kit.keep_series("series.csv", "t,v", [(1, None), (2, 3)]).read_text() == "t,v\n1,\n2,3\n"
    assert (kit.seconds(10), kit.seconds(1, 0.7)) == (4.0, 0.7)
    assert 0 < kit.left <= 5


def test_threads_of_a_step_write_its_result_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_SIMULATED", "1")
    kit = Kit(3, "periods", "as ever", work=tmp_path, left_s=5.0, scale=0.4, simulated=True)

    def one(number):
        for turn in range(20):
            kit.put(**{f"fact {number} {turn}": turn})
            kit.error("thread", ValueError(f"{number} {turn}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))  # raises what a thread raised
    told = json.loads((tmp_path / "03-periods.json").read_text())
    assert len([name for name in told if name.startswith("fact ")]) == len(told["errors"]) == 160
    assert not list(tmp_path.glob("*.new"))


def test_the_kernels_are_compiled_from_the_text_beside_them():
    first, *lines = (KIT / "kernels.ptx").read_text().splitlines()
    assert first.endswith(hashlib.sha256((KIT / "kernels.cu").read_bytes()).hexdigest())
    assert [line.split()[2] for line in lines if line.startswith(".visible .entry")] == [
        "kit_low(",
        "kit_mid(",
        "kit_full(",
    ]
