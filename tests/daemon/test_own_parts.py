"""Laws of how an owner's energy is divided among callers: whole numbers that add up, whatever comes when."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces.windows_made_up import plain_window
from wattshed.agent.accounts.ledger import GpuKey, Line
from wattshed.agent.daemon.callers.own_parts import MOST_OF_A_USER, OwnParts
from wattshed.agent.jobs.ancestry import Lineage
from wattshed.agent.jobs.uses import ProcessUse
from wattshed.agent.window import JobKey, Owner

GPU = GpuKey("host", "GPU-1")
OWNER = Owner(JobKey("user:7/python"), {"uid": "7"})
SHELL, FIRST, SECOND = 1, 2, 3  # pids: the shell started the other two
S = 1_000_000


class Started:
    """Knows that everybody was started by the shell."""

    gone = ()

    def of(self, process):
        return tuple(Lineage(pid, 0) for pid in dict.fromkeys((process.pid, SHELL)))

    def lives(self, one):
        return one.pid not in self.gone


def process(pid):
    return SimpleNamespace(key=("boot", pid, 0), pid=pid)


def accounts(line, known_us, device):
    job = SimpleNamespace(key=OWNER.key, end_us=known_us, lines={GPU: line})
    return SimpleNamespace(
        known_us=lambda _: {GPU: known_us},
        ledger=SimpleNamespace(jobs={OWNER.key: job}),
        gpus={GPU: SimpleNamespace(device=device)},
    )


steps = st.lists(
    st.tuples(
        st.integers(0, 10**13),  # static and dynamic energy that is booked, hnj
        st.integers(0, 10**13),
        st.integers(0, 3),  # until how many windows ago
        st.tuples(*[st.tuples(st.integers(0, S), st.integers(-1, S))] * 2),  # for each process: time, activity
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(60), deadline=None)
@given(steps)
def test_parts_of_all_processes_sum_to_the_owners_energy_and_a_parent_has_what_its_children_have(steps):
    parts, line = OwnParts(Started()), Line(static_hnj=10**15)
    one = plain_window(0)
    parts.book(accounts(line, one.start_us, one.devices[0]), one.start_us)  # what was used before is nobody's
    for pid in (SHELL, FIRST, SECOND):
        assert parts.follow(process(pid), OWNER, 0)
    told, known_us = {}, one.start_us
    for i, (static, dynamic, ago, did) in enumerate(steps):
        window = plain_window(i)
        parts.see(
            window, [ProcessUse(process(pid), GPU.gpu, OWNER, *one) for pid, one in zip((2, 3), did, strict=True)]
        )
        line.static_hnj += static
        line.dynamic_hnj += dynamic
        known_us = max(known_us, window.end_us - ago * S)
        told = parts.book(accounts(line, known_us, window.devices[0]), window.end_us)
        assert [told[process(pid).key][0] for pid in (SHELL, FIRST, SECOND)] == [0, 0, 0]
        assert all(one.energy_hnj >= 0 <= one.doubt_j for _, of in told.values() for one in of.values())
    line_hnj = line.static_hnj + line.dynamic_hnj - 10**15
    known_us += S
    told = parts.book(accounts(line, known_us, plain_window(0).devices[0]), known_us)
    shell, first, second = (told[process(pid).key][1].get(GPU) for pid in (SHELL, FIRST, SECOND))
    assert shell.energy_hnj == first.energy_hnj + second.energy_hnj == line_hnj
    assert parts.owner_of(process(SHELL).key) == OWNER, "what the shell tells is work of what it started"
    assert shell.doubt_j == 0.0, "all of it is the shell's, however it is divided below"


def test_a_user_has_so_many_callers_and_those_that_ended_are_forgotten():
    started = Started()
    parts = OwnParts(started)
    found = [parts.follow(process(10 + k), OWNER, 0) for k in range(MOST_OF_A_USER + 1)]
    assert found == [True] * MOST_OF_A_USER + [False]
    assert parts.follow(process(5), Owner(JobKey("user:8/x"), {"uid": "8"}), 0)
    assert not parts.follow(process(6), Owner(JobKey("user:?/x"), {}), 0)
    started.gone = range(10, 10 + MOST_OF_A_USER)
    for i in range(20):
        parts.see(plain_window(i), [])
    assert parts.follow(process(9), OWNER, 0)


def test_an_owner_that_comes_back_is_divided_from_when_it_came_back():
    """What it used before it paused was others', long ago; its account goes on."""
    parts, line, one = OwnParts(Started()), Line(dynamic_hnj=10**15), plain_window(0)
    parts.book(accounts(line, one.start_us, one.devices[0]), one.start_us)
    assert parts.follow(process(FIRST), OWNER, 0)
    for i in range(40):
        window = plain_window(i)
        if i == 39:
            parts.see(window, [ProcessUse(process(FIRST), GPU.gpu, OWNER, S, S)])
            line.dynamic_hnj += 1000
        books = accounts(line, window.end_us, window.devices[0])
        books.ledger.jobs[OWNER.key].end_us = window.end_us if i == 39 else one.start_us
        told = parts.book(books, window.end_us)
    assert told[process(FIRST).key][1][GPU].energy_hnj == 1000


def test_the_first_energy_of_an_owner_is_divided_by_what_its_processes_did():
    """Although energy is known until the middle of a window only."""
    parts, line, one = OwnParts(Started()), Line(), plain_window(0)
    length_us = one.end_us - one.start_us
    nothing = accounts(line, one.start_us + length_us // 4, one.devices[0])
    nothing.ledger.jobs.clear()
    parts.book(nothing, one.start_us)
    for pid in (FIRST, SECOND):
        assert parts.follow(process(pid), OWNER, 0)
    parts.see(one, [ProcessUse(process(pid), GPU.gpu, OWNER, S, sm) for pid, sm in ((FIRST, 9000), (SECOND, 1000))])
    line.dynamic_hnj = 1000
    told = parts.book(accounts(line, one.start_us + length_us // 2, one.devices[0]), one.end_us)
    assert [told[process(pid).key][1][GPU].energy_hnj for pid in (FIRST, SECOND)] == [900, 100]
