"""A CUDA device books power to the CPU's integers: on random streams, in random pieces, with too little memory."""

import json

import pytest

from tests.kernels.power_on_the_card import EXAMPLES
from tests.kernels.processes import output_of


@pytest.fixture(scope="module")
def on_the_card():
    return json.loads(output_of("power_on_the_card", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1"))


def test_every_stream_gives_the_same_integers(on_the_card):
    met = on_the_card["met"]
    assert met["streams"] >= EXAMPLES
    # Most are summed there; some fell short of memory and went on in halves or here; a few lost their device.
    assert met["on_card"] > met["streams"] // 2
    assert met["here"] > 0
    assert met["failed"] > 0
    assert met["MemoryError"] > 0


def test_so_does_every_owner(on_the_card):
    met = on_the_card["met"]
    assert met["held"] >= EXAMPLES
    assert met["held_on_card"] > met["held"] // 2
    assert met["given_to_owners"] > met["held"] // 2
    assert met["held_here"] > 0
    assert met["held_failed"] > 0


def test_of_a_clean_stream_only_the_first_rows_of_blocks_are_walked(on_the_card):
    assert on_the_card["walked"][-1] == 20


def test_what_has_a_counter_or_may_be_a_hall_is_left_to_others(on_the_card):
    assert on_the_card["refused"] == [True, True, True]
