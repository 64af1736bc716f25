"""Tables of jobs, written in every way and read back; and Slurm's counts against the same counted one by one."""

import csv
import io
import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.jobs.jobs_file import (
    ALWAYS,
    FOREVER,
    JobRow,
    gpu_share_seconds,
    parse_job_columns,
    read_jobs,
)
from wattshed.agent.traces.jobs.sacct import Records, nodes_of, read_sacct
from wattshed.agent.traces.jobs.tres import AllocatedGpus, demand_of, spread

START = 1_700_000_000
WORD = st.text("abcXYZ019-_", min_size=1, max_size=6)


@st.composite
def jobs(draw):
    """One row, as cells of a table and as it must be read."""
    first, length = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    gpus, named = draw(
        st.sampled_from(
            [("", ("*",)), ("*", ("*",)), ("3", ("3",)), ("0-2", ("0", "1", "2")), ("0;2;2", ("0", "2")),
             ("5 1-2", ("5", "1", "2")), ("GPU-a GPU-b", ("GPU-a", "GPU-b")), ("1023", ("1023",))]
        )
    )  # fmt: skip
    share, ppm = draw(
        st.sampled_from([("", -1), ("0.25", 250_000), ("1", 1_000_000), ("0", 0), ("12.5%", 125_000), ("100 %", 10**6)])
    )
    count = draw(st.sampled_from(["", "0", "7"]))
    kind = draw(st.integers(0, 2))

    def written(second):
        iso = datetime.fromtimestamp(second, UTC)
        return [str(second), f"{iso:%Y-%m-%dT%H:%M:%SZ}", f"{iso:%Y-%m-%d %H:%M:%S}"][kind]

    opened, closed = draw(st.booleans()), draw(st.booleans())
    cells = {
        "job": draw(WORD),
        "host": draw(st.sampled_from(["", "n1", "n2.site"])),
        "gpu": gpus,
        "start": draw(st.sampled_from(["", "Unknown", "N/A"])) if opened else written(START + first),
        "end": "" if closed else written(START + first + length),
        "share": share,
        "gpus": count,
        "user": draw(st.sampled_from(["", "ada"])),
        "colour": draw(st.sampled_from(["", "red"])),
    }
    row = JobRow(
        cells["job"], cells["host"], named, ALWAYS if opened else (START + first) * 10**6,
        FOREVER if closed else (START + first + length) * 10**6, int(count or -1), ppm,
        {key: cells[key] for key in ("user", "colour") if cells[key]},
    )  # fmt: skip
    return cells, row


def written(cells, order, delimiter):
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    table.writerows([order, *([one[name] for name in order] for one in cells)])
    return out.getvalue()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(jobs(), min_size=1, max_size=4),
    st.sampled_from(",;\t|"),
    st.permutations(["host", "gpu", "start", "end", "share", "gpus", "user", "colour"]),
)
def test_a_table_of_jobs_is_read_back(tmp_path, found, delimiter, order):
    path = tmp_path / "jobs.csv"
    path.write_text(written([cells for cells, _ in found], ["job", *order], delimiter))
    rows = read_jobs(path, UTC)
    wanted = [row for _, row in found]
    for line, (row, right) in enumerate(zip(rows, wanted, strict=True), 2):
        assert row.line == line
        for name in ("job", "host", "gpus", "start_us", "end_us", "count", "share_ppm", "labels"):
            assert getattr(row, name) == getattr(right, name), name
        assert row.counted == (right.gpus == ("*",) and right.count >= 0)
    total = sum(
        (r.count if r.count >= 0 else len(r.gpus) if r.gpus != ("*",) else 0)
        * (r.share_ppm if r.share_ppm >= 0 else 10**6) * (r.end_us - r.start_us)
        for r in wanted if r.start_us > ALWAYS and r.end_us < FOREVER
    )  # fmt: skip
    assert gpu_share_seconds(rows) == pytest.approx(total / 1e12)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(jobs(), min_size=1, max_size=4))
