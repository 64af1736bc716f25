"""Whole lines of jobs and of FOCUS: every column has what its name says, and nothing of another."""

import csv
import io
import json
from datetime import UTC, timedelta, timezone
from decimal import Decimal

import pytest

from tests.reports.documents import MARCH_S, Terminal, done, gpu, job, job_document, jobs_document
from tests.reports.made_up import KWH_J, day_of_prices, report, row
from tests.reports.made_up import MARCH_S as FIRST_S
from wattshed.agent.inputs.tariffs.steps import CARBON, PRICE, Tariff
from wattshed.agent.printing.figures import BOUNDARY
from wattshed.agent.reports import listing
from wattshed.agent.reports.amounts import Tariffs, priced
from wattshed.agent.reports.focus import FocusNames, focus_rows
from wattshed.agent.reports.one_job import print_job
from wattshed.agent.reports.sheet import print_sheet, sheet_of

ONE = job(
    job="slurm:7", name="train", user="ada", account="physics", partition="gpu", namespace="demo", qos="high",
    cluster="c1", hosts=["n1", "n2"], hosts_expected=3, state="incomplete", start_s=MARCH_S + 0.5,
    end_s=MARCH_S + 90_061.25, elapsed_s=90_060.75, gpus=4, energy_j="7200000.5", static_j="1800000", sigma_j=36_000.0,
    dynamic_j="5400000.5", active_s=3600.0, held_s=1200.0, covered_s=4800.0, held_idle=0.25, mean_w=79.96,
    peak_w=701.25, method="by time", flags=["lower_bound", "no_static"], run="77",
    work=[done("steps", 10, 7.0)], waiting_j="1440000.125", watts=741.25, watts_sigma=30.5,
)  # fmt: skip
OTHER = job(2, cluster="c2")


def test_a_job_for_machines_has_every_field_under_its_name():
    out = io.StringIO()
    listing.write_csv([ONE], out)
    (found,) = csv.DictReader(io.StringIO(out.getvalue()))
    expected = {
        "job": "slurm:7", "name": "train", "user": "ada", "account": "physics", "partition": "gpu",
        "namespace": "demo", "qos": "high", "cluster": "c1", "hosts": "n1,n2", "hosts_expected": "3",
        "state": "incomplete", "start": "2026-03-01T00:00:00.500000Z", "end": "2026-03-02T01:01:01.250000Z",
        "elapsed_s": "90060.75", "gpus": "4", "energy_kwh": "2.000000139", "energy_j": "7200000.5",
        "static_j": "1800000", "dynamic_j": "5400000.5", "sigma_j": "36000.0", "active_s": "3600.0",
        "held_s": "1200.0", "held_idle": "0.25", "mean_w": "79.96", "peak_w": "701.25", "method": "by time",
        "flags": "lower_bound no_static", "boundary": "board", "run": "77",
        "covered_s": "4800.0", "coverage": "1.0", "work_unit": "steps", "work_source": "scraped", "work_count": "10",
        "joules_per_unit": "7.0", "unit_sigma_j": "0.28", "waiting_j": "1440000.125",
        "work": json.dumps(ONE["work"], separators=(",", ":")), "watts": "741.25", "watts_sigma": "30.5",
    }  # fmt: skip
    assert list(found.items()) == list(expected.items())
    out = io.StringIO()
    listing.write_parsable([ONE], out)
    assert out.getvalue() == "|".join(expected) + "\n" + "|".join(expected.values()) + "\n"


