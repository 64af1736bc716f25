"""Every query that wattshed gives its users is run on a real Prometheus, and its answer compared with the known truth.

A query without an expectation fails: whoever adds one to README, docs, boards or rules says in `expectations` what it
must give.
"""

import re

import promql_parser
import pytest

from tests.promql.expectations import EXPECTED, TARGET, exactly
from tests.promql.expressions import ALL, documents, panels, rules, unfenced
from tests.promql.truth import Truth, assert_right
from tests.promql.two_hosts import END_S, RESTART_S

BOARD = ALL | {"__rate_interval": "1m", "__range": "1h", "nodes": "0?"}
QUERIES = [*documents(), *panels(**BOARD), *rules()]


def key_of(name):
    """The key of a query's expectation: how the query's name begins."""
    found = [key for key in EXPECTED if name == key or (name.startswith(key) and ".md: " in key)]
    assert len(found) == 1, f"{name}: {found or 'no expectation'}"
    return found[0]


@pytest.fixture(scope="module")
def truth(hosts):
    return Truth(hosts)


def test_every_query_has_one_expectation_and_none_is_left_over():
    used = {key_of(name) for name, _ in QUERIES}
    assert len(QUERIES) == len(used) == len(EXPECTED) > 80


def test_no_query_hides_outside_a_fence():
    """What is not fenced is not run; the table of rules in docs/fleet.md repeats the rules themselves."""
    recorded = {re.sub(r"\s", "", expr) for _, expr in rules()}
    hidden = [(page, expr) for page, expr in unfenced() if re.sub(r"\s", "", expr) not in recorded]
    assert hidden == []


def test_every_query_parses():
    for _, expr in QUERIES:
        promql_parser.parse(expr)


@pytest.mark.real
@pytest.mark.parametrize(("name", "expr"), QUERIES, ids=[name for name, _ in QUERIES])
def test_a_query_gives_the_known_truth(prometheus, truth, name, expr):
    assert_right(prometheus.query(expr, END_S), EXPECTED[key_of(name)](truth), name)


@pytest.mark.real
@pytest.mark.parametrize(("name", "expr"), [*panels(**BOARD | {"nodes": "1"})], ids=[n for n, _ in panels()])
def test_boards_show_the_simulated_node_when_asked(prometheus, name, expr):
    found = prometheus.query(expr, END_S)
    if not name.startswith("wattshed-fleet") and "held back B" not in name:  # no simulated board is throttled
        assert found, name
    instances = {value for key in found for label, value in key if label == "instance"}
    assert instances <= {"c:9961", *(["fleet:9962"] if "fleet" in name else [])}, name


@pytest.mark.real
def test_an_agent_that_is_away_is_down_and_draws_nothing_known(prometheus):
    (expr,) = (expr for name, expr in rules() if name == "WattshedDown")
    away_s = RESTART_S + 40
    assert_right(prometheus.query(expr, away_s), exactly(({"instance": "a:9961", **dict(TARGET)}, 0)), "WattshedDown")
    (expr,) = (expr for name, expr in rules() if name == "wattshed:host_state")
    unknown = exactly(({"instance": "a:9961", "stratum": "test", "state": "unknown"}, 1))
    assert_right(prometheus.query(expr, away_s), unknown, "wattshed:host_state")
    for query in ("wattshed_gpu_power_watts", "wattshed_job_energy_joules_total", "wattshed_up"):
        assert not prometheus.query(f'{query}{{instance="a:9961"}}', away_s)
