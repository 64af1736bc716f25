"""The page of what was measured on a real card says what its series say, and neither names anybody."""

import gzip
import json
import re
from statistics import fmean, median

import pytest

from tests.gpu import measured, pictures

PAGE = " ".join((measured.FOLDER / "README.md").read_text(encoding="utf-8").split())
FILES = sorted(path for path in measured.FOLDER.rglob("*") if path.is_file())


def read(path):
    """A file as text."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def says(*sentences):
    assert [sentence for sentence in sentences if sentence not in PAGE] == []


def percent(share, digits=1):
    return f"{100 * share:.{digits}f} %"


def span(values, digits=1):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def test_verdicts():
    verdicts = [measured.step(number)["verdict"] for number in range(1, 11)]
    counts = [verdicts.count(verdict) for verdict in ("as predicted", "SURPRISE", "unknown")]
    assert counts == [1, 8, 1]
    says("one step of ten came out as predicted, eight held a surprise, one did not reach its end")
    (failed,) = (step for step in map(measured.step, range(1, 11)) if step["state"] != "done")
    cut = {error.rpartition("after ")[2] for error in failed["errors"] if "TimeoutExpired" in error}
    says(f"cut off after {cut.pop()}")
    assert not cut


def test_prices_of_calls():
    step = measured.step(1)
    names = {
        "`nvmlDeviceGetPowerUsage`": "nvmlDeviceGetPowerUsage",
        "fields 185 and 186": "fields [185, 186]",
        "`nvmlDeviceGetUtilizationRates`": "nvmlDeviceGetUtilizationRates",
        "`nvmlDeviceGetComputeRunningProcesses`": "nvmlDeviceGetComputeRunningProcesses_v3",
        "`nvmlGpmSampleGet`": "nvmlGpmSampleGet",
        "`nvmlDeviceGetSamples`, total power": "nvmlDeviceGetSamples(power, 0)",
        "`nvmlDeviceGetProcessUtilization`, from 0": "nvmlDeviceGetProcessUtilization(0)",
        "field 83, the energy counter": "fields [83]",
    }
    for said, name in names.items():
        idle, loaded = step["price_idle"][name], step["price_loaded"][name]
        says(f"| {said} | {idle['p50_us']:.1f} | {idle['p99_us']:.1f} | {loaded['p50_us']:.1f} |")
    beside = step["waits_idle"]["field 83"]["meanwhile"]["field 186"]
    says(f"{beside['during_us']['mean']:.0f} us during a call, {beside['beside_us']['mean']:.0f} us beside it, *noted*")


def test_a_call_for_the_counter_is_dear_just_after_its_publication():
    idle, loaded = measured.waits("idle"), measured.waits("loaded")
    says(
        f"{idle['calls']['p50']:.1f} ms in the median, {idle['calls']['p99']:.1f} at the 99th percentile idle; "
        f"{loaded['calls']['p50']:.1f} and {loaded['calls']['p99']:.1f} loaded"
    )
    first, others = [], []
    for waits in (idle, loaded):
        phases = waits["by_ms_after_a_new_value"]
        first += [phases["0"]["mean"], phases["0"]["max"]]
        others.append(span([facts["mean"] for at, facts in phases.items() if at != "0"]))
    says(
        "there {:.1f} ms in the mean and {:.1f} at most idle, {:.1f} and {:.1f} loaded; ".format(*first)
        + f"elsewhere means of {others[0]} ms idle, {others[1]} loaded"
    )


def test_a_call_for_the_counter_is_dearer_after_each_sample_of_the_driver():
    took = [(since, ms) for since, ms in pictures.after_publication("idle") if since > 15]
    after = median(ms for since, ms in took if 1 <= since % 20 <= 3.5)
    says(f"take {after:.1f} ms instead of {median(ms for _, ms in took):.1f}")


def test_publication():
    told = measured.publication()
    medians = [told["periods"][name]["p50"] for name in ("average", "instant", "counter")]
    says(
        "medians {:.1f}, {:.1f} and {:.1f} ms".format(*medians),
        f"of {percent(told['instant_is_a_sample'])} of its values",
        f"the ring's mean is {percent(1 - told['samples_against_counter'])} below the counter's; step by step "
        f"{percent(told['rms_of_mean_at_best_lag'])} of the mean at best, at a lag of {told['best_lag_ms']} ms",
    )


def test_square_waves():
    levels, table, spreads = measured.waves()
    on, off = round(levels["on_w"]), round(levels["off_w"])
    says(f"Half of the time {on} W, half of the time {off} W", f"the swing of {levels['on_w'] - levels['off_w']:.0f} W")
    for period in (20, 33, 100, 333):
        shares = [percent(spreads[f"{name} {period} ms"]) for name in ("counter", "average", "samples", "instant")]
        says(f"| {period} ms | {' | '.join(shares)} |")
    instant = [row["instant_share"] for row in table if row["period_ms"] == 100]
    says(f"between {percent(min(instant))} and {percent(max(instant))} of the swing for one and the same load")
    free, slow = (next(row for row in table if row["period_ms"] == period) for period in (97, 2000))
    counter, average, ring = (percent(free[f"{name}_share"]) for name in ("counter", "average", "samples"))
    says(
        f"counter {counter}, average {average}, ring {ring}; instant {percent(free['instant_share'])}, "
        f"from {free['instant_w']['n']} readings",
        f"{slow['instant_w']['p50']:.0f} W in bursts of a second, {on} W in kernels of 20 ms",
    )


def test_rows():
    table = measured.rows()
    for name, facts in table.items():
        explained = round(facts["explained"] * facts["rows"])
        assert explained == facts["rows"]
        says(f"| {explained} of {facts['rows']}")
        ratios = [facts["5 Hz"][load]["ratio"] for load in ("kit-a", "kit-b")]
        says(
            "{:.2f} and {:.2f} times |".format(*ratios) if name != "a" else f"credited with {ratios[1]} times its time"
        )
    noted = measured.step(2)["scenario c"]
    says(
        "kit-a has a row in {} of {} answers".format(*table["a"]["5 Hz"]["kit-a"]["answers_with_a_row"]),
        f"{round((1 - noted['explained']) * noted['rows'])} of them rows of 0 %",
        f"explained {percent(noted['explained'])} of the rows of c",
    )


def test_sharing():
    table, _ = measured.sharing()
    for name, row in table.items():
        if name == "kit-c":
            says(
                f"kit-c: 0.6 s, alone | - | - | {row['own_j']} | {row['busy_j']} |", f"{row['own_j']} J went to nobody"
            )
            continue
        joules = " | ".join(f"{row[f'{what}_j']:,.1f}" for what in ("billed", "sigma", "own", "busy"))
        ratios = " | ".join(f"{row[f'against_{t}']:.3f} | {row[f'sigmas_from_{t}']:+.2f}" for t in ("own", "busy"))
        assert re.search(rf"\| {name}: [^|]* \| {re.escape(joules)} \| {re.escape(ratios)} \|", PAGE), name
    locked = [table[name]["against_busy"] - 1 for name in ("kit-a", "kit-b", "kit-d", "kit-e")]
    says(
        f"{percent(locked[0], 0)} too much, {percent(-locked[1], 0)} too little",
        f"| {percent(locked[2], 0)} and {percent(-locked[3], 0)}, at most half a sigma",
    )
    assert max(abs(table[n][f"sigmas_from_{t}"]) for n in ("kit-d", "kit-e") for t in ("own", "busy")) < 0.5
    step = measured.step(5)
    against = {name: told["against_counter"] for name, told in step["replays"].items()}
    kept = step["conservation"]
    says(
        f"{kept['largest_difference_j']:.0f} J of {kept['joules']:,.1f} J",
        f"| {against['recording']}, *noted*",
        f"{against['smi.csv']} and {against['dmon.txt']}, *noted*",
    )


def test_what_watching_costs():
    effects = measured.effects()
    for watched, name in (("the agent", "agent"), ("everything at 1 Hz",) * 2, ("everything at 50 Hz",) * 2):
        told = effects["nothing"][name.replace(" at", "")]
        line = rf"\| idle watts \| {watched} \| [^|]* \| {told['effect']:+.2f} ± {told['error']:.2f} W \|"
        assert re.search(line.replace("+", r"\+"), PAGE), line
    for doing, watched, name in (
        ("rate of kernels of 1 ms", "the agent", "agent"),
        ("rate of kernels of 1 ms", "everything at 50 Hz", "everything 50 Hz"),
        ("rate of kernels of 1 ms", "the counter at 50 Hz", "counter 50 Hz"),
        ("rate of kernels of 10 us", "everything at 50 Hz", "everything 50 Hz"),
        ("allocations of memory", "the counter at 50 Hz", "counter 50 Hz"),
        ("allocations of memory", "rows at 50 Hz", "rows 50 Hz"),
        ("allocations of memory", "power at 50 Hz", "power 50 Hz"),
    ):
        told = effects[doing.removeprefix("rate of ").removesuffix(" of memory")][name]
        outcome = f"{100 * told['effect']:+.1f} ± {percent(told['error'])}"
        assert re.search(rf"\| {doing} \| {watched} \| [^|]* \| {re.escape(outcome)}", PAGE), outcome
    agent = effects["kernels of 10 us"]["agent"]
    says(f"the {100 * agent['effect']:.1f} ± {percent(agent['error'])} that the step computes")
    rates = [one["rate"] for one in measured.step(6)["stretches"] if one["doing"] == "kernels of 10 us"]
    says(f"between {round(min(rates), -3):,.0f} and {round(max(rates), -3):,.0f} a second")
    calls = measured.step(6)["during_calls"]
    long, short = (calls[f"kernels of {kind}: counter 50 Hz"]["ratio"] for kind in ("1 ms", "10 us"))
    one = calls["allocations: counter 50 Hz"]
    says(
        f"a kernel of 1 ms takes {long:.3f} times as long as beside it, one of 10 us {short:.3f} times",
        f"an allocation {one['median_us'] / 1e3:.2f} ms instead of {one['median_us_beside'] / 1e3:.2f}, and "
        f"{one['longest_us'] / 1e3:.1f} ms at most",
    )


def test_lives():
    lives = measured.lives()
    of = {name: [life[name] for life in lives] for name in lives[0]}
    short, long = (fmean(v for v, s in zip(of["tail_j"], of["compute_s"], strict=True) if (s < 1) == w) for w in (1, 0))
    says(
        f"{span(of['start_to_kernel_s'], 2)} s, {span(of['start_to_kernel_j'])} J",
        f"{span(of['context_open_w'])} W, idle {span(of['idle_w'])} W",
        f"{span(of['tail_s'])} s, {span(of['tail_j'], 0)} J, {span(of['tail_above_idle_w'])} W above idle",
        f"{fmean(of['tail_j']):.0f} J a process in the mean",
        f"{short:.1f} J and {long:.1f} J",
        f"| {span(of['samples_against_counter'], 4)} |",
        f"they agree to {percent(max(of['samples_against_counter']) - 1, 2)} and better",
    )


def test_memory_power_and_lists():
    memory = measured.memory()
    rest, full, copies = (memory[doing]["memory_average_w"]["p50"] for doing in ("context open", "full", "copies"))
    says(f"{rest:.1f} W with a context open, {full:.1f} W under matrix load, {copies:.1f} W under copies")
    assert [round(facts["changes_ms"]["p50"], -1) for facts in memory.values()] == [100] * 3
    lists = measured.lists()
    says(
        f"{span([-one['after it was open'] for one in lists], 0)} ms before it is fully open",
        f"{span([-one['after it was gone'] for one in lists], 0)} ms before its end",
    )


def test_rarer_answers():
    step = measured.step(8)
    ring = step["samples"]["total power"]
    age_ms = ring["age_us_by_clock"]["realtime"] / 1e3
    says(f"| {ring['count']}, {ring['spacing_ms']['p50']:.1f} ms, {age_ms:.1f} ms old, *noted*")
    assert set(step["events"]["registered"].values()) == {"yes"}
    says(f"all {len(step['events']['registered']) - 1}, and together, *noted*")
    assert step["accounting"]["stats of a process that runs"].endswith("Not Found (6)")
    assert {"1", "2", "3", "5", "10"} <= set(step["gpm"]["answered"])


def test_cuda_kernels():
    step = measured.step(7)
    libraries = [step["versions"][name] for name in ("numba", "numba-cuda", "numpy", "cupy-cuda13x", "torch")]
    says("numba {}, numba-cuda {} and numpy {}; CuPy {} and torch {} beside".format(*libraries))
    rows = {(row["kernel"], row["n"]): row for row in step["table"]}
    copy, bus = ([rate for _, rate in facts.items()] for facts in (step["copy_gb_s"], step["bus_gb_s"]))
    assert set(step["equal"].values()) == {True}
    assert set(step["foreign"].values()) == {True}
    orders = sum("out of order" in name for name in step["foreign"])
    shares = [percent(rows[name, 10**8]["share of copy"]) for name in ("windows", "quantiles", "job_energy")]
    largest = rows["integrate", 10**9]
    says(
        f"all {len(step['equal'])} comparisons, and {len(step['foreign']) - orders} with arrays",
        "{:.2f} TB/s by numba, {:.2f} by CuPy, {:.2f} by torch".format(*(rate / 1e3 for rate in copy)),
        "{} GB/s to the card and {} back, pageable; {} and {} pinned".format(*bus),
        f"{percent(largest['share of copy'])} and {percent(rows['integrate', 10**8]['share of copy'])}: "
        f"{largest['resident ms']:.1f} ms for 10^9",
        "{}, {} and {} at 10^8".format(*shares),
    )
    for name in ("integrate", "windows", "quantiles", "job_energy"):
        says(f"`{name}` {rows[name, 10**8]['cpu ms']:.1f}; {rows[name, 10**8]['resident ms']:.1f}")
    for name in ("windows", "job_energy"):
        row = rows[f"{name} dirty", 10**7]
        says(f"`{name}` {row['host ms']:.0f}" + (" ms" if name == "windows" else "") + f" against {row['cpu ms']:.0f}")


def test_kernels_on_the_machines_cores():
    document = json.loads((measured.FOLDER / "bench.json").read_text())
    found = {contest["kernel"]: contest for contest in document["contests"]}
    packed, plain = found["a energy, 8 B packed"], found["a energy, 12 B"]
    rates = [
        found[name]["gigabytes_per_s"]
        for name in ("c windows of a minute", "d exact p50, p95, p99", "b energy per job")
    ]
    says(
        f"On the machine's {document['machine']['cores']} cores",
        f"energy {packed['gigabytes_per_s']:.1f} GB/s of packed samples ({percent(packed['share_of_bandwidth'], 0)} of",
        f"{plain['gigabytes_per_s']:.1f} GB/s of plain ones ({percent(plain['share_of_bandwidth'], 0)})",
        "windows {:.1f}, quantiles {:.1f}, energy per job {:.1f} GB/s".format(*rates),
    )


def test_the_recording():
    step = measured.step(10)
    native, parquet = step["replay"], step["parquet"]["replay"]
    assert (native["total_j"], native["jobs"]) == (parquet["total_j"], parquet["jobs"])
    assert step["identifying"] == []
    says(
        f"{step['record']['bytes']:,} and {step['parquet']['bytes']:,} bytes",
        f"the same: {native['total_j']:,.6f} J",
        " and ".join(sorted((job.rpartition("/")[2] for job in native["jobs"]), reverse=True)),
    )


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_are_drawn_from_the_series(name):
    assert (measured.FOLDER / name).read_text() == pictures.PICTURES[name](), "run: python -m tests.gpu.pictures"


def test_nothing_names_a_card_a_host_or_a_place():
    uuid = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
    place = re.compile(r"(?<![\w.])/(?:opt|usr|home|root|tmp|work|mnt|var/tmp|dev/shm)/|WORK/|Traceback|\bvm\b")
    secret = re.compile(r'"(?:serial|pdi|board_?id|host_?name)"\s*:', re.IGNORECASE)
    assert len(FILES) > 30
    for path in FILES:
        text = read(path)
        assert {name for name in uuid.findall(text) if not name.startswith("00000000-")} == set(), path.name
        assert place.search(text) is None, path.name
        assert secret.search(text) is None, path.name
    hosts = set(re.findall(r'"host": "(.*?)"', read(measured.FOLDER / "results.json")))
    assert hosts == {"node"}


def test_it_is_small():
    assert sum(path.stat().st_size for path in FILES) < 700_000