def test_a_job_for_people_has_every_column_under_its_heading(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    for out, begin, end in (
        (Terminal(), "03-01 02:00", "03-02 03:01"), (io.StringIO(), "2026-03-01 02:00", "2026-03-02 03:01"),
    ):  # fmt: skip
        zone = timezone(timedelta(hours=2), "SITE")
        listing.print_jobs(jobs_document(ONE, OTHER), out, note="There are more.", zone=zone, now_s=MARCH_S)
        head, line, _, empty, *notes = out.lines() if isinstance(out, Terminal) else out.getvalue().splitlines()
        shown = {
            "job": "slurm:7", "name": "train", "user": "ada", "namespace": "demo", "account": "physics",
            "partition": "gpu", "qos": "high", "cluster": "c1", "hosts": "n1,n2", "state": "incomplete 2/3",
            "start": begin, "end": end, "elapsed": "1-01:01:00", "GPUs": "4", "energy": "≥2.000 ± 0.020 kWh",
            "mean W": "80", "peak W": "701", "idle": "25%", "work": "10", "J per unit": "7.00 ± 0.56 steps",
            "waiting": "20%", "split": "by time", "flags": "lower_bound no_static",
        }  # fmt: skip
        assert head.split() == " ".join(shown).split()
        assert line.split() == " ".join(shown.values()).split()
        assert empty == ""
        assert notes == [
            "There are more.",
            f"{BOUNDARY} Times: SITE.",
            "≥: parts of some hosts are missing yet, the total is at least that.",
            "J per unit: of the unit that is named, ± two sigma; waiting: share of energy without a request.",
        ]  # fmt: skip


@pytest.mark.parametrize("state", ["waiting", "incomplete", "complete", "running"])
@pytest.mark.parametrize("flags", [[], ["lower_bound"], ["no_static"]])
@pytest.mark.parametrize("expected", [None, 3])
def test_a_job_is_a_lower_bound_where_hosts_are_missing_or_a_flag_says_so(state, flags, expected):
    one = job(state=state, flags=flags, hosts_expected=expected)
    missing = state in {"waiting", "incomplete"}
    assert listing.is_lower_bound(one) == (missing or flags == ["lower_bound"])
    assert listing.state(one) == (f"{state} 1/3" if missing and expected else state)


def test_columns_of_the_list_go_in_their_order_as_the_terminal_narrows(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    gone, before = [], set()
    for columns in range(400, 40, -1):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal()
        listing.print_jobs(jobs_document(ONE, OTHER), out, zone=UTC, now_s=MARCH_S)
        said = " ".join(out.lines()).partition(f"Not shown in {columns} columns: ")[2].partition(" (--csv")[0]
        now = set(said.split(", ")) - {""}
        assert before <= now
        gone += sorted(now - before)
        before = now
    assert gone == [
        "split", "flags", "start", "qos", "partition", "hosts", "peak W", "name", "work", "waiting", "namespace",
        "cluster", "end", "account", "state", "J per unit", "elapsed", "idle", "mean W", "GPUs",
    ]  # fmt: skip


def did(unit, source, count, joules):
    """A unit of a job's work, as a document has it."""
    sigma_j = None if joules is None else joules / 10
    return {"unit": unit, "source": source, "count": count, "joules_per_unit": joules, "sigma_j": sigma_j}


def test_a_jobs_gpus_and_runs_have_every_column_under_its_heading():
    two = gpu(
        1, host="n2", energy_j="9000", sigma_j=90.0, active_s=60.0, held_s=30.0, mean_w=100.0, coverage=0.5, peak_w=None
    )
    never = gpu(2, energy_j="0", sigma_j=0.0, active_s=0.0, held_s=0.0, mean_w=None, coverage=None)
    runs = [ONE | {"gpus": None}]
    out = io.StringIO()
    work = [
        did("output_tokens", "scraped", 1000, 0.002), did("requests", "scraped", 0, None), did("steps", "told", 5, 4.0),
    ]  # fmt: skip
    one = job(gpus=None)
    one["waiting_j"] = str(float(one["energy_j"]) / 4)
    print_job(job_document(one, runs, [two, never], work=work), out, zone=UTC, now_s=MARCH_S)
    lines = out.getvalue().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("host "))
    uuid, model = "GPU-11111111-2222-3333-4444-55555555555", "NVIDIA H100 80GB HBM3"
    assert [line.split() for line in lines[place : place + 3]] == [
        ["host", "GPU", "model", "energy", "mean", "W", "peak", "W", "idle", "measured"],
        ["n2", f"{uuid}1", *model.split(), "2.500", "±", "0.050", "Wh", "100", "-", "33%", "50%"],
        ["n1", f"{uuid}2", *model.split(), "0", "±", "0", "mWh", "-", "701", "-", "-"],
    ]
    assert lines[place + 3 : place + 5] == ["", "Earlier runs of it"]
    assert [line.split() for line in lines[place + 5 : place + 7]] == [
        ["start", "end", "elapsed", "energy", "hosts"],
        ["2026-03-01", "00:00", "2026-03-02", "01:01", "1-01:01:00", "≥2.000", "±", "0.020", "kWh", "n1,n2"],
    ]
    text = "\n".join(lines)
    assert "-, 4.00 GPU hours" in text
    told = "1,000 output_tokens, 0.00200 ± 0.00040 J each; 0 requests; 5 steps told by the job, 4.00 ± 0.80 J each"
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith(("work ", "waiting "))] == [
        told, "25.0% of its energy without a request",
    ]  # fmt: skip
    assert "at least that" not in text.partition("Earlier")[0]


