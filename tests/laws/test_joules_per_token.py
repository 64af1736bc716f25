"""Joules per token of a server whose token rate and power are known: live, replayed, and over restarts of both."""

import pytest

from tests.depth import few
from tests.virtual import agent, bills, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import JobKey, Owner
from wattshed.agent.work_units.page import read_page
from wattshed.exporters.units import HNJ_PER_JOULE

HOUR_OF_A_SERVER = """
gpus = 1
cycle_s = 86400
[[job]]
name = "100"
gpus = [0]
load = [[6.0, 420.0, 90], [4.0, 150.0, 20]]
"""
JOB = Owner(JobKey("slurm:100"))
S = 1_000_000
RATE, EVERY_S = 170, 2
DOWN = (83, 101)  # seconds in which the server is away; it loses what it counted since the last page
IDLE = (160, 200)  # and in which nobody asks it for anything


class ScriptedServer:
    """A server of vLLM's kind that makes so many tokens a second, and began at some time."""

    def __init__(self, clock):
        self._clock, self.began_us = clock, clock.now_us()

    def at(self, now_us):
        """Whether it is there, since when, and whether it works."""
        at_s = (now_us - self.began_us) / S
        return not DOWN[0] <= at_s < DOWN[1], DOWN[1] if at_s >= DOWN[1] else 0, not IDLE[0] <= at_s < IDLE[1]

    def tokens(self, from_s, to_s):
        """How many it made."""
        pauses = sum(max(0, min(to_s, end) - max(from_s, begin)) for begin, end in (DOWN, IDLE))
        return round(RATE * (to_s - from_s - pauses))

    def page(self):
        """Return its page; None while it is away."""
        now_us = self._clock.now_us()
        there, since_s, works = self.at(now_us)
        count = self.tokens(since_s, (now_us - self.began_us) / S)
        text = f"""vllm:generation_tokens_total{{engine="0",model_name="m"}} {count}.0
vllm:num_requests_running{{engine="0",model_name="m"}} {int(works)}.0
process_start_time_seconds {1_790_000_000 + since_s}
"""
        return read_page(text.encode()) if there else None


def serve(one, server, seconds, pages):
    """Let an agent live for so long, and read the server now and then."""
    end_us, next_us = one.sampler.start_us + seconds * S, 0
    while True:
        window = one.daemon.step()
        if window.end_us >= next_us and (page := server.page()) is not None:
            done = one.inbox.take("http://127.0.0.1:8000", JOB, page)
            one.inbox.waited(JOB, done.start_us, waiting=done.waited)
            pages.append(done)
            next_us = window.end_us + EVERY_S * S
        if window.end_us >= end_us:
            return


@pytest.mark.parametrize("killed", few([False, True]), ids=["in order", "killed"])
def test_joules_per_token_live_and_replayed_over_restarts_of_server_and_agent(tmp_path, killed):
    node, clock = simulated(tmp_path, script(tmp_path))
    server, pages = ScriptedServer(clock), []
    for life, seconds in enumerate((130, 130)):
        recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
        one = agent(node, clock, state=tmp_path / "state", recorder=recorder, keep_us=10**12, inbox=True)
        one.daemon.restore()
        serve(one, server, seconds, pages)
        if killed and not life:
            one.kill()
        else:
            one.daemon.close()
            one.close()
        recorder.close()
    snapshot = one.board.current()
    (job,) = (job for job in snapshot.jobs if job.job == JOB.key)
    (work,) = job.work

    first_us, last_us = pages[0].end_us, pages[-1].end_us
    used_j = sum(map(sum, node.truth.jobs_nj(first_us, last_us).values())) / 1e9
    made = server.tokens((first_us - server.began_us) / S, (last_us - server.began_us) / S)
    assert work.joules == pytest.approx(used_j / made, rel=0.01)
    assert abs(work.joules - used_j / made) <= 2 * work.sigma * work.joules
    assert work.count <= made <= work.count + RATE * EVERY_S
    assert snapshot.work.resets == 0  # of this life: the server began anew in the one before

    waited_s = sum((done.end_us - done.start_us) / S for done in pages if done.waited)
    assert IDLE[1] - IDLE[0] - 2 * EVERY_S - 2 <= waited_s <= IDLE[1] - IDLE[0]
    assert 0 < job.waiting_hnj / HNJ_PER_JOULE == pytest.approx(waited_s * used_j / (last_us - first_us) * S, rel=0.05)

    replayed = Accounts()
    for chain in find([str(tmp_path / "recording")], Options()):
        for window in chain.windows(Options()):
            replayed.add(window)
    replayed.finish()
    again = replayed.ledger.jobs[JOB.key].work
    assert bills(replayed) == bills(one.accounts)
    assert again.plain() == one.accounts.ledger.jobs[JOB.key].work.plain()


def script(folder):
    path = folder / "server.toml"
    path.write_text(HOUR_OF_A_SERVER)
    return str(path)
