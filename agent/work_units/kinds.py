"""What inference servers call their work on their own metrics pages, kind by kind.

Names and labels were read in the sources named in docs/work.md. A kind counts at each step of its engine, or at the end
of a request: then the requests that are running are not in its numbers yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTPUT, PROMPT, CACHED, PREFILL, REQUESTS = (
    "output_tokens",
    "prompt_tokens",
    "cached_tokens",
    "prefill_tokens",
    "requests",
)
RUNNING = "running"
"""Not a unit: how many requests are being worked on."""

_FAILED = ("abort", "error", "cancel")


@dataclass(frozen=True, slots=True)
class WorkMetric:
    """A metric that counts something.

    Attributes
    ----------
    name : str
        Behind the prefix of its kind.
    only : mapping of str to tuple of str
        Labels that must have one of these values where they are.
    at_end : bool
        It counts a request when it has ended, not at each step.
    """

    name: str
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at_end: bool = True

    def counts(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series of this metric counts: not another rank's copy, a part of a sum, or what failed."""
        if any(labels.get(name, values[0]) not in values for name, values in self.only.items()):
            return False
        return not any(word in labels.get("finished_reason", "").lower() for word in _FAILED)


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A kind of server.

    Attributes
    ----------
    name : str
    prefixes : tuple of str
        Of its metrics; another one with ``_`` in place of ``:``, and ``ray_`` before, is known too.
    sources : mapping of str to tuple of WorkMetric
        By unit, with `RUNNING`: the first one that is on a page counts.
    paths : tuple of str
        Where its page may be.
    model_label : str
    each_model : bool
        It counts the steps of a pipeline as models of their own, so that the one that is meant must be named.
    needs : mapping of str to str
        By prefix: a label that the series of this kind have, where the prefix alone does not tell.
    """

    name: str
    prefixes: tuple[str, ...]
    sources: Mapping[str, tuple[WorkMetric, ...]]
    paths: tuple[str, ...] = ("/metrics",)
    model_label: str = "model_name"
    each_model: bool = False
    needs: Mapping[str, str] = field(default_factory=dict)

    def spelled(self) -> list[str]:
        """Return the prefixes in every spelling."""
        found = [spelling for prefix in self.prefixes for spelling in (prefix, prefix.replace(":", "_"))]
        return list(dict.fromkeys([*found, *(f"ray_{prefix}" for prefix in found if prefix)]))


_FIRST_RANK = {"tp_rank": ("0",), "pp_rank": ("0",)}


def _one(unit: str, name: str, only: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, tuple[WorkMetric, ...]]:
    return {unit: (WorkMetric(name, only or {}),)}


def _stepwise(
    unit: str, name: str, only: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, tuple[WorkMetric, ...]]:
    return {unit: (WorkMetric(name, only or {}, at_end=False),)}


def _sglang(unit: str, name: str, *modes: str) -> dict[str, tuple[WorkMetric, ...]]:
    """Prefer what its scheduler counts at each step; an older one counts requests that ended."""
    steps = WorkMetric("realtime_tokens_total", {**_FIRST_RANK, "mode": modes}, at_end=False)
    return {unit: (steps, WorkMetric(name, _FIRST_RANK))}


KINDS: Mapping[str, ServerKind] = {
    kind.name: kind
    for kind in (
        ServerKind(
            "vllm",
            ("vllm:",),
            _stepwise(OUTPUT, "generation_tokens_total")
            | _stepwise(PROMPT, "prompt_tokens_total")
            | _stepwise(CACHED, "prompt_tokens_cached_total")
            | _stepwise(PREFILL, "prompt_tokens_by_source_total", {"source": ("local_compute",)})
            | _one(REQUESTS, "request_success_total")
            | _one(RUNNING, "num_requests_running"),
        ),
        ServerKind(
            "sglang",
            ("sglang:",),
            _sglang(OUTPUT, "generation_tokens_total", "decode")
            | _sglang(PROMPT, "prompt_tokens_total", "prefill_compute", "prefill_cache")
            | _one(CACHED, "cached_tokens_total", {**_FIRST_RANK, "cache_source": ("total",)})
            | _stepwise(PREFILL, "realtime_tokens_total", {**_FIRST_RANK, "mode": ("prefill_compute",)})
            | _one(REQUESTS, "num_requests_total", _FIRST_RANK)
            | _one(RUNNING, "num_running_reqs", _FIRST_RANK),
        ),
        ServerKind(
            "trtllm",
            ("trtllm_", ""),
            _one(OUTPUT, "generation_tokens_total")
            | _one(PROMPT, "prompt_tokens_total")
            | _one(CACHED, "prompt_cached_tokens_total")
            | _one(REQUESTS, "request_success_total")
            | _one(RUNNING, "num_requests_running"),
            paths=("/prometheus/metrics", "/metrics"),
            needs={"": "engine_type"},
        ),
        ServerKind(
            "tgi",
            ("tgi_",),
            _one(OUTPUT, "request_generated_tokens_sum")
            | _one(PROMPT, "request_input_length_sum")
            | _one(REQUESTS, "request_success")
            | _one(RUNNING, "batch_current_size"),
        ),
        ServerKind(
            "llamacpp",
            ("llamacpp:",),
            _one(OUTPUT, "tokens_predicted_total")
            | _stepwise(PREFILL, "prompt_tokens_total")
            | _stepwise(CACHED, "prompt_tokens_cached_total")
            | _one(RUNNING, "requests_processing"),
        ),
        ServerKind(
            "lmdeploy",
            ("lmdeploy:",),
            _stepwise(OUTPUT, "generation_tokens_total")
            | _stepwise(PROMPT, "prompt_tokens_total")
            | _one(REQUESTS, "request_success_total")
            | _one(RUNNING, "num_requests_running"),
        ),
        ServerKind(
            "triton",
            ("nv_",),
            _one(REQUESTS, "inference_request_success"),
            model_label="model",
            each_model=True,
        ),
        ServerKind(
            "nim",
            ("",),
            _stepwise(OUTPUT, "generation_tokens_total")
            | _stepwise(PROMPT, "prompt_tokens_total")
            | _one(RUNNING, "num_requests_running"),
            paths=("/v1/metrics", "/metrics"),
        ),
    )
}
"""By name; the one without a prefix of its own comes last."""


def completed(counts: Mapping[str, int]) -> dict[str, int]:
    """Add what follows from what a server tells: prompt tokens come from its cache, or are computed."""
    found = dict(counts)
    if CACHED in found and PROMPT in found:
        found.setdefault(PREFILL, max(found[PROMPT] - found[CACHED], 0))
    elif CACHED in found and PREFILL in found:
        found[PROMPT] = found[CACHED] + found[PREFILL]
    return found


PATHS = tuple(dict.fromkeys(path for kind in KINDS.values() for path in kind.paths))
"""Where a page may be, of a server of unknown kind."""
