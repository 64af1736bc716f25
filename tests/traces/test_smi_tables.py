"""Plain nvidia-smi in a loop, as its drivers of ten years draw it: the joules of a trapezoid over its whole watts."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces.smi_tables_made_up import LAYOUTS, MIG, PROCESSES, Row, table
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

START = datetime(2025, 5, 4, 4, 27, 30, tzinfo=UTC)
ABOVE = {
    "nvidia-smi": lambda t: f"{t:%a %b %e %H:%M:%S %Y}       \n",
    "watch": lambda t: f"Every 1.0s: nvidia-smi      n1: {t:%a %b %e %H:%M:%S %Y}\n\n{t:%a %b %e %H:%M:%S %Y}\n",
    "watch alone": lambda t: f"\x1b[H\x1b[2JEvery 2,0s: nvidia-smi      n1: {t:%a %b %e %H:%M:%S %Y}\n\n",
    "date": lambda t: f"{t:%a %d %b %Y %I:%M:%S %p} UTC\n",
    "date +%s": lambda t: f"{t.timestamp():.0f}\n",
    "date -Iseconds": lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+00:00\n",
}


def trapezoid(times, watts):
    return sum((b - a) * (p + q) / 2 for a, b, p, q in zip(times, times[1:], watts, watts[1:], strict=False))


def loop(layout, powers, above=ABOVE["nvidia-smi"], period_s=5, below=PROCESSES):
    """Tables of GPUs 0, 1, ...: ``powers[t][gpu]`` as text."""
    return "".join(
        above(START + timedelta(seconds=t * period_s)) + table(layout, [Row(g, w) for g, w in enumerate(row)], below)
        for t, row in enumerate(powers)
    )


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(text, *flags):
        path = tmp_path / "log"
        path.write_text(text)
        code, out, err = wattshed("replay", path, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


@pytest.mark.parametrize("above", ABOVE)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_loop(replayed, layout, above):
    powers = [(100 + 10 * t, 200 - 3 * t, 55) for t in range(6)]
    answer, err = replayed(loop(layout, [[f"{w}W" for w in row] for row in powers], ABOVE[above]))
    assert err == ""
    times = [5 * t for t in range(6)]
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [
        trapezoid(times, column) for column in zip(*powers, strict=True)
    ]
    assert answer["start_s"] == START.timestamp()
    assert {gpu["model"] for gpu in answer["gpus"]} == {"NVIDIA A100-SXM4-40GB"[: 28 if layout > "5" else 16].strip()}
    (source,) = answer["sources"]
    assert (source["format"], source["rows"], source["rows_rejected"]) == ("nvidia-smi-table", 18, 0)


def test_local_time(replayed):
    answer, _ = replayed(loop("565", [["100W"]] * 3), "--timezone", "America/New_York")
    assert answer["start_s"] == START.timestamp() + 4 * 3600


def test_cells_without_a_number_are_counted_and_not_read_as_zero(replayed):
    powers = [["100W", "N/A"], ["ERR!", "N/A"], ["100W", "N/A"], ["[Unknown Error]", "N/A"], ["100W", "N/A"]]
    answer, _ = replayed(loop("470", powers))
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [2000, 0]
    assert answer["sources"][0]["rejected"] == {"not_available": 5, "unknown_error": 2}


def test_a_limit_that_nobody_knows(replayed):
    row = Row(0, "27W", limit="N/A")
    text = "".join(ABOVE["nvidia-smi"](START + timedelta(seconds=t)) + table("565", [row]) for t in range(3))
    assert replayed(text)[0]["total_j"] == 54


def test_partitioned_gpus(replayed):
    answer, _ = replayed(loop("565", [["100W", "200W"]] * 3, below=MIG + PROCESSES))
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [1000, 2000]


def test_several_tables_of_one_second_are_spread_over_it(replayed):
    powers = [["100W"], ["200W"], ["100W"], ["200W"], ["100W"]]
    answer, _ = replayed(
        "".join(
            ABOVE["nvidia-smi"](START + timedelta(seconds=t // 2)) + table("565", [Row(0, w) for w in row])
            for t, row in enumerate(powers)
        )
    )
    assert answer["total_j"] == 300


def test_tables_that_were_stamped_line_by_line(replayed):
    lines = []
    for t in range(4):
        moment = START + timedelta(seconds=t, milliseconds=250)
        drawn = ABOVE["nvidia-smi"](moment) + table("470", [Row(0, f"{100 + t}W")])
        lines += [f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z n1 nvidia-smi[1]: {line}" for line in drawn.splitlines()]
    answer, _ = replayed("\n".join(lines))
    assert (answer["gpus"][0]["host"], answer["total_j"]) == ("n1", 304.5)
    assert answer["start_s"] == START.timestamp() + 0.25


def test_tables_without_a_date_are_refused(replayed):
    answer, err = replayed(loop("565", [["100W"]] * 3, lambda _: ""))
    assert answer is None
    assert "its tables have no times" in err
    assert "--query-gpu=timestamp" in err


def test_tables_without_a_date_are_as_far_apart_as_the_user_says(replayed):
    answer, err = replayed(
        loop("565", [["100W", "200W"], ["200W", "300W"], ["300W", "200W"]], lambda _: ""), "--period", "2"
    )
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [800, 1000]
    assert "rounds are taken to be 2 s apart" in err


def test_tables_with_a_date_keep_it_whatever_the_user_says(replayed):
    answer, err = replayed(loop("565", [["100W"]] * 3), "--period", "7")
    assert answer["total_j"] == 1000
    assert "it has times of its own: --period is not used" in err


def test_a_screen_of_watch_is_refused(replayed):
    drawn = loop("565", [["100W"]] * 2) + "".join(f"\x1b[10;{c}H{c}\x1b[12d7" for c in range(9))
    answer, err = replayed(drawn)
    assert answer is None
    assert "what watch drew on a screen" in err


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=examples(40))
@given(
    st.sampled_from(sorted(LAYOUTS)),
    st.lists(st.lists(st.integers(1, 900), min_size=2, max_size=2), min_size=2, max_size=6),
    st.data(),
)
def test_any_cut_ends_in_the_joules_of_the_rows_before_it(tmp_path_factory, layout, powers, data):
    text = loop(layout, [[f"{w}W" for w in row] for row in powers], below="")
    at = data.draw(st.integers(text.index("W /") + 40, len(text)))
    path = tmp_path_factory.mktemp("cut") / "log"
    path.write_text(text[:at])
    (chain,) = find([str(path)], Options())
    accounts = Accounts(ledger=Ledger(1000))
    for window in chain.windows(Options()):
        accounts.add(window)
    accounts.finish()
    found = sum(account.energy_hnj for account in accounts.gpus.values()) / 2e9
    begun = text[:at].count("W /")

    def joules(rows):
        columns = [[row[g] for row in powers][: (rows - g + 1) // 2] for g in (0, 1)]
        return sum(trapezoid([5 * t for t in range(len(mine))], mine) for mine in columns)

    assert found in {joules(begun), joules(begun - 1)}
