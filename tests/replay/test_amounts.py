"""What a replay's energy cost and emitted: the sums are those of the answer, and the values those of their hour."""

import csv
import io
import json
import tempfile
from decimal import Decimal

import pytest

HOUR = 3600
START = 1_700_000_000 // HOUR * HOUR
TRACE = "time,gpu,power_w\n" + "".join(
    f"{START + t},{gpu},{watts}\n" for t in range(0, 2 * HOUR + 1, 2) for gpu, watts in ((0, 360), (1, 720))
)
JOBS = f"job,host,gpu,start,end,user,account\na,,0,,{START + HOUR},ada,physics\nb,,1,,,bob,\n"
KWH_J = 3_600_000


@pytest.fixture
def replayed(wattshed, tmp_path, monkeypatch):
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "jobs.csv").write_text(JOBS)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(*flags, jobs=True):
        named = ("--jobs", tmp_path / "jobs.csv") if jobs else ()
        code, out, err = wattshed("replay", tmp_path / "trace.csv", *named, *flags)
        assert not list(tmp_path.glob("wattshed-*"))
        return code, out, err

    return run


def test_a_price_gives_costs_that_add_up(replayed):
    answer = json.loads(replayed("--price", "0.5", "--currency", "EUR", "--format", "json")[1])
    report = answer["report"]
    assert report["by"] == "job"
    assert Decimal(report["total"]["energy_j"]) == pytest.approx(Decimal(answer["total_j"]))
    cost = {row["name"]: Decimal(row["cost"]) for row in report["rows"]}
    assert cost["a"] == Decimal(360 * HOUR) / KWH_J / 2
    assert cost["b"] == Decimal(720 * 2 * HOUR) / KWH_J / 2
    assert sum(cost.values()) == Decimal(report["total"]["cost"])
    energies = {job["job"]: job["energy_j"] for job in answer["jobs"]}
    assert {row["name"]: float(row["energy_j"]) for row in report["rows"] if row["jobs"]} == pytest.approx(energies)


@pytest.mark.parametrize("by", ["job", "user", "host"])
def test_the_doubt_is_that_of_the_gpus(replayed, tmp_path, by):
    """A short log of power has a wide sigma, and whose the energy was changes nothing in that."""
    (tmp_path / "trace.csv").write_text("".join(TRACE.splitlines(keepends=True)[:60]))
    for jobs in (True, False):
        answer = json.loads(replayed("--by", by, "--format", "json", jobs=jobs)[1])
        report, sigma_j = answer["report"], sum(gpu["sigma_j"] for gpu in answer["gpus"])
        assert report["total"]["sigma_j"] == pytest.approx(sigma_j)
        share = sigma_j / float(answer["total_j"])
        assert all(row["sigma_j"] >= share * float(row["energy_j"]) * (1 - 1e-9) for row in report["rows"])
        assert sum(row["sigma_j"] for row in report["rows"]) >= sigma_j * (1 - 1e-9)


def test_the_page_shows_power_over_time(replayed, tmp_path):
    text = TRACE.replace(f"{START + 100},1,720", f"{START + 100},1,0")
    gone = {f"{START + t}," for t in range(3000, 4000)}
    (tmp_path / "trace.csv").write_text("".join(row for row in text.splitlines(keepends=True) if row[:11] not in gone))
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(JOBS.replace("\na,", '\n<b>&"a,'))
    page = tmp_path / "page.html"
    code, _, err = replayed("--html", page)
    assert code == 0, err
    text = page.read_text()
    for told in ("Power over time by job", "Power over time by GPU", "1 stretch without any reading.", "no reading",
                 "1 of 6,202 rows rejected (zero 1)", "&lt;b&gt;&amp;&#34;a", "GPU 1 "):  # fmt: skip
        assert told in text
    assert "<b>" not in text
    assert "<script" not in text
    assert replayed("--html", page, jobs=False)[0] == 0
    assert "Power over time by job" not in page.read_text()


def test_a_price_of_each_hour(replayed, tmp_path):
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "start,end,price\n" + "".join(
            f"{START + h * HOUR},{START + (h + 1) * HOUR},{price}\n" for h, price in ((0, 0.1), (1, 0.3))
        )
    )  # fmt: skip
    flags = ("--price", prices, "--currency", "EUR", "--format", "json")
    code, out, err = replayed(*flags)
    assert code == 0, err
    cost = {row["name"]: Decimal(row["cost"]) for row in json.loads(out)["report"]["rows"]}
    # What is used between two readings, here two seconds apart, is in one step of time as a whole.
    assert float(cost["a"]) == pytest.approx(0.036, rel=2e-3)
    assert float(cost["b"]) == pytest.approx(0.2 * 0.72 * 2, rel=2e-3)


def test_by_user_and_at_the_wall(replayed):
    _, out, _ = replayed("--by", "user", "--pue", "1.5", "--carbon", "400")
    sheet = out[out.index("By user") :]
    assert "wall kWh" in sheet
    assert "kg CO2e" in sheet
    assert [line.split()[0] for line in sheet.splitlines()[2:6]] == ["bob", "ada", "_unattributed", "total"]
    assert out.count("processors, memory, network") == 1


def test_csv_has_times_and_costs(replayed):
    rows = list(csv.DictReader(io.StringIO(replayed("--price", "1", "--format", "csv")[1])))
    jobs = {row["name"]: row for row in rows if row["kind"] == "job"}
    assert float(jobs["a"]["end_s"]) == START + HOUR
    assert Decimal(jobs["a"]["cost"]) == Decimal("0.36")
    cost = {row["kind"]: Decimal(row["cost"] or 0) for row in rows if row["kind"] in {"idle", "unattributed", "total"}}
    assert sum((Decimal(row["cost"]) for row in jobs.values()), cost["idle"] + cost["unattributed"]) == cost["total"]
    rows = list(csv.DictReader(io.StringIO(replayed("--by", "account", "--price", "1", "--format", "csv")[1])))
    assert {row["name"] for row in rows if row["kind"] == "account"} >= {"physics", "_unattributed"}
    assert "cost" not in csv.DictReader(io.StringIO(replayed("--format", "csv")[1])).fieldnames


def test_a_page_to_look_at(replayed, tmp_path):
    code, out, err = replayed("--html", tmp_path / "page.html", "--price", "0.5", "--currency", "EUR")
    assert code == 0, err
    assert "Cost of energy" in (tmp_path / "page.html").read_text()
    code, out, err = replayed("--html", tmp_path / "no" / "page.html")
    assert code == 2
    assert "cannot be written" in err
    assert "total 7,776,000.0 J" in out  # the answer is known, whatever becomes of its copies


def test_the_history_that_is_named_is_kept(replayed, tmp_path):
    kept = tmp_path / "history.db"
    assert replayed("--history", kept, "--by", "user")[0] == 0
    assert kept.stat().st_size > 0


def test_without_jobs_a_host_has_it_all(replayed):
    answer = json.loads(replayed("--by", "host", "--format", "json", jobs=False)[1])
    assert float(answer["report"]["total"]["energy_j"]) == pytest.approx(answer["total_j"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--price", "cheap"), "cheap"),
        (("--currency", "euro", "--price", "1"), "three capitals"),
        (("--price", "1", "--workers", "2"), "one process"),
        (("--tariff-columns", "price=p"), "--tariff-columns"),
    ],
)
def test_what_cannot_be_is_said_before_the_reading(replayed, flags, said):
    code, out, err = replayed(*flags)
    assert (code, out) == (2, "")
    assert said in err
