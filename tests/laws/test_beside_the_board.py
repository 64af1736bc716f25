"""On simulated nodes with known truth, board, module, processors and node are metered within 1 %, and never cross."""

from collections import Counter

import pytest

from tests.depth import few
from tests.virtual import agent, simulated

S = 1_000_000
SECONDS = 90
LOADED = """
gpus = {gpus}
cycle_s = 600
[[gpu]]
architecture = "{kind}"
[[job]]
name = "7"
gpus = {all}
cores = 16
load = [[1.6, 500.0, 90], [0.4, 120.0, 30], [3.0, 300.0, 70]]
"""
GRACE = '[[host_meter]]\nsource = "grace"\nwindow_s = 1.0\nperiod_s = 1.0\n'


def life(tmp_path, kind, gpus=1, more="", seconds=SECONDS):
    text = LOADED.format(kind=kind, gpus=gpus, all=list(range(gpus))) + more
    (tmp_path / "s.toml").write_text(text)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=seconds, beside=True)
    one.daemon.run()
    one.close()
    return one, node


def joules(one):
    """What each meter of the host counted, and over which seconds, by name."""
    (books,) = one.accounts.beside.values()
    return {
        name: (book.energy_hnj / 2e9, book.last_us - book.covered_us, book.last_us)
        for name, book in books.meters.items()
    }


def check(told, node, domains, source, rel=0.01):
    for domain in domains:
        energy_j, start_us, end_us = told[f"{source}/{domain}"]
        assert end_us - start_us > (SECONDS - 15) * S, domain
        assert energy_j == pytest.approx(node.beside.nj(domain, start_us, end_us) / 1e9, rel=rel), domain


def check_scopes(one, node, told):
    """What NVML says of modules: one domain for each, however many GPUs report it."""
    modules = {name: value for name, value in told.items() if name.startswith("nvml/module")}
    by_first_gpu = {its: gpu for gpu, its in reversed(list(enumerate(node.beside.packages)))}
    assert set(modules) == {f"nvml/module-{gpu}" for gpu in by_first_gpu.values()}
    for package, gpu in by_first_gpu.items():
        energy_j, start_us, end_us = modules[f"nvml/module-{gpu}"]
        assert energy_j == pytest.approx(node.beside.nj(f"module-{package}", start_us, end_us) / 1e9, rel=0.01)


@pytest.mark.parametrize(("kind", "gpus"), few([("gh200", 1), ("gh200", 2), ("gb200", 2), ("gb200", 4)], plain=2))
def test_of_a_superchip_board_module_and_processor(tmp_path, kind, gpus):
    one, node = life(tmp_path, kind, gpus, GRACE)
    told, count = joules(one), node.beside.host.packages
    check(told, node, [f"{part}-{n}" for n in range(count) for part in ("module", "grace", "cpu", "sysio")], "grace")
    check_scopes(one, node, told)
    begin_us = one.windows[0].start_us
    boards = {key.gpu: account for key, account in one.accounts.gpus.items()}
    for card in node.cards:
        account = boards[card.uuid]
        truth_j = node.truth.gpu_nj(card.index, begin_us, begin_us + account.booked_us) / 1e9
        assert account.energy_hnj / 2e9 == pytest.approx(truth_j, rel=0.01)
        assert account.boundary == "board"
    for n in range(count):
        mine = [boards[card.uuid] for card in node.cards if node.beside.packages[card.index] == n]
        gpu_w = sum(account.energy_hnj / 2e3 / account.booked_us for account in mine)
        memory_w = (
            sum(card.architecture.memory_mw for card in node.cards if node.beside.packages[card.index] == n) / 1e3
        )
        module_w, grace_w, cpu_w, sysio_w = (
            told[f"grace/{part}-{n}"][0] * 1e6 / (told[f"grace/{part}-{n}"][2] - told[f"grace/{part}-{n}"][1])
            for part in ("module", "grace", "cpu", "sysio")
        )
        assert module_w >= gpu_w + memory_w
        assert module_w == pytest.approx(gpu_w + memory_w + grace_w, rel=0.01)
        assert grace_w >= cpu_w + sysio_w


def test_no_reading_of_a_module_is_below_what_lies_in_it(tmp_path):
    """At each moment, not only over time: all sockets are of the same mean."""
    one, _ = life(tmp_path, "gb200", 2, GRACE, seconds=40)
    held = Counter()
    for window in one.windows:
        found = {}
        for i, meter in enumerate(window.beside.meters):
            rows = slice(int(window.beside.offsets[i]), int(window.beside.offsets[i + 1]))
            found[meter.domain] = window.beside.value[rows].tolist()
        for module, grace, cpu, sysio in zip(
            *(found.get(f"{part}-0", []) for part in ("module", "grace", "cpu", "sysio")), strict=True
        ):
            assert module >= grace >= cpu + sysio
            held["rows"] += 1
    assert held["rows"] >= 35


def test_a_mean_shorter_than_the_pause_between_readings_is_said_to_alias(tmp_path):
    one, node = life(tmp_path, "gh200", 1, '[[host_meter]]\nsource = "grace"\n')
    (books,) = one.accounts.beside.values()
    book = books.meters["grace/module-0"]
    truth_j = node.beside.nj("module-0", book.last_us - book.covered_us, book.last_us) / 1e9
    assert "may-alias" in book.flags
    assert abs(book.energy_hnj / 2e9 - truth_j) <= 3 * book.sigma_hnj / 2e9


def test_of_an_hgx_node_packages_memory_and_the_rest(tmp_path):
    meters = '[[host_meter]]\nsource = "rapl"\n[[host_meter]]\nsource = "ipmi"\nlag_s = 0\n'
    one, node = life(tmp_path, "hopper", 4, meters)
    told = joules(one)
    check(told, node, [f"{part}-{n}" for n in (0, 1) for part in ("package", "dram")], "rapl")
    check(told, node, ["node"], "ipmi")
    (books,) = one.accounts.beside.values()
    book = books.node
    assert book.meter == "ipmi/node"
    assert sum(book.parts_hnj.values()) == book.node_hnj + book.debt_hnj
    end_us = one.windows[-1].end_us
    truth = {part: node.beside.nj(part, end_us - book.covered_us, end_us) / 1e9 for part in (*book.parts_hnj, "node")}
    second_j = truth["node"] * 1e6 / book.covered_us  # what the BMC covers begins and ends between windows
    for part, hnj in book.parts_hnj.items():
        assert hnj / 2e9 == pytest.approx(truth[part], rel=0.002, abs=second_j), part
