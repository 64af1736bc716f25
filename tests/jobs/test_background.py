"""Asking something slow in the background."""

from __future__ import annotations

import time
from itertools import pairwise

from wattshed.agent.errors import Faults
from wattshed.agent.jobs.background import Background


def test_what_is_down_is_asked_less_and_less_often_however_much_one_hurries():
    asked = []

    def ask():
        asked.append(time.monotonic())
        message = "down"
        raise OSError(message)

    part = Background("test", ask, 0, 30.0, Faults())
    until = time.monotonic() + 5.5
    while time.monotonic() < until:
        part.hurry()
        time.sleep(0.02)
    part.close()
    pauses = [b - a for a, b in pairwise(asked)]
    assert len(pauses) in {2, 3}
    assert pauses[0] >= 1
    assert pauses[1] >= 2


def test_nodes_that_started_at_once_soon_ask_apart():
    asked = [[] for _ in range(8)]
    parts = [Background("test", lambda i=i: asked[i].append(time.monotonic()), None, 1.0, Faults()) for i in range(8)]
    time.sleep(3.5)
    for part in parts:
        part.close()
    second = [times[1] - times[0] for times in asked]
    assert all(0.99 <= pause < 1.6 for pause in second)
    assert max(second) - min(second) > 0.01


def test_the_first_answer_or_failure_can_be_waited_for():
    slow = Background("test", lambda: time.sleep(0.3) or 5, 0, 30.0, Faults())
    assert not slow.tried(0.01)
    assert slow.tried(5)
    assert slow.answer == 5
    slow.close()
