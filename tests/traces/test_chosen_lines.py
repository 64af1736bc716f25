"""Reports of `nvidia-smi -q`, of which most lines are left out unread, say what they say line by line."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs import chosen_lines
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign import smi_query
from wattshed.agent.traces.foreign.format import LogFile
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.options import Options, TraceFile
from wattshed.kernels import load
from wattshed.kernels.warm import warm_up

TEXT = """\
==============NVSMI LOG==============

Timestamp                                 : Sun Mar  1 12:00:0{t} 2026
Driver Version                            : 550.54
Attached GPUs                             : 2
GPU 00000000:0{g}:00.0
    Product Name                          : NVIDIA L40S
    Product Architecture                  : Ada Lovelace
    Persistence Mode                      : Enabled
    MIG Mode
        Current                           : N/A
    GPU UUID                              : GPU-0000000{g}
    Fan Speed                             : N/A
    Clocks Event Reasons
        Idle                              : Active
            Deeper                        : 1
    Utilization
        Gpu                               : 3{t} %
        Memory                            : 0 %
    Average Power Draw                    : 7 W
    GPU Power Readings
        Average Power Draw                : 6{t}.5{g} W
        Instantaneous Power Draw          : 7{t}.25 W
        Current Power Limit               : 350.00 W
        Max Power Limit                   : 300.00 W
    GPU Memory Power Readings 
        Average Power Draw                : 43.19 W
    Module Power Readings
        Average Power Draw                : N/A
    Processes                             : None