def test_in_a_table_of_another_tool_a_row_without_a_start_or_a_gpu_never_ran(tmp_path, found):
    names = {"job": "name", "start": "begin", "share": "milli", "gpus": "num"}
    cells = [{names.get(k, k): v for k, v in one.items()} for one, _ in found]
    for one in cells:
        one["milli"] = "250"
    path = tmp_path / "jobs.csv"
    path.write_text(written(cells, list(cells[0]), ","))
    rows = read_jobs(path, UTC, parse_job_columns("job=name,start=begin,gpus=num,share=milli:milli,end=END"))
    ran = [row for _, row in found if row.start_us > ALWAYS and row.count != 0]
    assert [(row.job, row.start_us, row.end_us, row.count, row.share_ppm) for row in rows] == [
        (row.job, row.start_us, row.end_us, row.count, 250_000) for row in ran
    ]
    for row, right in zip(rows, ran, strict=True):  # what no key is told for is something about the job
        assert row.gpus == ("*",)
        assert row.labels == {
            **right.labels,
            **({"host": right.host} if right.host else {}),
            **(
                {"gpu": next(c["gpu"] for c, r in found if r is right)}
                if next(c["gpu"] for c, r in found if r is right)
                else {}
            ),
        }


BAD = {
    "start": (["soon", "2024-13-01"], 4),
    "end": (["later"], 5),
    "share": (["much", "1.01", "-0.1", "5 W", "101%"], 6),
    "gpus": (["two", "1.5", "-1"], 7),
    "gpu": (["5-3", "0-1024", "1024"], 3),
    "job": (["", "_idle", "_unattributed", "_other"], 1),
}


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, (texts, _) in BAD.items() for text in texts])
def test_a_bad_cell_is_told_by_its_line_and_column(tmp_path, key, text):
    names = ["job", "host", "gpu", "start", "end", "share", "gpus"]
    good = {
        "job": "a",
        "host": "n1",
        "gpu": "0",
        "start": str(START),
        "end": str(START + 5),
        "share": "0.5",
        "gpus": "1",
    }
    path = tmp_path / "jobs.csv"
    path.write_text(written([good, good, {**good, key: text}, good], names, ","))
    with pytest.raises(InputError) as error:
        read_jobs(path, UTC)
    assert (error.value.path, error.value.line, error.value.column) == (str(path), 4, BAD[key][1])


def test_a_job_that_ends_before_it_starts_is_told_at_its_end(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text(f"job,start,end\na,{START},{START}\nb,{START},{START - 1}\n")
    with pytest.raises(InputError, match=r"ends .* before it starts") as error:
        read_jobs(path, UTC)
    assert (error.value.line, error.value.column) == (3, 3)


@pytest.mark.parametrize("width", [6, 5, 4, 3, 2, 1, 8])
def test_up_to_four_cells_may_be_left_out_at_the_end(tmp_path, width):
    path = tmp_path / "jobs.csv"
    cells = ["a", "n1", "0", str(START), str(START + 5), "0.5", "1", "more"]
    path.write_text("job,host,gpu,start,end,share,gpus\n" + ",".join(cells[:width]) + "\n")
    if 3 <= width <= 7:
        (row,) = read_jobs(path, UTC)
        assert (row.start_us == ALWAYS, row.end_us == FOREVER, row.share_ppm) == (
            width < 4,
            width < 5,
            500_000 if width > 5 else -1,
        )
    else:
        with pytest.raises(InputError, match=f"{width} columns instead of 7") as error:
            read_jobs(path, UTC)
        # The first cell that lacks, or that no name stands above.
        assert (error.value.line, error.value.column) == (2, min(width, 7) + 1)


# Slurm's counts

SPANS = st.tuples(st.integers(0, 30), st.integers(0, 4), st.sampled_from(["", "0", "00"]))


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["n", "gpu-", "r"]), st.lists(SPANS, max_size=3)), min_size=1, max_size=3))
def test_a_list_of_nodes_is_all_of_them(parts):
    texts, wanted = [], []
    for name, spans in parts:
        said, numbers = [], []
        for first, more, zeros in spans:
            low = f"{zeros}{first}"
            said.append(low if not more else f"{low}-{first + more}")
            numbers += [str(n).zfill(len(low)) for n in range(first, first + more + 1)]
        texts.append(name + (f"[{','.join(said)}]" if said else ""))
        wanted += [name + number for number in numbers] if said else [name]
    assert nodes_of(",".join(texts)) == wanted
    assert nodes_of("x[1-2]y[1-3]") == [f"x{a}y{b}" for a, b in itertools.product((1, 2), (1, 2, 3))]


