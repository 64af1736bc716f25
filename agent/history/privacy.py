"""What the history keeps of people: their names, pseudonyms, or nothing.

A pseudonym is a keyed hash: who has the key can compute it from a name, who has not can neither compute nor undo it.
User ids are hashed too, or ``getent passwd`` would undo the pseudonyms; whoever asks for their own jobs is hashed
alike. What users write themselves (names of jobs, programs and pods) goes, in labels and in keys, for it often has a
name in it.
"""

from __future__ import annotations

import hmac
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.window import MISSING, uid_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.wire.parts import JobPart, JobRecord

MODES = ("names", "pseudonyms", "none")
DIGITS = 12
"""Hexadecimal digits of a pseudonym: of a million users, two have the same one with a chance of 1 in 500."""
_SHORTEST_KEY = 16
_HASHED = 1 << 52
"""User ids that are hashed are this and above: never a system's, and exact in the numbers of every JSON reader."""
KEPT = frozenset(
    {"manager", *GROUPS, "array", "het_job", "nodes", "restart", "sluid", "slot", "task", "pod_uid", "container_id"}
)
"""Labels that stay where users are not named: no user chose them but for their own bill."""


class Privacy:
    """Takes people out of what goes into a history.

    Parameters
    ----------
    users : str
        One of `MODES`: ``none`` drops users altogether, and then only administrators can ask for jobs.
    key : bytes
        The same at all hosts of a site, or a user has another pseudonym at each; not needed for ``names``.
    """

    def __init__(self, users: str = "names", key: bytes = b"") -> None:
        self.users, self._key = users, key

    @classmethod
    def of_settings(cls, users: str, key_file: str) -> Privacy:
        """Make it of what is configured.

        Raises
        ------
        InputError
            There is no key where one is needed, or others could read it.
        """
        if users == "names":
            return cls()
        if not key_file:
            raise InputError(
                f'privacy.key_file: users = "{users}" needs a key, the same at all hosts of a site; make one with '
                "`head -c 32 /dev/urandom > FILE`"
            )
        path = Path(key_file)
        try:
            mode, key = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the key of the pseudonyms cannot be read ({error.strerror})") from None
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise InputError(f"{path}: the key of the pseudonyms is everybody's to read: chmod o-rw")
        if len(key) < _SHORTEST_KEY:
            raise InputError(f"{path}: a key of {len(key)} bytes can be guessed; {_SHORTEST_KEY} at least")
        return cls(users, key)

    def user(self, name: str) -> str:
        """Return what stands in place of a user's name; empty if nothing does."""
        if self.users == "names":
            return name
        return self._digest(name)[:DIGITS] if name and self.users == "pseudonyms" else ""

    def uid(self, uid: int) -> int:
        """Return what stands in place of a user id, in the history and for whoever asks for their own jobs."""
        if self.users == "names" or uid >= _HASHED:
            return uid
        if uid < 0 or self.users == "none":
            return MISSING
        return _HASHED | int(self._digest(f"uid {uid}")[:13], 16)

    def key(self, job: str) -> str:
        """Return the key of a job without whom it is of, and without what they called it."""
        manager, _, name = job.partition(":")
        if self.users == "names" or "/" not in name:
            return job
        first, _, last = name.partition("/")
        if manager == "user":
            # Without pseudonyms not even two programs of one user can be told to be one user's.
            who = self._digest(f"uid {first}")[:DIGITS] + "/" if self.users == "pseudonyms" else ""
            return f"user:{who}{self._digest(name)[:DIGITS]}"
        if manager == "htcondor" and uid_of(name.rpartition("/")[2]) != MISSING:
            return f"htcondor:{name.rpartition('/')[0]}/{self._digest(name)[:DIGITS]}"
        if manager == "k8s":  # a pod whose UID is not known yet: namespace, pod, container
            pod, slash, container = last.partition("/")
            return f"k8s:{first}/{self._digest(pod)[:DIGITS]}/{container}" if slash else job
        return job

    def record(self, record: JobRecord) -> JobRecord:
        """Return who a job is, as the history may know it; what went through this before stays as it is."""
        if self.users == "names" or record.uid >= _HASHED:
            return record
        labels = {name: text for name, text in record.labels.items() if name in KEPT}
        user = self.user(labels.pop("user", ""))
        labels |= {"user": user} if user else {}
        return replace(record, key=self.key(record.key), uid=self.uid(record.uid), labels=labels)

    def applied(
        self, parts: Sequence[JobPart], jobs: Mapping[tuple[str, int], JobRecord]
    ) -> tuple[Sequence[JobPart], Mapping[tuple[str, int], JobRecord]]:
        """Return parts, and the jobs that they are of by key and run, as the history may know them."""
        if self.users == "names":
            return parts, jobs
        named = {place: self.record(record) for place, record in jobs.items()}
        keys = {place: record.key for place, record in named.items()}
        hidden = [replace(part, job=keys.get((part.job, part.run_us)) or self.key(part.job)) for part in parts]
        return hidden, {(record.key, record.run_us): record for record in named.values()}

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
