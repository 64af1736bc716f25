"""The export for GridLAB-D, read by GridLAB-D itself where it is installed (``pip install gridlabd``)."""

from datetime import UTC, datetime

import numpy as np
import pytest

from wattshed.agent.fleet.decide.exports import write_exports

NOON = datetime(2025, 7, 1, 12, tzinfo=UTC)
MODEL = """clock {{ timezone "{zone}"; starttime '{first}'; stoptime '{last}'; }}
module tape;
class site {{ double power[W]; }}
object site {{
    name s;
    object player {{ property power; file "load.player"; }};
    object recorder {{ property power; interval 1; file "recorded.csv"; }};
}}
"""


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("UTC0", "2025-07-01 12:00:00 UTC", "2025-07-01 12:00:30 UTC"),
        ("PST+8PDT", "2025-07-01 05:00:00 PDT", "2025-07-01 05:00:30 PDT"),
    ],
)
@pytest.mark.parametrize("step_s", [1, 5])
def test_gridlabd_plays_the_load(tmp_path, monkeypatch, zone, first, last, step_s):
    gridlabd = pytest.importorskip("gridlabd", reason="GridLAB-D is not installed")
    load_w = 62e6 + 1e5 * np.arange(40.0)
    write_exports(tmp_path, ("gridlabd",), load_w, float(step_s), int(NOON.timestamp() * 1e6))
    (tmp_path / "model.glm").write_text(MODEL.format(zone=zone, first=first, last=last))
    monkeypatch.chdir(tmp_path)
    program = gridlabd.GridLabD()
    assert (program.load("model.glm"), program.setup_after_load(), program.run()) == (0, 0, 0)
    program.finalize()
    rows = [line for line in (tmp_path / "recorded.csv").read_text().splitlines() if not line.startswith("#")]
    assert [float(row.split(",")[1]) for row in rows[:30]] == pytest.approx(np.repeat(load_w, step_s)[:30], rel=1e-5)
