"""Tables of plain nvidia-smi as its drivers of different years draw them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What a table says of one GPU; texts, as they stand there."""

    gpu: int
    watts: str
    limit: str = "300W"
    name: str = "NVIDIA A100-SXM4-40GB"
    pci: str = "00000000:0{gpu}:00.0"
    util: str = "50%"


_OLD = (
    """+-----------------------------------------------------------------------------+
| NVIDIA-SMI 470.256.02   Driver Version: 470.256.02   CUDA Version: 11.4     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|                               |                      |               MIG M. |
|===============================+======================+======================|
""",
    """|{gpu:>4}  {name:16.16} Off  | {pci:>16} Off |                    0 |
| N/A   39C    P0 {watts:>6} /{limit:>5} |      0MiB / 32510MiB |{util:>8}      Default |
|                               |                      |                  N/A |
+-------------------------------+----------------------+----------------------+
""",
)
_OLDEST = (
    """+------------------------------------------------------+
| NVIDIA-SMI 352.63     Driver Version: 352.63         |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
""",
    """|{gpu:>4}  {name:16.16} Off  | {pci:16} Off |                  N/A |
| 58%   84C    P2 {watts:>6} /{limit:>5} |  11864MiB / 12287MiB |{util:>8}      Default |
+-------------------------------+----------------------+----------------------+
""",
)
_NEW = (
    """+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 565.57.01              Driver Version: 565.57.01      CUDA Version: 12.7     |
|-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
""",
    """|{gpu:>4}  {name:28.28}  On |   {pci:>16} Off |                  Off |
| 33%   31C    P8       {watts:>10} /{limit:>6} |       1MiB /  49152MiB |{util:>8}      Default |
|                                         |                        |             Disabled |
+-----------------------------------------+------------------------+----------------------+
""",
)
_NEWEST = (_NEW[0].replace("Driver Version: 565.57.01   ", "KMD Version: 610.57.04   "), _NEW[1])
LAYOUTS = {"352": _OLDEST, "470": _OLD, "565": _NEW, "610": _NEWEST}
PROCESSES = """
+-----------------------------------------------------------------------------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|
|    0   N/A  N/A            1720      C   python 9W / 9W                          173MiB |
+-----------------------------------------------------------------------------------------+
"""
MIG = """
+-----------------------------------------------------------------------------------------+
| MIG devices:                                                                            |
+------------------+----------------------------------+-----------+-----------------------+
| GPU  GI  CI  MIG |                     Memory-Usage |        Vol|        Shared         |
|      ID  ID  Dev |                       BAR1-Usage | SM     Unc| CE ENC  DEC  OFA  JPG |
|==================+==================================+===========+=======================|
|  0    1   0   0  |              20MiB / 20096MiB    | 60      0 |  3   0    3    0    3 |
|                  |               0MiB / 32767MiB    |           |                       |
+------------------+----------------------------------+-----------+-----------------------+
"""


def table(layout, rows, below=PROCESSES):
    """One table, from its frame on."""
    head, row = LAYOUTS[layout]
    drawn = []
    for one in rows:
        cells = {name: getattr(one, name) for name in ("gpu", "watts", "limit", "name", "util")}
        drawn.append(row.format(pci=one.pci.format(gpu=one.gpu), **cells))
    return head + "".join(drawn) + below
