"""One job for people: everything that is known, and what is not."""

import io
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.reports.documents import HOSTILE, MARCH_S, Terminal, gpu, job, job_document
from wattshed.agent.reports.one_job import BARS, FULL, over_time, power_line, print_job

HOURS = [(MARCH_S + 3600 * i, MARCH_S + 3600 * (i + 1), None if i == 2 else 100.0 * i) for i in range(6)]


@pytest.fixture
def shown(monkeypatch):
    def run(document, columns=80, **more):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal() if columns else io.StringIO()
        print_job(document, out, zone=UTC, now_s=MARCH_S, **more)
        return out.lines() if columns else out.getvalue().splitlines()

    return run


def facts(lines):
    """Names and what they are, of the lines between the heading and the first empty one."""
    body = lines[1 : lines.index("")] if "" in lines else lines[1:]
    return {line[:11].strip(): line[11:].strip() for line in body}


def test_a_share_of_the_node_is_said_to_be_an_estimate(shown):
    document = job_document(job(), [], [], [])
    assert "node" not in facts(shown(document, 160))
    document["job"]["node_energy_estimate"] = {"energy_j": "7200", "parts_j": {"cpu": "3600", "rest": "3600"}}
    told = facts(shown(document, 160))
    assert (
        told["node"] == "2.000 Wh beyond the GPUs of this host (CPUs 1.000 Wh, rest 1.000 Wh); an estimate, in no bill"
    )
    assert told["energy"] == "2.778 ± 0.056 Wh, 25% of it static"


def test_all_that_is_known_is_shown(shown):
    document = job_document(job(), [job(earlier, energy_j="1") for earlier in (3, 2)], [gpu(0), gpu(1)], HOURS)
    lines = shown(document, 120, amounts={"cost": "0.83 EUR"}, notes=["EUR: 0.3."])
    assert lines[0] == "slurm:1843001  train"
    assert facts(lines) == {
        "who": "user ada, account physics, partition gpu",
        "state": "complete",
        "time": "2026-03-01 00:01 to 2026-03-01 02:01 UTC (02:00:00)",
        "hosts": "n1",
        "GPUs": "2, 4.00 GPU hours",
        "energy": "2.778 ± 0.056 Wh, 25% of it static",
        "cost": "0.83 EUR",
        "power": "mean 1.4 W, highest reading of one GPU 701 W",
        "": "▁▂ ▅▇█ 0 to 500 W, 01:00:00 each",
        "measured": "all of its GPU time",
        "held idle": "12.5% of its GPU time nothing of it ran",
        "work": "unknown (nothing tells of it)",
        "split": "alone",
    }
    text = "\n".join(lines)
    assert text.count("GPU-11111111-2222-3333-4444-55555555555") == 2
    assert text.count("1.389 ± 0.028 Wh") == 2
    assert text.count("0 ± 56 mWh") == 2  # the earlier runs
    assert "what GPU boards drew, ± two sigma" in text
    assert lines[-1] == "EUR: 0.3."


def test_what_is_unknown_is_not_zero(shown):
    lines = shown(job_document(job(user="", account="", partition="", mean_w=None, peak_w=None, held_idle=None)))
    told = facts(lines)
    assert (told["who"], told["power"], told["held idle"]) == ("unknown", "unknown", "unknown")
    assert "" not in told


@pytest.mark.parametrize(
    ("share", "said", "row"),
    [
        (None, "unknown; mean power is over all of its time", "-"),
        (0.0, "none of its GPU time", "0%"),
        (0.9312, "93.1% of its GPU time; mean power is over that", "93%"),
        (0.9949, "99.5% of its GPU time; mean power is over that", "99%"),
        (0.995, "all of its GPU time", "100%"),
    ],
)
def test_how_much_of_its_time_was_measured_is_said(shown, share, said, row):
    lines = shown(job_document(job(coverage=share), gpus=[gpu(coverage=share)]), 200)
    assert facts(lines)["measured"] == said
    assert next(line for line in lines if line.startswith("n1 ")).split()[-1] == row


def test_an_older_agent_tells_nothing_of_what_was_measured(shown):
    old, new = job(), gpu(active_s=100.0, held_s=0.0)
    for name in ("covered_s", "coverage", "mean_w"):
        del new[name]
        if name != "mean_w":
            del old[name]
    lines = shown(job_document(old, gpus=[new]), 200)
    assert facts(lines)["measured"] == "unknown; mean power is over all of its time"
    assert next(line for line in lines if line.startswith("n1 ")).split()[-4:] == ["50", "701", "0%", "-"]


