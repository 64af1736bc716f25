"""Totals, errors and degrees of freedom of R's survey package 4.1.1 on its own examples, to the digits it gives.

The schools are California's (Academic Performance Index 2000), the counties those of the US election of 2004.
"""

import csv
from pathlib import Path

import pytest

import wattshed

FOLDER = Path(__file__).parent / "schools"
HOSTS = {"E": 4421, "H": 755, "M": 1018}
API99 = {"E": 2799206, "H": 468895, "M": 645968}
STYPE = "".join(f"stype,{name},{count}\n" for name, count in HOSTS.items())
WIDE = "schwide,No,1072\nschwide,Yes,5122\n"


def rows(name):
    with (FOLDER / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(records):
    return "\n".join([",".join(records[0]), *(",".join(map(str, r.values())) for r in records)]) + "\n"


def strata(value, *also, size=None, chosen=None):
    """Schools by type, as a sample of hosts."""
    records = rows("apistrat.csv") if chosen is None else chosen
    return table(
        [
            {"stratum": r["stype"], "host": r["school"], "value": r[value]}
            | ({"size": r[size]} if size else {})
            | {name: r[name] for name in also}
            for r in records
        ]
    )


def clusters(value, *also):
    """Schools of drawn districts."""
    return table(
        [
            {"stratum": "a", "cluster": r["district"], "host": r["school"], "value": r[value]}
            | {name: r[name] for name in also}
            for r in rows("apiclus1.csv")
        ]
    )


POPULATION = "stratum,hosts,size\n" + "".join(f"{s},{n},{API99[s]}\n" for s, n in HOSTS.items())
DISTRICTS = "stratum,hosts\na,757\n"
COUNTIES = "stratum,hosts\na,4600\n"


@pytest.fixture
def estimate(fleet, files):
    def run(sample, population, *words, **others):
        paths = files(S_csv=sample, P_csv=population, **others)
        flags = {"M_csv": "--calibrate", "J_csv": "--joint", "O_csv": "--against"}
        more = [w for name, path in zip(others, paths[2:], strict=True) for w in (flags[name], path)]
        found = fleet("estimate", "--sample", paths[0], "--population", paths[1], "--json", *more, *words)
        assert found.code == 0, found.err
        return found.json

    return run


def same(found, total, se, rel=1e-8):
    """As many digits as R was asked for; the answer has six behind the point."""
    assert (found["total"], found["se"]) == (
        pytest.approx(total, rel=rel, abs=1e-6),
        pytest.approx(se, rel=rel, abs=1e-6),
    )


def test_degrees_of_freedom_follow_the_variances(estimate):
    found = estimate(strata("enroll"), POPULATION)
    same(found, 3687177.53, 114641.716)
    variances = [s["se"] ** 2 for s in found["strata"]]
    assert variances == pytest.approx([5268050346.98521, 4794093709.60714, 3080578805.20307], rel=1e-10)
    assert found["df"] == pytest.approx(183.162793319, rel=1e-11)


def test_three_schools_that_stand_for_most(estimate):
    by_type = {name: [r for r in rows("apistrat.csv") if r["stype"] == name] for name in HOSTS}
    few = by_type["E"][:3] + by_type["H"][:20] + by_type["M"][:20]
    found = estimate(strata("enroll", chosen=few), POPULATION, "--interval", "t")
    same(found, 4071712.81666667, 755352.188191479)
    assert found["df"] == pytest.approx(2.15562782178, rel=1e-11)
    assert (found["lower"], found["upper"]) == (
        pytest.approx(1036508.55, rel=1e-8),
        pytest.approx(7106917.08333, rel=1e-11),
    )
    assert any("of stratum E stands for more than 10% of the total" in w for w in found["warnings"])


def test_domains_are_parts_of_the_whole_sample(estimate):
    yes = estimate(strata("enroll", "awards"), POPULATION, "--by", "awards")["domains"]
    assert [d["domain"] for d in yes] == ["No", "Yes"]
    same(yes[0], 1627217.11, 144256.008070478)
    same(yes[1], 2059960.41, 140944.745782568)
    means = estimate(strata("api00", "awards"), POPULATION, "--by", "awards")["domains"]
    assert [(d["mean"], d["mean_se"]) for d in means] == [
        (pytest.approx(633.734912337967, rel=1e-8), pytest.approx(15.3347711842501, rel=1e-8)),
        (pytest.approx(678.422405668125, rel=1e-8), pytest.approx(11.8566310509714, rel=1e-8)),
    ]


def test_the_ratio_has_the_error_given_the_sizes_drawn(estimate):
    found = estimate(strata("enroll", size="api99"), POPULATION, "--method", "ratio")
    same(found, 3701929.486774719, 140857.881610882, rel=1e-12)


def test_regression_on_sizes(estimate):
    found = estimate(strata("enroll", size="api99"), POPULATION, "--method", "regression")
    same(found, 3680331.72995688, 110678.655929238, rel=1e-12)
    assert found["deff"] == pytest.approx(0.338503076011730, rel=1e-12)


def test_domains_of_a_regression(estimate):
    by = ("--method", "regression", "--by", "awards")
    no, yes = estimate(strata("enroll", "awards", size="api99"), POPULATION, *by)["domains"]
    same(no, 1622300.01786956, 143936.599386536, rel=1e-12)
    same(yes, 2058031.71208733, 139805.161630202, rel=1e-12)


def test_regression_on_known_totals(estimate):
    margins = "column,category,total\nhosts,,6194\napi99,,3914069\n"
    found = estimate(strata("api00", "api99"), POPULATION, "--method", "regression", M_csv=margins)
    same(found, 4116804.9120841813, 11787.4351927456, rel=1e-10)


def test_regression_of_clusters_needs_its_factors(estimate):
    margins = f"column,category,total\n{STYPE}api99,,3914069\n"
    found = estimate(clusters("enroll", "stype", "api99"), DISTRICTS, "--method", "regression", M_csv=margins)
    same(found, 3638487.20413187, 385524.427352479, rel=1e-10)  # 280,499.5 without them
    assert found["sampling_unit"] == "cluster"


def test_poststratification_and_raking(estimate):
    one = estimate(clusters("enroll", "stype"), DISTRICTS, M_csv=f"column,category,total\n{STYPE}")
    same(one, 3680892.94511905, 406292.636294803, rel=1e-12)
    two = estimate(clusters("enroll", "stype", "schwide"), DISTRICTS, M_csv=f"column,category,total\n{STYPE}{WIDE}")
    same(two, 3647280.14806561, 400603.256861959)
    strat = estimate(strata("enroll", "stype", "schwide"), POPULATION, M_csv=f"column,category,total\n{STYPE}{WIDE}")
    assert strat["total"] == pytest.approx(3688120.47296365, rel=1e-8)


@pytest.mark.parametrize(
    ("value", "total", "brewer", "yates_grundy"),
    [
        ("bush", 64518472.38054, 2447628.88865615, 2406525.80921637),
        ("nader", 478530.523211708, 102420.243515406, 101663.663722092),
    ],
)
def test_chances_in_proportion_to_size(estimate, value, total, brewer, yates_grundy):
    counties = table(
        [{"stratum": "a", "host": r["county"], "value": r[value], "pi": r["pi"]} for r in rows("election.csv")]
    )
    same(estimate(counties, COUNTIES, "--method", "pi"), total, brewer, rel=1e-12)
    joint = (FOLDER / "election-joint.csv").read_text(encoding="utf-8")
    same(estimate(counties, COUNTIES, "--method", "pi", J_csv=joint), total, yates_grundy, rel=1e-10)
    sizes = table(
        [{"stratum": "a", "host": r["county"], "value": r[value], "size": r["votes"]} for r in rows("election.csv")]
    )
    # The chances of the data are 40 votes / all votes.
    same(estimate(sizes, "stratum,hosts,size\na,4600,116199105\n", "--method", "pps"), total, brewer, rel=1e-8)


def test_a_change_of_schools_that_were_measured_twice(estimate):
    found = estimate(strata("api00"), POPULATION, O_csv=strata("api99"))["change"]
    same(found, 203736.26, 12704.5903713781)
    assert found["unpaired_se"] == pytest.approx((58278.9798072143**2 + 61716.690101552**2) ** 0.5, rel=1e-10)
    assert (found["matched"], found["only_before"], found["only_now"]) == (200, 0, 0)


def test_the_library_says_the_same(files):
    now, before, p = files(S_csv=strata("api00", "awards"), O_csv=strata("api99", "awards"), P_csv=POPULATION)
    found = wattshed.fleet.estimate(now, p, by="awards", against=before, interval="t")
    assert [d.domain for d in found.domains] == ["No", "Yes"]
    assert found.change.total == pytest.approx(203736.26, rel=1e-10)
    assert found.change.se == pytest.approx(12704.5903713781, rel=1e-12)


def test_who_does_not_answer_counts_by_class(estimate):
    """Schools with many poor pupils answer half as often; weights are those of the whole sample."""
    weights = {"E": 44.2099990844727, "H": 15.1000003814697, "M": 20.3600006103516}
    answered = [
        r | {"class": "hi" if int(r["meals"]) > 60 else "lo", "weight": weights[r["stype"]]}
        for i, r in enumerate(rows("apistrat.csv"), 1)
        if int(r["meals"]) <= 60 or i % 2
    ]
    assert len(answered) == 164
    classes = "column,category,total\nclass,hi,2296\nclass,lo,3898\n"
    weighted = strata("api00", "class", "weight", chosen=answered)
    found = estimate(weighted, POPULATION, "--method", "pi", M_csv=classes)
    same(found, 667.757266676713 * 6194, 6.85264989621156 * 6194)  # plain 692.999, truth 664.713
    found = estimate(strata("enroll", "class", "weight", chosen=answered), POPULATION, "--method", "pi", M_csv=classes)
    same(found, 3694642.41859752, 140016.185423989)
    corrected = estimate(strata("api00", "class", chosen=answered), POPULATION, M_csv=classes)
    same(corrected, 4145218.50314225, 42425.7886577185, rel=1e-12)
