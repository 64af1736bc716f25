"""Documents of jobs that nobody ran, as an agent answers with them; and a terminal that keeps what it was sent."""

import io
import re

MARCH_S = 1_772_323_200.0  # 2026-03-01T00:00:00Z
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "a\x1b[31mred\x07",
    "\u202egnp.exe",
    "a|b\nc,\"d'",
    "",
)


def job(number=1, **changed):
    """A job that used 10 kJ and a bit on two GPUs of one host."""
    start_s = MARCH_S + 100 * number
    return {
        "job": f"slurm:{1_843_000 + number}", "run": str(int(start_s * 1e6)), "cluster": "", "hosts": ["n1"],
        "hosts_expected": None, "state": "complete", "start_s": start_s, "end_s": start_s + 7200.5,
        "elapsed_s": 7200.5, "user": "ada", "account": "physics", "partition": "gpu", "namespace": "", "qos": "",
        "name": "train", "labels": {}, "gpus": 2, "energy_j": "10000.0000000005", "static_j": "2500",
        "dynamic_j": "7500.0000000005", "sigma_j": 100.0, "boundary": "board", "active_s": 12600.0, "held_s": 1800.0,
        "mean_w": 1.388, "covered_s": 14400.0, "coverage": 1.0, "peak_w": 701.25, "held_idle": 0.125, "method": "alone",
        "flags": [], "work": None, "waiting_j": None, "watts": None, "watts_sigma": None,
    } | changed  # fmt: skip


def done(unit="output_tokens", count=2_000_000, joules=0.4, **changed):
    """What a job did of one unit."""
    return {
        "unit": unit,
        "source": "scraped",
        "count": count,
        "joules_per_unit": joules,
        "sigma_j": joules / 25,
    } | changed


def gpu(number=0, **changed):
    """What a job used on one GPU."""
    return {
        "host": "n1", "gpu": f"GPU-11111111-2222-3333-4444-55555555555{number}", "model": "NVIDIA H100 80GB HBM3",
        "energy_j": "5000", "static_j": "1250", "dynamic_j": "3750", "sigma_j": 50.0, "active_s": 6300.0,
        "held_s": 900.0, "mean_w": 0.694, "covered_s": 7200.0, "coverage": 1.0, "peak_w": 701.25,
        "watts": None, "watts_sigma": None,
    } | changed  # fmt: skip


def jobs_document(*jobs, cursor="", **more):
    return {
        "schema": "wattshed.jobs/1",
        "host": "n1",
        "now_s": MARCH_S,
        "jobs": list(jobs),
        "cursor": cursor,
        "scope": "all",
        "simulated": False,
    } | more


def job_document(one=None, earlier=(), gpus=(), power=(), work=None, **more):
    whole = (one or job()) | {"by_gpu": list(gpus), "power": list(power), "work": work}
    return {
        "schema": "wattshed.job/1",
        "host": "n1",
        "now_s": MARCH_S,
        "job": whole,
        "earlier": list(earlier),
        "scope": "all",
        "simulated": False,
    } | more


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        """What is seen on it, without what makes letters bold or dim."""
        return re.sub(r"\x1b\[[012]?m", "", self.getvalue()).splitlines()
