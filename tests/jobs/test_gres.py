"""Slurm's generic resources, in every spelling of 21.08 to 26.05."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.jobs.gres import devices, per_gpu, ranges, shares

NODE = "NodeName=n1 Gres=gpu:h100:4,shard:h100:32,mps:h100:400 NodeAddr=n1"
WHOLE = 1_000_000


@pytest.mark.parametrize(
    ("detail", "wanted"),
    [
        # whole GPUs
        ("gpu:h100:2(IDX:0-1)", {0: WHOLE, 1: WHOLE}),
        ("gpu:1(IDX:3)", {3: WHOLE}),
        ("gpu:h100:3(IDX:0,2-3)", {0: WHOLE, 2: WHOLE, 3: WHOLE}),
        ("gres/gpu:1(IDX:2)", {2: WHOLE}),
        ("gres:gpu:1(IDX:2)", {2: WHOLE}),
        # types are names of the administrator's
        ("gpu:4090:1(IDX:2)", {2: WHOLE}),
        ("gpu:nvidia_a100-sxm4-80gb:1(IDX:2)", {2: WHOLE}),
        ("gpu:nvidia_h100_80gb_hbm3:1(IDX:2)", {2: WHOLE}),
        ("gpu:quadro_rtx_6000:1(IDX:2)", {2: WHOLE}),
        ("gpu:v1.5:1(IDX:2)", {2: WHOLE}),
        ("gpu:(null):2(IDX:0,2)", {0: WHOLE, 2: WHOLE}),  # a type that was never told
        # several side by side: an index counts over all types of the node
        ("gpu:a100:1(IDX:0),gpu:h100:2(IDX:2-3)", {0: WHOLE, 2: WHOLE, 3: WHOLE}),
        ("gpu:a100:2(IDX:0,3),nic:2(IDX:0-1),tmpdisk(CNT:5)", {0: WHOLE, 3: WHOLE}),
        ("craynetwork:1,gpu:a100:1(IDX:1)", {1: WHOLE}),
        # shards and MPS up to 23.11.1: on which GPUs, not how many on each
        ("shard:2(IDX:1)", {1: 250_000}),
        ("shard:h100:4(IDX:0,2)", {0: 250_000, 2: 250_000}),
        ("mps:50(IDX:1)", {1: 500_000}),
        ("shard:20(IDX:1)", {1: -1}),  # more than one GPU would have: they do not have equally many
        # since 23.11.2: for each GPU the job's and all
        ("shard:h100:6(0/8,6/8,0/8,0/8)", {1: 750_000}),
        ("shard:6(0/8,6/8,0/8,0/8)", {1: 750_000}),
        ("shard:9(8/8,1/8,0/8,0/8)", {0: WHOLE, 1: 125_000}),
        ("mps:h100:50(0/100,50/100)", {1: 500_000}),
        ("mps:50(0/100,50/100)", {1: 500_000}),
        ("shard:5(2/4,3/16)", {0: 500_000, 1: 187_500}),  # GPUs with different numbers of them
        ("gpu:a100:1(IDX:0),shard:h100:3(0/8,3/8)", {0: WHOLE, 1: 375_000}),
        ("shard:a100:2(2/8,0/8),shard:h100:3(0/8,3/8)", {0: 250_000, 1: 375_000}),
        ("shard:h100:3(0/0,3/0)", {1: -1}),
        ("shard:h100:0(-/8,0/8)", {}),
        # no device is named
        ("gpu:0", {}),
        ("gpu:2", {}),
        ("gpu(CNT:2)", {}),
        ("gpu:h100(CNT:2)", {}),
        ("gpu:1(IDX:N/A)", {}),
        ("nic:2(IDX:0-1)", {}),
        ("mygpu:2(IDX:0-1)", {}),
        ("", {}),
        ("(null)", {}),
    ],
)
def test_what_a_job_was_given(detail, wanted):
    assert shares(detail, per_gpu(NODE)) == wanted


@pytest.mark.parametrize(
    "profile",
    [
        "1g.10gb", "3g.40gb", "1g.12gb", "a100_1g.5gb", "nvidia_a100_3g.20gb", "nvidia_a100-sxm4-40gb_3g.20gb",
        "1g.10gb+me", "1c.2g.20gb", "nvidia_h100_80gb_hbm3_1g.10gb", "a100-2g.10gb", "1G.10GB", "mig-1g.10gb",
        "7g.80gb", "1g_10gb", "1g10gb",
    ],
)  # fmt: skip
def test_an_index_among_mig_instances_is_no_gpu(profile):
    assert shares(f"gpu:{profile}:1(IDX:1)", {}) == {}
    # nor is any other on such a node: instances are counted too
    node = f"Gres=gpu:h100:1(S:0),gpu:{profile}:7(S:0)"
    assert shares("gpu:h100:1(IDX:7)", per_gpu(node)) == {}
    assert devices(node) == 8


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (NODE, {"shard": 8, "shard:h100": 8, "mps": 100, "mps:h100": 100}),
        ("Gres=gpu:h100:4(S:0-1),shard:h100:32(S:0-1)", {"shard": 8, "shard:h100": 8}),
        ("Gres=gpu:4,shard:32", {"shard": 8}),
        ("Gres=gpu:(null):4,shard:(null):32", {"shard": 8}),
        ("Gres=gpu:a100:2,gpu:v100:2,shard:a100:16,shard:v100:8", {"shard": 6, "shard:a100": 8, "shard:v100": 4}),
        ("Gres=gpu:4,shard:6", {}),
        ("Gres=gpu:h100:8,mps:h100:1K", {"mps": 128, "mps:h100": 128}),
        ("Gres=(null)", {}),
        ("", {}),
        ("ExtraGres=gpu:4,shard:32", {}),
    ],
)
def test_what_a_gpu_of_the_node_has(text, wanted):
    assert per_gpu(text) == wanted


def test_each_type_has_its_own_number_of_shards():
    parts = per_gpu("Gres=gpu:a100:2,gpu:v100:2,shard:a100:16,shard:v100:8")
    assert shares("shard:a100:2(IDX:0),shard:v100:2(IDX:3)", parts) == {0: 250_000, 3: 500_000}


def test_shards_of_an_unknown_total_have_an_unknown_share():
    assert shares("shard:2(IDX:1)", {}) == {1: -1}


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 64)).map(sorted), min_size=1, max_size=16))
def test_a_share_is_what_the_job_has_over_what_the_gpu_has(given_of_all):
    text = ",".join(f"{used}/{total}" for used, total in given_of_all)
    found = shares(f"shard:h100:{sum(used for used, _ in given_of_all)}({text})", {})
    wanted = {i: used * WHOLE // max(total, 1) for i, (used, total) in enumerate(given_of_all) if used}
    assert found == wanted


@given(st.text(alphabet="gpushardm:0123456789(),/-IDXK. ", max_size=60))
def test_any_text_is_read(text):
    assert all(-1 <= share <= WHOLE for share in shares(text, {"shard": 3, "mps": 100}).values())
    assert all(n > 0 for n in per_gpu(f"Gres={text}").values())


def test_ranges():
    assert ranges("0-2,5") == [0, 1, 2, 5]
    assert ranges("N/A") == ranges("") == ranges("3-") == []
    assert len(ranges("0-999999999")) < 5000
