"""A page of an agent's parts: what is read is what was told, and pods are named on their way in."""

import pytest

from tests.collect.site import collecting
from tests.collect.test_collecting import equal, jobs_of
from tests.history.made_up import HOUR_US, MARCH_US
from wattshed.agent.collect.merge import Merger, read_page
from wattshed.agent.collect.workloads import Pod
from wattshed.agent.history.opening import open_database


@pytest.mark.parametrize(("given", "told", "kept"), [("", "west", "west"), ("east", "west", "east"), ("", "", "")])
def test_a_page_is_read_as_it_was_told(site, new_place, given, told, kept):
    """Every number of it and every name, by what the agent made; only whoever collects may name the cluster."""
    place, agent = new_place(), site.agents["n0"]
    for hour in range(3):
        site.hour(jobs_of(hour, 3))
    page = read_page(agent.answer({"after": 2, "limit": 5}) | {"cluster": told}, given)
    assert page.parts == tuple(agent.made[2:7])
    assert (page.store_id, page.host, page.cluster, page.stores) == ("store-of-n0", "n0", kept, ("store-of-n0",))
    assert (page.now_us, page.first_seq, page.next_seq) == (agent.now_us, 1, agent.seq + 1)
    assert page.jobs.keys() == {(one.job, one.run_us) for one in page.parts if one.job[0] != "_"}
    assert {one.labels.get("cluster", "") for one in page.jobs.values()} == {given}
    assert page.models == {"GPU-n0": "H100"}
    merger = Merger(open_database(place))
    assert merger.take(read_page(agent.answer({"after": 0, "limit": 99}) | {"cluster": told}, given), 0, "n0") == 9
    assert open_database(place).rows("SELECT host, cluster, next_seq FROM store") == [("n0", kept, agent.seq + 1)]


POD = "2fc932ce-fdcc-454b-97bd-aadfdeb4c34a"


@pytest.mark.parametrize("works", [True, False])
def test_pods_are_named_on_their_way_in_and_wait_for_nobody(site, new_place, works):
    class Pods:
        def look_up(self, uids, from_s, to_s):
            assert (list(uids), from_s, to_s) == ([POD], MARCH_US / 1e6, (MARCH_US + HOUR_US) / 1e6)
            if not works:
                raise OSError("nobody answers")
            return {POD: Pod("team", "fit-0", {"job-name": "fit"})}

    place = new_place()
    site.hour(lambda host: [(f"k8s:{POD}/c", MARCH_US, False, {})] if host == "n0" else [])
    with collecting(site, place, pods=Pods()) as puller:
        site.round(puller)
    listed = equal(site, place)
    told = {"workload": "team/job/fit"} if works else {}
    assert (listed[f"k8s:{POD}/c"]["namespace"], listed[f"k8s:{POD}/c"]["labels"]) == ("team" if works else "", told)
    assert site.faults.counts == ({} if works else {"workloads": 1})
