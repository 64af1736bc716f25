"""State files as agents before this one wrote them."""

import json
import zlib

from wattshed.agent.accounts.changes import Continued
from wattshed.agent.accounts.former_versions import LATE_HOLE, LINE, NO_LEVEL, STATE
from wattshed.agent.accounts.former_versions import TOTALS as NAMES_OF_TOTALS
from wattshed.agent.accounts.journal import Journal, changes_after
from wattshed.agent.accounts.used import CUT_COLUMNS

MERGE, TOTALS = 27, 19
"""How many columns state and tally had in versions 1 and 2."""


def as_version_6(path) -> None:
    """Rewrite a state file, and the changes that follow it, as version 6 had them: nothing of covered time."""
    state = json.loads(path.read_bytes().partition(b"\n")[2])
    seq, mark = state["seq"], state["mark"]
    journal = Journal(path.with_suffix(".journal"))
    bodies = [json.loads(body) for body in changes_after(path.with_suffix(".journal"), seq, mark).bodies]
    for told in (state, *bodies):
        _without_covered_time(told)
    for number, told in enumerate(bodies, seq + 1):
        mark = journal.append(number, mark, json.dumps(told).encode(), sync=False)
    journal.close()
    _write(path, 6, state)


def _without_covered_time(state):
    for line in (*(line for job in state["jobs"] for line in job["lines"]), *state.get("other", ())):
        del line["covered_us"]
    cuts = state.get("cuts")
    if not cuts:
        return
    place = CUT_COLUMNS.index("covered_us")
    if "columns" in cuts:
        cuts["columns"] = [name for name in CUT_COLUMNS if name != "covered_us"]
    cuts["cuts"] = [[*row[:place], *row[place + 1 :]] for row in cuts.get("cuts", ())]
    for part in cuts.get("outbox", ()):
        del part["covered_us"]


def _version_5(path):
    """Read a state file and the changes after it as version 5 had it: whole."""
    as_version_6(path)
    whole = Continued(json.loads(path.read_bytes().partition(b"\n")[2]))
    about, journal = whole.state(), path.with_suffix(".journal")
    for body in changes_after(journal, about["seq"], about["mark"]).bodies:
        whole.apply(json.loads(body))
    journal.unlink(missing_ok=True)
    state = whole.state()
    shown_us = state.pop("shown_us")
    del state["seq"], state["mark"]
    for gpu in state["gpus"]:
        del gpu["gpu"]
    for job in state["jobs"]:
        from_us = job.pop("shown_from_us")
        job["shown_us"] = 0 if from_us is None else shown_us - from_us
    return state


def as_version_4(path) -> None:
    """Rewrite a state file as version 4 had it: without the integral of average power."""
    state = _version_5(path)
    del state["cuts"]
    modules = [gpu["module"] for gpu in state["gpus"] if gpu["module"] is not None]
    for holder in (*state["gpus"], *modules):
        for name in NO_LEVEL:
            del holder["state"][name]
    for line in (*(line for job in state["jobs"] for line in job["lines"]), *state["other"]):
        del line["cut_peak_mw"]
    _write(path, 4, state)


def as_version_2(path) -> None:
    """Rewrite a state file as version 2 had it."""
    state = _version_5(path)
    _without_new_columns(state)
    _write(path, 2, state)


def as_version_1(path) -> bool:
    """Rewrite a state file, if it is not, as version 1 had it: what had retired was one with ``_other``."""
    if path.read_bytes().startswith(b"wattshed-state 1 "):
        return False
    state = _version_5(path)
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
    """Take away what versions 3 and 4 and later brought."""
    for gpu in state["gpus"]:
        gpu["merge"] = [gpu["state"][name] for name in STATE[:MERGE]]
        gpu["totals"] = [gpu["totals"][name] for name in NAMES_OF_TOTALS[:TOTALS]]
        del gpu["waiting"], gpu["state"]
        there = gpu.pop("hole")["before"]
        gpu["alone"] = there[0]["key"] if len(there) == 1 else None
        if gpu["late_hole"] is not None:
            gpu["late_hole"] = [gpu["late_hole"][name] for name in LATE_HOLE]
        if gpu["module"] is not None:
            gpu["module"] = [gpu["module"]["energy_hnj"], *(gpu["module"]["state"][name] for name in STATE)]
    for job in state["jobs"]:
        job["lines"] = [_line(line) for line in job["lines"]]
    state["other"] = [_line(line) for line in state["other"]]
    state["ended"] = [[one["gpu"], one["energy_hnj"]] for one in state["ended"]]


def _line(line):
    return [line["gpu"], *(line[name] for name in LINE[:7])]


def _write(path, version, state):
    body = json.dumps(state, separators=(",", ":")).encode()
    path.write_bytes(f"wattshed-state {version} {zlib.crc32(body):08x} {len(body)}\n".encode() + body)