@pytest.mark.parametrize("text", ["n[1-", "n]1[", "n[a-b]", "n[5-2]", "n[1-9999999]", "n[1--2]", "[]"])
def test_what_is_no_list_of_nodes(text):
    with pytest.raises(ValueError, match="not a valid list of nodes"):
        nodes_of(text)


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, 20), st.lists(st.integers(1, 10**6), max_size=9), st.integers(0, 20), st.integers(1, 6))
def test_what_is_spread_over_nodes_adds_up(count, parts, shards, nodes):
    """To no more than there was, and to less by roundings only; shards are of one GPU, so each node has its part up."""
    mine = spread(AllocatedGpus(count, tuple(parts), shards), nodes)
    had, have = count * 10**6 + sum(parts), nodes * (mine.count * 10**6 + sum(mine.parts))
    if nodes == 1:
        assert mine == AllocatedGpus(count, tuple(parts), shards)
    elif not parts:
        assert had - nodes < have <= had
        assert mine.dealt == (0 if shards else count)
    else:
        # The largest go round first: a node's is the larger of those that are dealt together.
        assert had - nodes * (1 + len(parts)) < have <= had + nodes * max(parts) + nodes
        assert mine.dealt == 0
    assert nodes * mine.shards >= shards > nodes * (mine.shards - 1) or shards == 0
    assert all(0 <= part <= 10**6 for part in mine.parts)


