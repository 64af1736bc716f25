"""Files of the same GPUs get hosts by what their names differ in; messages that lead nowhere are passed over."""

import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces.test_native_format import encode
from tests.traces.windows_made_up import plain_window
from wattshed.agent.errors import InputError
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.native.segment import SCHEMA_MESSAGE, layout_of, spans
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

LOG = "time,gpu,power_w\n1700000000,{gpu},5\n1700000009,{gpu},5\n"


def hosts(folder, names, gpu=0):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(LOG.format(gpu=gpu))
    chains = find([str(folder / name) for name in names], Options())
    return {str(source.path.relative_to(folder)): chain.name for chain in chains for source in chain.sources}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["t13_node0_log.csv", "t13_node1_log.csv"], ["node0", "node1"]),
        (["a_x_1.csv", "a_y_2.csv"], ["x_1", "y_2"]),
        (["log.csv", "log_late.csv"], ["log", "log_late"]),  # one of them differs in nothing: the whole names
        (["only.csv"], [""]),
    ],
)
def test_files_of_the_same_gpus_are_named_by_what_differs(tmp_path, names, wanted):
    assert hosts(tmp_path, names) == dict(zip(names, wanted, strict=True))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    names = ["x/log.csv", "y/log.csv"]
    assert hosts(tmp_path, names) == {name: str(tmp_path / name) for name in names}


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text("ab12_-.", min_size=1, max_size=6), min_size=2, max_size=5))
def test_no_two_files_of_the_same_gpus_become_one_host(tmp_path, stems):
    names = [f"f{stem}.csv" for stem in sorted(stems)]
    found = hosts(tmp_path, names)
    assert len(set(found.values())) == len(names)
    assert all(found.values())


