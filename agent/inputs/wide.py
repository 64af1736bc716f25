"""Tables with a column for each GPU: which GPU of which host a column is of, by its name or by a pattern with stars."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.inputs.columns import POWER_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WILD = set("*?[")
_UNIT = r"[_\s.]*[\[(]?(?:[mk]?W|watts?|milliwatts?)[\])]?"
_WHAT = rf"(?:board|total|avg|average|mean|instant)?[_\s.]?(?:{POWER_WORDS})(?:[_\s.]?(?:draw|usage|consumption|avg))?"
_GPU = r"(?:gpu|device|cuda|card)[_\s./#:-]*(?P<gpu>\d{1,3})"
_HOST = r"(?:(?P<host>[A-Za-z][\w-]*?\d[\w-]*?|(?:node|host)[\w-]*?)[_\s./:-]+)?"
_PLAIN = [
    re.compile(rf"{_HOST}{_GPU}[_\s./:-]+(?:{_WHAT}(?:{_UNIT})?|watts?)", re.IGNORECASE),  # node1_gpu0_power_w
    re.compile(rf"{_HOST}(?:gpu[_\s.]?)?{_WHAT}[_\s./:-]+{_GPU}(?:{_UNIT})?", re.IGNORECASE),  # power_gpu0
    re.compile(rf"{_HOST}{_GPU}\s*[\[(](?:[mk]?W|watts?)[\])]", re.IGNORECASE),  # GPU 0 [W]
    re.compile(r"(?:.*/)?(?:cuda:\d+ \(gpu:|gpu:|cuda:)(?P<gpu>\d{1,3})\)?/power_usage \(W\)/mean(?P<host>)"),  # nvitop
    re.compile(r"system/gpu_(?P<gpu>\d{1,3})_power_usage_watts(?P<host>)"),  # MLflow
    re.compile(rf"{_HOST}power[_\s.]?draw[_\s.](?P<gpu>\d{{1,3}})(?:{_UNIT})?", re.IGNORECASE),
]
_BARE = re.compile(rf"{_HOST}{_GPU}", re.IGNORECASE)  # GPU 0
_LABELS = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)?\s*\{(?P<labels>.*)\}")
_LABEL = re.compile(r'(\w+)\s*[=:]\s*"?([^",}]*)"?')
_HOST_LABELS = ("Hostname", "hostname", "host", "node", "kubernetes_node", "nodename", "instance")
_GPU_LABELS = ("UUID", "uuid", "gpu_uuid", "gpu", "index", "minor_number", "device")
_GPU_BEFORE = re.compile(r"(?:gpu|device|cuda|card)[\W_]*$", re.IGNORECASE)
_HOST_BEFORE = re.compile(r"([A-Za-z]\w*?)[-_]?$")


class WideColumn(NamedTuple):
    """A column, and the GPU that it is of: ``host`` and ``gpu`` are names, the first may be empty."""

    name: str
    host: str
    gpu: str


def plain_columns(names: Sequence[str], time: str) -> tuple[list[WideColumn], bool]:
    """Find columns of power whose names say the GPU.

    Parameters
    ----------
    names : sequence of str
        All columns.
    time : str
        The column of time.

    Returns
    -------
    (list of WideColumn, bool)
        Empty if there are none; and whether their names say that they hold power.
    """
    found = [WideColumn(name, m["host"] or "", m["gpu"]) for name in names for m in _matches(_PLAIN, name)]
    if found:
        return _one_each(found), True
    labelled = [column for name in names if (column := _labelled(name))]
    others = {time, ""} | {name for name in names if name.lower() in {"date", "step", "index"}}
    if labelled and {column.name for column in labelled} | others >= set(names):
        return _one_each(labelled), all("power" in column.name.lower() for column in labelled)
    bare = [WideColumn(name, m["host"] or "", m["gpu"]) for name in names for m in _matches([_BARE], name)]
    if bare and {column.name for column in bare} | others >= set(names):
        return _one_each(bare), False
    return [], False


def _matches(patterns: Iterable[re.Pattern[str]], name: str) -> list[re.Match[str]]:
    matches = (pattern.fullmatch(name.strip()) for pattern in patterns)
    return [match for match in matches if match][:1]


def _one_each(columns: list[WideColumn]) -> list[WideColumn]:
    """Leave out further columns of a GPU (an average beside the power); two of one name are two GPUs."""
    first: dict[tuple[str, str], WideColumn] = {}
    for column in columns:
        first.setdefault((column.host, column.gpu), column)
    return list(first.values())


def _labelled(name: str) -> WideColumn | None:
    """Read a legend of Grafana's: ``{Hostname="n1", gpu="0"}``."""
    match = _LABELS.fullmatch(name.strip())
    if match is None:
        return None
    labels = dict(_LABEL.findall(match["labels"]))
    gpu = next((labels[key] for key in _GPU_LABELS if labels.get(key)), "")
    host = next((labels[key] for key in _HOST_LABELS if labels.get(key)), "")
    said = match["name"] or labels.get("__name__", "")
    if not gpu or (said and "power" not in said.lower()):
        return None
    return WideColumn(name, host, gpu.removeprefix("nvidia"))


def fitting(pattern: str, names: Sequence[str]) -> list[WideColumn]:
    """Find the columns that fit a pattern: its last star is the GPU, or the one behind the word; the first is the host.

    ``node*_gpu*_power`` has two; the host is called by the star and what word stands before it, ``node1``.
    """
    escaped = pattern.replace("[", "[[]")  # of a unit in brackets
    if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
        pattern = escaped
    star = re.compile(fnmatch.translate(pattern).replace(".*", "(.*)"))
    before = pattern.split("*")
    of_gpu = [i for i, text in enumerate(before[:-1]) if _GPU_BEFORE.search(text)]
    place = of_gpu[-1] if of_gpu else len(before) - 2
    found = []
    for name in names:
        match = star.match(name) if fnmatch.fnmatchcase(name, pattern) else None
        if match is not None:
            parts = match.groups()
            gpu = parts[place] if 0 <= place < len(parts) else ""
            hosts = [_host(before[i], part) for i, part in enumerate(parts) if i != place and part]
            found.append(WideColumn(name, "/".join(hosts), gpu or name))
    return found


def _host(before: str, part: str) -> str:
    """Call a host by its number and the word before it; a name stands by itself."""
    word = _HOST_BEFORE.search(before)
    return f"{word[1]}{part}" if word and part.isdecimal() else part