@pytest.mark.parametrize(
    ("nodes", "mine"),
    [(2, (500_000, 300_000, 50_000)), (3, (500_000, 66_666, 33_333)), (4, (500_000, 25_000)), (6, ())],
)
def test_instances_go_round_the_nodes_and_what_is_left_over_is_of_each_in_part(nodes, mine):
    parts = (100_000, 500_000, 400_000, 200_000, 300_000)
    wanted = mine or tuple(part // 6 for part in sorted(parts, reverse=True))
    assert spread(AllocatedGpus(0, parts), nodes).parts == wanted


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 250), st.integers(0, 9), st.integers(1, 4))
def test_what_accounting_names_twice_counts_once(h100, instances, mps, shards, nodes):
    """The plain entry repeats those with a type; whole GPUs, instances of MIG, MPS and shards stand beside."""
    wanted = AllocatedGpus(
        h100, (3 * 10**6 // 7,) * instances + (10**6,) * (mps // 100) + ((mps % 100) * 10**4,) * (mps % 100 > 0), shards
    )
    typed = [f"gres/gpu:h100={h100}", f"gres/gpu:3g.40gb={instances}", f"gres/mps={mps}", f"gres/shard:h100={shards}"]
    plain = [f"gres/gpu={h100 + instances}", f"gres/shard={shards}", "cpu=64", "mem=5G", "node=2"]
    for order in (typed + plain, plain + typed, typed):
        assert demand_of({"AllocTRES": ",".join(order)}, nodes) == wanted
    assert demand_of({"ReqTRES": ",".join(typed)}, nodes) == wanted
    # The older columns count one node's.
    older = demand_of({"AllocGRES": f"gpu:h100:{h100},shard:{shards}"}, nodes)
    assert (older.count, older.shards) == (h100 * nodes, shards * nodes)


@pytest.mark.parametrize("cluster", [True, False])
def test_every_stretch_and_every_label_of_an_accounting_dump(tmp_path, cluster):
    """Two stretches of one job, an array's task, one that still runs, one that never did, one without a GPU, steps."""
    head = "JobID|JobIDRaw|Cluster|User|QOS|JobName|Start|End|NodeList|AllocTRES"
    lines = [
        "7|7|c1|ada|hi|first|100|200|n1|gres/gpu=1",
        "7|7|c1|ada|hi|second|300|400|n[2-3]|gres/gpu=5",
        "7.batch|7.batch|c1||||300|400|n2|gres/gpu=4",
        "7.0|7.0|c1||||310|390|n[2-3]|gres/gpu=5",
        "9_2|12|c1|bob|lo|task|150|Unknown|n1|gres/gpu:h100=2,gres/gpu=2",
        "13|13|c1|bob|lo|waits|Unknown|Unknown|None assigned|gres/gpu=1",
        "14|14|c1|bob|lo|cpu|100|200|n1|cpu=4",
        "15.0|15.0|c1|cyd|lo|step|100|250|n1|gres/gpu=1",
        f"7|7|{'c2' if cluster else 'c1'}|eve|lo|other|500|600|n9|gres/gpu=1",
    ]
    path = tmp_path / "sacct.txt"
    path.write_text("\n".join([head, *lines]) + "\n")
    found = read_sacct(path, lambda text: int(text) * 10**6 if text.isdecimal() else None)
    one, other = ("slurm:7@c1", "slurm:7@c2") if cluster else ("slurm:7", "slurm:7")
    assert [(j.job, j.start_us // 10**6, j.end_us // 10**6 if j.end_us < 1 << 61 else None, j.line) for j in found] == [
        (one, 100, 200, 2),
        (one, 300, 400, 3),
        *([] if cluster else [(other, 500, 600, 10)]),
        ("slurm:12", 150, None, 6),
        ("slurm:15", 100, 250, 9),
        *([(other, 500, 600, 10)] if cluster else []),
    ]
    hosts = {(j.job, j.start_us // 10**6): [(h, had.count, had.parts) for h, had in j.hosts] for j in found}
    assert hosts[one, 100] == [("n1", 1, ())]
    assert hosts[one, 300] == [("n2", 4, ()), ("n3", 1, ())]  # the batch step tells what the first node had
    assert hosts["slurm:12", 150] == [("n1", 2, ())]
    labels = {j.job: j.labels for j in found}
    assert labels["slurm:12"] == {
        "manager": "slurm",
        "array": "9_2",
        "cluster": "c1",
        "user": "bob",
        "qos": "lo",
        "name": "task",
    }
    assert labels[one]["name"] == ("second" if cluster else "other")  # of several stretches the last one's
    assert "array" not in labels[one]


PIECE = st.text("ab 1", max_size=3)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 99).map(str), st.lists(PIECE, min_size=1, max_size=4).map("\n".join), st.integers(0, 9).map(str)
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(RECORDS, st.sampled_from(["|", "|#"]))
def test_records_that_span_lines_are_put_together_among_others_that_do_not(found, delimiter):
    header = delimiter.join(("JobID", "JobName", "Start"))
    lines = "\n".join(delimiter.join(cells) for cells in found).split("\n") if found else []
    report = SourceReport("x")
    rows = list(Records(header, report).of(lines))
    assert [(row["JobID"], row["JobName"], row["Start"]) for _, row in rows] == found
    starts = list(itertools.accumulate((1 + name.count("\n") for _, name, _ in found), initial=2))
    assert [number for number, _ in rows] == starts[: len(found)]
    assert report.rows_rejected == 0
