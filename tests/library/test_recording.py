"""`wattshed.read` gives readings as they lie in a file, in batches that join to the whole."""

import numpy as np
import pyarrow as pa
import pytest

import wattshed
from wattshed.agent.library.recording import SAMPLES
from wattshed.kernels.energy import integrate

MINUTE = "examples/recordings/h200-minute"


def test_a_recording_knows_its_gpus_and_gives_their_samples():
    recording = wattshed.read(MINUTE)
    (gpu,) = recording.gpus.to_pylist()
    assert (gpu["model"], gpu["limit_w"], gpu["samples"], gpu["simulated"]) == ("NVIDIA H200", 700.0, 119, False)
    table = pa.Table.from_batches(recording.samples())
    assert table.schema == SAMPLES
    assert table.num_rows == 119
    assert (table["time"][0].as_py(), table["time"][-1].as_py()) == (gpu["start"], gpu["end"])
    assert table["power_mw"].null_count > 0  # what was not read is not 0
    assert min(value for value in table["power_mw"].to_pylist() if value is not None) > 70_000


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_batches_join_to_the_same_whole_however_long_they_are(rows):
    recording = wattshed.read(MINUTE)
    batches = list(recording.samples(rows))
    assert all(batch.num_rows >= rows for batch in batches[:-1])
    assert pa.Table.from_batches(batches).equals(pa.Table.from_batches(recording.samples()))


def test_samples_of_a_log_go_straight_into_a_kernel(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("time,gpu,power_w\n0,0,100\n0,1,50\n1,0,100\n1,1,50\n2,0,300\n2,1,\n3,0,300\n")
    recording = wattshed.read(log)
    rows = pa.Table.from_batches(recording.samples()).sort_by([("gpu", "ascending"), ("time", "ascending")])
    assert recording.gpus["samples"].to_pylist() == [4, 2]
    time_us, power_mw = rows["time"].cast(pa.int64()).to_numpy(), rows["power_mw"].to_numpy()
    offsets = np.searchsorted(rows["gpu"].to_numpy(), np.arange(3))
    energy_uj, _ = integrate(time_us, power_mw, offsets, 5_000_000)
    assert (energy_uj / 1e6).tolist() == [row["energy_j"] for row in wattshed.replay(log).gpus.to_pylist()]
    assert recording.notes == [f"{log}: 1 of 7 rows rejected (empty 1, first at line 7)"]


def test_what_has_no_samples_is_refused(tmp_path):
    runs = tmp_path / "runs.csv"
    runs.write_text("job,gpu,start,end,energy_j\na,0,0,10,1000\n")
    with pytest.raises(wattshed.InputError, match="table of runs, which has no samples"):
        wattshed.read(runs, columns="job=job,gpu=gpu,start=start,end=end,energy=energy_j")
    with pytest.raises(wattshed.InputError, match="no such file"):
        wattshed.read(tmp_path / "nothing.csv")
