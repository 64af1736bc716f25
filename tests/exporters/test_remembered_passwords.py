"""What the check of passwords remembers, and that it remembers answers, not words."""

import asyncio
import base64

import bcrypt
import pytest

from wattshed.exporters.web import access
from wattshed.exporters.web.access import MAX_CACHED, MAX_PASSWORD, MAX_WAITING, Busy, Passwords, RateLimit, credentials

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
USERS = {"ada": HASH}


def header(word, user="ada"):
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


@pytest.fixture
def checked(monkeypatch):
    """Every password that bcrypt was asked for."""
    asked, check = [], access._check
    monkeypatch.setattr(access, "_check", lambda password, hashed: asked.append(password) or check(password, hashed))
    return asked


def ask(*headers, users=USERS):
    """One after the other, as one scraper does: the answers."""

    async def all_of_them():
        passwords = Passwords()
        try:
            return [await passwords.allow(users, one) for one in headers]
        finally:
            passwords.close()

    return asyncio.run(all_of_them())


def test_each_password_is_checked_once_right_or_wrong(checked):
    assert ask(*[header("right"), header("wrong")] * 3) == [True, False] * 3
    assert checked == [b"right", b"wrong"]


def test_as_many_wrong_ones_as_fit_are_remembered_and_the_oldest_forgotten(checked):
    words = [f"no{i}" for i in range(MAX_CACHED)]
    assert not any(ask(*map(header, words), *map(header, words)))
    assert len(checked) == MAX_CACHED
    checked.clear()
    # The first was used again, so it outlives the second when one more comes.
    ask(*map(header, words), header("no0"), header("more"), header("no0"), header("no1"))
    assert checked[MAX_CACHED:] == [b"more", b"no1"]


def test_one_after_the_other_never_has_to_wait():
    """A check that is over waits no longer, however many came before it."""
    assert ask(*(header(f"no{i}") for i in range(3 * MAX_WAITING)), header("right"))[-1]


def test_a_flood_of_wrong_ones_leaves_the_right_one_known(checked):
    words = [header(f"no{i}") for i in range(MAX_CACHED + 5)]
    assert ask(header("right"), *words, header("right"))[-1]
    assert checked.count(b"right") == 1


def test_only_so_many_wait_and_the_same_word_waits_once(checked):
    async def crowd():
        passwords = Passwords()
        same = [asyncio.ensure_future(passwords.allow(USERS, header("same"))) for _ in range(2 * MAX_WAITING)]
        others = [asyncio.ensure_future(passwords.allow(USERS, header(f"no{i}"))) for i in range(MAX_WAITING - 1 + 3)]
        found = await asyncio.gather(*same, *others, return_exceptions=True)
        passwords.close()
        return found[: len(same)], found[len(same) :]

    same, others = asyncio.run(crowd())
    assert same == [False] * (2 * MAX_WAITING)
    assert checked.count(b"same") == 1
    assert [isinstance(one, Busy) for one in others] == [False] * (MAX_WAITING - 1) + [True] * 3


def test_a_changed_hash_makes_a_known_password_unknown(checked):
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()

    async def reloaded():
        passwords = Passwords()
        found = [await passwords.allow(users, header("right")) for users in (USERS, {"ada": other}, {}, USERS)]
        passwords.close()
        return found

    assert asyncio.run(reloaded()) == [True, False, False, True]
    assert len(checked) == 3, "somebody unknown is compared with a hash too"


def test_an_unknown_user_with_the_right_word_for_nobody_stays_out(monkeypatch):
    monkeypatch.setattr(access, "NOBODY", HASH)
    assert ask(*[header("right", "eve")] * 2) == [False, False]


def test_passwords_have_a_length(checked):
    longest = "x" * MAX_PASSWORD
    hashed = bcrypt.hashpw(longest.encode(), bcrypt.gensalt(4)).decode()
    assert ask(header(longest), header(longest + "x"), users={"ada": hashed}) == [True, False]
    assert checked == [longest.encode()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (header("a:b"), ("ada", b"a:b")),
        ("bAsIc   " + header("x").split()[1] + " ", ("ada", b"x")),
        (header("", ""), ("", b"")),
        ("Bearer " + header("x").split()[1], (None, b"")),
        ("Basic YWRh", (None, b"")),
        ("Basic YWR!hOng=", (None, b"")),
        ("Basic //8=", (None, b"")),
        ("", (None, b"")),
    ],
)
def test_an_authorization_header_is_read(text, found):
    assert credentials(text) == found


def test_a_bucket_fills_with_time_up_to_its_burst():
    now = [100.0]
    bucket = RateLimit(2.0, 3, lambda: now[0])
    assert [bucket.allow() for _ in range(4)] == [True, True, True, False]
    now[0] += 1.0
    assert not bucket.allow(), "half a token"
    now[0] += 1.0
    assert [bucket.allow() for _ in range(2)] == [True, False]
    now[0] += 1_000.0
    assert [bucket.allow() for _ in range(4)] == [True, True, True, False]
    free = RateLimit(0.0, 0, lambda: now[0])
    assert all(free.allow() for _ in range(10))
