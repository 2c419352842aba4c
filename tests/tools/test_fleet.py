"""What a fleet needs no locks for: the percentile of its table, and whose certificate is in which file."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from vitrine_tools import cbor
from vitrine_tools.certificates import Authority
from vitrine_tools.collector.broker import BrokerError
from vitrine_tools.fleet.play import percentile
from vitrine_tools.fleet.uplink import COLLECTOR, GivenUplink

URL = "mqtts://broker.example:8884"


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, None), ([7.04], 1, 7.0), ([3, 1, 2], 50, 2), ([4, 3, 2, 1], 50, 2), (range(1, 101), 99, 99),
     (range(1, 102), 99, 100), (range(60), 99, 59), ([1, 2], 100, 2), ([2, 1], 0, 1)],
)  # fmt: skip
def test_percentile(values, percent, expected):
    assert percentile(values, percent) == expected


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@pytest.fixture
def authority(tmp_path):
    one = Authority.new("CA")
    one.save(tmp_path, "ca")
    return one


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def common_name(der):
    return x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


def test_with_the_key_of_the_authority_each_gets_files_of_its_own_once(tmp_path, authority):
    uplink = GivenUplink(URL, tmp_path)
    assert files(tmp_path) == ["ca.crt", "ca.key", "collector.crt", "collector.key"]
    settings = uplink.settings("case-001")
    assert files(tmp_path)[2:4] == ["case-001.crt", "case-001.key"]
    fields = cbor.decode(settings, 4096)
    assert [fields[key] for key in (1, 2, 3, 4)] == [1, "broker.example", 8884, authority.certificate_der]
    assert common_name(fields[5]) == "case-001"
    x509.load_der_x509_certificate(fields[5]).verify_directly_issued_by(authority.certificate)
    assert GivenUplink(URL, tmp_path).settings("case-001") == settings
    assert cbor.decode(uplink.settings("case-002"), 4096)[6] != fields[6]
    assert uplink.client(COLLECTOR).tls is not None


def test_without_that_key_what_is_missing_is_named(tmp_path, authority):
    authority.issue(COLLECTOR).save(tmp_path, COLLECTOR)
    authority.issue("case-001").save(tmp_path, "case-001")
    (tmp_path / "ca.key").unlink()
    uplink = GivenUplink(URL, tmp_path)
    assert common_name(cbor.decode(uplink.settings("case-001"), 4096)[5]) == "case-001"
    before = files(tmp_path)
    with pytest.raises(BrokerError, match=r"case-002\.crt"):
        uplink.settings("case-002")
    assert files(tmp_path) == before
    (tmp_path / "case-001.key").write_text("not a key")
    with pytest.raises(BrokerError, match=r"case-001\.key is not an unencrypted"):
        uplink.settings("case-001")


def test_a_broker_without_tls_and_a_folder_without_an_authority_are_refused(tmp_path, authority):
    with pytest.raises(BrokerError):
        GivenUplink("mqtt://localhost", tmp_path)
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(BrokerError, match=r"ca\.crt"):
        GivenUplink(URL, tmp_path)
