"""Run as a script: record into a folder and be killed, over and over.

Arguments: folder, rounds, seed. Each round forks a child that records as fast as it can (far above ten times the
normal rate) and acknowledges every window on a pipe; it is killed with SIGKILL at a random moment: of its start in even
rounds, of its recording, which a busy machine lets begin late, in odd ones. Prints the windows acknowledged in all.
"""

import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from tests.traces.windows_made_up import plain_window
from wattshed.agent.traces.native.recorder import Recorder


def record_until_killed(folder, first, pipe):
    recorder = Recorder(folder, "node", segment_bytes=40_000, sync_s=0.01)
    number = first
    while True:
        if recorder.append(plain_window(number)):
            os.write(pipe, number.to_bytes(8, "little"))
        number += 1


def main():
    folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    first, acknowledged = 0, []
    for nth in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                record_until_killed(folder, first, writing)
            finally:
                os._exit(1)
        os.close(writing)
        if nth % 2:
            select.select([reading], [], [], 30)
        time.sleep(rng.uniform(0.002, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = b""
        while more := os.read(reading, 1 << 16):
            said += more
        os.close(reading)
        acknowledged += [int.from_bytes(said[i : i + 8], "little") for i in range(0, len(said) - 7, 8)]
        first = max(acknowledged, default=0) + 1000  # numbers stay apart from windows that were written unheard
    sys.stdout.write(" ".join(map(str, acknowledged)))


if __name__ == "__main__":
    main()
