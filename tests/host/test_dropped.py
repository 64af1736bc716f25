"""Files that root's readers leave: only what root alone can have written, now, is a reading."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.host.dropped import MOST_FILES, Dropped
from wattshed.agent.host.sensors import NoReadingError

BOOT = "3f0c2b1e-0000-4000-8000-000000000001"
NOW_US = 500_000_000
GOOD = {
    "schema": "wattshed.reading/1",
    "source": "pdu",
    "domain": "node",
    "part_of": "",
    "boundary": "ac",
    "boot_id": BOOT,
    "monotonic_us": NOW_US - 2_000_000,
    "period_us": 5_000_000,
    "power_mw": 2_578_000,
    "sigma_ppm": 10_000,
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "meters"
    folder.mkdir(mode=0o755)
    return folder


def source(folder, owner=None):
    return Dropped(folder, BOOT, lambda: NOW_US, os.geteuid() if owner is None else owner)


def put(folder, document=GOOD, name="pdu.json", **changes):
    document = {key: value for key, value in (document | changes).items() if value is not ...}
    path = folder / name
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    return path


def refused(folder):
    """The reason why the one file is no reading."""
    (sensor,), _ = source(folder).look()
    assert sensor.meter.source == "drop"
    with pytest.raises((NoReadingError, OSError)) as raised:
        sensor.read()
    return str(raised.value)


def test_a_good_file_is_a_meter(folder):
    put(folder)
    put(folder, name="b.json", domain="rack", power_mw=..., energy_mj=7, sigma_ppm=..., boundary="dc", part_of="node")
    (rack, node), refusals = source(folder).look()
    assert refusals == []
    assert (node.meter.name, node.meter.kind, node.meter.boundary, node.meter.sigma_ppm) == (
        "pdu/node",
        "gauge",
        "ac",
        10_000,
    )
    assert (node.meter.period_us, node.meter.flags) == (5_000_000, ())
    assert node.read() == (2_578_000, 2_000_000)
    assert (rack.meter.name, rack.meter.kind, rack.meter.part_of) == ("pdu/rack", "counter", "node")
    assert rack.meter.flags == ("sigma-assumed",)
    assert rack.read() == (7_000, 2_000_000)


def test_a_reading_is_handed_over_once(folder):
    put(folder)
    (sensor,), _ = source(folder).look()
    assert sensor.read() is not None
    assert sensor.read() is None
    put(folder, monotonic_us=NOW_US - 1_000_000, power_mw=1)
    assert sensor.read() == (1, 1_000_000)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "wattshed.reading/2"}, "schema"), ({"boot_id": "another"}, "boot"), ({"boot_id": ...}, "boot"),
        ({"power_mw": 2.5}, "text"), ({"power_mw": "2578000"}, "text"), ({"power_mw": True}, "text"),
        ({"power_mw": None}, "text"), ({"power_mw": -1}, "negative"), ({"power_mw": 2**63}, "huge"),
        ({"power_mw": float("nan")}, "text"), ({"power_mw": ...}, "schema"), ({"energy_mj": 1}, "schema"),
        ({"source": "rapl"}, "source"), ({"source": "nvml"}, "source"), ({"source": "a\nb"}, "name"),
        ({"domain": ""}, "name"), ({"domain": "x" * 65}, "name"), ({"part_of": 7}, "name"),
        ({"boundary": "rack"}, "boundary"), ({"boundary": []}, "boundary"),
        ({"period_us": 0}, "small"), ({"sigma_ppm": 1_000_001}, "huge"), ({"more": "x" * 4096}, "huge"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_no_reading(folder, changes, reason):
    put(folder, **changes)
    assert refused(folder) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"monotonic_us": NOW_US + 1}, "future"),
        ({"monotonic_us": NOW_US - 15_000_001}, "stale"),
        ({"monotonic_us": -1}, "negative"),
    ],
)
def test_what_is_not_of_now_is_no_reading(folder, changes, reason):
    put(folder, **changes)
    (sensor,), _ = source(folder).look()
    with pytest.raises(NoReadingError, match=rf"^{reason}$"):
        sensor.read()


@settings(max_examples=examples(30))
@given(st.binary(max_size=200) | st.from_regex(r"[\[{\"0-9,:}\]]{0,60}", fullmatch=True).map(str.encode))
def test_any_bytes_are_no_reading(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("any", numbered=True)
    folder.chmod(0o755)
    (folder / "x.json").write_bytes(text)
    (folder / "x.json").chmod(0o644)
    assert refused(folder) in {"text", "schema"}


def test_what_others_could_have_written_is_no_reading(folder, tmp_path):
    put(folder).chmod(0o664)
    assert refused(folder) == "file-owner"
    put(folder).chmod(0o646)
    assert refused(folder) == "file-owner"
    put(folder)
    folder.chmod(0o775)
    assert refused(folder) == "folder-owner"
    folder.chmod(0o755)
    (sensor,), (told,) = source(folder, owner=os.geteuid() + 1).look()
    assert (told.name, "root" in told.reason) == ("drop/pdu", True)
    with pytest.raises(NoReadingError, match="folder-owner"):
        sensor.read()
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    with pytest.raises(OSError, match="Not a directory"):
        source(linked).look()[0][0].read()


def test_what_is_no_plain_file_is_no_reading_and_hangs_nobody(folder, tmp_path):
    elsewhere = put(tmp_path)
    (folder / "pdu.json").symlink_to(elsewhere)
    assert refused(folder) == "symlink"
    (folder / "pdu.json").unlink()
    os.mkfifo(folder / "pdu.json", 0o644)
    assert refused(folder) == "no-file"
    (folder / "pdu.json").unlink()
    (folder / "pdu.json").mkdir(0o755)
    assert refused(folder) == "no-file"


def test_so_many_files_are_read_and_no_more(folder):
    for number in range(MOST_FILES + 5):
        put(folder, name=f"{number:03}.json", domain=f"d{number}")
    sensors, refusals = source(folder).look()
    assert len(sensors) == MOST_FILES
    assert [refusal.reason for refusal in refusals] == [f"more than {MOST_FILES} files"]


def test_two_files_of_one_meter_are_one(folder):
    put(folder)
    put(folder, name="again.json")
    sensors, refusals = source(folder).look()
    assert len(sensors) == 1
    assert [refusal.reason for refusal in refusals] == ["another file is pdu/node too"]


def test_a_folder_that_is_not_there_holds_nothing_and_a_file_that_became_another_meter_is_found_again(folder):
    assert source(folder / "none").look() == ([], [])
    dropped = source(folder)
    put(folder)
    (sensor,), _ = dropped.look()
    put(folder, domain="chassis")
    with pytest.raises(NoReadingError, match="renamed"):
        sensor.read()
    (sensor,), _ = dropped.look()
    assert sensor.meter.name == "pdu/chassis"
    assert sensor.read().value == 2_578_000


def test_without_a_boot_no_file_is_of_this_one(folder):
    put(folder, boot_id="")
    (sensor,), _ = Dropped(folder, "", lambda: NOW_US, os.geteuid()).look()
    with pytest.raises(NoReadingError, match="boot"):
        sensor.read()
