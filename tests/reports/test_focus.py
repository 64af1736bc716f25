"""Rows of FOCUS: held to a table of the columns that its versions require, with what they allow."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import HOUR_S, KWH_J, MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.tariffs.steps import CARBON, PRICE, PUE, Tariff
from wattshed.agent.reports.amounts import Tariffs, priced
from wattshed.agent.reports.focus import COLUMNS, FocusNames, focus_rows, write_focus
from wattshed.agent.wire.parts import hnj_of

DAY_S = 86_400
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NUMBER = r"-?\d+(\.\d+)?"  # no exponent, no thousands separators
ANY = r".+"
CATEGORIES = (
    r"AI and Machine Learning|Analytics|Business Applications|Compute|Databases|Developer Tools|Multicloud|Identity|"
    r"Integration|Internet of Things|Management and Governance|Media|Migration|Mobile|Networking|Security|Storage|"
    r"Web|Other"
)
# Column: what a value looks like, and whether it may be null. After the tables of the specification's versions.
BOTH = {
    "BilledCost": (NUMBER, False),
    "BillingAccountId": (ANY, False),
    "BillingAccountName": (ANY, True),
    "BillingCurrency": (r"[A-Z]{3}", False),
    "BillingPeriodEnd": (MOMENT, False),
    "BillingPeriodStart": (MOMENT, False),
    "ChargeCategory": (r"Usage|Purchase|Tax|Credit|Adjustment", False),
    "ChargeClass": (r"Correction", True),
    "ChargeDescription": (ANY, True),
    "ChargeFrequency": (r"One-Time|Recurring|Usage-Based", False),
    "ChargePeriodEnd": (MOMENT, False),
    "ChargePeriodStart": (MOMENT, False),
    "ConsumedQuantity": (NUMBER, False),  # may be null only where nothing was used
    "ConsumedUnit": (r"kWh", False),
    "ContractedCost": (NUMBER, False),
    "ContractedUnitPrice": (NUMBER, False),
    "EffectiveCost": (NUMBER, False),
    "InvoiceIssuerName": (ANY, False),
    "ListCost": (NUMBER, False),
    "ListUnitPrice": (NUMBER, False),
    "PricingCategory": (r"Standard|Dynamic|Committed|Other", False),
    "PricingQuantity": (NUMBER, False),
    "PricingUnit": (r"kWh", False),
    "ResourceId": (ANY, False),
    "ResourceType": (ANY, False),
    "ServiceCategory": (CATEGORIES, False),
    "ServiceName": (ANY, False),
    "SkuId": (ANY, False),
    "SkuPriceId": (ANY, False),
    "Tags": (r"\{.*\}", True),
}
REQUIRED = {
    "1.2": {**BOTH, "ProviderName": (ANY, False), "PublisherName": (ANY, False)},
    "1.4": {**BOTH, "ServiceProviderName": (ANY, False), "HostProviderName": (ANY, False)},
}
GONE = {"1.2": set(), "1.4": {"ProviderName", "PublisherName"}}
NULL = "AvailabilityZone ChargeClass CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName"


def job(key, energy_j, *hosts, **labels):
    return row(key, energy_j, job=key, hosts=list(hosts), sigma_j=1.0, **{"cluster": "c1", "job_name": "", **labels})


def written(found, version="1.2"):
    out = io.StringIO()
    write_focus(found.rows, version, out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


ROWS = [
    job("slurm:1", 3 * KWH_J, "n1", user="ada", account="physics", job_name='=train,\n"x"'),
    job("slurm:1", KWH_J, "n2", user="ada", account="physics"),
    job("k8s:demo/b", 2 * KWH_J, "n1", namespace="demo"),
    job("unit:web", KWH_J, "n1"),
    job("unit:web", KWH_J, "n2"),
    job("_idle", 4 * KWH_J, "n1"),
]
STEPS = [
    (0, MARCH_S, 2 * KWH_J), (0, MARCH_S + DAY_S, KWH_J), (1, MARCH_S, KWH_J), (2, MARCH_S + 30 * DAY_S, 2 * KWH_J),
    (3, MARCH_S, KWH_J), (4, MARCH_S, KWH_J), (5, MARCH_S, 4 * KWH_J),
]  # fmt: skip
DOCUMENT = report(ROWS, STEPS, DAY_S, by="job")
TARIFFS = Tariffs(
    Tariff.constant(PRICE, Decimal("0.25"), "EUR/kWh"), Tariff.constant(CARBON, Decimal(300)),
    Tariff.constant(PUE, Decimal("1.5")), "EUR",
)  # fmt: skip


@pytest.mark.parametrize("version", ["1.2", "1.4"])
@pytest.mark.parametrize("spread", [False, True])
def test_every_row_has_what_the_specification_requires(version, spread):
    names = FocusNames("Site", region="hall-a")
    rows = written(focus_rows(DOCUMENT, TARIFFS, names, version=version, spread=spread), version)
    assert rows
    assert not GONE[version] & rows[0].keys()
    standard = [name for name in COLUMNS[version] if not name.startswith("x_")]
    assert standard == sorted(standard)
    for one in rows:
        for name, (pattern, nullable) in REQUIRED[version].items():
            text = one[name]
            assert (nullable and not text) or re.fullmatch(pattern, text, re.DOTALL), (name, text)
        assert not any(one[name] for name in NULL.split())
        assert one["BilledCost"] == one["EffectiveCost"] == one["ListCost"] == one["ContractedCost"]
        product = Decimal(one["ListUnitPrice"]) * Decimal(one["PricingQuantity"])
        assert abs(product - Decimal(one["ListCost"])) < Decimal("0.000001")
        assert one["BillingPeriodStart"] <= one["ChargePeriodStart"] < one["ChargePeriodEnd"] <= one["BillingPeriodEnd"]
        assert one["ChargePeriodStart"].endswith("T00:00:00Z")
        assert not one["Tags"] or all(isinstance(value, str) for value in json.loads(one["Tags"]).values())


def test_a_job_has_a_row_a_day_on_all_its_hosts():
    rows = written(focus_rows(DOCUMENT, TARIFFS, FocusNames("Site")))
    shown = [
        (one["ChargePeriodStart"][:10], one["ResourceId"], one["ConsumedQuantity"], one["BilledCost"]) for one in rows
    ]
    assert shown == [
        ("2026-03-01", "slurm:1", "3", "1.125"),
        ("2026-03-01", "unit:web", "1", "0.375"),
        ("2026-03-01", "unit:web", "1", "0.375"),
        ("2026-03-01", "_idle", "4", "1.5"),
        ("2026-03-02", "slurm:1", "1", "0.375"),
        ("2026-03-31", "k8s:demo/b", "2", "0.75"),
    ]
    first, last = rows[0], rows[-1]
    assert json.loads(first["Tags"]) == {"user": "ada", "cluster": "c1", "hosts": "n1 n2"}
    assert (first["SubAccountId"], last["SubAccountId"]) == ("physics", "demo")
    assert first["ResourceName"] == '\'=train,\\n"x"'  # no formula, one line
    assert (first["PricingQuantity"], first["ListUnitPrice"], first["x_EnergyJoules"]) == (
        "4.5",
        "0.25",
        str(3 * KWH_J),
    )
    assert first["x_GramsCO2e"] == "1350"
    assert (last["BillingPeriodStart"], last["BillingPeriodEnd"]) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert sum(Decimal(one["BilledCost"]) for one in rows) == Decimal(priced(DOCUMENT, TARIFFS)["total"]["cost"])


@given(st.tuples(*[st.sampled_from(["", "own"])] * 4))
def test_who_is_not_named_is_the_provider_and_where_they_are_may_be_unknown(given_names):
    publisher, issuer, account, region = (name and f"{name} {i}" for i, name in enumerate(given_names))
    names = FocusNames("Site", publisher, issuer, account, region)
    for one in written(focus_rows(DOCUMENT, TARIFFS, names)):
        assert (one["ProviderName"], one["PublisherName"]) == ("Site", publisher or "Site")
        assert one["InvoiceIssuerName"] == (issuer or "Site")
        assert one["BillingAccountId"] == one["BillingAccountName"] == (account or "Site")
        assert one["RegionId"] == one["RegionName"] == region


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["slurm:1", "slurm:2", "unit:web"]), st.sampled_from(["n1", "n2"]),
            st.tuples(*[st.sampled_from(["", "x"])] * 4),
            st.integers(0, 2), st.integers(1, 10**9),
        ),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_who_pays_on_a_day_has_one_row_with_all_of_it(used):
    """A job of one number is another on another cluster, and of another user; a service is its host's."""
    document = report(
        [
            job(key, energy, host, **dict(zip(("cluster", "account", "namespace", "user"), who, strict=True)))
            for key, host, who, _, energy in used
        ],
        [(place, MARCH_S + day * DAY_S, energy) for place, (*_, day, energy) in enumerate(used)], DAY_S, by="job",
    )  # fmt: skip
    expected = {}
    for key, host, who, day, energy in used:
        payer = day, key, host if key == "unit:web" else "", who
        expected[payer] = expected.get(payer, 0) + energy
    rows = written(focus_rows(document, TARIFFS, FocusNames("Site")))
    found = [(int(one["ChargePeriodStart"][8:10]) - 1, one["ResourceId"], one["x_EnergyJoules"]) for one in rows]
    assert sorted(found) == sorted((day, key, str(energy)) for (day, key, *_), energy in expected.items())


