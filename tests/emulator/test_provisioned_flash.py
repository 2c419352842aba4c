"""FlashImage.provision: what a lock has beside its record is there from the first, and never set back."""

from support.ledger_flash import SPENT, add_many, has_all
from support.nor_flash import NorFlash
from vitrine.access.ledger import Ledger, provision
from vitrine.access.revocation import Revocations
from vitrine_tools import ledger
from vitrine_tools.emulator.flash import FlashImage
from vitrine_tools.keys import PrivateKey
from vitrine_tools.provisioning import Issuer, Provision, initial_blobs


def key(seed):
    return PrivateKey.from_seed(seed * 32).public


def record(lock_id="case-12", seeds=(b"i",)):
    issuers = tuple(
        Issuer(public_key=key(seed), name="store", scopes=("unlock",), audiences=(lock_id,), max_lifetime_s=3600)
        for seed in seeds
    )
    return Provision(lock_id=lock_id, issuers=issuers, provisioned_at_s=1_800_000_000).to_bytes()


def test_the_empty_ledger_is_the_firmwares():
    flash = NorFlash(16)
    provision(flash)
    assert flash.image == ledger.EMPTY
    assert Ledger(NorFlash(16, image=ledger.EMPTY)).count(SPENT) == 0


def test_a_new_lock_has_all_it_needs(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.provision(record())
    assert image.read("access") == ledger.EMPTY
    blobs = initial_blobs(record())
    assert blobs.keys() >= {"configuration", "scenario", "revocations", "receipts"}
    assert {key: image.nvs_get("vitrine", key) for key in blobs} == blobs
    assert image.nvs_get("vitrine", "provision") == record()
    assert image.nvs_get("vitrine", "uses") is None


def test_provisioning_again_sets_nothing_back(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.provision(record())
    flash = NorFlash(16, image=image.read("access"))
    add_many(Ledger(flash), SPENT, range(10))
    image._write("access", bytes(flash.image))
    image.nvs_put("vitrine", "scenario", b"in lockdown")
    image.provision(record("case-13"))
    assert image.nvs_get("vitrine", "provision") == record("case-13")
    assert image.nvs_get("vitrine", "scenario") == b"in lockdown"
    assert has_all(Ledger(NorFlash(16, image=image.read("access"))), SPENT, range(10))


def test_a_damaged_ledger_is_not_made_empty(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.flip_bit("access", 40_000)
    before = image.read("access")
    image.provision(record())
    assert image.read("access") == before


def test_what_is_no_record_is_stored_all_the_same(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.provision(b"the record")
    assert image.nvs_get("vitrine", "provision") == b"the record"
    assert image.nvs_get("vitrine", "receipts") is None


class Stored:
    def __init__(self, data):
        self.data = data

    def load(self):
        return self.data

    def save(self, data):
        self.data = data


def test_a_new_issuer_leaves_a_whole_lock_and_lifts_no_revocation(tmp_path):
    image = FlashImage(tmp_path / "flash.bin").create()
    image.provision(record(seeds=(b"a", b"b")))

    def revocations():
        return Revocations(Stored(image.nvs_get("vitrine", "revocations")), None)

    store = Stored(image.nvs_get("vitrine", "revocations"))
    assert Revocations(store, None).apply(key(b"a").kid, 0, 7, [[4, 1_800_000_000, 0]]) == 0
    image.nvs_put("vitrine", "revocations", store.data)
    for seeds in ((b"a", b"c"), (b"c", b"d", b"e", b"f"), (b"a", b"b")):
        image.provision(record(seeds=seeds))
        assert revocations().is_sound([key(seed).kid for seed in seeds]), seeds
        assert revocations().sequence(key(b"a").kid) == 7
        assert revocations()._issuer(key(b"a").kid)[2] == 1_800_000_000
    for number in range(5):  # more than fit: those that are pinned are there
        seeds = tuple(bytes([number * 4 + i + 1]) for i in range(4))
        image.provision(record(seeds=seeds))
        assert revocations().is_sound([key(seed).kid for seed in seeds])
    image.nvs_put("vitrine", "revocations", b"damaged")
    image.provision(record())
    assert image.nvs_get("vitrine", "revocations") == b"damaged"
