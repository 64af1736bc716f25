"""Every reader, fed anything: an answer or one clear line, never a traceback."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces import test_other_formats as formats
from tests.traces.test_smi_dialects import PLAIN
from tests.traces.windows_made_up import plain_window
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.timestamps import zone
from wattshed.agent.replay.books import Settings, book, finish, new_part
from wattshed.agent.traces.jobs.jobs_file import read_jobs
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

SAMPLES = {
    "smi csv": PLAIN[:4000],
    "dmon": "# gpu    pwr  gtemp\n# Idx      W      C\n" + "    0     69     41\n    1     71     41\n" * 8,
    "pmon": "# gpu  pid  type  sm  command\n# Idx  #  C/G  %  name\n" + "  0  12  C  50  x\n" * 8,
    "dcgmi": "#Entity   GPUTL  POWER  TOTEC\nID               W      mJ\n" + "GPU 0     50     100.5    1000\n" * 8,
    "query": "".join(formats.QUERY.format(second=t, watts="100.00") for t in range(3)),
    "xml": "".join(formats.XML.format(second=t, watts="100.00") for t in range(3)),
    "exposition": "".join(formats.SCRAPE.format(counter=t) for t in range(3)),
    "openmetrics": "".join(f'nvidia_smi_power_draw_watts{{uuid="ab"}} 100 {t}.5\n' for t in range(9)) + "# EOF\n",
    "prometheus": formats.matrix({"metric": {"gpu": "2"}, "values": [[t, "100"] for t in range(9)]}),
    "columns": "time,gpu,power_w,energy_mj\n" + "".join(f"{t},0,100,{t}\n" for t in range(20)),
    "jobs": "job,host,gpu,start,end,share\n" + "a,h,0-3,1700000000,1700000010,0.5\nb,,*,,,\n" * 5,
    "sacct": "JobID|JobName|Start|End|NodeList|AllocTRES\n" + "7|x|2024-01-01T00:00:00|Unknown|n[1-3]|gres/gpu=6\n" * 5,
}


def outcome(path):
    """Replay and read as jobs; the lines that were said in refusal."""
    said = []
    options = Options()
    for attempt in (lambda: replay(path, options), lambda: read_jobs(path, zone("UTC"))):
        try:
            attempt()
        except InputError as error:
            said.append(str(error))
    return said


def replay(path, options):
    for chain in find([str(path)], options):
        part = book(chain, Settings(options), new_part(Settings(options)))
        finish(part)


def damaged(data, rng):
    """Change some bytes, cut, repeat or insert."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(40)]
        elif kind == 2:
            data[at:at] = rng.choice([b"\0", b"\n", b",", b'"', b"-", b"9" * 30, b"\xff\xfe", b"[N/A]", b"{", b"|"])
        elif kind == 3:
            data[at:at] = data[at : at + 60]
        else:
            del data[at:]
            data = data or bytearray(b"x")
    return bytes(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_text(name, tmp_path):
    rng = random.Random(name)
    path, refused = tmp_path / "x", 0
    for _ in range(60):
        path.write_bytes(damaged(SAMPLES[name].encode(), rng))
        said = outcome(path)
        refused += len(said)
        for line in said:
            assert "\n" not in line
            assert line.startswith(str(path))
    assert 0 < refused < 120  # of these bytes some were read, and some refused


def test_damaged_native(tmp_path):
    from wattshed.agent.traces.native.recorder import Recorder

    recorder = Recorder(tmp_path / "r", "node")
    for i in range(4):
        recorder.append(plain_window(i))
    recorder.close()
    (segment,) = (tmp_path / "r").rglob("*.arrows")
    rng = random.Random(5)
    path, refused = tmp_path / "x.arrows", 0
    for _ in range(100):
        path.write_bytes(damaged(segment.read_bytes(), rng))
        said = outcome(path)
        refused += len(said)
        assert not any("\n" in line for line in said)
    assert 100 <= refused < 200  # no segment is a jobs file, and many damaged ones are read


@given(st.one_of(st.binary(max_size=300), st.text(string.printable, max_size=300).map(str.encode)))
@settings(max_examples=examples(150), deadline=None)
def test_anything(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        for line in outcome(path):
            assert "\n" not in line