@pytest.mark.parametrize("version", ["1.2", "1.4"])
def test_a_row_of_focus_has_every_column_under_its_name(version):
    one = row(
        "slurm:7", 2 * KWH_J, job="slurm:7", hosts=["n2", "n1"], user="ada", account="physics", namespace="demo",
        partition="gpu", qos="high", cluster="c1", job_name="train",
    )  # fmt: skip
    tariffs = Tariffs(
        Tariff.constant(PRICE, Decimal("0.25"), "EUR/kWh"), Tariff.constant(CARBON, Decimal(300)), currency="EUR"
    )
    document = report([one], [(0, FIRST_S + 31 * 86_400, 2 * KWH_J)], 86_400, by="job")
    (found,) = focus_rows(document, tariffs, FocusNames("Site", "Pub", "Iss", "Acc", "hall"), version=version).rows
    provider, publisher = (
        ("ProviderName", "PublisherName") if version == "1.2" else ("ServiceProviderName", "HostProviderName")
    )
    assert found == {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), "0.5"),
        "BillingAccountId": "Acc", "BillingAccountName": "Acc", "BillingCurrency": "EUR",
        "BillingPeriodStart": "2026-04-01T00:00:00Z", "BillingPeriodEnd": "2026-05-01T00:00:00Z",
        "ChargeCategory": "Usage", "ChargeDescription": "GPU energy of slurm:7", "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": "2026-04-01T00:00:00Z", "ChargePeriodEnd": "2026-04-02T00:00:00Z",
        "ConsumedQuantity": "2", "ConsumedUnit": "kWh", "ContractedUnitPrice": "0.25", "ListUnitPrice": "0.25",
        "PricingCategory": "Standard", "PricingQuantity": "2", "PricingUnit": "kWh", provider: "Site",
        publisher: "Pub", "InvoiceIssuerName": "Iss", "RegionId": "hall", "RegionName": "hall",
        "ResourceId": "slurm:7", "ResourceName": "train", "ResourceType": "GPU job", "ServiceCategory": "Compute",
        "ServiceName": "GPU energy", "SkuId": "gpu-energy", "SkuPriceId": "gpu-energy-2026",
        "SubAccountId": "physics", "SubAccountName": "physics", "x_EnergyJoules": str(2 * KWH_J),
        "Tags": '{"user":"ada","partition":"gpu","qos":"high","cluster":"c1","hosts":"n1 n2"}',
        "x_SigmaJoules": "144000", "x_Boundary": "gpu-board", "x_GramsCO2e": "600", "x_SpreadJoules": "0",
        "x_UnpricedJoules": "0",
    }  # fmt: skip
    assert json.loads(found["Tags"])["hosts"] == "n1 n2"


