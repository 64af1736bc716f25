"""What a BMC says over Redfish, by real HTTP: where its watts are, what they are worth, and what is none."""

import contextlib
import hashlib
import ssl
import time

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.host.bmc import ONE, PASSWORD, SESSIONS, USER, Bmc, chassis, control, linked, metrics, supplies, tls_of
from wattshed.agent.errors import InputError
from wattshed.agent.host import redfish
from wattshed.agent.host.ipmi import NoPowerError, PowerReading
from wattshed.agent.host.redfish import Redfish, RedfishSession
from wattshed.agent.wire.credentials import Credentials
from wattshed.agent.wire.http import Address, Client

NOON = "Thu, 13 Aug 2026 12:00:00 GMT"


def session_with(bmc, password=PASSWORD, timeout_s=5.0, **trust):
    address = Address.parse(bmc.url, "--url", "https://bmc.example")
    client = Client(address, timeout_s=timeout_s, credentials=Credentials(**trust), direct=True)
    return RedfishSession(client, USER, password)


def read(resources, chassis_id="", date=""):
    with Bmc(resources) as bmc:
        bmc.date = date
        session = session_with(bmc)
        try:
            return Redfish(session, chassis_id).read()
        finally:
            session.close()
            assert bmc.sessions == {}


SLED = chassis(
    "Enclosure",
    "Sled",
    Enclosure={"ChassisType": "RackMount", **linked("Enclosure", "EnvironmentMetrics")},
    Sled={
        "ChassisType": "Sled",
        "Links": {"ContainedBy": {"@odata.id": "/redfish/v1/Chassis/Enclosure"}},
        **linked("Sled", "Power"),
    },
) | metrics("Enclosure", 1374) | control("Sled", 344, 53)  # fmt: skip
BOTH = {**linked("Self", "EnvironmentMetrics"), **linked("Self", "PowerSubsystem"), **linked("Self", "Power")}


@pytest.mark.parametrize(
    ("resources", "reading"),
    [
        (ONE | metrics(), PowerReading(412_500, energy_kwh=325_675)),
        (
            ONE | metrics(Accuracy=0.2, SensingInterval="PT0.25S", Status={"State": "Enabled"}),
            PowerReading(412_500, "ac", 2_000, 250_000, 325_675),
        ),
        (ONE | metrics(Accuracy="2", SensingInterval="soon"), PowerReading(412_500, energy_kwh=325_675)),
        (chassis("Self", Self=BOTH) | supplies("Self", 500.5, 410), PowerReading(910_500)),
        (chassis("Self", Self=BOTH) | supplies("Self", 500.5, None) | control("Self", 700), PowerReading(700_000)),
        (chassis("Self", Self=BOTH) | metrics(watts=None) | control("Self", 344.4, 53), PowerReading(344_400)),
        (SLED, PowerReading(344_000)),
    ],
    ids=["metrics", "sensor", "sensor of text", "supplies", "one supply silent", "control", "sled"],
)
def test_a_tree_has_its_known_power(resources, reading):
    assert read(resources) == reading


@pytest.mark.parametrize("watts", [None, "344", True, -1, 0, 1e9, [], {}])
def test_what_is_no_number_of_watts_is_no_reading(watts):
    with pytest.raises(NoPowerError):
        read(chassis("Self", Self=linked("Self", "Power")) | control("Self", watts))


def test_a_sensor_that_is_disabled_or_old_is_no_reading():
    with pytest.raises(NoPowerError):
        read(ONE | metrics(Status={"State": "Absent"}))
    fresh, old = "2026-08-13T17:59:30+06:00", "2026-08-13T11:58:00Z"
    assert read(ONE | metrics(ReadingTime=fresh), date=NOON).power_mw == 412_500
    with pytest.raises(NoPowerError):
        read(ONE | metrics(ReadingTime=old), date=NOON)


def test_a_reading_whose_time_stands_still_ends():
    with Bmc(ONE | metrics(ReadingTime="2019-01-01T00:00:00")) as bmc:
        bmc.date = "never"
        bmc_power = Redfish(session_with(bmc), period_s=25)
        assert bmc_power.read().power_mw == 412_500
        with pytest.raises(NoPowerError):
            [bmc_power.read() for _ in range(3)]


