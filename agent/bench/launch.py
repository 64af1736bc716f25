"""Starts a command and writes down what it used; run as a file by `process.measured`, with nothing imported but this.

A child's peak memory begins with what its parent has when it starts it: so the parent is this, which has next to
nothing.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    """Run ``launch.py RESULT COMMAND...``; writes seconds, processor seconds, KiB and exit status to RESULT."""
    result, *command = sys.argv[1:]
    begun_s = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - begun_s
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is most of what this would need
        cpu_s = used.ru_utime + used.ru_stime
        file.write(f"{seconds:.6f} {cpu_s:.6f} {used.ru_maxrss} {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main()
