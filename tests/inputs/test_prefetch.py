"""Reading ahead changes nothing but the time: items, errors and the end come as they would have come."""

import threading
import time

import pytest

from wattshed.agent.inputs.prefetch import ahead


def test_items_come_in_order_and_end():
    assert list(ahead(iter(range(1000)))) == list(range(1000))
    assert list(ahead([])) == []


def test_an_error_comes_behind_what_came_before_it():
    def items():
        yield 1
        raise ValueError("torn")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="torn"):
        next(stream)


def test_it_reads_one_ahead_and_no_further():
    fetched = []

    def items():
        for i in range(10):
            fetched.append(i)
            yield i

    stream = ahead(items())
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    while len(fetched) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert fetched == [0, 1, 2]  # handed out, waiting, and one that finds no place
    stream.close()


def test_who_stops_reading_leaves_no_thread():
    before = threading.active_count()
    stream = ahead(iter(range(10)))
    next(stream)
    stream.close()
    assert threading.active_count() == before
