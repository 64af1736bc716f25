"""Keys of the meters of a host beside the GPUs' own, and of what is made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  (the tree's types are read at run time)
from dataclasses import dataclass

from wattshed.agent.inputs.keys import key

HOST_METER = r"[a-z0-9_.-]{1,64}/[a-z0-9_.-]{1,64}"


def _wrong_host_meter(name: str) -> str:
    good = name == "auto" or re.fullmatch(HOST_METER, name)
    return "" if good else f"{name!r} is neither auto nor a meter of the host; write SOURCE/DOMAIN, such as ipmi/node"


@dataclass(frozen=True, slots=True)
class HostMeterSettings:
    """What is known about one meter of the host: `[node.meter."SOURCE/DOMAIN"]`."""

    gain: float = key(1.0, "True power divided by shown power.", "1", low=0.5, high=2)
    sigma: float = key(
        0.0, "One sigma of the gain error that is left; 0: what the kind of meter is known for.", "1", low=0, high=1
    )
    boundary: str = key(
        "",
        "What its energy is the energy of: ac (the node at the mains), dc (behind its supplies), cpu, memory, module, "
        "device (anything else); empty: what the kind of meter is known for.",
        choices=("", "ac", "dc", "cpu", "memory", "module", "device"),
    )


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Meters of the host beside the GPUs' own, and what the whole node uses."""

    meters: str = key(
        "auto",
        "auto reads what there is: RAPL, hwmon, Grace, Cray, and the files in drop_dir; off reads none.",
        choices=("auto", "off"),
    )
    node_meter: str = key(
        "auto",
        "The meter that has the whole node, as SOURCE/DOMAIN; auto: Cray's, else a drop file's, IPMI's, Redfish's.",
        check=_wrong_host_meter,
    )
    drop_dir: str = key(
        "/run/wattshed-meters",
        "Folder in which root's readers (`wattshed meters`, a PDU's tool) leave what their meters say.",
        path=True,
    )
    sys_root: str = key("/sys", "Where the host's /sys is (a container mounts it elsewhere).", path=True)
    share: str = key(
        "off",
        "estimate shares the node's energy beside its GPUs among jobs, in metrics of its own; in no bill.",
        choices=("off", "estimate"),
    )
    meter: Mapping[str, HostMeterSettings] = key({}, 'One meter of the host: [node.meter."SOURCE/DOMAIN"].')
