"""The two laws of what is published, to be shown every snapshot, or every scrape, of an agent's life."""

import re
from collections import Counter
from decimal import Decimal

from wattshed.agent.window import OTHER


class Laws:
    """Checks each snapshot by itself and against the one before.

    Parameters
    ----------
    restarts : bool
        A series may begin anew between two snapshots without having been away: they are further apart than a window.
    """

    def __init__(self, *, restarts=False):
        self._restarts = restarts
        self._gpus, self._series = {}, {}
        self.seen = 0
        self.ended = Counter()  # job -> times that its series went away

    def see(self, snapshot):
        """Assert both laws; energies are whole numbers, so they hold exactly."""
        gpus = {g.uuid: g.energy_hnj for g in snapshot.gpus}
        series, parts = {}, Counter({g.uuid: g.ended_hnj for g in snapshot.gpus})
        for e in snapshot.energy:
            assert (e.job, e.gpu_uuid, "static") not in series
            series[e.job, e.gpu_uuid, "static"] = e.static_hnj
            series[e.job, e.gpu_uuid, "dynamic"] = e.dynamic_hnj
            parts[e.gpu_uuid] += e.static_hnj + e.dynamic_hnj
        assert parts == gpus
        rises = Counter()
        for key, value in series.items():
            before = self._series.get(key, 0)
            assert value >= before or self._restarts, key
            rise = value - before if value >= before else value
            rises[key[1]] += rise
            assert rise <= gpus[key[1]] - self._gpus.get(key[1], 0), (key, rise)
        for uuid, energy in gpus.items():
            drawn = energy - self._gpus.get(uuid, 0)
            assert drawn >= 0
            if not self._restarts:
                assert rises[uuid] == drawn, uuid  # nobody's joules are lost from one to the next, nor told twice
            assert rises[uuid] <= drawn, uuid
        self.ended.update({job for job, *_ in self._series} - {job for job, *_ in series})
        self._gpus, self._series = gpus, series
        self.seen += 1

    def as_version_1_showed_it(self, snapshot):
        """Take what ended to be in ``_other``, where it was until state files of version 2."""
        for gpu in snapshot.gpus:
            key = OTHER, gpu.uuid, "dynamic"
            self._series[key] = self._series.get(key, 0) + gpu.ended_hnj


def see_page(text):
    """Assert the first law on a page of /metrics as it is written: exact decimals."""
    parts = Counter()
    for name, uuid, value in re.findall(
        r'^wattshed_(\w+)_energy_joules_total{.*gpu_uuid="([^"]+)".*} (\S+)$', text, re.MULTILINE
    ):
        parts[uuid] += Decimal(value) * (1 if name in {"job", "ended_jobs"} else -1)
    assert parts
    assert set(parts.values()) == {0}