def test_which_of_several_chassis_is_asked_for():
    two = {name: linked(name, "EnvironmentMetrics") for name in ("A", "B")}
    resources = chassis("A", "B", **two) | metrics("A", 1) | metrics("B", 2)
    with pytest.raises(InputError, match="A, B; name this host's with --chassis"):
        read(resources)
    assert read(resources, "B").power_mw == 2_000
    with pytest.raises(InputError, match="no chassis C; it has A, B"):
        read(resources, "C")
    assert read(SLED, "Enclosure").power_mw == 1_374_000


def test_one_session_is_kept_and_deleted_at_the_end():
    with Bmc(ONE | metrics()) as bmc:
        session = session_with(bmc)
        power = Redfish(session)
        for _ in range(5):
            power.read()
        assert (bmc.opened, len(bmc.sessions)) == (1, 1)
        session.close()
        assert bmc.sessions == {}
        assert bmc.asked[-1] == ("DELETE", f"{SESSIONS}/1")
        session.close()
        assert bmc.asked[-1] == ("DELETE", f"{SESSIONS}/1")


def test_a_session_that_the_bmc_dropped_is_made_anew_once():
    with Bmc(ONE | metrics()) as bmc:
        power = Redfish(session_with(bmc))
        power.read()
        bmc.sessions.clear()
        assert power.read().power_mw == 412_500
        assert bmc.opened == 2


def test_a_bmc_that_hangs_up_between_two_polls_is_connected_to_again(monkeypatch):
    monkeypatch.setattr(redfish, "IDLE_S", 0.0)
    with Bmc(ONE | metrics()) as bmc:
        session = session_with(bmc)
        power = Redfish(session)
        power.read()
        bmc.hang_up()
        assert power.read().power_mw == 412_500
        assert bmc.opened == 1
        bmc.hang_up()
        session.close()
        assert bmc.sessions == {}