@pytest.mark.parametrize(
    ("key", "kind"),
    [("_idle", "GPU idle"), ("_unattributed", "GPU unattributed"), ("_other", "GPU jobs"), ("k8s:a/b", "GPU job")],
)
def test_the_kind_of_a_resource_says_whether_it_is_a_job(key, kind):
    document = report([row(key, 5, job=key)], [(0, FIRST_S, 5)], 3600, by="job")
    (found,) = focus_rows(document, Tariffs(day_of_prices("-2"), currency="EUR"), FocusNames()).rows
    assert (found["ResourceType"], found["Tags"], found["ProviderName"]) == (kind, "", "site")
    assert found["ResourceName"] == found["SubAccountId"] == found["x_GramsCO2e"] == ""
    assert found["ListUnitPrice"].startswith("-")


LONG = {name: name[0] * 40 for name in ("job", "user", "account", "host", "gpu", "model", "hosts")}


def printed_at(columns, monkeypatch, show, *args):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    show(*args, out)
    return out.lines()


def print_long_jobs(out):
    one = job(**{name: LONG[name] for name in ("job", "user", "account")}, name="")
    listing.print_jobs(jobs_document(one), out, zone=UTC, now_s=MARCH_S)


def print_long_job(out):
    gpus = [gpu(**{name: LONG[name] for name in ("host", "gpu", "model")})]
    print_job(job_document(job(), [job(hosts=[LONG["hosts"]])], gpus), out, zone=UTC, now_s=MARCH_S)


def print_long_report(out):
    print_sheet(sheet_of(priced(report([row(LONG["user"], KWH_J)]), Tariffs())), out)


@pytest.mark.parametrize(
    ("show", "first", "least"),
    [
        (print_long_jobs, "job", {"job": 14, "user": 6, "account": 5}),
        (print_long_job, "host", {"host": 8, "GPU": 12, "model": 8}),
        (print_long_job, "start", {"hosts": 8}),
        (print_long_report, "user", {"user": 12}),
    ],
)
def test_how_far_names_are_cut_before_a_column_goes(monkeypatch, show, first, least):
    shortest = dict.fromkeys(least, 40)
    for columns in range(200, 19, -1):
        lines = printed_at(columns, monkeypatch, show)
        place = next((i for i, line in enumerate(lines) if line.split()[:1] == [first] and i + 1 < len(lines)), None)
        if place is None:
            break  # so narrow that headings are folded
        for name, text in zip(lines[place].split(), lines[place + 1].split(), strict=False):
            for one in least:  # a heading may be cut with its column
                if "…" in text and one.startswith(name.rstrip("…")):
                    shortest[one] = min(shortest[one], len(text))
        hosts = lines[place + 1].split()[-1]
        if "hosts" in least and "…" in hosts:
            shortest["hosts"] = min(shortest["hosts"], len(hosts))
    assert shortest == least


@pytest.mark.parametrize(
    ("years", "begin", "end"), [(0, "03-01 00:00", "03-02 01:01"), (1, "2026-03-01", "2026-03-02")]
)
@pytest.mark.parametrize("clock", ["told", "its own"])
def test_earlier_runs_of_this_year_are_told_without_it_and_of_others_without_the_hour(
    monkeypatch, years, begin, end, clock
):
    now_s = MARCH_S + years * 366 * 86_400
    monkeypatch.setattr("time.time", lambda: now_s if clock == "its own" else 0.0)
    given = now_s if clock == "told" else None
    lines = printed_at(100, monkeypatch, lambda out: print_job(job_document(job(), [ONE]), out, zone=UTC, now_s=given))
    assert lines[lines.index("Earlier runs of it") + 2].startswith(f"{begin}  {end}".replace("  ", " "))
    jobs = printed_at(300, monkeypatch, lambda out: listing.print_jobs(jobs_document(ONE), out, zone=UTC, now_s=given))
    assert f" {begin} {end} " in jobs[1]
