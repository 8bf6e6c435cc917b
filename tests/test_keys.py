"""Keys as they are written: what is read is what was meant, and what is not understood lets in nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.address import Address
from zchat.errors import BadKey, UsageError
from zchat.keys import (
    Credentials,
    Grant,
    Invitation,
    KeyPair,
    checked_key,
    invitation_text,
    line_of,
    pair_text,
    parse_grants,
    parse_invitation,
    parse_pair,
    with_line,
)

A, B, C = "a" * 64, "b" * 64, "0123456789abcdef" * 4
keys = st.binary(min_size=32, max_size=32).map(bytes.hex)
grants = st.builds(
    Grant,
    st.sampled_from(["alice", "Bob", "ci.bot-7", "李明"]),
    st.sampled_from(["", "*", "web.*", "a*.b*"]),
    st.sampled_from([0, 1_800_000_000]),
    st.booleans(),
)


def test_lines_have_a_key_a_user_and_options_and_comments_are_left_out() -> None:
    text = (
        f"# all\n\n{A} alice  # at home\n{B.upper()} web gateway=web.* expires=2026-12-31T12:00:00Z\n{C} eve revoked\n"
    )
    assert parse_grants(text, "f") == {
        A: Grant("alice"),
        B: Grant("web", "web.*", 1798718400),
        C: Grant("eve", is_revoked=True),
    }


@given(st.dictionaries(keys, grants, max_size=5))
def test_what_is_written_is_read(of: dict[str, Grant]) -> None:
    assert parse_grants("".join(f"{line_of(key, grant)}\n" for key, grant in of.items()), "f") == of


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (A, "a line is a key, a user and options"),
        (f"{A[1:]} alice", "64 hexadecimal digits are a key"),
        (f"{A} a/b", "user"),
        (f"{A} alice root", '"root" is none of'),
        (f"{A} alice gateway=", "a pattern of users is such as"),
        (f"{A} alice gateway=a b", '"b" is none of'),
        (f"{A} alice gateway=a/*", "gateway: user"),
        (f"{A} alice expires=tomorrow", "no time such as"),
        (f"{A} alice\n{A} bob", "is there twice"),
    ],
)
def test_what_is_not_understood_names_its_line(text: str, why: str) -> None:
    with pytest.raises(BadKey) as error:
        parse_grants(f"# head\n{text}\n", "/k/authorized_keys")
    number = 2 + text.count("\n")
    assert str(error.value).startswith(f"/k/authorized_keys, line {number}: ") and why in str(error.value)


def test_a_secret_is_in_no_error_and_no_repr() -> None:
    with pytest.raises(BadKey) as error:
        checked_key("5ecre7")
    assert "5ecre7" not in str(error.value)
    assert "bbbb" not in repr(KeyPair(A, B))


@pytest.mark.parametrize(
    ("gateway", "user", "may"),
    [
        ("", "alice", True),
        ("", "Alice", True),
        ("", "bob", False),
        ("web.*", "web.bob", True),
        ("web.*", "WEB.bob", True),
        ("web.*", "web", False),
        ("web.*", "webxbob", False),
        ("*", "anybody", True),
        ("a*b", "a--b", True),
        ("a*b", "a--c", False),
        ("web.*", "alice", True),
    ],
)
def test_a_key_speaks_for_its_user_and_a_gateways_for_those_of_its_pattern(gateway: str, user: str, may: bool) -> None:
    assert Grant("alice", gateway).may_be(user) == may


@given(st.dictionaries(keys, grants, max_size=4), keys, grants)
def test_one_line_changes_and_the_others_stay(of: dict[str, Grant], key: str, grant: Grant) -> None:
    text = "# head\n" + "".join(f"{line_of(each, of[each])}  # mine\n" for each in of)
    changed = with_line(text, key, grant)
    assert parse_grants(changed, "f") == {**of, key: grant}
    assert changed.startswith("# head\n") and changed.count("# mine") == len(of)
    removed = with_line(changed, key, None)
    assert parse_grants(removed, "f") == {each: of[each] for each in of if each != key}


def test_a_keys_file_has_both_keys_or_is_none() -> None:
    assert parse_pair(pair_text(KeyPair(A, B), "of alice"), "f") == KeyPair(A, B)
    for text in ("", f"public {A}\n", f"public {A}\nsecret x\n", f"private {A}\n", "public\n", f"{A} {B}\n"):
        with pytest.raises(BadKey):
            parse_pair(text, "f")


@pytest.mark.parametrize(
    "invitation",
    [
        Invitation(Address("tcp", "chat.example", 5555), A, "alice", B),
        Invitation(Address("tcp", "::1", 6000), A, "李明", B),
        Invitation(Address("tcp", "h", 7, publish_host="o", publish_port=9), A),
        Invitation(Address("ipc", path="/run/zchat"), A, invite=B),
    ],
)
def test_an_invite_says_where_and_which_keys(invitation: Invitation) -> None:
    text = invitation_text(invitation)
    assert text.startswith("zchat://") and not set(text) & set(" '\"$`\\;|<>(){}*!")
    assert parse_invitation(f"  {text}&later=1\n") == invitation


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp://h:5", "begins with zchat://"),
        ("zchat://h:5555", "lacks the broker's key"),
        (f"zchat://?server={A}", "no host"),
        (f"zchat://h?server={A[1:]}", "64 hexadecimal digits"),
        (f"zchat://h?server={A}&invite=5ecre7", "64 hexadecimal digits"),
    ],
)
def test_what_is_no_invite_is_told(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_invitation(text)
    assert why in str(error.value) and "5ecre7" not in str(error.value)


def test_the_keys_of_a_broker_follow_one_another() -> None:
    kept = list[list[str]]()
    credentials = Credentials(KeyPair(A, B), [A], lambda servers: kept.append(list(servers)))
    credentials.proven(A)
    credentials.told(A)
    assert kept == [], "nothing is new"
    credentials.told(B)
    credentials.proven(A)
    assert credentials.servers == [A, B] and kept == [[A, B]]
    credentials.proven(B)
    assert credentials.servers == [B] and kept[-1] == [B], "the one before counts no more"
    credentials.told(C)
    credentials.told(A)
    assert credentials.servers == [B, A], "the last that was told"


def test_lines_end_as_editors_show_it_and_a_comment_lets_nobody_in() -> None:
    """U+2028 and others end a line to Python; a file from another system begins with a mark and ends lines by CR LF."""
    keys = "10" * 32, "11" * 32
    for end in ("\u2028", "\x0b", "\x0c", "\x85", "\x1c"):
        text = f"\ufeff# who is let in\r\n{keys[0]} alice # the first{end}{keys[1]} mallory gateway=*\r\n"
        assert parse_grants(text, "f") == {keys[0]: Grant("alice")}
        assert list(parse_grants(with_line(text, keys[1], Grant("bob")), "f")) == list(keys)
        assert parse_grants(with_line(text, keys[0], Grant("alice", is_revoked=True)), "f")[keys[0]].is_revoked


def test_a_file_whose_last_line_is_cut_off_is_not_taken_for_whole() -> None:
    whole = line_of("ab" * 32, Grant("alice", "web.*", 1_800_000_000, is_revoked=True)) + "\n"
    assert parse_grants(whole, "f")["ab" * 32].is_revoked
    for end in range(1, len(whole)):
        with pytest.raises(BadKey):
            parse_grants(whole[:end], "f")
