"""Replay on many processes or machines: the one file that knows Dask (extra ``scale``).

A chain's pieces (host, day) follow each other as tasks that hand the books on; chains run side by side. A worker needs
nothing but the wheel and the traces under the same paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.replay_books import book, finish, pieces_of
from agent.window import InputError

if TYPE_CHECKING:
    from agent.replay_books import Part, Settings
    from agent.traces.sources import Chain


def book_on_cluster(chains: list[Chain], settings: Settings, *, workers: int = 0, address: str = "") -> list[Part]:
    """Book all chains on a cluster.

    Parameters
    ----------
    chains : list of Chain
    settings : Settings
    workers : int
        Start so many local processes; 0: use ``address``.
    address : str
        A running scheduler (``tcp://HOST:8786``).

    Returns
    -------
    list of Part
        Finished books, a chain each, in the order of ``chains``.

    Raises
    ------
    InputError
        If Dask is not installed, the scheduler does not answer, or a trace cannot be used.
    """
    try:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputError("--workers and --scheduler need the extra scale: pip install 'wattshed[scale]'") from error
    cluster: Any = None
    try:
        if workers:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
            )
        client = Client(cluster if cluster is not None else address, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        if cluster is not None:
            cluster.close()
        raise InputError(f"no Dask scheduler answers at {address or 'this machine'} ({error})") from error
    try:
        futures = []
        for chain in chains:
            books: Any = None
            for piece in pieces_of(chain):
                books = client.submit(book, piece, settings, books, pure=False)
            futures.append(client.submit(finish, books, pure=False))
        parts: list[Part] = client.gather(futures)
        return parts
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
