"""Work on many processes or machines: the one file that knows Dask (extra ``scale``).

Everything travels as bytes and the task is shipped whole, so that a scheduler needs nothing of ours, and a worker
nothing but the wheel (and the files that a task reads, under the same paths).
"""

from __future__ import annotations

import pickle
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

ANSWER_S = 10.0
"""How long a scheduler may take to answer, s."""

_LOCAL = {
    # Dask watches the GPUs of its workers; a sick one must not end work that uses none.
    "distributed.diagnostics.nvml": False,
    # By default Dask has glibc give back each array to the kernel (MALLOC_TRIM_THRESHOLD_): fleets took twice as long.
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
}
"""Settings of workers on this machine."""


def add_cluster_flags(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add ``--workers`` and ``--scheduler``, of which one may be given; ``count`` reads a number of processes."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--workers", type=count, metavar="N", help="processes on this machine (needs the extra scale)")
    either.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler (needs the extra scale)")


class Cluster:
    """Workers that call functions of this program, and what they answered.

    Parameters
    ----------
    client : distributed.Client
    future : type
        Of what its workers hold or will hold.
    """

    def __init__(self, client: Any, future: type) -> None:
        self._client, self._future, self._work = client, future, _task()

    def send(self, value: Any) -> Any:
        """Send a value once that many tasks need; what it returns stands for it in `submit`."""
        return self._client.scatter(pickle.dumps(value), hash=False)

    def submit(self, do: Callable[..., Any], *args: Any) -> Any:
        """Have a worker call a function that can be imported, and return what stands for its answer.

        Arguments are sent with the task, except those that stand for what workers hold already.
        """
        sent = [one if isinstance(one, self._future) else pickle.dumps(one) for one in args]
        return self._client.submit(self._work, pickle.dumps(do), *sent, pure=False)

    def answers(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Wait for the answers of tasks, in their order.

        Raises
        ------
        InputError
            If a task raised it.
        """
        for task in tasks:
            answer = pickle.loads(task.result())  # noqa: S301 - our own bytes, from the user's own cluster
            if isinstance(answer, InputError):
                raise answer
            yield answer


@contextmanager
def connected(workers: int = 0, address: str = "") -> Iterator[Cluster]:
    """Connect to a cluster; what was started for it is closed again.

    Parameters
    ----------
    workers : int
        Start so many local processes; 0: use ``address``.
    address : str
        A running scheduler (``tcp://HOST:8786``).

    Raises
    ------
    InputError
        If Dask is not installed, the scheduler does not answer, or it has no workers.
    """
    try:
        import dask  # noqa: PLC0415 - an extra
        from distributed import Client, Future, LocalCluster  # noqa: PLC0415
    except ImportError as error:
        raise InputError("--workers and --scheduler need the extra scale: pip install 'wattshed[scale]'") from error
    with ExitStack() as opened:
        cluster: Any = address
        try:
            if workers:
                with dask.config.set(_LOCAL):
                    cluster = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address="127.0.0.1:0",
                        silence_logs=50,
                    )
                opened.callback(cluster.close)
            client = Client(cluster, timeout=ANSWER_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"no Dask scheduler answers at {address or 'this machine'} ({text})") from error
        opened.callback(client.close)
        try:
            client.wait_for_workers(1, timeout=ANSWER_S)
        except TimeoutError as error:
            raise InputError(f"the Dask scheduler at {address} has no workers; start some, then try again") from error
        yield Cluster(client, Future)


def _task() -> Callable[..., bytes]:
    """Make the function that workers run; one without a name to import is sent by value."""

    def work(*sent: bytes) -> bytes:
        import pickle  # noqa: PLC0415 - all of this runs on another machine

        from wattshed.agent.errors import InputError  # noqa: PLC0415

        do, *args = (pickle.loads(one) for one in sent)  # noqa: S301 - our own bytes, on the user's own cluster
        refused = next((arg for arg in args if isinstance(arg, InputError)), None)
        if refused is not None:  # what it builds on failed
            return pickle.dumps(refused)
        try:
            return pickle.dumps(do(*args))
        except InputError as error:
            return pickle.dumps(error)

    return work
