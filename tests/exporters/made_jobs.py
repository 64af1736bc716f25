"""Answers of /api/v1/jobs that nobody measured, for the tests of the page."""

import json
from urllib.parse import parse_qs, unquote, urlsplit

NOW_S = 1_772_400_000.25


def job(number=1, **changed):
    """Make a job that ended; ``changed`` replaces what it says."""
    made = {
        "job": f"slurm:{number}", "run": "1772300000000000", "cluster": "alps", "hosts": ["n1"], "hosts_expected": None,
        "state": "complete", "start_s": NOW_S - 7200 - number * 600, "end_s": NOW_S - number * 600, "elapsed_s": 7200.0,
        "user": "ada", "account": "physics", "partition": "gpu", "namespace": "", "qos": "normal",
        "name": f"train-{number}b", "labels": {"array": "7_1"}, "gpus": 2, "energy_j": "4320000.0000000005",
        "static_j": "720000", "dynamic_j": "3600000.0000000005", "sigma_j": 21600.0, "boundary": "board",
        "active_s": 12_960.0, "held_s": 1440.0, "mean_w": 600.0, "peak_w": 412.5, "held_idle": 0.1,
        "method": "alone+utilisation", "flags": [],
    }  # fmt: skip
    return made | changed


def running(number=9, **changed):
    """Make one that runs."""
    return job(number, state="running", end_s=None, start_s=NOW_S - 3600, elapsed_s=3600.0, **changed)


def document(of, *, power=None, earlier=()):
    """Make what is told of one job."""
    start, end = of["start_s"], of["end_s"] or NOW_S
    step = (end - start) / 60
    watts = [None if 20 <= n < 26 else 250.0 + 11 * (n % 7) + (300 if n > 30 else 0) for n in range(60)]
    made = [[start + n * step, start + (n + 1) * step, w] for n, w in enumerate(watts)]
    gpu = {
        "host": "n1", "model": "NVIDIA H100 80GB HBM3", "energy_j": "2160000", "static_j": "360000",
        "dynamic_j": "1800000", "sigma_j": 10_800.0, "active_s": 6480.0, "held_s": 720.0, "peak_w": 412.5,
    }  # fmt: skip
    gpus = [gpu | {"gpu": f"GPU-5a7c1f0e-0000-4000-8000-00000000000{n}"} for n in range(2)]
    told = of | {"by_gpu": gpus, "power": made if power is None else power, "work": None}
    return {"schema": "wattshed.job/1", "host": "n1", "now_s": NOW_S, "job": told, "earlier": list(earlier)}


class Jobs:
    """Answers as a server with these jobs would; ``asked`` is what it was asked for, ``failed`` what got an error.

    Parameters
    ----------
    jobs : sequence of dict
    status : int
        Other than 200: each answer is this refusal.
    access : str
        What whoever asks is told that they may ask.
    page : int
        Jobs of a page.
    documents : dict, optional
        Of single jobs, by key.
    simulated : bool
        Whether the documents say that a meter is.
    """

    def __init__(self, jobs=(), *, status=200, access="all", page=50, documents=None, simulated=False):
        self.simulated, self.access, self.failed = simulated, access, set()
        self.jobs, self.status, self.page, self.documents, self.asked = list(jobs), status, page, documents or {}, []

    def __call__(self, route):
        url = urlsplit(route.request.url)
        parameters = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/api/v1/access":
            why = "" if self.access in {"all", "own"} else "this is not to be seen here"
            answer = {"schema": "wattshed.access/1", "jobs": self.access, "why": why}
            route.fulfill(status=200, content_type="application/json", body=json.dumps(answer))
            return
        self.asked.append((unquote(url.path), parameters))
        if url.path == "/api/v1/report":
            total = {"energy_j": "0", "static_j": "0", "dynamic_j": "0", "sigma_j": 0.0, "active_s": 0.0, "held_s": 0.0}
            route.fulfill(status=200, content_type="application/json", body=json.dumps({"total": total, "rows": []}))
            return
        status, answer = self._answer(unquote(url.path).removeprefix("/api/v1/jobs").removeprefix("/"), parameters)
        if status != 200:
            self.failed.add(route.request.url)
        route.fulfill(status=status, content_type="application/json", body=json.dumps(answer))

    def _answer(self, key, parameters):
        if self.status != 200:
            return self.status, {"error": "this is not to be seen here"}
        if key:
            of = next((one for one in self.jobs if one["job"] == key), None)
            if of is None:
                return 404, {"error": "no such job"}
            return 200, (self.documents.get(key) or document(of)) | {"simulated": self.simulated}
        found = [
            one
            for one in self.jobs
            if all(one[name] == parameters[name] for name in ("user", "account", "job") if name in parameters)
            and parameters.get("running", one["state"]) in {one["state"], {"running": "1"}.get(one["state"], "0")}
        ]
        begin = int(parameters.get("cursor", 0))
        rest = begin + self.page if len(found) > begin + self.page else ""
        jobs = found[begin : begin + self.page]
        return 200, {
            "schema": "wattshed.jobs/1",
            "host": "n1",
            "now_s": NOW_S,
            "simulated": self.simulated,
            "jobs": jobs,
            "cursor": str(rest),
        }
