"""A kubelet's PodResources service on a unix socket, with real gRPC; what it answers is set from outside."""

from __future__ import annotations

import threading
from concurrent import futures

import grpc


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """One field: text and bytes are length-delimited, numbers are varints."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def devices(resource, *ids):
    topology = field(3, field(1, field(1, 1)))  # NUMA node 1: read past
    return field(1, resource) + b"".join(field(2, one) for one in ids) + topology


def claim(driver, pool, device, share=""):
    cdi = field(1, field(1, f"k8s.{driver}/claim=x-{device}"))
    share_id = field(5, share) if share else b""
    return (
        field(2, "claim")
        + field(3, "ns")
        + field(4, cdi + field(2, driver) + field(3, pool) + field(4, device) + share_id)
    )


def container(name, *granted, claims=()):
    cpus = b"".join(field(3, cpu) for cpu in (0, 300))
    return (
        field(1, name) + b"".join(field(2, one) for one in granted) + cpus + b"".join(field(5, one) for one in claims)
    )


def pod(namespace, name, *containers):
    return field(1, name) + field(2, namespace) + b"".join(field(3, one) for one in containers)


class FakeKubelet:
    """Answers List, Get and GetAllocatableResources.

    ``pods`` maps (namespace, name) to a pod message; those in ``finished`` are listed but not found by Get.
    """

    def __init__(self, socket):
        self.pods, self.allocatable, self.finished = {}, [], set()
        self.hang = threading.Event()
        self.calls = []
        self.has_get = True
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(getattr(self, f"_{name.lower()}"))
            for name in ("List", "Get", "GetAllocatableResources")
        }
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers),)
        )
        assert self._server.add_insecure_port(f"unix://{socket}")
        self._server.start()

    def stop(self):
        self.hang.clear()
        self._server.stop(0).wait(5)

    def _wait(self, name):
        self.calls.append(name)
        while self.hang.is_set():
            self.hang.wait(0.05)
            threading.Event().wait(0.05)

    def _list(self, request, context):
        self._wait("List")
        assert request == b""
        return b"".join(field(1, one) for one in self.pods.values())

    def _get(self, request, context):
        self._wait("Get")
        if not self.has_get:
            context.abort(grpc.StatusCode.UNKNOWN, "PodResources API Get method disabled")
        parts = request[2:].split(b"\x12")
        name, namespace = parts[0].decode(), parts[1][1:].decode()
        if (namespace, name) not in self.pods or (namespace, name) in self.finished:
            context.abort(grpc.StatusCode.UNKNOWN, f"pod {name} in namespace {namespace} not found")
        return field(1, self.pods[namespace, name])

    def _getallocatableresources(self, request, context):
        self._wait("GetAllocatableResources")
        return b"".join(field(1, one) for one in self.allocatable)
