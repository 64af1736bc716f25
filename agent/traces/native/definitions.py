"""Definitions that windows refer to, as text: devices, owners, and events beside them."""

from __future__ import annotations

import functools
import json
import zlib

from wattshed.agent.window import Device, Event, JobKey, Owner


def text_of_devices(devices: tuple[Device, ...]) -> str:
    """JSON of the devices; keys as in `Device`, plain types only."""
    rows = []
    for device in devices:
        row = {name: getattr(device, name) for name in Device.__slots__}
        row["publication_us"] = dict(device.publication_us)
        row["capabilities"] = dict(device.capabilities)
        rows.append(row)
    return json.dumps(rows, separators=(",", ":"))


@functools.lru_cache(64)  # each segment of a recording says it again
def devices_from_text(text: str) -> tuple[Device, ...]:
    """Inverse of `text_of_devices`; keys of a later version are left out, missing ones take their default."""
    rows = [{key: row[key] for key in Device.__slots__ if key in row} for row in json.loads(text)]
    devices = tuple(Device(**row | {"flags": tuple(map(str, row.get("flags", ())))}) for row in rows)
    for device in devices:
        for name in Device.__slots__:
            value, most = getattr(device, name), 2**62 if name.endswith("_us") else 2**31
            # What is counted with later must be a number that can be counted with.
            counts = type(value) is not int or -most <= value < most
            if type(value) is not type(getattr(_A_DEVICE, name)) or not counts:
                raise ValueError(f"{name} of a device is {value!r}")
        if not all(type(period) is int for period in device.publication_us.values()):
            raise ValueError("a publication period of a device is not a number")
    return devices


_A_DEVICE = Device("", 0, "")


def text_of_owners(owners: tuple[Owner, ...]) -> str:
    """JSON of the owners: ``[[key, {label: text}], ...]``."""
    return json.dumps([[owner.key, dict(owner.labels)] for owner in owners], separators=(",", ":"))


def owners_from_text(text: str) -> tuple[Owner, ...]:
    """Inverse of `text_of_owners`."""
    owners = tuple(Owner(JobKey(row[0]), row[1]) for row in json.loads(text))
    for owner in owners:
        if type(owner.key) is not str or not all(type(label) is str for label in owner.labels.values()):
            raise ValueError("the key or a label of an owner is not text")
    return owners


def text_of_events(events: tuple[Event, ...]) -> str | None:
    """JSON of the events; None of none."""
    return json.dumps([[e.time_us, e.kind, e.gpu, e.detail] for e in events], separators=(",", ":")) if events else None


def events_from_text(text: str | None) -> tuple[Event, ...]:
    """Inverse of `text_of_events`."""
    events = tuple(Event(*row[:4]) for row in json.loads(text)) if text else ()
    if any((*map(type, (e.time_us, e.kind, e.gpu, e.detail)),) != (int, str, int, str) for e in events):
        raise ValueError("an event is malformed")
    return events


def identity(text: str) -> int:
    """CRC-32 of a definition (devices or owners); batches refer to it when they leave the text out."""
    return zlib.crc32(text.encode())
