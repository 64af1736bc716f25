"""What is known of a hole: who was on a GPU when that was last known, and whose end or beginning in it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.window import JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Mapping


class OwnerAtEdge(NamedTuple):
    """One owner on one GPU at the edge of a hole; the numbers are those of `PendingUsage`."""

    owner: Owner
    activity_ppm: int
    share_ppm: int
    live: int


@dataclass(slots=True)
class Hole:
    """What is known of one GPU since it was last known who is on it.

    Attributes
    ----------
    since_us : int, us
    before : dict of JobKey to Seen
        Who was there then.
    gone : set of JobKey
        Those of them whose end in the hole is known.
    came : set of JobKey
        Whose beginning in the hole is known.
    """

    since_us: int
    before: dict[JobKey, OwnerAtEdge] = field(default_factory=dict)
    gone: set[JobKey] = field(default_factory=set)
    came: set[JobKey] = field(default_factory=set)

    def see(self, until: Mapping[JobKey, int], end_us: int) -> None:
        """Take note of a window in the hole: until when (us) it has owners there, and when it ends."""
        for key, stop_us in until.items():
            if key not in self.before or key in self.gone:
                self.came.add(key)
            elif stop_us < end_us:
                self.gone.add(key)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values; labels are the ledger's."""
        before = [
            {"key": key, "activity_ppm": one.activity_ppm, "share_ppm": one.share_ppm, "live": one.live}
            for key, one in self.before.items()
        ]
        return {"since_us": self.since_us, "before": before, "gone": sorted(self.gone), "came": sorted(self.came)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Hole:
        """Make it of what `plain` returned."""
        before = {}
        for one in values["before"]:
            key = JobKey(str(one["key"]))
            before[key] = OwnerAtEdge(Owner(key), int(one["activity_ppm"]), int(one["share_ppm"]), int(one["live"]))
        gone, came = ({JobKey(str(key)) for key in values[name]} for name in ("gone", "came"))
        return cls(int(values["since_us"]), before, gone, came)

    def beside(self, here: Mapping[JobKey, tuple[int, OwnerAtEdge]], end_us: int) -> tuple[set[JobKey], set[JobKey]]:
        """Name those who were there before it and are not known to have gone, and likewise those after it.

        Parameters
        ----------
        here : mapping of JobKey to (int, Seen)
            Who is there at its end, and since when (us) as far as the window says.
        end_us : int, us
        """
        before = self.before.keys() - self.gone
        after = {
            key
            for key, (start_us, _) in here.items()
            if key not in self.came and (start_us == end_us or key in self.before)
        }
        return before, after

    def may_hold(self, key: JobKey, *, at_once: bool) -> bool:
        """Return whether somebody was there when the agent went down, and is not known to have gone.

        Where the hole is over ``at_once`` when it lives again, `beside` has those who were there before it.
        """
        return key in self.came or (key in self.before and key not in self.gone and not at_once)
