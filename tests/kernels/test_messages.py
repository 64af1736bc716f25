"""The directory of a stream: what Arrow reads, place by place, and nothing outside of a message whatever it says."""

import os
import subprocess
import sys
import tempfile

import numpy as np

from tests.depth import deep
from tests.traces.windows_made_up import plain_window
from wattshed.agent.traces.native.batch import LISTS, batch_of_window
from wattshed.agent.traces.native.definitions import identity, text_of_devices, text_of_owners
from wattshed.agent.traces.native.segment import COLUMNS, SCHEMA_MESSAGE, layout_of, message_of_batch, read_message
from wattshed.kernels.arrow_messages import LENGTH, MARK, PLACES, READABLE, SAME_HOST, START, look_through


def stream(count=5, hosts="aab"):
    """A segment, and its messages' batches as Arrow reads them."""
    data, batches = bytearray(SCHEMA_MESSAGE), []
    for i in range(count):
        from dataclasses import replace

        window = replace(plain_window(i), host=hosts[i % len(hosts)])
        devices, owners = text_of_devices(window.devices), text_of_owners(window.owners)
        ids = identity(devices), identity(owners)
        batch = batch_of_window(window, devices if i < 2 else None, owners if i < 2 else None, ids)
        message = message_of_batch(batch, i)
        batches.append(read_message(memoryview(message)))
        data += message
    return bytes(data), batches


def directory(data, most=100, at=None, stop=None):
    layout = layout_of(memoryview(data))
    begin = layout.start if at is None else at
    return look_through(np.frombuffer(data, np.uint8), begin, stop or len(data), layout.places(), most)


def test_every_place_holds_what_arrow_reads():
    data, batches = stream()
    table, end = directory(data)
    assert end == len(data)
    assert table[:, READABLE].all()
    assert table[:, SAME_HOST].tolist() == [0, 1, 0, 0, 1]
    for row, batch in zip(table, batches, strict=True):
        assert data[row[MARK] - 6 : row[MARK]] == b"crc32="
        for i, name in enumerate(COLUMNS):
            at, count = row[PLACES + 2 * i], row[PLACES + 2 * i + 1]
            if name in LISTS:
                found = np.frombuffer(data, LISTS[name], count, at)
                assert found.tobytes() == np.array(batch.column(name)[0].as_py(), LISTS[name]).tobytes()
            elif name in {"host", "devices", "owners", "events", "work"}:
                said = batch.column(name)[0].as_py()
                assert (at < 0) == (said is None)
                assert said is None or data[at : at + count].decode() == said
            elif name in {"seq", "start_us", "end_us"}:
                assert int.from_bytes(data[at : at + 8], "little", signed=True) == batch.column(name)[0].as_py()


def test_it_goes_on_where_it_stopped():
    data, _ = stream()
    whole, end = directory(data)
    first, following = directory(data, most=2)
    rest, last = directory(data, at=following)
    assert np.concatenate([first, rest])[:, START].tolist() == whole[:, START].tolist()
    assert last == end
    assert len(directory(data, stop=int(whole[1, START]))[0]) == 1


def test_a_torn_message_ends_it():
    data, _ = stream()
    whole, _ = directory(data)
    for cut in range(int(whole[-1, START]), len(data), 8):
        table, following = directory(data[:cut])
        assert len(table) == len(whole) - 1
        assert following == whole[-1, START]
    assert (whole[:, START] + whole[:, LENGTH]).tolist() == [*whole[1:, START].tolist(), len(data)]


_MUTATE = """
import sys
import numpy as np
from tests.kernels.test_messages import directory, stream
data, _ = stream(3)
clean, _ = directory(data)
random = np.random.default_rng(7)
kept = 0
for _ in range(8_000):
    torn = bytearray(data)
    for _ in range(random.integers(1, 4)):
        # Nearly all that is read lies in the metadata, right behind the beginning of a message.
        at = int(clean[random.integers(3), 0] + random.integers(0, 2_800))
        if at < len(torn):
            torn[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256))])
    table, _ = directory(bytes(torn))
    ok = table[table[:, 3] > 0]
    inside = ok[:, 5::2] <= len(data) - np.where(ok[:, 5::2] >= 0, 0, -1)
    assert inside.all() and (ok[:, 6::2] >= 0).all()
    kept += len(ok)
print(kept)
"""


@deep
def test_no_damage_leads_outside():
    """With numba's bounds checks on, in a process of its own, for they are compiled in."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", _MUTATE], check=False, capture_output=True, text=True, env=environment
        )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4_000
