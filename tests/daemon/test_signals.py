"""What is logged when the agent is told to end is what it then does."""

import signal
import threading
from types import SimpleNamespace

import pytest

from wattshed.agent.daemon.signals import end_in_order


@pytest.mark.parametrize(("keeps", "said"), [(True, "saving totals"), (False, "totals are not kept")])
def test_totals_are_said_to_be_saved_only_where_they_are_kept(keeps, said, caplog):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopped, closed = threading.Event(), threading.Event()
    board = SimpleNamespace(current=lambda: SimpleNamespace(seq=1))
    try:
        end_in_order(board, SimpleNamespace(keeps_totals=keeps, stop=stopped.set), closed.set)
        with caplog.at_level("INFO"):
            signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
        assert closed.wait(10)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert [record.getMessage() for record in caplog.records] == [f"SIGTERM: shutting down, {said}"]
