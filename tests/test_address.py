"""Addresses: what people write, what it means, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.address import Address, Published, parse, parse_bind, parse_published
from zchat.errors import BadAddress


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5555"),
        ("tcp://chat.example", "tcp://chat.example:5555"),
        ("chat.example:6000", "tcp://chat.example:6000"),
        ("Chat.Example", "tcp://chat.example:5555"),
        ("localhost", "tcp://localhost:5555"),
        ("10.0.0.7", "tcp://10.0.0.7:5555"),
        ("::1", "tcp://[::1]:5555"),
        ("[::1]", "tcp://[::1]:5555"),
        ("[::1]:6000", "tcp://[::1]:6000"),
        ("tcp://[2001:DB8:0::1]:6000", "tcp://[2001:db8::1]:6000"),
        ("fe80::1%eth0", "tcp://[fe80::1%eth0]:5555"),
        ("bücher.example:1", "tcp://bücher.example:1"),
        ("ipc:///run/zchat", "ipc:///run/zchat"),
        ("ipc://zchat.sock", "ipc://zchat.sock"),
    ],
)
def test_an_address_has_one_canonical_form(text: str, canonical: str) -> None:
    address = parse(text)
    assert str(address) == address.endpoint == canonical
    assert parse(canonical) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no host"),
        ("tcp://", "no host"),
        (":5555", "no host"),
        ("udp://a", 'scheme "udp" is neither tcp nor ipc'),
        ("host:", "no port after the colon"),
        ("host:abc", 'port "abc" is not a number'),
        ("host:-1", 'port "-1" is not a number'),
        ("host:٣", 'port "٣" is not a number'),
        ("host:0", "port 0 is not in 1..65535"),
        ("host:65536", "port 65536 is not in 0..65535"),
        ("host:" + "9" * 5000, f"port {'9' * 5000} is not in 0..65535"),
        ("tcp://host:5555/", 'port "5555/" is not a number'),
        ("5555", "5555 is a number, not a host"),
        ("1.2.3", "1.2.3 is no IPv4 address"),
        ("256.1.1.1", "256.1.1.1 is no IPv4 address"),
        ("010.1.1.1", "010.1.1.1 is no IPv4 address"),
        ("a b", '"a b" is no host name'),
        ("a..b", '"a..b" is no host name'),
        ("me@host", '"me@host" is no host name'),
        ("host\n", '"host\n" is no host name'),
        ("a" * 254, "host is 254 characters, limit 253"),
        ("a" * 64 + ".example", "a part of the host has more than 63 characters"),
        ("-", '"-" is no host name'),
        ("[::1", "no ] after ["),
        ("[host]:1", '"host" in brackets is no IPv6 address'),
        ("[::1]6000", '"6000" after ] is no port'),
        ("1::2::3", "1::2::3 is no IPv6 address"),
        ("*", "* is all interfaces of a broker, a client needs one host"),
        ("0.0.0.0:1", "0.0.0.0 is all interfaces of a broker, a client needs one host"),
        ("[::]:1", ":: is all interfaces of a broker, a client needs one host"),
        ("ipc://", "no path to a socket"),
        ("ipc:///run/", "no path to a socket"),
        ("ipc://*", "ipc needs a path, * is none"),
        ("ipc:///a\0b", "path has a NUL"),
        ("ipc:///" + "a" * 103, "path is 104 bytes, limit 103"),
    ],
)
def test_what_is_no_address_says_why(text: str, why: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse(text)
    assert (caught.value.address, caught.value.why) == (text, why)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("*", "tcp://*:5555"),
        ("tcp://*:6000", "tcp://*:6000"),
        ("0.0.0.0", "tcp://0.0.0.0:5555"),
        ("::", "tcp://[::]:5555"),
        ("eth0:6000", "tcp://eth0:6000"),
        ("br-LAN", "tcp://br-LAN:5555"),
        ("eth0.100", "tcp://eth0.100:5555"),
        ("127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("localhost:7000", "tcp://127.0.0.1:7000"),
        ("ipc:///run/zchat", "ipc:///run/zchat"),
    ],
)
def test_a_broker_binds_more_than_a_client_connects_to(text: str, canonical: str) -> None:
    assert str(parse_bind(text)) == canonical


def test_a_broker_needs_the_next_port_too() -> None:
    assert parse("host:65535").port == 65535
    assert parse_bind("host:65534").port == 65534
    with pytest.raises(BadAddress) as caught:
        parse_bind("host:65535")
    assert caught.value.why == "port 65535 has no next one, and a broker needs two"


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7:1", True),
        ("::1", True),
        ("localhost", True),
        ("ipc:///run/zchat", True),
        ("10.0.0.1", False),
        ("127.example", False),
        ("localhost.example", False),
        ("2001:db8::1", False),
    ],
)
def test_local_is_what_no_other_machine_reaches(text: str, local: bool) -> None:
    assert parse(text).is_local == local


def test_all_interfaces_are_not_local() -> None:
    assert not any(parse_bind(text).is_local for text in ("*", "0.0.0.0", "::", "eth0"))


def test_the_publisher_is_at_another_port_of_the_same_host_or_beside_the_socket() -> None:
    assert str(parse("[::1]:7000").publisher(Published(7001))) == "tcp://[::1]:7001"
    assert str(parse("ipc:///run/zchat").publisher(Published(0))) == "ipc:///run/zchat.pub"


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for make in (parse, parse_bind):
        try:
            address = make(text)
        except BadAddress as error:
            assert error.why
        else:
            assert isinstance(address, Address)
            assert make(str(address)) == address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("fe80::1%eth0", "tcp://[fe80::1%eth0]:5555"),
        ("[FE80::1%Eth0.1]:6000", "tcp://[fe80::1%Eth0.1]:6000"),  # an interface is not a name of a host
        ("tcp://[fe80::1%2]:6000", "tcp://[fe80::1%2]:6000"),
    ],
)
def test_a_link_local_address_keeps_its_interface(text: str, canonical: str) -> None:
    assert str(parse(text)) == str(parse_bind(text)) == canonical
    assert parse(text).endpoint == canonical


def test_an_address_is_dialled_by_a_number_of_its_host() -> None:
    assert parse("host:6000").at("10.0.0.1").endpoint == "tcp://10.0.0.1:6000"
    assert parse("host:6000").at("fe80::1%eth0").publisher(Published(7)).endpoint == "tcp://[fe80::1%eth0]:7"
    assert parse("ipc:///run/zchat").at("10.0.0.1") == parse("ipc:///run/zchat")


@pytest.mark.parametrize(
    ("text", "canonical", "publisher"),
    [
        ("host:7555,9000", "tcp://host:7555,9000", "tcp://host:9000"),
        ("HOST,7556", "tcp://host:5555,7556", "tcp://host:7556"),
        ("[::1]:7555,7556", "tcp://[::1]:7555,7556", "tcp://[::1]:7556"),
        ("tcp://host:7555,Other:9000", "tcp://host:7555,other:9000", "tcp://other:9000"),
        ("host:7555,[fe80::1%eth0]:9000", "tcp://host:7555,[fe80::1%eth0]:9000", "tcp://[fe80::1%eth0]:9000"),
    ],
)
def test_an_address_may_name_both_ports(text: str, canonical: str, publisher: str) -> None:
    address = parse(text)
    assert str(address) == canonical and parse(canonical) == address
    assert address.endpoint == canonical.partition(",")[0]
    assert str(address.publisher(Published(5556, "ignored", 5555))) == publisher


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host:7555,", '"" names no port, such as 5556 or host:5556'),
        ("host:7555,other", '"other" names no port, such as 5556 or host:5556'),
        ("host:7555,0", "port 0 is not in 1..65535"),
        ("host:7555,65536", "port 65536 is not in 0..65535"),
        ("host:7555,*:9000", "* is all interfaces of a broker, a client needs one host"),
        ("host:7555,:9000", "no host"),
        ("host:7555,7556,7557", '"7556,7557" names no port, such as 5556 or host:5556'),
        (",7556", "no host"),
    ],
)
def test_a_second_port_that_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse(text)
    assert (caught.value.address, caught.value.why) == (text, why)


@pytest.mark.parametrize(
    ("dialled", "told", "publisher"),
    [
        ("host:5555", Published(5556, "", 5555), "tcp://host:5556"),
        ("host:7555", Published(5556, "", 5555), "tcp://host:7556"),  # a tunnel, or a container
        ("host:80", Published(20_001, "", 20_000), "tcp://host:81"),
        ("host:7555", Published(5556), "tcp://host:5556"),  # advertised
        ("host:7555", Published(5556, "other"), "tcp://other:5556"),
        ("host:65535", Published(5556, "", 5555), "tcp://host:5556"),  # what is not there is not taken
        ("host:1", Published(5000, "", 6000), "tcp://host:5000"),
    ],
)
def test_the_publisher_is_as_far_from_what_was_dialled_as_from_what_the_broker_has(
    dialled: str, told: Published, publisher: str
) -> None:
    assert str(parse(dialled).publisher(told)) == publisher


def test_what_is_published_may_be_at_a_port_or_a_host_and_a_port() -> None:
    assert parse_published("9000") == Published(9000)
    assert parse_published("Host:9000") == Published(9000, "host")
    assert parse_published("[::1]:9000") == Published(9000, "::1")
