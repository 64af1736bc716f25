"""The life of a simulated node from scrape to scrape, in virtual time."""

from tests.virtual import simulated

SECOND_US = 1_000_000
AWAY_S = 60


def scraped(home, script, times_s, begin, *, restart_s=None, lead_s=1, step=lambda one: one.daemon.step()):
    """Let a node live: (time, its agent, or None while that is away) of each scrape.

    Parameters
    ----------
    home : Path
        A folder that is made.
    script : str
        Of the node.
    times_s : iterable of float, Unix seconds
    begin : callable
        Makes an agent of a node and its clock.
    restart_s : float, optional
        Before the first scrape from then on the agent ends, and is away for `AWAY_S`.
    lead_s : float, s
        The books of a scrape end so long before it at most.
    step : callable
        Lets an agent meter a window.
    """
    home.mkdir()
    (home / "node.toml").write_text(script, encoding="utf-8")
    node, clock = simulated(home, str(home / "node.toml"))

    def begun():
        one = begin(node, clock)
        one.daemon.restore()
        return one

    def end(one):
        one.daemon.close()
        one.close()

    one, waiting = begun(), restart_s is not None
    for at_s in times_s:
        if waiting and at_s >= restart_s:
            end(one)
            clock.sleep_until((restart_s + AWAY_S) * SECOND_US)
            one, waiting = begun(), False
        if clock.now_us() > at_s * SECOND_US:
            yield at_s, None
            continue
        while clock.now_us() < (at_s - lead_s) * SECOND_US:
            step(one)
        yield at_s, one
    end(one)
