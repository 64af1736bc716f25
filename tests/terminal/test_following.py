"""What is known of an agent from answer to answer: power of jobs, trends, and texts that cannot steer a terminal."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.terminal.made import answer, node
from wattshed.agent.terminal.arrangement import arrange
from wattshed.agent.terminal.choices import GPUS, HELP, JOBS, Choices
from wattshed.agent.terminal.following import SMOOTH_S, AgentWatch, SnapshotReader
from wattshed.agent.terminal.once import lines_once
from wattshed.agent.terminal.trends import PowerTrend


def after(seconds, **more):
    """The node after so many seconds; each job's watts and each GPU's idle power are constant."""
    return answer(node(4, 3, seconds, **more))


def with_watts(document, watts):
    """The same in which the agent says what each job draws."""
    return document | {"jobs": [job | {"power_w": watts} for job in document["jobs"]]}


def test_the_owners_of_a_gpu_draw_what_it_draws():
    watch = AgentWatch()
    for seconds in range(600, 620, 2):
        document = after(seconds)
        known = watch.take(document, document["time_s"])
    assert known.job_w["slurm:1000"] == pytest.approx(100)
    assert known.job_w["_idle"] == pytest.approx(4 * 70)
    assert sum(known.job_w.values()) == pytest.approx(4 * 70 + 100 + 101 + 102)


def test_after_a_pause_a_job_draws_what_the_agent_says_and_no_mean_of_the_time_since():
    watch = AgentWatch()
    for seconds in (600, 602, 604):
        document = with_watts(after(seconds), 100.0)
        watch.take(document, document["time_s"])
    document = with_watts(after(1200), 7.0)
    known = watch.take(document, document["time_s"])
    assert known.job_w["slurm:1000"] == 7.0
    document = with_watts(after(1202), 7.0)
    known = watch.take(document, document["time_s"])
    assert known.job_w["slurm:1000"] == pytest.approx(100), "of two seconds, again"


@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.floats(0, 1000), st.booleans()), max_size=50),
    st.integers(1, 200), st.floats(10, 3000),
)  # fmt: skip
def test_cells_hold_the_joules_that_were_put_in(stretches, count, span_s):
    trend, now_s, joules = PowerTrend(), 10_000.0, 0.0
    for length_s, watts, hole in stretches:
        now_s += length_s + 5 * hole
        trend.add(now_s, length_s, watts)
        joules += length_s * watts
    span_s = max(span_s, now_s - 10_000 + 1)
    # Cells are means of what is known: fine ones show all of it, whatever lies across their edges.
    fine = trend.cells(20_000, now_s, span_s)
    width = span_s / 20_000
    most = max((watts for _, watts, _ in stretches), default=0.0)
    edges = 2 * len(stretches) * width * most  # a cell that is known in part is drawn whole
    assert sum(watts * width for watts in fine if watts is not None) == pytest.approx(joules, abs=edges + 1e-6)
    assert all(watts is None or -1e-9 <= watts <= most + 1e-6 for watts in trend.cells(count, now_s, span_s))


class Agent:
    """Answers like one; ``asked`` is whether the history was asked for, each time."""

    def __init__(self):
        self.asked, self.down = [], False

    def ask(self, path, parameters, *, timeout_s):
        self.asked.append("history" not in parameters)
        if self.down:
            raise OSError("it is down")
        return {"schema": "wattshed.snapshot/1"}


def test_the_hour_is_asked_for_only_where_some_of_it_was_missed():
    agent, now = Agent(), [0.0]
    read = SnapshotReader(agent, lambda: now[0])
    for _ in range(3):
        read()
        now[0] += 2
    now[0] += SMOOTH_S
    read()
    agent.down = True
    with pytest.raises(OSError, match="down"):
        read()
    agent.down = False
    read()
    read()
    assert agent.asked == [True, False, False, True, False, True, False]


def steered(document):
    """The same with an escape sequence in each of its texts."""
    if isinstance(document, dict):
        return {key: steered(value) for key, value in document.items()}
    if isinstance(document, list):
        return [steered(value) for value in document]
    return f"{document}\x1b[2J" if isinstance(document, str) else document


@settings(max_examples=examples(20), deadline=None)
@given(page=st.sampled_from([None, (HELP, ""), (JOBS, "slurm:1000?[2J"), (GPUS, "")]), fleet=st.booleans())
def test_no_text_of_an_answer_steers_the_terminal(page, fleet):
    document = steered(after(600))
    document["schema"], document["energy_source"] = "wattshed.snapshot/1", "new"
    if fleet:
        boundary = {"mean_w": 1.0, "lower_w": None, "upper_w": None, "supply_w": None}
        document["meter"] = "fleet"
        document["fleet"] = {
            "boundaries": {"gpu\x1b[2J": boundary}, "hosts_known": 1, "hosts_reporting": 1, "warnings": ["x\x1b[2J"],
        }  # fmt: skip
    watch = AgentWatch()
    watch.take(document, 1.0)
    watch.failed("why\x1b[2J", 2.0)
    if page == (GPUS, ""):
        page = (GPUS, watch.known.scene.gpus[0].uuid)
    drawn = arrange(watch, Choices(page=page), 100, 40, now_s=3.0)
    texts = [line.text for line in (*drawn.head, *(drawn.page or ()))]
    texts += [drawn.gpus.line(i).text for i in range(drawn.gpus.count)]
    texts += [drawn.jobs.line(i).text for i in range(drawn.jobs.count)]
    texts += [line.text for line in lines_once(document, None)]
    assert "\x1b" not in "".join(texts)
    assert json.dumps(document).count("\\u001b") > 20
