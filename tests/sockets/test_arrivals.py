"""Who comes too often, or too often for nothing, is not let in for a while; and nobody else is kept out."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from zchat.core import Instant
from zchat.core.allowances import origin
from zchat.settings import Settings
from zchat.sockets.accept_filter import ADDRESSES_MAX, AcceptFilter, program
from zchat.sockets.arrivals import DOUBTED_SECONDS, READ_SECONDS, SHUT_FOR_ALL_SECONDS, SHUT_SECONDS, Arrivals

THEM, OTHERS = "192.0.2.1", "192.0.2.2"
LIMITS = Settings(
    address_connections_max=5,
    address_connections_a_second_max=1.0,
    address_failures_max=3,
    address_failures_a_second_max=2.0,
    failures_max=6,
    failures_a_second_max=1.0,
)
BEGIN_SECONDS = 0.5  # of a connection on loopback, which takes no time


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def test_who_fails_too_often_is_shut_out_until_nothing_is_owed_and_others_are_not() -> None:
    arrivals = Arrivals(LIMITS)
    assert [arrivals.failed(THEM, at(0.0)) for _ in range(6)] == ["", "", "", "address_failures_max", "", ""], "once"
    assert arrivals.came(THEM, at(1.4)) == "address_failures_max", "three more than it may, two a second"
    assert arrivals.came(OTHERS, at(1.4)) == ""
    assert arrivals.came(THEM, at(1.6)) == ""


def test_who_comes_too_often_is_shut_out_and_what_was_refused_is_not_counted_again() -> None:
    arrivals = Arrivals(LIMITS)
    assert [arrivals.came(THEM, at(0.0)) for _ in range(9)] == [""] * 5 + ["address_connections_max"] * 4
    assert arrivals.came(THEM, at(2.1)) == "", "one was too many, and not four"
    assert [arrivals.failed(THEM, at(2.1)) for _ in range(3)] == [""] * 3, "to come often is not to fail"
    assert arrivals.came(OTHERS, at(0.0)) == ""


def test_where_all_fail_too_often_one_failure_shuts_an_address_and_who_has_none_comes_in() -> None:
    arrivals = Arrivals(LIMITS)
    met = [arrivals.failed(f"192.0.2.{number}", at(0.0)) for number in range(10, 18)]
    assert met == [""] * 6 + ["failures_max"] * 2
    assert arrivals.came("192.0.2.17", at(SHUT_FOR_ALL_SECONDS - 0.1)) == "failures_max"
    assert arrivals.came(OTHERS, at(0.1)) == ""
    assert arrivals.came("192.0.2.17", at(SHUT_FOR_ALL_SECONDS + 0.1)) == ""


def test_who_was_gone_before_it_was_looked_at_counts_for_all_alone() -> None:
    arrivals = Arrivals(LIMITS)
    assert {arrivals.failed(None, at(0.0)) for _ in range(20)} == {""}
    assert arrivals.came(OTHERS, at(0.0)) == ""
    assert arrivals.failed(THEM, at(0.0)) == "failures_max"


def test_who_has_said_a_word_before_it_went_has_not_failed() -> None:
    arrivals = Arrivals(LIMITS)
    for _ in range(20):
        arrivals.went(THEM, "them", at(0.0))
    for _ in range(20):
        arrivals.spoke_and_went(THEM)
    assert arrivals.count_gone(at(0.0), dry=True) == [] and arrivals.came(THEM, at(0.0)) == ""
    assert [arrivals.failed(THEM, at(0.0)) for _ in range(4)] == ["", "", "", "address_failures_max"]


def test_who_goes_without_a_word_has_failed_once_all_is_read_or_after_a_while() -> None:
    for dry, seconds in ((True, 0.0), (False, READ_SECONDS + 0.1)):
        arrivals = Arrivals(LIMITS)
        for number in range(5):
            arrivals.went(THEM, number, at(0.0))
        arrivals.spoke_and_went(THEM)
        assert arrivals.count_gone(at(0.0), dry=False) == [] and arrivals.came(THEM, at(0.0)) == ""
        assert arrivals.count_gone(at(seconds), dry=dry) == [(4, "address_failures_max")]
        assert arrivals.came(THEM, at(seconds)) == "address_failures_max"


def test_whose_word_is_read_late_has_not_failed_after_all() -> None:
    arrivals = Arrivals(LIMITS)
    for _ in range(20):
        arrivals.went(THEM, "them", at(0.0))
        assert arrivals.count_gone(at(0.0), dry=True) == []
        arrivals.spoke_and_went(THEM)
        assert arrivals.count_gone(at(0.0), dry=True) == []


def shut_once() -> Arrivals:
    """THEM were shut, and may come again from the first second on."""
    arrivals = Arrivals(LIMITS)
    assert [arrivals.failed(THEM, at(0.0)) for _ in range(4)][-1] == "address_failures_max"
    return arrivals


def test_of_an_address_that_was_shut_each_counts_from_its_beginning_on() -> None:
    arrivals = shut_once()
    came = [arrivals.came(THEM, at(1.0)) for _ in range(4)]  # two of four failures are forgiven by then
    assert came == ["", "", *["address_failures_max"] * 2], "the second is one too many: it comes in, and no other"
    assert {arrivals.failed(THEM, at(1.0)) for _ in range(2)} == {""}
    assert arrivals.came(THEM, at(1.6)) == "", "neither of the two counted twice"
    assert arrivals.came(OTHERS, at(1.0)) == ""


def test_who_says_a_word_is_no_failure_also_where_the_address_was_shut() -> None:
    arrivals = shut_once()
    for _ in range(4):
        assert arrivals.came(THEM, at(1.0)) == ""
        arrivals.spoke(THEM, at(1.0))
    arrivals.spoke(THEM, at(1.0))  # one that had come before
    assert [arrivals.came(THEM, at(1.0)) for _ in range(2)] == ["", "address_connections_max"], "that is another limit"


def test_whose_word_is_read_after_its_end_is_no_failure_there_either() -> None:
    arrivals = shut_once()
    for _ in range(4):
        assert arrivals.came(THEM, at(1.0)) == ""
        arrivals.went(THEM, "them", at(1.0))
        arrivals.spoke_and_went(THEM)
        assert arrivals.count_gone(at(1.0), dry=True) == []
    assert arrivals.came(THEM, at(1.0)) == ""


def test_after_a_while_an_address_is_one_as_all_others() -> None:
    arrivals = shut_once()
    later = at(SHUT_SECONDS + DOUBTED_SECONDS + 1.0)
    assert {arrivals.came(THEM, later) for _ in range(5)} == {""}


def test_it_asks_to_be_called_only_while_somebody_is_shut() -> None:
    arrivals = Arrivals(LIMITS)
    arrivals.elapsed(at(1.0))
    assert arrivals.next_deadline is None
    for _ in range(4):
        arrivals.failed(THEM, at(1.0))
    assert arrivals.next_deadline is not None
    arrivals.elapsed(at(1.0 + SHUT_SECONDS))
    arrivals.elapsed(at(9.0))
    arrivals.elapsed(at(9.1))
    assert arrivals.next_deadline is None


# --- the kernel's part ----------------------------------------------------------------------


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "both"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has filters of sockets")
    with socket.socket(request.param) as listener:
        if request.param == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind(("127.0.0.1" if request.param == socket.AF_INET else "::", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        yield listener


def begins(listener: socket.socket, source: str) -> bool:
    """Whether a connection from there does."""
    where = "::1" if ":" in source else "127.0.0.1"
    try:
        with socket.create_connection((where, listener.getsockname()[1]), BEGIN_SECONDS, (source, 0)):
            return True
    except TimeoutError:
        return False


def test_the_kernel_drops_what_comes_of_an_address_that_is_shut_and_nothing_else(listener: socket.socket) -> None:
    accepting = AcceptFilter(listener.fileno())
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 30, ("127.0.0.2", 0)) as there:
        ours, _ = listener.accept()
        accepting.drop([origin("127.0.0.9"), origin("127.0.0.2")])
        assert accepting.is_on
        assert not begins(listener, "127.0.0.2") and not begins(listener, "127.0.0.9")
        assert begins(listener, "127.0.0.1") and begins(listener, "127.0.0.3")
        with ours:
            there.sendall(b"still here")
            assert ours.recv(99) == b"still here"
    accepting.drop([])
    assert not accepting.is_on and begins(listener, "127.0.0.2")


def test_half_of_an_address_of_ipv6_counts(listener: socket.socket) -> None:
    if listener.family != socket.AF_INET6:
        pytest.skip("of IPv6")
    accepting = AcceptFilter(listener.fileno())
    accepting.drop([origin("2001:db8::1"), origin("127.0.0.2")])
    assert begins(listener, "::1") and begins(listener, "127.0.0.1") and not begins(listener, "127.0.0.2")
    accepting.drop([origin("2001:db8::1"), origin("::1")])
    assert not begins(listener, "::1") and begins(listener, "127.0.0.2")


def test_who_is_accepted_has_no_filter(listener: socket.socket) -> None:
    accepting = AcceptFilter(listener.fileno())
    accepting.drop([origin("127.0.0.9")])
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 30):
        ours, _ = listener.accept()
        with ours:
            accepting.release(ours.fileno())
            with pytest.raises(OSError):
                ours.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER: there is none


def test_as_many_as_a_filter_may_have_are_taken_by_the_kernel(listener: socket.socket) -> None:
    accepting = AcceptFilter(listener.fileno())
    halves = [origin(f"2001:db8:{number:x}::1") for number in range(ADDRESSES_MAX)]
    accepting.drop(halves)
    assert accepting.is_on and len(program(halves)) < 1_000
    assert begins(listener, "127.0.0.1")


def test_what_is_no_listener_of_tcp_has_no_filter(tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        accepting = AcceptFilter(other.fileno())
        accepting.drop([origin("127.0.0.1")])
        assert not accepting.is_on