"""  # noqa: W291 - as it is printed
BODY = TEXT[TEXT.index("GPU 0000") :]
MANY = TEXT + BODY.replace("{g}", "3") + BODY.replace("{g}", "4")
"""One report of three GPUs."""
XML = """\
<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
\t<timestamp>Sun Mar  1 12:00:0{t} 2026</timestamp>
\t<driver_version>550.54</driver_version>
\t<gpu id="00000000:0{g}:00.0">
\t\t<product_name>NVIDIA L40S</product_name>
\t\t<mig_devices>
\t\t\tNone
\t\t</mig_devices>
\t\t<uuid>GPU-0000000{g}</uuid>
\t\t<pci>
\t\t\t<pci_gpu_link_info>
\t\t\t\t<pcie_gen>
\t\t\t\t\t<max_link_gen>4</max_link_gen>
\t\t\t\t</pcie_gen>
\t\t\t</pci_gpu_link_info>
\t\t</pci>
\t\t<utilization>
\t\t\t<gpu_util>3{t} %</gpu_util>
\t\t\t<memory_util>0 %</memory_util>
\t\t</utilization>
\t\t<gpu_power_readings>
\t\t\t<power_state>P0</power_state>
\t\t\t<average_power_draw>6{t}.5{g} W</average_power_draw>
\t\t\t<instant_power_draw>7{t} W</instant_power_draw>
\t\t\t<current_power_limit>350.00 W</current_power_limit>
\t\t</gpu_power_readings>
\t\t<module_power_readings>
\t\t\t<average_power_draw>N/A</average_power_draw>
\t\t</module_power_readings>
\t\t<processes>
\t\t</processes>
\t</gpu>
</nvidia_smi_log>
"""
DIRT = [
    "", "    ", "\t", "    x : y", "        x : y", "x", "    é", "        Average Power Draw : 9 W",
    "    Utilization : 5", "    POWER READINGS", "     : x", "    Power Readings\x0b",
    "            Average Power Draw : 3 W", "GPU 00000000:09:00.0", "    GPU UUID : ", "        GPU UUID : GPU-7",
    "\u00a0   Fan : 5", "<a>", "</a>", "<a>&lt;</a>", "<a>1", "</pci>", "<pci>", "<uuid>GPU-9</uuid>",
    "<!-- <pci> -->", "<!--", "-->", "<![CDATA[", "]]>", "<nvidia_smi_log>", "</nvidia_smi_log>", "<a/>",
    "<nvidia_smi_log a='1'>", "<a>x</b>", "<a>]]></a>", "<gpu>", "</gpu>", "text", "&amp;", "<!ENTITY a 'b'>",
    "<p", "<p a='>", "p>", "<1>2</1>", "<a\n>",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """Only compiled kernels choose lines."""
    warm_up()
    before = load.form()
    yield
    load.use(before.name)


@st.composite
def reports(draw):
    """Reports to which something happened, and how they are read."""
    kinds = [(TEXT, smi_query.TEXT, (1, 2)), (MANY, smi_query.TEXT, (1,)), (XML, smi_query.XML, (1, 2))]
    form, kind, gpus = draw(st.sampled_from(kinds))
    lines = "".join(form.format(t=t, g=g) for t in range(draw(st.integers(1, 6))) for g in gpus).split("\n")
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                lines[at] = draw(st.sampled_from(DIRT))
            case 1:
                del lines[at]
            case 2:
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case 3:
                lines[at] += draw(st.sampled_from(["\r", " ", "\t", "x", "\r\r"]))
            case 4:
                lines[at] = draw(st.sampled_from(["", " ", "    ", "\t"])) + lines[at].strip()
            case 5:
                lines[at] += "\n" + lines[draw(st.integers(0, len(lines) - 1))]
            case _:
                lines.insert(at, draw(st.sampled_from(DIRT)))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines), kind


def read(path, kind, form):
    """All that is read of a file, in values that can be compared."""
    assert load.use(form).name == form
    report, gpus, parts, failed = SourceReport("t"), Gpus("", 20_000_000, -1), [], ""
    try:
        parts += kind.rows(LogFile(TraceFile(path, kind.name, ""), report, gpus, Options()))
    except InputError as error:
        failed = str(error)
    rows = Rows.join(parts) if parts else None
    columns = rows and {
        name: rows.filled(name).tolist() for name in ("gpu", "time_us", "power_mw", "instant_mw", "util_ppm")
    }
    return columns, gpus.devices, report.rows, report.rejected, report.bad, report.notes, report.first, failed


@given(reports(), st.sampled_from([64, 700, 1 << 20]))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_left_out_says_nothing(tmp_path, report, block_bytes):
    text, kind = report
    path = tmp_path / "log"
    path.write_text(text, newline="", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen_lines, "BLOCK_BYTES", block_bytes)
        assert read(path, kind, "so") == read(path, kind, "off")


@pytest.mark.parametrize(("form", "kind", "most"), [(TEXT, smi_query.TEXT, 24), (XML, smi_query.XML, 22)])
def test_most_of_a_report_is_left_out(tmp_path, monkeypatch, form, kind, most):
    path = tmp_path / "log"
    long = re.sub(r"( *)Current  +: N/A", r"\1Current : N/A" + r"\n\1Current : N/A" * 500, form)
    long = long.replace("<max_link_gen>4</max_link_gen>", ("<max_link_gen>4</max_link_gen>\n" * 500).strip())
    path.write_text(long.format(t=1, g=1))
    chosen = []
    plain = chosen_lines.chosen_lines
    monkeypatch.setattr(
        smi_query, "chosen_lines", lambda *given: (chosen.append(line) or line for line in plain(*given))
    )
    columns, *_ = read(path, kind, "so")
    assert columns["power_mw"] == [61510]
    assert len(chosen) <= most


def test_plain_kernels_choose_the_same(tmp_path):
    for text, chooser in (
        (TEXT, chosen_lines.ReportChooser(["utilization"])),
        (XML, chosen_lines.ElementChooser("nvidia_smi_log", ["uuid"])),
    ):
        data = np.zeros(len(text) + 64, np.uint8)
        data[: len(text)] = np.frombuffer(text.encode(), np.uint8)
        found = []
        for form in ("so", "off"):
            load.use(form)
            chooser.forget()
            found.append([part.tolist() for part in chooser.choose(data, len(text), text.count("\n"))])
        assert found[0] == found[1]
