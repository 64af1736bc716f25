"""Compaction in place keeps the answer, and what it cannot keep it leaves alone."""

from tests.traces.test_native_format import _other_schema, _segment_of
from tests.traces.windows_made_up import plain_window
from wattshed.agent.traces.native.compact import compact
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.native.segment import END_OF_STREAM, SCHEMA_MESSAGE


def record(folder):
    recorder = Recorder(folder, "node", segment_bytes=30_000)
    for i in range(40):
        recorder.append(plain_window(i))
    recorder.close()
    return sorted(folder.rglob("*.arrows"))


def test_the_answer_stays(wattshed, tmp_path):
    before = record(tmp_path)
    _, first, _ = wattshed("replay", tmp_path, "--format", "csv")
    code, _, err = wattshed("convert", tmp_path, tmp_path, "--to", "parquet")
    assert code == 0
    assert f"{len(before)} segments (40 windows) compacted" in err
    assert not list(tmp_path.rglob("*.arrows"))
    assert wattshed("replay", tmp_path, "--format", "csv")[1] == first


def test_damaged_segments_stay(wattshed, tmp_path):
    first, *others = record(tmp_path)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    wattshed("convert", tmp_path, tmp_path, "--to", "parquet")
    assert list(tmp_path.rglob("*.arrows")) == [first]
    assert len(list(tmp_path.rglob("*.parquet"))) == len(others)


def test_both_forms_are_read_once(wattshed, tmp_path):
    (first, *_) = record(tmp_path)
    _, before, _ = wattshed("replay", tmp_path, "--format", "csv")
    data = first.read_bytes()
    wattshed("convert", tmp_path, tmp_path, "--to", "parquet")
    first.write_bytes(data)  # as a crash between writing the one and removing the other leaves it
    assert wattshed("replay", tmp_path, "--format", "csv")[1] == before


def test_what_holds_no_window_of_this_version_stays(tmp_path):
    (folder,) = {path.parent for path in record(tmp_path)}
    whole = {path.with_suffix(".parquet") for path in folder.glob("*.arrows")}
    others = {
        "empty.arrows": b"",
        "later.arrows": _segment_of(_other_schema(2), plain_window(0)),
        "torn.arrows": b"x" * 99,
        "without.arrows": SCHEMA_MESSAGE + END_OF_STREAM,
    }
    for name, data in others.items():
        (folder / name).write_bytes(data)
    done = dict(compact(tmp_path))
    assert (set(done), sum(done.values())) == (whole, 40)
    assert {path.name: path.read_bytes() for path in folder.glob("*.arrows")} == others
    assert set(folder.glob("*.parquet*")) == whole