def test_watts_are_shown_where_they_are_known(shown):
    known, unknown = gpu(0, watts=741.25, watts_sigma=30.25), gpu(1)
    lines = shown(job_document(gpus=[known, unknown]), 200)
    assert next(line for line in lines if line.startswith("n1 ")).endswith("100% 741 ± 60")
    assert FULL in lines
    old = [{name: value for name, value in unknown.items() if name not in {"watts", "watts_sigma"}}]
    assert not any("W@100" in line for line in shown(job_document(gpus=old), 200))
    narrow = shown(job_document(gpus=[known]), 80)
    assert FULL not in narrow
    assert any("W@100" in line for line in narrow)  # among what is not shown
    assert max(map(len, narrow)) <= 80


def test_what_a_simulated_meter_made_up_is_said(shown):
    said = "SIMULATED DATA, all of it or a part: no GPU drew it."
    assert said in shown(job_document(simulated=True))
    assert said not in shown(job_document())


def test_hosts_that_are_missing_make_it_a_lower_bound(shown):
    lines = shown(job_document(job(state="incomplete", hosts_expected=4, flags=["lower_bound"])))
    told = facts(lines)
    assert (told["hosts"], told["state"]) == ("1 of 4: n1", "incomplete 1/4")
    assert told["energy"].startswith("≥2.778")
    assert any("at least that" in line for line in lines)


def test_each_earlier_run_says_by_itself_whether_it_is_a_lower_bound(shown):
    missing = {"state": "incomplete", "hosts_expected": 4, "flags": ["lower_bound"]}
    for first, second in ((missing, {}), ({}, missing)):
        runs = [job(3, energy_j="7200", sigma_j=36.0, **first), job(2, energy_j="10800", sigma_j=36.0, **second)]
        text = "\n".join(shown(job_document(job(), runs), 0))
        assert ("≥2.000 ± 0.020 Wh" in text, "≥3.000 ± 0.020 Wh" in text) == (bool(first), bool(second))
        assert ("2.000 ± 0.020 Wh" in text, "3.000 ± 0.020 Wh" in text) == (True, True)


@pytest.mark.parametrize("columns", [64, 80, 160])
def test_it_fits_the_terminal(shown, columns):
    long = job(name="x" * 200, hosts=[f"node-{i:03}" for i in range(40)], user="y" * 90)
    document = job_document(long, [job(2)], [gpu(i, host="h" * 60) for i in range(3)], HOURS * 1)
    lines = shown(document, columns)
    assert max(map(cell_len, lines[1:])) <= columns  # the heading is whole, whatever the job is called
    assert lines[0] == "slurm:1843001  " + "x" * 200


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("columns", [0, 80])
def test_hostile_names_do_not_steer_a_terminal(shown, text, columns):
    names = ("job", "name", "user", "account", "partition", "namespace", "qos", "cluster", "method")
    one = job(**dict.fromkeys(names, text), hosts=[text], flags=[text])
    did = [{"unit": text, "source": text, "count": 1, "joules_per_unit": 1.0, "sigma_j": 0.1}]
    lines = shown(job_document(one, [one], [gpu(host=text, gpu=text, model=text)], work=did), columns)
    assert all(line.isprintable() for line in lines)


def test_a_steady_hour_is_no_curve():
    assert power_line(HOURS[:1]) == ""
    assert power_line([]) == ""
    assert power_line([(0.0, 0.0, 1.0)]) == ""
    assert power_line(HOURS[1:3]) == "", "one mean and a gap"
    assert power_line(HOURS[3:5]) == "▇█ 0 to 400 W, 01:00:00 each"


@given(
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    powers=st.lists(st.floats(0, 1e5), min_size=30, max_size=30),
    bars=st.integers(1, 60),
)
def test_bars_hold_the_energy_that_the_parts_do(lengths, powers, bars):
    edges = [MARCH_S]
    for length in lengths:
        edges.append(edges[-1] + length)
    parts = [(begin, end, mean_w) for begin, end, mean_w in zip(edges, edges[1:], powers, strict=False)]
    means = over_time(parts, bars)
    whole = sum((end - begin) * mean_w for begin, end, mean_w in parts)
    assert 1 <= len(means) <= bars
    assert sum(means) * (edges[-1] - edges[0]) / len(means) == pytest.approx(whole, rel=1e-6, abs=1e-3)


def test_a_long_curve_fits_beside_its_name():
    line = power_line([(MARCH_S + 60 * i, MARCH_S + 60 * (i + 1), 100.0 + i) for i in range(360)])
    bars, _, told = line.partition(" ")
    assert len(bars) == 36
    assert told == "0 to 454 W, 00:10:00 each"


def test_there_are_no_more_bars_than_stretches():
    assert over_time(HOURS, BARS) == [0.0, 100.0, None, 300.0, 400.0, 500.0]
    assert len(over_time([(0.0, 1.0, 5.0), (1.0, 1000.0, 7.0)], BARS)) == BARS
