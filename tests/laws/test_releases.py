"""What jobs are billed over a time in which the agent let go of their GPUs: whole agents in virtual time, and truth."""

import pytest

from tests.depth import few
from tests.laws.test_outages import ALONE, Lives, each
from wattshed.agent.simulation.others import OtherProgram

OWNERS = ("slurm", "docker", "user")
AT_S = 60


class ReleasedLife:
    """An agent that lets go of GPUs after a minute."""

    def __init__(self, tmp_path, for_s, *, gpus=(), reset=False):
        self.lives = lives = Lives(tmp_path, each(OWNERS), gpus=len(OWNERS))
        uuids = frozenset(lives.node.cards[gpu].uuid for gpu in gpus)
        other = OtherProgram(lives.node.root)

        def let_go():
            lives.desk.ask(for_s * 1_000_000, uuids)

        def mend():
            for gpu in gpus or range(len(OWNERS)):
                other.reset(gpu)

        lives.clock.call_at(lives.begun_us + AT_S * 1_000_000 + 300_000, let_go)
        if reset:
            lives.clock.call_at(lives.begun_us + (AT_S + for_s // 2) * 1_000_000, mend)
        lives.live(AT_S + for_s + 30)
        lives.replays()

    def off_by(self, gpu):
        """How far the bill is from the truth, J, and one sigma of it."""
        key = ALONE[OWNERS[gpu]][0]
        return self.lives.billed(gpu)[key] - self.lives.truth(gpu)[key], self.lives.sigma(key)


@pytest.mark.parametrize("for_s", few([60, 300]))
def test_the_holder_pays_for_a_release_by_the_counter(tmp_path, for_s):
    life = ReleasedLife(tmp_path, for_s)
    for gpu in range(len(OWNERS)):
        off_j, sigma_j = life.off_by(gpu)
        assert abs(off_j) < 0.1 * sigma_j
    facts = life.lives.last.board.current()
    assert not any(gpu.released for gpu in facts.gpus)
    assert all(gpu.gap_us >= for_s * 1_000_000 for gpu in facts.gpus)


def test_after_a_reset_the_bill_is_within_its_sigma_and_the_others_are_billed_as_ever(tmp_path):
    life = ReleasedLife(tmp_path, 60, gpus=(0, 1), reset=True)
    for gpu in (0, 1):
        off_j, sigma_j = life.off_by(gpu)
        assert abs(off_j) < sigma_j
    off_j, sigma_j = life.off_by(2)
    assert abs(off_j) < 0.1 * sigma_j
    assert life.lives.last.board.current().gpus[2].gap_us == 0


def test_a_release_in_force_is_a_fact(tmp_path):
    lives = Lives(tmp_path, each(OWNERS), gpus=len(OWNERS))
    lives.clock.call_at(lives.begun_us + 10_000_000, lambda: lives.desk.ask(600_000_000))
    lives.live(20)
    facts = lives.last.board.current()
    assert all(gpu.released and not gpu.up for gpu in facts.gpus)
    assert "wattshed resume" in facts.unmetered


def test_a_counter_that_is_younger_than_the_release_is_not_believed_to_go_on(tmp_path):
    """Reset twice, it may show more after the second release than before it: nothing else tells that it was reset."""
    lives = Lives(tmp_path, each(("slurm",)), gpus=1)
    other = OtherProgram(lives.node.root)
    for at_s, for_s in ((20, 5), (40, 60)):
        lives.clock.call_at(lives.begun_us + at_s * 1_000_000, lambda for_s=for_s: lives.desk.ask(for_s * 1_000_000))
        lives.clock.call_at(lives.begun_us + (at_s + 2) * 1_000_000, lambda: other.reset(0))
        lives.clock.call_at(lives.begun_us + (at_s + 3) * 1_000_000, lives.node.obey)
    lives.live(130)
    lives.replays()
    off_j = lives.billed()["slurm:7"] - lives.truth()["slurm:7"]
    assert off_j < 0
    assert -off_j < lives.sigma("slurm:7")
