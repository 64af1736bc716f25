"""Pages of inference servers: each is read as it should be, and refused where a number counts nothing."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.work_units.counting import Baseline, count
from wattshed.agent.work_units.kinds import KINDS, RUNNING
from wattshed.agent.work_units.page import LARGEST, PageRefusedError, ServerPage, WorkCounter, read_page

PAGES = Path(__file__).parent / "pages"
EXPECTED = json.loads((PAGES / "expected.json").read_text())
READ = [name for name, answer in EXPECTED.items() if name.endswith((".prom", ".txt")) and isinstance(answer, list)]
VLLM = (PAGES / "vllm-0.33-a.prom").read_bytes()


def columns(page):
    totals = page.totals() | {RUNNING: page.running}
    return [totals.get(unit) for unit in EXPECTED["order"]]


@pytest.mark.parametrize("name", READ)
def test_a_page_is_read_as_expected(name):
    assert columns(read_page((PAGES / name).read_bytes())) == EXPECTED[name]


@pytest.mark.parametrize("name", READ)
def test_line_ends_of_windows_and_underlines_change_nothing(name):
    content = (PAGES / name).read_bytes()
    if not content.startswith(b'"'):
        content = content.replace(b":", b"_").replace(b"\n", b"\r\n")
    assert columns(read_page(content)) == EXPECTED[name]


def test_metrics_that_ray_serves_are_known():
    content = VLLM.replace(b"vllm:", b"ray_vllm_")
    assert columns(read_page(content)) == EXPECTED["vllm-0.33-a.prom"]


def test_steps_of_a_pipeline_are_not_requests():
    content = (PAGES / "triton-ensemble.prom").read_bytes()
    with pytest.raises(PageRefusedError, match="name the one") as refused:
        read_page(content)
    assert refused.value.reason == "no_model"
    assert read_page(content, model="ensemble").totals() == {"requests": 59}


def test_every_fixture_is_used():
    assert {path.name for path in PAGES.iterdir()} - {"README.md", "expected.json"} == {
        *READ,
        "triton-ensemble.prom",
    }
    assert {read_page((PAGES / name).read_bytes()).kind for name in READ} | {"triton"} == set(KINDS)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("NaN", "not_a_number"),
        ("1.2.3", "not_a_number"),
        ("-1", "negative"),
        ("4096.5", "fraction"),
        ("+Inf", "too_large"),
        ("9007199254740994", "too_large"),
    ],
)
def test_what_counts_nothing_is_refused(written, reason):
    with pytest.raises(PageRefusedError) as refused:
        read_page(VLLM.replace(b" 4096.0", f" {written}".encode()))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (VLLM[:-1], "cut"),
        ((PAGES / "llamacpp-b7010-quoted.txt").read_bytes()[:-5], "cut"),
        (VLLM + VLLM, "duplicate"),
        (gzip.compress(VLLM) + b"\n", "unknown"),
        (b"", "unknown"),
        (b"<html>\n", "unknown"),
        (b"up 1\n", "unknown"),
    ],
)
def test_a_page_that_is_not_whole_or_not_one_is_refused(content, reason):
    with pytest.raises(PageRefusedError) as refused:
        read_page(content)
    assert refused.value.reason == reason


def test_a_model_is_chosen():
    two = VLLM + VLLM.replace(b"example/model-8b", b'a \\" model}').split(b"# TYPE process")[0]
    assert read_page(two).totals()["output_tokens"] == 8192
    assert read_page(two, model="example/model-8b").totals()["output_tokens"] == 4096


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page_or_refused(content):
    try:
        page = read_page(b"vllm:generation_tokens_total" + content)
    except PageRefusedError:
        return
    assert all(0 <= one.value <= LARGEST for one in page.series.values())


def counted(names, before=None):
    """Count over pages; returns what was done between each two, and the last baseline."""
    done = []
    for place, name in enumerate(names):
        between, before = count(read_page((PAGES / name).read_bytes()), before, "job", 1000 * place)
        done.append(between)
    return done, before


def test_differences_over_a_restart_of_the_server():
    done, _ = counted(["vllm-0.33-a.prom", "vllm-0.33-b.prom", "vllm-0.33-restarted.prom"])
    assert not any(done[0].counts.values())
    total = [sum(one.counts[unit] for one in done) for unit in EXPECTED["order"][:-1]]
    assert total == EXPECTED["delta a->b->restarted"][:-1]
    assert done[1].lost == {}
    assert done[2].lost["output_tokens"] == 1024


def test_a_falling_value_is_a_server_that_began_anew():
    llama = (PAGES / "llamacpp.prom").read_bytes()
    _, before = count(read_page(llama), None, "job", 0)
    done, _ = count(read_page(llama.replace(b" 3469", b" 12").replace(b" 6886", b" 30")), before, "job", 1)
    assert done.counts == {"output_tokens": 12, "prefill_tokens": 30}


def test_counting_begins_again_with_another_owner():
    _, before = count(read_page(VLLM), None, "job", 0)
    done, after = count(read_page((PAGES / "vllm-0.33-b.prom").read_bytes()), before, "another", 1)
    assert not any(done.counts.values())
    assert after.owner == "another"


def test_waiting_is_no_request_at_both_ends_and_nothing_done():
    idle = read_page((PAGES / "vllm-0.33-b.prom").read_bytes())
    _, before = count(read_page(VLLM), None, "job", 0)
    done, before = count(idle, before, "job", 1)
    assert not done.waited
    done, before = count(idle, before, "job", 2)
    assert done.waited
    assert (done.start_us, done.end_us) == (1, 2)


def test_requests_in_flight_are_in_doubt_where_they_count_at_their_end():
    (done,), _ = counted(["tgi-3.prom"])
    assert done.in_flight == {"output_tokens": 3 * 136, "prompt_tokens": 3 * 206, "requests": 3}
    (done,), _ = counted(["vllm-0.33-a.prom"])
    assert {unit: count for unit, count in done.in_flight.items() if count} == {"requests": 2}


def page_of(life, value):
    """Return a page of a server's life: a series, and another one that exists once it is not 0."""
    series = {"m output_tokens": WorkCounter("output_tokens", value, float(life))}
    if value > 3:
        series["n requests"] = WorkCounter("requests", value // 2, float(life))
    return ServerPage("vllm", series, 1, float(life))


@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=6).map(sorted), min_size=1, max_size=4),
    st.sets(st.integers(0, 20)),
)
def test_differences_sum_to_last_minus_first_over_any_cut_and_restart(lives, missed):
    pages = [(life, value) for life, values in enumerate(lives) for value in values]
    last_of_each = {}
    seen = [page for place, page in enumerate(pages) if place not in missed]
    total, before = 0, None
    for place, (life, value) in enumerate(seen):
        done, before = count(page_of(life, value), before, "job", place)
        before = Baseline.of_plain(json.loads(json.dumps(before.plain())))  # the agent began anew
        total += done.counts["output_tokens"]
        last_of_each[life] = value
    assert total == sum(last_of_each.values()) - (seen[0][1] if seen else 0)
