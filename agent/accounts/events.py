"""What happened to a host's GPUs, or to the agent, and what follows from that for its accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.accounts import silence
from wattshed.agent.accounts.restart import doubt_counter, go_on
from wattshed.kernels.billing.layout import GpuState
from wattshed.kernels.records import objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.beside import BesideBooks
    from wattshed.agent.accounts.host import HostAccounts
    from wattshed.agent.accounts.ledger import GpuKey
    from wattshed.agent.window import Event


def note(event: Event, host: HostAccounts, gpus: Mapping[GpuKey, GpuAccount]) -> None:
    """Take account of what happened to a GPU: it went or came, its driver was reloaded or reported an error."""
    if not 0 <= event.gpu < len(host.keys):
        return
    account = gpus[host.keys[event.gpu]]
    if event.kind in {"lost", "released", "back"}:
        if event.kind == "back" and not account.up:
            gpu, ceiling_mw = slice(event.gpu, event.gpu + 1), int(host.limits.ceiling_mw[event.gpu])
            doubt_counter(account, host.state[gpu], ceiling_mw, event.time_us)
        account.up, account.released = event.kind == "back", event.kind == "released"
        account.down_why = "" if account.up else event.detail
    elif event.kind == "xid" and event.detail.isdecimal():
        account.hear_xid(int(event.detail))
    elif event.kind == "driver-reload" and host.watts is not None:
        host.watts.forget(event.gpu)


def resume(
    host: HostAccounts,
    gpus: Mapping[GpuKey, GpuAccount],
    beside: BesideBooks | None,
    start_us: int,
    *,
    same_boot: bool,
) -> None:
    """Go on with a host after its agent was down.

    Parameters
    ----------
    host : HostAccounts
        Whose holes that waited are split already.
    gpus : mapping of GpuKey to GpuAccount
    beside : BesideBooks or None
        Of its other meters, if it has any.
    start_us : int, us
        Of the first window after the restart.
    same_boot : bool
        Whether the driver's counters went on meanwhile.
    """
    for key, state in zip(host.keys, objects(host.state, GpuState), strict=True):
        account = gpus[key]
        account.power.restart()
        if account.module is not None:
            account.module.restart(start_us, same_boot=same_boot)
        silence.end(account, state, start_us, forgotten=not same_boot)
        silence.begin(account, start_us)
    host.restart(start_us, same_boot=same_boot)
    if host.watts is not None:
        host.watts.restart([gpus[key].device for key in host.keys])
    if beside is not None:
        beside.restart(start_us, same_boot=same_boot)


def leave(account: GpuAccount, state: NDArray[np.void], start_us: int) -> None:
    """Take account of a GPU that is away: its counter may go on meanwhile, but power is not joined over that.

    Parameters
    ----------
    account : GpuAccount
    state : kernels.billing.layout.GPU_STATE[1]
        Changed in place.
    start_us : int, us
        Of the first window without it.
    """
    silence.end(account, objects(state, GpuState)[0], start_us, forgotten=False)
    go_on(state, start_us, same_boot=True)
    account.power.restart()
