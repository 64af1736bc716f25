"""GPUs whose numbers on the host change: a GPU is its UUID, and a number means the GPU that has it now."""

from itertools import count

import pytest

from tests.depth import few
from tests.virtual import agent, bills, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.sources import Options, find
from wattshed.agent.window import MISSING

SECOND = 1_000_000
RELOAD = '[[fault]]\nkind = "driver-reload"\nat_s = 100\nfor_s = 4\n'
USED = "load = [[1.0, {watts}.0, {percent}]]"


def script(*jobs, gpus=2, used=True, more=""):
    """Describe a node with a Slurm job for each (GPU, start, end)."""
    text = f"gpus = {gpus}\ncycle_s = 1200\n{more}"
    for number, (gpu, start_s, end_s) in enumerate(jobs, start=7):
        load = USED.format(watts=100 * number, percent=20 * (number - 6)) if used else "load = []"
        text += f'[[job]]\nname = "{number}"\ngpus = [{gpu}]\nstart_s = {start_s}\nend_s = {end_s}\n{load}\n'
    return text


def slots(node, *order):
    """Put the boards that are there into these slots, the first one into the first of them."""
    for card, slot in zip(sorted(node.cards, key=lambda card: card.index), order, strict=True):
        card.slot = card.minor = slot
    node.cards.sort(key=lambda card: card.slot)


def swapped(node):
    return {101: lambda: slots(node, 1, 0)}


def back_behind_the_other(node):
    first = node.cards[0]
    return {100: lambda: node.cards.remove(first), 200: lambda: (node.cards.append(first), slots(node, 1, 0))}


def replaced(node):
    """The second board leaves; one that comes later is put into its slot."""
    second = node.cards[1]
    return {100: lambda: node.cards.remove(second), 131: lambda: slots(node, 0, 1)}


def lived(tmp_path, text, plan, ends_s):
    """Let agents live one after the other, up to these moments; returns node, last agent, windows, and their books."""
    (tmp_path / "s.toml").write_text(text)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    for at_s, what in plan(node).items():
        clock.call_at(node.begun_us + at_s * SECOND, what)
    windows, again = [], Accounts()
    for number, end_s in zip(count(), ends_s, strict=False):
        folder = tmp_path / f"recording{number}"
        recorder = Recorder(folder, "sim", max_bytes=0, max_age_s=0)
        one = agent(node, clock, state=tmp_path / "state", recorder=recorder, keep_us=10**12)
        one.daemon.restore()
        one.live(node.begun_us + end_s * SECOND - clock.now_us())
        one.close()
        recorder.close()
        assert not one.faults.counts
        windows += one.windows
        for chain in find([str(folder)], Options()):
            for window in chain.windows(Options()):
                again.add(window)
    again.finish()
    return node, one, windows, again


def billed(accounts):
    """Joules by job and GPU."""
    found = bills(accounts)[1]
    return {(job, int(gpu[-12:])): (static + dynamic) / 2e9 for (job, gpu), (static, dynamic) in found.items()}


def drawn(node, windows):
    real = node.truth.jobs_nj(windows[0].start_us, windows[-1].end_us)
    return {(job, gpu): (static + dynamic) / 1e9 for (job, gpu), (static, dynamic) in real.items() if job != "_idle"}


@pytest.mark.parametrize("ends_s", [(320,), (250, 320)])
@pytest.mark.parametrize("used", few([True, False]))
@pytest.mark.parametrize(
    ("plan", "text", "jobs"),
    [
        (swapped, RELOAD, [(0, 20, 99), (1, 20, 99), (0, 110, 300), (1, 110, 300)]),
        (back_behind_the_other, "", [(0, 20, 99), (1, 20, 150), (0, 270, 310), (1, 270, 310)]),
        (replaced, "[[gpu]]\nindex = 2\nlate_s = 130\n", [(0, 20, 310), (1, 20, 99), (2, 180, 310)]),
    ],
    ids=["swapped over a driver reload", "back under another number", "replaced by another in its slot"],
)
def test_a_job_pays_for_the_gpu_that_had_its_number_when_it_ran(tmp_path, plan, text, jobs, used, ends_s):
    gpus = 1 + max(gpu for gpu, _, _ in jobs)
    node, one, windows, again = lived(tmp_path, script(*jobs, gpus=gpus, used=used, more=text), plan, ends_s)
    real, got = drawn(node, windows), billed(one.accounts)
    assert got == {place: pytest.approx(value, rel=0.03) for place, value in real.items()}
    assert bills(again) == bills(one.accounts), "a replay says the same"
    here = [card.uuid for card in node.cards]
    told = {device.uuid: (device.index, device.minor) for device in windows[-1].devices}
    assert [told[uuid] for uuid in here] == [(number, number) for number in range(len(here))]
    assert all(told[uuid] == (MISSING, MISSING) for uuid in told.keys() - set(here)), "no number means two GPUs"


def test_a_number_stays_while_others_are_only_away_and_comes_back_with_the_gpu(tmp_path):
    (tmp_path / "s.toml").write_text(script(gpus=3))
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    first, second, third = node.cards
    meter = NvmlMeter(Nvml(clock, node.library), clock, "h", simulated=True, proc_root=node.proc_root)

    def numbers(*cards):
        node.cards[:] = cards
        slots(node, *(node.cards.index(card) for card in sorted(cards, key=lambda card: card.index)))
        meter.reopen([])
        return [device.index for device in meter.devices]  # in the order in which they were found first

    meter.open()
    assert numbers(first, third) == [0, 1, 2], "one is away"
    assert numbers(first, second, third) == [0, 1, 2]
    assert numbers(third, second) == [MISSING, 1, 0], "that these have changed places is no matter of one that is away"
    assert numbers(third) == [MISSING, 1, 0]
    assert numbers(first, third) == [0, MISSING, 1]
    assert numbers(first, second) == [0, 1, MISSING]
    assert numbers(second, first, third) == [1, 0, 2]
    meter.close()
