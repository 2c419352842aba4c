"""vitrine.access.scopes."""

from support import given, raises, texts
from vitrine.access.scopes import ADMIN, COURIER, HOLD, SERVICE, UNLOCK, UPDATE, parse_scopes


def test_words():
    words = {"unlock": UNLOCK, "hold": HOLD, "courier": COURIER, "service": SERVICE, "admin": ADMIN, "update": UPDATE}
    for word, bit in words.items():
        assert parse_scopes(word) == bit
    assert parse_scopes(" ".join(words)) == sum(words.values()) == 63


def test_refused():
    for text in (
        "",
        " ",
        "unlock ",
        " unlock",
        "unlock  hold",
        "hold hold",
        "UNLOCK",
        "unlock,hold",
        None,
        1,
        b"hold",
        [],
    ):
        with raises(ValueError):
            parse_scopes(text)


@given(texts(0, 30), examples=200)
def test_any_text(text):
    try:
        mask = parse_scopes(text)
    except ValueError:
        return
    assert 0 < mask < 64