def test_no_session_to_be_had_is_no_reading_and_a_wrong_password_ends():
    with Bmc(ONE | metrics()) as bmc:
        bmc.most = 0
        with pytest.raises(NoPowerError, match="RAC0218"):
            Redfish(session_with(bmc)).read()
        with pytest.raises(InputError, match="does not let wattshed in"):
            Redfish(session_with(bmc, password="other")).read()


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", b"{", b"\xff" * 40, b'{"a":' * 2_000, b"9" * 5_000])
def test_garbage_is_no_reading_and_passes(garbage):
    with Bmc(ONE | metrics()) as bmc:
        power = Redfish(session_with(bmc))
        power.read()
        bmc.garbage = garbage
        with pytest.raises(NoPowerError):
            power.read()
        bmc.garbage = b""
        assert power.read().power_mw == 412_500
        assert bmc.opened == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["Members", "@odata.id", "PowerWatts", "Reading", "PowerControl", "Links", "Status", "Accuracy"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


class Anything:
    """A session that finds the same at every path."""

    def __init__(self, found):
        self.found = found

    def get(self, _path):
        return self.found, None


@settings(max_examples=examples(40))
@given(st.dictionaries(st.sampled_from(["Members", "PowerWatts", "PowerControl", "EnvironmentMetrics"]), JSON))
def test_any_json_is_a_reading_or_none(found):
    try:
        reading = Redfish(Anything(found)).read()
    except (NoPowerError, InputError):
        return
    assert 0 < reading.power_mw <= 200_000_000


def test_a_bmc_that_hangs_is_left_after_the_timeout():
    with Bmc(ONE | metrics()) as bmc:
        power = Redfish(session_with(bmc, timeout_s=1.0))
        power.read()
        bmc.hangs.clear()
        with pytest.raises(NoPowerError, match=r"does not answer within 1 s"):
            power.read()
        bmc.hangs.set()
        assert power.read().power_mw == 412_500


def test_the_certificate_is_pinned_or_its_authority_trusted(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    pin = hashlib.sha256(der).hexdigest()
    with Bmc(ONE | metrics(), tls_of(certificate)) as bmc:
        assert Redfish(session_with(bmc, ca_file=str(ca_file))).read().power_mw == 412_500
        assert Redfish(session_with(bmc, pin=pin)).read().power_mw == 412_500
        asked = len(bmc.asked)
        with pytest.raises(NoPowerError, match="another certificate than the one that is pinned"):
            Redfish(session_with(bmc, pin="0" * 64)).read()
        with pytest.raises(NoPowerError, match="certificate that is not trusted"):
            Redfish(session_with(bmc)).read()
        assert len(bmc.asked) == asked, "no password goes to a server that is not trusted"


def outcome(bmc, timeout_s=5.0):
    """What two polls come to; whatever is sent, it is a reading or none."""
    session = session_with(bmc, timeout_s=timeout_s)
    reader = Redfish(session)
    try:
        for _ in range(2):
            with contextlib.suppress(NoPowerError):
                return reader.read()
        return None
    finally:
        session.close()


SELF = "/redfish/v1/Chassis/Self"


@pytest.mark.parametrize(
    ("resources", "power_mw"),
    [
        (ONE | metrics(watts=2.5, ReadingUnits="kW"), 2_500_000),
        (ONE | {f"{SELF}/EnvironmentMetrics": {"PowerWatts": {"Reading": 2.5, "ReadingUnits": "kW"}}}, 2_500_000),
        (ONE | metrics(watts=412_500, ReadingUnits="mW"), 412_500),
        (ONE | metrics(watts=300, ReadingUnits="kW"), None),  # above what a node can draw
        (ONE | metrics(watts=45, ReadingUnits="Cel"), None),
        (ONE | metrics(watts=45, ReadingUnits=["W"]), None),
        (ONE | metrics(watts=45, ReadingType="Temperature"), None),
        (ONE | metrics() | {SELF: {**linked("Self", "EnvironmentMetrics"), "ChassisType": ["Sled"]}}, 412_500),
        (chassis("é", é=linked("é", "EnvironmentMetrics")) | metrics("é"), None),
        ({"/redfish/v1/Chassis": {"Members": [{"@odata.id": "//evil.example/redfish/v1/Chassis/1"}]}}, None),
        ({"/redfish/v1/Chassis": {"Members": [{"@odata.id": "/redfish/v1/Chassis"}] * 5_000}}, None),
    ],
)
def test_units_kinds_and_links_that_are_odd(resources, power_mw):
    with Bmc(resources) as bmc:
        found = outcome(bmc)
    assert (found.power_mw if found else None) == power_mw


def test_a_clock_that_is_none_makes_no_reading_old():
    with Bmc(ONE | metrics(ReadingTime="2026-08-13T12:00:00Z")) as bmc:
        bmc.date = "Thu, 13 Aug 2026 12:00:00 +99999999999999999999"
        assert outcome(bmc).power_mw == 412_500


def endless(handler, piece, pause_s=0.0):
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if pause_s else b"Transfer-Encoding: chunked\r\n\r\n"))
        for _ in range(1_000):
            handler.wfile.write(piece)
            time.sleep(pause_s)


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler: handler.answer(302, b"", Location="http://evil.example/redfish"),
        lambda handler: handler.answer(503, b"", Retry_After="3600"),
        lambda handler: handler.answer(503, b"[" * 60_000),
        lambda handler: handler.answer(200, b"[" * 60_000),
        lambda handler: handler.answer(200, b"\x1f\x8b\x08\x00", Content_Encoding="gzip"),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}"),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: y\r\n" + b"X: y\r\n" * 500 + b"\r\n{}"),
        lambda handler: handler.wfile.write(b"\x00\xff SSH-2.0\r\n"),
        lambda handler: endless(handler, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        lambda handler: endless(handler, b"X-A: b\r\n", 0.05),
        lambda handler: handler.answer(401, {}),
        lambda handler: handler.answer(403, {}),
    ],
)
def test_whatever_a_server_sends_it_is_no_reading_in_time_and_leaves_no_session(answer):
    with Bmc(ONE | metrics()) as bmc:
        bmc.answers = answer
        began_s = time.monotonic()
        assert outcome(bmc, timeout_s=0.5) is None
        assert time.monotonic() - began_s < 30  # and not the minute of a thousand drops
        assert bmc.sessions == {}


@pytest.mark.parametrize("token", ["a\r\n b", "\xff\xfe", "x" * 60_000, "a\x00b"])
def test_a_token_that_cannot_be_sent_back_is_no_reading(token):
    with Bmc(ONE | metrics()) as bmc:
        bmc.token, bmc.place = token, "http://evil.example/redfish/v1/S\xe9ssions/1"
        assert outcome(bmc) is None
