"""State files as agents before this one wrote them."""

import json
import zlib

MERGE, TOTALS = 27, 19
"""How many columns state and tally had in versions 1 and 2."""


def as_version_2(path) -> None:
    """Rewrite a state file as version 2 had it."""
    state = json.loads(path.read_bytes().partition(b"\n")[2])
    _without_new_columns(state)
    _write(path, 2, state)


def as_version_1(path) -> bool:
    """Rewrite a state file, if it is not, as version 1 had it: what had retired was one with ``_other``."""
    if path.read_bytes().startswith(b"wattshed-state 1 "):
        return False
    state = json.loads(path.read_bytes().partition(b"\n")[2])
    _without_new_columns(state)
    for job in state["jobs"]:
        job["scrapes"] = 1
        del job["shown_us"]
    for gpu in state["gpus"]:
        del gpu["booked_us"]
    gone = {gpu: [0, hnj, 0, 0, 0, 0, 0] for gpu, hnj in state.pop("ended")}
    for gpu, *line in state.pop("other"):
        gone[gpu] = [a + b for a, b in zip(gone.get(gpu, [0] * 7), line, strict=True)]
    state["gone"] = [[gpu, *line] for gpu, line in gone.items()]
    _write(path, 1, state)
    return True


def _without_new_columns(state):
    """Take away what version 3 brought."""
    for gpu in state["gpus"]:
        gpu["merge"], gpu["totals"] = gpu["merge"][:MERGE], gpu["totals"][:TOTALS]
        del gpu["waiting"]
        there = gpu.pop("hole")["before"]
        gpu["alone"] = there[0][0] if len(there) == 1 else None
    for job in state["jobs"]:
        job["lines"] = [line[:8] for line in job["lines"]]
    state["other"] = [line[:8] for line in state["other"]]


def _write(path, version, state):
    body = json.dumps(state, separators=(",", ":")).encode()
    path.write_bytes(f"wattshed-state {version} {zlib.crc32(body):08x} {len(body)}\n".encode() + body)
