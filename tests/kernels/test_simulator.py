"""In the simulator of CUDA a kernel with a mistake is wrong every time, and one without never."""

import json

from tests.kernels.processes import output_of
from tests.kernels.simulated_mistakes import THREADS, UNWRITTEN


def test_mistakes_are_seen_every_time():
    found = json.loads(output_of("simulated_mistakes", WATTSHED_JIT="off", NUMBA_ENABLE_CUDASIM="1"))
    assert found["right"] == [[1, 2, 3, 0]] * 2
    assert all(blocks == [[UNWRITTEN] * (THREADS - 1) + [0]] * 2 for blocks in found["no barrier"])
    assert found["unwritten"] == [UNWRITTEN] * THREADS
    assert found["failed"].startswith("tid=[3, 0, 0] ctaid=[0, 0, 0]: index")
