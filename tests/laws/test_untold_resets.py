"""Counters that begin anew and nobody says so: what the bill is off by then, and by how much it can be."""

import pytest

from tests.laws.test_outages import ALONE, Lives, each, fault, job

S = 1_000_000
KEY, JOB = ALONE["slurm"]
LIMIT_W = 700
OFF = "[[gpu]]\npersistence = false\n"


@pytest.mark.parametrize("resets", [1, 3])
def test_between_two_readings_it_is_off_by_two_seconds_at_the_limit_at_most(tmp_path, resets):
    """Only a counter of the last second can pass what it showed before; an older one shows the reset by less."""
    lives = Lives(
        tmp_path, job(JOB) + "".join(fault("counter-reset", 20.3 + nth, 0.1) for nth in range(resets)), gpus=1
    )
    lives.live(60)
    lives.replays()
    off_j = lives.billed()[KEY] - lives.truth()[KEY]
    assert -2 * LIMIT_W * resets <= off_j <= 1.0
    assert lives.last.board.current().gpus[0].counter_resets >= 1


@pytest.mark.parametrize(("before_s", "away_s"), [(30, 20), (30, 300)])
def test_while_no_agent_runs_it_is_less_than_the_truth_and_no_more_than_the_limit_allows(tmp_path, before_s, away_s):
    """The new counter may be above the old one, as here after 300 s: then what is billed is too little."""
    text = job(JOB) + fault("counter-reset", 1.0, 0.1) + fault("counter-reset", before_s + 1, 0.1)
    lives = Lives(tmp_path, text, gpus=1).live(before_s)
    lives.sleep(away_s).live(before_s + away_s + 30)
    lives.replays()
    off_j = lives.whole() - sum(lives.truth().values())
    assert -LIMIT_W * away_s <= off_j <= 1.0
    seen = lives.last.board.current().gpus[0].counter_resets
    assert seen == (2 if away_s < before_s else 1)


def test_without_persistence_mode_an_idle_gpu_counts_anew_after_a_release_and_a_busy_one_goes_on(tmp_path):
    lives = Lives(tmp_path, OFF + job(JOB), gpus=2)
    lives.clock.call_at(lives.begun_us + 120 * S, lambda: lives.desk.ask(60 * S))
    lives.live(220)
    lives.replays()
    busy, idle = lives.last.board.current().gpus
    assert (busy.counter_resets, idle.counter_resets) == (0, 1)
    assert abs(lives.billed()[KEY] - lives.truth()[KEY]) < 0.1 * lives.sigma(KEY)
    idle_j = sum(lives.truth(1).values())
    assert lives.whole(1) <= idle_j + 1.0
    assert idle_j - lives.whole(1) <= 3 * idle.sigma_j


def test_a_new_session_over_gpus_that_are_read_leaves_their_counters(tmp_path):
    """The device nodes stay open meanwhile, so that nobody is the last client to leave."""
    lives = Lives(tmp_path, OFF + each(("slurm",)), gpus=2)
    lives.clock.call_at(lives.begun_us + 20 * S, lambda: lives.desk.ask(20 * S, frozenset({lives.node.cards[0].uuid})))
    lives.live(60)
    _, kept = lives.last.board.current().gpus
    assert kept.counter_resets == 0
    assert kept.gap_us == 0
