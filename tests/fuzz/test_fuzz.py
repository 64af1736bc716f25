"""Every parser, on its corpus and on what becomes of it; a refusal is one line, and nothing else happens.

The suite draws the same examples at every run. ``WATTSHED_FUZZ=5000 pytest tests/fuzz`` draws so many new ones.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fuzz.targets import CORPUS, TARGETS, grow, seeds

MANY = int(os.environ.get("WATTSHED_FUZZ", "0"))
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4000), st.integers(0, 255)), max_size=8)


def test_every_target_has_a_corpus_and_the_other_way_round():
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name):
    assert seeds(name)
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_becomes_of_the_corpus(name):
    @settings(max_examples=MANY or examples(100), derandomize=not MANY, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(seeds(name)), STEPS)
    def mutated(data, steps):
        TARGETS[name](grow(data, steps))

    mutated()


@pytest.mark.parametrize("name", TARGETS)
def test_anything_at_all(name):
    @settings(max_examples=MANY or examples(50), derandomize=not MANY, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def anything(data):
        TARGETS[name](data)

    anything()
