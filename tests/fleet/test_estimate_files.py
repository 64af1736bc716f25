"""``fleet estimate --sample --population`` as outside programs call it: good files, odd files, bad files."""

import gzip
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet import naive_fleet as naive
from wattshed.agent.fleet.estimate.design import METHODS

P = "stratum,hosts\ntrain,40\nserve,25\n"
S = "stratum,host,value\ntrain,a,10\ntrain,b,12\ntrain,c,11\nserve,d,5\nserve,e,7\n"


@pytest.fixture
def estimate(fleet, files):
    def run(sample, population=P, *words):
        s, p = files(S_csv=sample, P_csv=population)
        return fleet("estimate", "--sample", s, "--population", p, "--json", *words)

    return run


def test_the_contract(estimate):
    found = estimate(S).json
    total, variance, df = naive.stratified([(40, [10, 12, 11]), (25, [5, 7])])
    assert found["schema"] == "wattshed.fleet/1"
    assert found["method"] == "stratified"
    assert found["confidence"] == 0.95
    assert found["total"] == pytest.approx(total, rel=1e-9)
    assert found["se"] == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert found["df"] == pytest.approx(df, rel=1e-9)
    assert found["lower"] < total < found["upper"]
    assert found["upper"] - total == pytest.approx(naive.student(0.95, df) * math.sqrt(variance), rel=1e-9)
    assert isinstance(found["deff"], float)
    assert [found[key] for key in ("sampling_unit", "interval", "boundary", "span")] == ["host", "t", None, None]
    assert len(found["warnings"]) == 1
    assert "measure 8 there" in found["warnings"][0]
    assert [s["stratum"] for s in found["strata"]] == ["train", "serve"]


def test_rows_of_a_host_are_its_gpus(estimate):
    rows = ("train,a,0,4", "train,a,1,6", "train,b,0,12", "train,c,0,5", "train,c,1,6", "serve,d,0,5", "serve,e,0,7")
    split = "\n".join(("stratum,host,unit,value", *rows))
    assert estimate(split).json["total"] == estimate(S).json["total"]
    assert estimate(split).json["se"] == pytest.approx(estimate(S).json["se"])


@pytest.mark.parametrize(
    "changed",
    [
        S.encode("utf-8-sig"),
        S.replace("\n", "\r\n"),
        S.replace(",", ";"),
        S.replace("train", '"train"').replace(",b,", ',"b",'),
        "\n" + S.replace("\n", "\n\n") + "\n",
        S.replace("stratum,host,value", " Stratum , HOST ,Value"),
        gzip.compress(S.encode()),
        S.replace("\n", ",,\n"),
        S.encode("utf-16"),
        S.replace("\n", "\r\n").encode("utf-16-le"),
        S.replace(",", "\t").replace("10", "10,0"),
        S.replace(",", "; ").replace("12", "1,2e1"),
        S.replace(",", "|"),
        S.replace(",", ", "),
        "# measured in March\n" + S,
    ],
    ids=[
        "bom",
        "crlf",
        "semicolons",
        "quotes",
        "blank lines",
        "header case",
        "gzip",
        "empty columns",
        "utf-16",
        "utf-16 without a mark",
        "tabs and a decimal comma",
        "semicolons and a decimal comma",
        "bars",
        "commas and blanks",
        "a remark",
    ],
)
def test_files_as_people_write_them(estimate, changed):
    assert estimate(changed).json == estimate(S).json


@pytest.mark.parametrize(
    ("s", "p", "said"),
    [
        (S.replace("value", "value,weight").replace("0\n", "0,1\n"), P, "S.csv:1:4: column 'weight' is not used"),
        (S.replace("value", "value,sizes"), P, "did you mean size?"),
        (S, "stratum,hosts,note\ntrain,40,\nserve,25,x\n", "P.csv:1:3: column 'note' is not used"),
    ],
)
def test_a_column_that_is_not_used_is_refused(estimate, s, p, said):
    found = estimate(s, p)
    assert found.code == 2
    assert said in found.err


def test_a_unit_of_measurement_names_no_gpu(estimate):
    watts = "stratum,host,unit,value\na,h,W,1\na,h,W,2\na,g,W,4\n"
    assert estimate(watts, "stratum,hosts\na,9\n").json["total"] == pytest.approx(9 * 3.5)
    mixed = estimate(watts.replace("a,g,W", "a,g,kW"), "stratum,hosts\na,9\n")
    assert mixed.code == 2
    assert "S.csv:4:3: unit: kW here and W above" in mixed.err