def test_files_that_follow_one_another_are_one_host(tmp_path):
    (tmp_path / "b.csv").write_text(LOG.format(gpu=0))
    (tmp_path / "a.csv").write_text(LOG.format(gpu=0).replace("17000000", "18000000"))
    (chain,) = find([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], Options())
    assert [source.path.name for source in chain.sources] == ["b.csv", "a.csv"]
    assert [window.start_us // 10**14 for window in chain.windows(Options())] == [17]


MESSAGE = encode(plain_window(0))
(SIZE,) = struct.unpack_from("<I", MESSAGE, 4)
(ROOT,) = struct.unpack_from("<I", MESSAGE, 8)
VTABLE = ROOT - struct.unpack_from("<i", MESSAGE, 8 + ROOT)[0]
EDGES = [*range(SIZE - 20, SIZE + 12), *range(-12, 20), 2**31 - 1, -(2**31), SIZE // 2]


@pytest.mark.parametrize(
    ("place", "kind"),
    [(4, "<i"), (8, "<i"), (8 + ROOT, "<i"), (8 + VTABLE, "<h"), (8 + VTABLE + 10, "<h")],
    ids=["its length", "its table", "the table's fields", "how many fields", "where its body's length stands"],
)
def test_no_number_in_a_message_leads_out_of_it(place, kind):
    """A torn or foreign message may say anything; the next one behind it is found."""
    low, high = (-(2**31), 2**31) if kind == "<i" else (-(2**15), 2**15)
    good = MESSAGE[place : place + struct.calcsize(kind)]
    tried = 0
    for number in (n for n in EDGES if low <= n < high):
        wrong = bytearray(MESSAGE)
        struct.pack_into(kind, wrong, place, number)
        if bytes(wrong[place : place + len(good)]) == good:
            continue
        tried += 1
        data = memoryview(SCHEMA_MESSAGE + bytes(wrong) + MESSAGE)
        found = list(spans(data, layout_of(data)))
        assert [span.intact for span in found] == [False, True]
        assert found[1].start == len(SCHEMA_MESSAGE) + len(MESSAGE)
        # The message alone, cut where its metadata end: nothing is read beyond.
        cut = memoryview(SCHEMA_MESSAGE + bytes(wrong[: 8 + SIZE]))
        assert not any(span.intact for span in spans(cut, layout_of(cut)))
    assert tried > 40


def test_a_message_is_found_wherever_it_is_cut():
    """Every cut of a stream leaves the messages before it, and says what is left of the torn one."""
    whole = SCHEMA_MESSAGE + MESSAGE + encode(plain_window(1))
    second = len(SCHEMA_MESSAGE) + len(MESSAGE)
    for cut in range(second, len(whole), 8):
        found = list(spans(memoryview(whole[:cut]), layout_of(memoryview(whole[:cut]))))
        assert [(span.start, span.end, span.intact) for span in found] == [
            (len(SCHEMA_MESSAGE), second, True),
            *([(second, cut, False)] if cut > second else []),
        ]


DAY = 216_000  # windows of 0.4 s


def test_recordings_are_a_chain_for_each_host_in_the_order_of_time(tmp_path):
    """By the folder that names the host, by what the user says, else by the folder alone."""
    for host in ("a", "b"):
        recorder = Recorder(tmp_path / "both", host, segment_bytes=1)
        for i in (0, 1, DAY):
            recorder.append(plain_window(i, host=host))
        recorder.close()
    chains = {chain.name: chain for chain in find([str(tmp_path / "both")], Options())}
    assert set(chains) == {"a", "b"}
    for host, chain in chains.items():
        assert len(chain.sources) == 3
        windows = list(chain.windows(Options()))
        assert [(window.host, window.seq) for window in windows] == [(host, 0), (host, 1), (host, DAY)]
        assert sum(report.rows for report in chain.reports) == sum(w.readings.time_us.size for w in windows)
        assert [report.gpus for report in chain.reports] == [2, 2, 2]
        assert list(chain.windows(Options(), lambda: True)) == []
    (one, two) = sorted((tmp_path / "both" / "host=a").rglob("*.arrows"))[:2]
    (tmp_path / "loose").mkdir()
    for path in (one, two):
        path.rename(tmp_path / "loose" / path.name)
    (loose,) = find([str(tmp_path / "loose")], Options())
    assert (loose.name, len(loose.sources)) == ("", 2)
    (tmp_path / "more").mkdir()
    (rest,) = (tmp_path / "both" / "host=a").rglob("*.arrows")
    rest.rename(tmp_path / "more" / rest.name)
    assert len(find([str(tmp_path / "loose"), str(tmp_path / "more")], Options())) == 2
    (told,) = find([f"{tmp_path / 'loose'}@c"], Options())
    assert (told.name, [source.host for source in told.sources]) == ("c", ["c", "c"])


def test_what_else_lies_in_a_folder_is_passed_over_and_said(tmp_path):
    (tmp_path / "log.csv").write_text(LOG.format(gpu=0))
    (tmp_path / "notes.txt").write_text("This is not a table.\nIt is two sentences.\n")
    (tmp_path / ".hidden.csv").write_text("x")
    (chain,) = find([str(tmp_path)], Options())
    assert [source.path.name for source in chain.sources] == ["log.csv"]
    assert len(list(chain.windows(Options()))) == 1
    (note,) = [note for note in chain.reports[0].notes if note.startswith("skipped")]
    assert "notes.txt" in note
    with pytest.raises(InputError, match="unrecognised trace format"):
        find([str(tmp_path / "notes.txt")], Options())
    (tmp_path / "log.csv").unlink()
    with pytest.raises(InputError, match=r"notes\.txt"):
        find([str(tmp_path)], Options())
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(InputError, match="this folder contains no trace"):
        find([str(tmp_path)], Options())


DMON = "#Date       Time        gpu    pwr\n#YYYYMMDD   HH:MM:SS    Idx      W\n"
PMON = (
    "#Date       Time        gpu         pid  type    sm    command\n"
    "#YYYYMMDD   HH:MM:SS    Idx           #   C/G     %    name\n"
)


def test_files_that_complete_each_other_are_of_one_host(wattshed, tmp_path):
    power = DMON + "".join(f" 20240305   10:00:0{t}   0   100\n" for t in range(5))
    processes = PMON + "".join(f" 20240305   10:00:0{t}   0   7   C   50   python\n" for t in range(5))
    (tmp_path / "dmon.txt").write_text(power)
    (tmp_path / "pmon.txt").write_text(processes)
    (tmp_path / "other.txt").write_text(power)
    answer = json.loads(wattshed("replay", tmp_path / "dmon.txt", tmp_path / "pmon.txt", "--format", "json")[1])
    assert [(gpu["host"], gpu["energy_j"]) for gpu in answer["gpus"]] == [("", 400)]
    assert [job["energy_j"] for job in answer["jobs"]] == [400]
    answer = json.loads(wattshed("replay", tmp_path / "dmon.txt", tmp_path / "other.txt", "--format", "json")[1])
    assert {gpu["host"] for gpu in answer["gpus"]} == {"dmon", "other"}


def test_a_log_that_is_given_twice_counts_once(wattshed, tmp_path):
    """Under two names, or behind itself; also where an index that says nothing stands beside the GPU's."""
    rows = "".join(
        f"2026-03-01 12:00:{s:02d},{gpu},0,{70 + gpu + s % 3}.{s % 10}5\n" for s in range(20) for gpu in range(3)
    )
    header = "timestamp,gpu,index,power.draw\n"
    (tmp_path / "a.csv").write_text(header + rows)
    (tmp_path / "b.csv").write_text(header + rows)
    (tmp_path / "c.csv").write_text(header + rows + header + rows)
    want = json.loads(wattshed("replay", tmp_path / "a.csv", "--format", "json")[1])["gpus"]
    assert len(want) == 3
    for names in (("a.csv", "b.csv"), ("a.csv", "a.csv"), ("c.csv",)):
        code, out, err = wattshed("replay", *(tmp_path / name for name in names), "--format", "json")
        assert code == 0, err
        assert json.loads(out)["gpus"] == want
        assert ("it is the same as" in err) == (len(names) > 1)
    code, out, _ = wattshed("replay", f"{tmp_path}/a.csv@n1", f"{tmp_path}/b.csv@n2", "--format", "json")
    assert len(json.loads(out)["gpus"]) == 6