def test_idle_of_a_day_is_shared_by_the_jobs_of_that_day():
    rows = written(focus_rows(DOCUMENT, TARIFFS, FocusNames(), spread=True))
    assert [(one["ResourceId"], one["x_SpreadJoules"]) for one in rows] == [
        ("slurm:1", str(12 * KWH_J // 5)),
        ("unit:web", str(4 * KWH_J // 5)),
        ("unit:web", str(4 * KWH_J // 5)),
        ("slurm:1", "0"),
        ("k8s:demo/b", "0"),
    ]
    assert sum(Decimal(one["BilledCost"]) for one in rows) == Decimal(priced(DOCUMENT, TARIFFS)["total"]["cost"])


def test_a_day_without_a_price_has_no_row_and_a_part_of_one_is_told():
    steps = [(0, MARCH_S, KWH_J), (0, MARCH_S + HOUR_S, KWH_J), (1, MARCH_S + DAY_S, 7)]
    document = report([job("slurm:1", 2 * KWH_J, "n1"), job("slurm:2", 7, "n1")], steps, HOUR_S, by="job")
    found = focus_rows(document, Tariffs(day_of_prices("-0.5"), currency="EUR"), FocusNames())
    (one,) = written(found)
    assert (one["BilledCost"], one["PricingQuantity"], one["ConsumedQuantity"]) == ("-0.5", "1", "2")
    assert one["x_UnpricedJoules"] == str(KWH_J)
    assert found.unpriced_hnj == hnj_of("7")


def test_a_year_ends_in_january():
    december = report([job("slurm:1", KWH_J, "n1")], [(0, 1_798_675_200, KWH_J)], DAY_S, by="job")
    (one,) = written(focus_rows(december, TARIFFS, FocusNames()))
    assert (one["ChargePeriodEnd"], one["BillingPeriodEnd"]) == ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert one["SkuPriceId"] == "gpu-energy-2026"
