"""Ask the kubelet which container was granted which device (the PodResources API, v1, over its unix socket).

The messages are few and small, so they are read straight from the wire format
(https://protobuf.dev/programming-guides/encoding); field numbers are those of
``k8s.io/kubelet/pkg/apis/podresources/v1/api.proto``. The transport is `wattshed.agent.wire.grpc_call` (extra
``kubernetes``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 5.0
LARGEST_MESSAGE = 16 << 20
"""The kubelet's own limit (``podresources.DefaultPodResourcesMaxSize``)."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class ExtraMissing(RuntimeError):  # noqa: N818 - named for what is wrong
    """h2 is not installed."""

    def __init__(self) -> None:
        super().__init__("asking the kubelet needs h2: pip install 'wattshed[kubernetes]'")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A device by Dynamic Resource Allocation; ``share_id`` is set where several claims divide one device."""

    driver: str
    pool: str
    device: str
    share_id: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """One container, and the devices it was given; the API does not tell the pod's UID."""

    namespace: str
    pod: str
    container: str
    devices: tuple[tuple[str, str], ...] = ()  # resource name ("nvidia.com/gpu"), device id
    claimed: tuple[Claimed, ...] = ()

    @property
    def name(self) -> tuple[str, str, str]:
        """Namespace, pod and container."""
        return self.namespace, self.pod, self.container


class Kubelet:
    """A client of one kubelet.

    Parameters
    ----------
    socket : Path

    Raises
    ------
    ExtraMissing
        Without h2.
    """

    def __init__(self, socket: Path) -> None:
        try:
            from wattshed.agent.wire import grpc_call  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError as error:
            raise ExtraMissing from error
        self._socket, self._grpc = socket, grpc_call

    def grants(self) -> list[Grant]:
        """Return the grants of all pods that the kubelet lists; before Kubernetes 1.34 finished ones, too.

        Raises
        ------
        RuntimeError
            The kubelet did not answer in time, or answered nonsense.
        """
        return grants_of(self._call("List", b""))

    def allocatable(self) -> list[tuple[str, str]]:
        """Return resource name and id of every device that can be granted (replicas of a shared GPU one by one).

        Raises
        ------
        RuntimeError
            As for :meth:`grants`.
        """
        return [
            pair for _, devices in _fields(self._call("GetAllocatableResources", b""), 1) for pair in _devices(devices)
        ]

    def get(self, namespace: str, pod: str) -> list[Grant] | None:
        """Return one pod's grants; None if the kubelet says that there is no such pod.

        Raises
        ------
        RuntimeError
            It did not say: no answer, or a kubelet without Get (before 1.27, or its feature gate off).
        """
        try:
            answer = self._call("Get", _string(1, pod) + _string(2, namespace))
        except RuntimeError as error:
            # The kubelet answers a plain Go error for a pod that it does not know, which gRPC shows as UNKNOWN.
            if "not found" in str(error) or "NOT_FOUND" in str(error):
                return None
            raise
        return grants_of(answer)

    def _call(self, method: str, request: bytes) -> bytes:
        path = f"/v1.PodResourcesLister/{method}"
        try:
            return self._grpc.call(self._socket, path, request, TIMEOUT_S, LARGEST_MESSAGE)
        except self._grpc.CallFailed as error:
            raise RuntimeError(f"the kubelet's {method} failed: {error}") from error


def grants_of(answer: bytes) -> list[Grant]:
    """Read what the kubelet answered to List or Get, from the wire.

    Raises
    ------
    RuntimeError
        It is nonsense.
    """
    return [grant for _, pod in _fields(answer, 1) for grant in _pod(pod)]


def _pod(message: bytes) -> Iterator[Grant]:
    name = namespace = ""
    containers = []
    for number, value in _fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            namespace = _text(value)
        elif number == 3:
            containers.append(value)
    for container in containers:
        yield _container(namespace, name, container)


def _container(namespace: str, pod: str, message: bytes) -> Grant:
    name = ""
    devices: list[tuple[str, str]] = []
    claimed: list[Claimed] = []
    for number, value in _fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            devices.extend(_devices(value))
        elif number == 5:
            for _, resource in _fields(value, 4):
                parts = {field: _text(part) for field, part in _fields(resource) if field in {2, 3, 4, 5}}
                claimed.append(Claimed(parts.get(2, ""), parts.get(3, ""), parts.get(4, ""), parts.get(5, "")))
    return Grant(namespace, pod, name, tuple(devices), tuple(claimed))


def _devices(message: bytes) -> list[tuple[str, str]]:
    resource, ids = "", []
    for number, value in _fields(message):
        if number == 1:
            resource = _text(value)
        elif number == 2:
            ids.append(_text(value))
    return [(resource, identifier) for identifier in ids]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _fields(message: bytes, only: int = 0) -> Iterator[tuple[int, bytes]]:
    """Walk over the length-delimited fields of a message; numbers in it are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise RuntimeError("a message from the kubelet is truncated")
            if only in {0, number}:
                yield number, message[at : at + length]
            at += length
        else:
            message_kind = f"a message from the kubelet has wire type {kind}, which its API never uses"
            raise RuntimeError(message_kind)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise RuntimeError("a message from the kubelet is truncated")


def _string(number: int, text: str) -> bytes:
    value = text.encode()
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
