"""A thousand short jobs a minute, and a day of the soak at a tenth of its length: bounded series, exact books."""

from tests.depth import deep
from tests.laws.soak import Soak
from tests.virtual import agent, simulated, sums
from wattshed.agent.accounts.state import LONGEST_JOURNAL


def thousand_a_minute():
    """Eight GPUs; on each, 125 Slurm jobs a minute of 0.4 s, one after the other."""
    lines = ["gpus = 8", "cycle_s = 60"]
    for gpu in range(8):
        for number in range(125):
            start = 0.03 + number * 0.479
            lines.append(
                f'[[job]]\nname = "{1000 * (gpu + 1) + number}"\ngpus = [{gpu}]\nstart_s = {start:.3f}\n'
                f"end_s = {start + 0.4:.3f}\nload = [[0.2, 300.0, 60]]"
            )
    return "\n".join(lines)


def test_a_thousand_short_jobs_a_minute(tmp_path):
    script = tmp_path / "short.toml"
    script.write_text(thousand_a_minute())
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=60, cap=200, keep_us=10_000_000)
    most = 0
    show = one.board.show

    def watched(snapshot):
        nonlocal most
        most = max(most, len(snapshot.jobs))
        show(snapshot)

    one.board.show = watched
    one.daemon.run()
    one.close()
    whole, parts = sums(one.accounts)
    assert whole == parts
    assert 20 < most <= 203, "the cap holds: jobs, and the owners that are not jobs"
    truth = sum(node.truth.gpu_nj(gpu, one.windows[0].start_us, one.windows[-1].end_us) for gpu in range(8)) / 1e9
    assert abs(sum(whole.values()) / 2e9 - truth) < 0.03 * truth, "up to a second at either end of a minute"
    assert not one.faults.counts


@deep
def test_soak_in_small(tmp_path):
    """Three hours with a restart each hour and faults: the same checks as in the month (docs/reliability.md)."""
    soak = Soak(tmp_path, days=0.125, window_s=30.0, restart_h=1.0)
    rows = soak.run()
    assert soak.restarts >= 3
    assert len(soak.jobs) > 60
    assert max(row["series"] for row in rows) < 1500
    assert max(row["descriptors"] for row in rows) - min(row["descriptors"] for row in rows) <= 2
    assert abs(rows[-1]["relative_error"]) < 0.005, "half a window at the beginning, of three hours"
    assert max(row["state_bytes"] for row in rows) < 400_000 + 2 * LONGEST_JOURNAL, "two states, and their changes"
