"""Kernels with mistakes, in the simulator: prints what comes of each, as JSON."""

import json

import numpy as np

from wattshed.kernels.cuda_target import cuda, launch

THREADS, UNWRITTEN = 4, 0x5A5A5A5A5A5A5A5A


@cuda.jit
def _handed_on(out, with_barrier):
    """Each thread writes its number, and reads its neighbour's."""
    shared = cuda.shared.array(THREADS, np.int64)
    me = cuda.threadIdx.x
    shared[me] = me
    if with_barrier:
        cuda.syncthreads()
    out[cuda.blockIdx.x, me] = shared[(me + 1) % THREADS]


@cuda.jit
def _unwritten(out):
    """A thread reads what no thread wrote."""
    shared = cuda.shared.array(THREADS, np.int64)
    out[cuda.threadIdx.x] = shared[cuda.threadIdx.x]


@cuda.jit
def _fails_between_barriers(out):
    """One thread fails, where the others wait for it."""
    cuda.syncthreads()
    out[cuda.threadIdx.x // 3 * len(out)] += 1
    cuda.syncthreads()


def handed_on(with_barrier):
    out = cuda.to_device(np.zeros((2, THREADS), np.int64))
    launch(_handed_on, 2, THREADS, out, with_barrier)
    return out.copy_to_host().tolist()


def unwritten():
    out = cuda.to_device(np.zeros(THREADS, np.int64))
    launch(_unwritten, 1, THREADS, out)
    return out.copy_to_host().tolist()


def failed():
    try:
        launch(_fails_between_barriers, 1, THREADS, cuda.to_device(np.zeros(2, np.int64)))
    except IndexError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    found = {"right": handed_on(True), "no barrier": [handed_on(False) for _ in range(50)]}
    print(json.dumps({**found, "unwritten": unwritten(), "failed": failed()}))