def test_ratio(estimate):
    sample = "stratum,host,value,size\na,h1,10,100\na,h2,12,130\nb,h3,5,60\nb,h4,7,65\n"
    population = "stratum,hosts,size\na,40,4500\nb,25,1600\n"
    found = estimate(sample, population, "--method", "ratio").json
    total, variance = naive.ratio([(40, [10, 12], [100, 130]), (25, [5, 7], [60, 65])], 6100)
    assert found["total"] == pytest.approx(total, rel=1e-12)
    assert found["se"] == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_two_stage(estimate):
    sample = "stratum,host,unit,value,units\na,h1,0,10,8\na,h1,1,12,8\na,h2,0,5,4\na,h2,1,7,4\na,h3,0,9,2\na,h3,1,8,2\n"
    found = estimate(sample, "stratum,hosts\na,30\n", "--method", "two-stage").json
    total, variance = naive.two_stage(30, [(8, [10, 12]), (4, [5, 7]), (2, [9, 8])])
    assert found["total"] == pytest.approx(total, rel=1e-12)
    assert found["se"] == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert found["df"] == 2


def test_jobs_as_clusters(estimate):
    sample = "stratum,host,job,value\na,h1,j1,10\na,h2,j1,11\na,h3,j2,5\na,h4,j3,7\n"
    found = estimate(sample, "stratum,hosts\na,12\n", "--method", "cluster").json
    total, variance, _ = naive.stratified([(12, [21, 5, 7])])
    assert found["total"] == pytest.approx(total)
    assert found["se"] == pytest.approx(math.sqrt(variance))
    assert found["strata"][0]["sampled"] == 3


def test_one_host_names_itself(estimate):
    found = estimate("stratum,host,value\na,h,10\n", "stratum,hosts\na,12\n").json
    assert (found["total"], found["se"], found["lower"], found["upper"]) == (120.0, None, None, None)
    assert "no variance" in found["warnings"][0]
    whole = estimate("stratum,host,value\na,h,10\n", "stratum,hosts\na,1\n").json
    assert (whole["total"], whole["se"], whole["lower"], whole["upper"]) == (10.0, 0.0, 10.0, 10.0)


def test_a_stratum_nobody_measured(estimate):
    found = estimate(S, P + "idle,5\n").json
    assert (found["total"], found["lower"]) == (None, None)
    assert "idle" in found["warnings"][0]


def test_host_names_that_start_again_in_each_stratum(estimate):
    found = estimate(S.replace("serve,d", "serve,a").replace("serve,e", "serve,b")).json
    assert found["total"] == estimate(S).json["total"]
    assert "different hosts" in found["warnings"][-1]


