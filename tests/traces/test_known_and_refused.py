"""What is no trace of GPUs, and taken for one: it is named, with what to do, in one line."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.binaries import binary_of
from wattshed.agent.traces.foreign.format import Head
from wattshed.agent.traces.foreign.refusals import FIRST
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
TEXTS = {
    "rocm-smi": "\n===== ROCm System Management Interface =====\nGPU[0] : Average Graphics Package Power (W): 35.0\n",
    "rocm-smi as CSV": "device,Average Graphics Package Power (W),GPU use (%)\ncard0,35.0,0\ncard1,36.0,0\n",
    "rocm-smi as JSON": '{"card0": {"Average Graphics Package Power (W)": "35.0"}}\n',
    "amd-smi": "+-------------------+\n| AMD-SMI 24.6.2    |\n+-------------------+\n",
    "amd-smi metric": "GPU: 0\n    POWER:\n        SOCKET_POWER: 127 W\n",
    "amd-smi as CSV": "timestamp,gpu,power_usage,hotspot_temperature\n1700000000,0,127,45\n",
    "intel_gpu_top": "   Freq MHz      IRQ RC6     Power W      RCS\n    0    0        0  100  0.00  5.35\n",
    "xpu-smi": "Timestamp, DeviceId, GPU Power (W)\n06:14:46.000,    0, 14.61\n",
    "powermetrics": "Model: Mac\n*** Sampled system activity (Wed May  1 10:00:00 2024) ***\nGPU Power: 20 mW\n",
    "ipmitool": "    Instantaneous power reading:       250 Watts\n    Minimum during sampling:    2 Watts\n",
    "ipmitool sensor": "Pwr Consumption  | 252.000    | Watts      | ok    | na\n",
    "turbostat": "usec\tTime\tPackage\tCPU\tAvg_MHz\tBusy%\tPkgWatt\n1\t1700000000.1\t-\t-\t10\t1\t60\n",
    "perf stat": " Performance counter stats for 'system wide':\n\n    512.31 Joules power/energy-pkg/\n",
    "perf stat as CSV": "1.000,23.61,Joules,power/energy-pkg/,1000,100.00,,\n",
    "PCM": " , ,System,System\nDate,Time,EXEC,Proc Energy (Joules)\n2026-03-09,14:03:07,0.1,100\n",
    "PCM by socket": "S0; Consumed energy units: 123; Consumed Joules: 100; Watts: 100; Thermal headroom: 40\n",
    "LIKWID": "Event,Counter,HWThread 0\nPWR_PKG_ENERGY,PWR0,100.5\n",
    "Scaphandre": '[{"host":{"consumption":100.0,"timestamp":1.7e9},"consumers":[],"sockets":[]}]\n',
    "PowerAPI": "timestamp,sensor,target,power\n1700000000000,s,global,100\n",
    "nsys": " ** CUDA GPU Kernel Summary (cuda_gpu_kern_sum):\n\n Time (%)  Total Time (ns)\n",
    "a dashboard": '{"panels": [{"title": "Power"}], "schemaVersion": 36, "title": "GPUs"}\n',
    "a block": '{"ulid": "01", "minTime": 1, "maxTime": 2, "compaction": {"level": 1}}\n',
    "a screen": "".join(f"\x1b[{row};1HDevice 0 [A100] POW 60 / 400 W" for row in range(1, 40)),
    "a bug report": "_____\n\nStart of NVIDIA bug report log file.  Please ...\n=======NVSMI LOG=======\n",
}
NAMED = {
    "rocm-smi": "rocm-smi` or `amd-smi",
    "amd-smi": "rocm-smi` or `amd-smi",
    "intel_gpu_top": "intel_gpu_top` or `xpu-smi",
    "xpu-smi": "intel_gpu_top` or `xpu-smi",
    "powermetrics": "macOS",
    "ipmitool": "a whole server",
    "turbostat": "processors",
    "perf": "processors",
    "PCM": "Intel PCM",
    "LIKWID": "processors",
    "Scaphandre": "processors and hosts",
    "PowerAPI": "by process",
    "nsys": "Nsight",
    "a dashboard": "Inspect, Data",
    "a block": "promtool tsdb dump",
    "a screen": "nvtop -s",
    "a bug report": "nvidia-bug-report.sh",
}


def refusal(path):
    with pytest.raises(InputError) as error:
        find([str(path)], Options())
    assert error.value.path == str(path)
    assert "\n" not in str(error.value)
    return error.value.message


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_another_tool_is_named(tmp_path, name, packed):
    path = tmp_path / "log"
    path.write_bytes(packed(TEXTS[name].encode()))
    said = refusal(path)
    assert said.startswith("it is ")
    assert next(words for known, words in NAMED.items() if name.startswith(known)) in said


def test_each_refusal_is_met():
    assert {one.title for one in FIRST} <= {
        one.title for text in TEXTS.values() for one in FIRST if one.tells(Head(text))
    }


def workbook(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x")
    return out.getvalue()


BINARIES = {
    "SQLite": (b"SQLite format 3\0" + bytes(84), "sqlite3 -header -csv"),
    "ORC": (b"ORC\x0a\x03\0\0", "ORC file"),
    "Avro": (b"Obj\x01\x04", "Avro file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "Excel": (workbook("xl/workbook.xml"), "save its sheet as CSV"),
    "ZIP": (workbook("log.csv"), "unzip FILE"),
    "zstd": (b"\x28\xb5\x2f\xfd\0\0", "zstd -d FILE"),
    "xz": (b"\xfd7zXZ\0\0", "xz -dk FILE"),
    "bzip2": (b"BZh91AY&SY\xff", "bzip2 -dk FILE"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(200), "tar xf FILE"),
    "W&B": (b":W&B\xe1\xbe\0", "stream='events'"),
    "Prometheus": (b"\x85\xbd\x40\xdd\x01", "promtool tsdb dump"),
}


@pytest.mark.parametrize("name", BINARIES)
def test_a_binary_file_is_named(tmp_path, name):
    content, said = BINARIES[name]
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert said in refusal(path)


@pytest.mark.parametrize("text", [b"BZh,power\n1,2\n", b"ORC,power_w\n", b"time,gpu,power_w\n1,0,5\n", b""])
def test_a_text_is_no_binary(text):
    assert binary_of(text) == ""


def test_what_is_read_is_refused_nowhere():
    """The corpora of the readers, which hold each format once: no refusal comes before them."""
    files = [path for kind in ("csv", "text", "json") for path in (CORPUS / f"trace_{kind}").iterdir()]
    assert len(files) > 10
    for path in files:
        head = Head(path.read_text(encoding="utf-8", errors="replace"))
        assert not [one.title for one in FIRST if one.tells(head)], path
