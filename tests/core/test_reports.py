"""The broker is told how far each session's listeners have got: when that has changed, and not too often."""

from __future__ import annotations

from tests.core.test_listening import at, batch_of, listener_of, live
from zchat import wire
from zchat.core.listening import Listening
from zchat.core.reports import REPORT_SECONDS, REPORTED_MAX, Reports
from zchat.names import topic


def reports(listening: Listening, seconds: float) -> list[wire.Report]:
    return [report for _, report in listening.take_reports(at(seconds))]


def test_the_broker_is_told_how_far_the_listeners_are_when_that_has_changed() -> None:
    one, other = listener_of("general"), listener_of("build.*", "x")
    listening = live(one, other)
    assert reports(listening, 0) == [wire.Report([(40, ["general"]), (40, ["build.*", "x"])])]
    assert reports(listening, REPORT_SECONDS) == []
    listening.broadcast(topic("general"), batch_of(41, 0), 10)
    listening.broadcast(topic("general"), batch_of(42, 41), 10)
    one.progress.at = (0, 41)
    assert reports(listening, 1.5 * REPORT_SECONDS) == []  # too soon
    assert reports(listening, 2 * REPORT_SECONDS) == [wire.Report([(41, ["general"]), (40, ["build.*", "x"])])]


def test_the_broker_is_told_when_nobody_listens_any_more_and_again_after_a_break() -> None:
    listener = listener_of("general")
    listening = live(listener)
    reports(listening, 0)
    listening.back(at(1), None)
    assert len(reports(listening, 2)) == 1
    listening.unlisten(listener)
    assert reports(listening, 4) == [wire.Report([])]
    assert reports(listening, 6) == []


class Session:
    """Whose listeners they are."""

    is_ready = True


def test_many_sessions_are_told_of_in_turn_and_who_is_away_later() -> None:
    reports, sessions = Reports(), [Session() for _ in range(REPORTED_MAX + 10)]
    for session in sessions:
        listener = listener_of("general")
        listener.session = session  # type: ignore[assignment]
        reports.add(listener)
    sessions[0].is_ready = False
    assert [id(session) for session, _ in reports.take(at(0))] == [id(each) for each in sessions[1:REPORTED_MAX]]
    sessions[0].is_ready = True
    told = [id(session) for session, _ in reports.take(at(REPORT_SECONDS))]
    assert told == [id(each) for each in (*sessions[REPORTED_MAX:], sessions[0])]


def test_one_that_is_welcomed_tells_all_of_it_again_and_one_that_has_ended_nothing() -> None:
    reports, one, other = Reports(), listener_of("general"), listener_of("general")
    one.session, other.session = Session(), Session()  # type: ignore[assignment]
    reports.add(one)
    reports.add(other)
    assert len(reports.take(at(0))) == 2 and reports.take(at(2)) == []
    reports.anew(one.session)
    assert [session for session, _ in reports.take(at(4))] == [one.session]
    reports.forget(other.session)
    reports.all_anew()
    assert [session for session, _ in reports.take(at(6))] == [one.session]
    assert list(reports.of(one.session)) == [one] and list(reports.of(other.session)) == []