@pytest.mark.parametrize(
    ("sample", "population", "where", "what"),
    [
        (S.replace("12", "nan"), P, "S.csv:3:3", "'nan' is not a number"),
        (S.replace("12", "1e308"), P, "S.csv:3:3", "1e308 is too large"),
        (S.replace("12", "inf"), P, "S.csv:3:3", "not a number"),
        (S.replace("12", ""), P, "S.csv:3:3", "not a number"),
        (S.replace("12", "1_2"), P, "S.csv:3:3", "not a number"),
        (S.replace("train,b", ",b"), P, "S.csv:3:1", "is empty"),
        (S.replace("train,b", "train,"), P, "S.csv:3:2", "is empty"),
        (S + "other,x,3\n", P, "S.csv:7:1", "not in the population"),
        (S, P.replace("25", "1"), "S.csv:6:2", "more are measured"),
        (S, P.replace("25", "-5"), "P.csv:3:2", "below 0"),
        (S, P.replace("25", "2.5"), "P.csv:3:2", "not a whole number"),
        (S, P + "train,3\n", "P.csv:4:1", "appears twice"),
        (S, "stratum,hosts,size\ntrain,40,-1\nserve,25,1\n", "P.csv:2:3", "below 0"),
        (S.replace("value", "watts"), P, "S.csv:1", "no column 'value'"),
        (S, P.replace("hosts", "n"), "P.csv:1", "no column 'hosts'"),
        (S.replace("stratum,host,value", "stratum,host,host"), P, "S.csv:1:3", "appears twice"),
        (S + "train,z\n", P, "S.csv:7:3", "2 cells where the header has 3"),
        ("", P, "S.csv:1", "is empty"),
        ("stratum,host,value\n", P, "S.csv:2", "no measurement"),
        (S, "stratum,hosts\n", "P.csv:2", "lists no stratum"),
        (S.replace("train,b", "tr\xe4in,b").encode("latin-1"), P, "S.csv:3", "not UTF-8 text; save it as UTF-8"),
        (S.encode("utf-16") + b"\0\xdc", P, "S.csv:", "not UTF-16-LE text"),
        (S.replace("12", '"1,234"'), P, "S.csv:3:3", "'1,234' is not a number"),
        (S.replace(",", ";").replace("12", "12 kW"), P, "S.csv:3:3", "'12 kW' is not a number"),
        (S + '"train,x,3\n', P, "S.csv:", "not CSV"),
        ("stratum,host,unit,value\na,h,0,1\na,h,0,2\n", "stratum,hosts\na,9\n", "S.csv:3:3", "appears twice"),
        ("stratum,host,value,size\na,h,1,-2\n", "stratum,hosts\na,9\n", "S.csv:2:4", "below 0"),
        ("stratum,host,value,units\na,h,1,1\na,h,1,1\n", "stratum,hosts\na,9\n", "S.csv:3:4", "more are measured"),
        ("stratum,host,value,units\na,h,1,3\na,h,1,4\n", "stratum,hosts\na,9\n", "S.csv:3:4", "differs"),
    ],
)
def test_bad_files_are_one_line_and_exit_2(estimate, sample, population, where, what):
    found = estimate(sample, population)
    assert found.code == 2
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert where in found.err
    assert what in found.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--method", "ratio"), "column size"),
        (("--method", "two-stage"), "column units"),
        (("--bootstrap", "10", "--resample", "gpu"), "no bootstrap by GPU"),
        (("--meter-sigma", "-1"), "between 0 and 1"),
        (("--confidence", "95"), "between 0 and 1"),
        (("--inventory", "x"), "give --sample and --population"),
    ],
)
def test_what_a_method_lacks(estimate, words, what):
    found = estimate(S, P, *words)
    assert found.code == 2
    assert what in found.err


def test_missing_files(fleet, tmp_path):
    found = fleet("estimate", "--sample", tmp_path / "no.csv", "--population", tmp_path / "none.csv")
    assert found.code == 2
    assert "none.csv: no such file" in found.err
    assert fleet("estimate", "--sample", tmp_path, "--population", tmp_path).code == 2


def test_sizes_that_sum_to_nothing(estimate):
    found = estimate("stratum,host,value,size\na,h,1,0\na,g,1,0\n", "stratum,hosts,size\na,9,10\n", "--method", "ratio")
    assert found.code == 2
    assert "sum to 0" in found.err


def test_bootstrap_plan_and_table(fleet, files):
    s, p = files(S_csv=S, P_csv=P)
    words = ("estimate", "--sample", s, "--population", p, "--bootstrap", 200, "--plan", 0.05, "--unit", "W")
    found = fleet(*words, "--json").json
    assert found["bootstrap_se"] > 0
    assert found["plan"]["hosts"] >= 4
    assert dict(found["plan"]["allocation"]).keys() == {"train", "serve"}
    text = fleet(*words).out
    assert "95% interval" in text
    assert "bootstrap standard error" in text
    assert "takes" in text


def test_plan(fleet):
    assert fleet("plan", "--cv", 0.4, "--error", 0.02, "--hosts", 5000, "--json").json["hosts"] == 1176
    assert "1,537 hosts" in fleet("plan", "--cv", 0.4, "--error", 0.02).out
    assert fleet("plan", "--cv", -1, "--error", 0.02).code == 2


cells = st.text(alphabet=st.sampled_from('ab,;\t"\r\n0123456789.-+eEnaif_ \0\ufeff'), max_size=60)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells, cells, st.sampled_from(METHODS))
def test_no_file_makes_it_stumble(estimate, sample, population, method):
    found = estimate(
        "stratum,host,value,size,units\n" + sample, "stratum,hosts,size\na,9,9\n" + population, "--method", method
    )
    assert found.code in (0, 2)
    if found.code == 2:
        assert found.err.startswith("wattshed: ")
        assert found.err.count("\n") == 1
