"""A log of many hosts is cut into windows as it is read: what is held does not grow with the hosts or the file."""

import numpy as np

from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.assembler import Assembler
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows

HOSTS, HELD, BLOCK, BLOCKS = 50, 250_000, 25_000, 60


def test_what_is_held_does_not_grow_with_the_hosts():
    gpus, read, given = Gpus("", 10**6, 10**9), 0, 0
    for host in range(HOSTS):
        gpus.number(f"n{host}", 0)

    def blocks():
        nonlocal read
        for _ in range(BLOCKS):
            rows = read + np.arange(BLOCK)
            read += BLOCK
            yield Rows.of(rows % HOSTS, rows // HOSTS * 1_000_000, power_mw=rows % 1000 + 1)

    most, seen = 0, dict.fromkeys(range(HOSTS), -1)
    for window in Assembler(gpus, SourceReport("x"), held_rows=HELD).windows(blocks()):
        most = max(most, read - given)
        given += window.readings.time_us.size
        host = int(window.host[1:])
        assert seen[host] < window.readings.time_us[0]  # in order, and none twice
        seen[host] = int(window.readings.time_us[-1])
    assert given == read == BLOCK * BLOCKS
    assert most <= HELD + BLOCK
