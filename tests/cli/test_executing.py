"""`listen --exec`: a command for each message; and `--expect-every`, where no message is the news."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


def send(broker: BrokerProcess, room: str, *bodies: str) -> list[int]:
    with connect(broker.address, "alice") as client:
        return [client.send(room, body) for body in bodies]


def cursor(broker: BrokerProcess, name: str) -> int:
    """Where it stands; 0 where there is none."""
    with connect(broker.address, "tester") as client:
        return next((cursor.offset for cursor in client.cursors() if cursor.name == name), 0)


def test_the_body_is_on_stdin_and_the_rest_in_the_environment(shared_broker: BrokerProcess, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    hostile = f"$(touch {owned}); `touch {owned}`; ' \" \\\n&& touch {owned}"
    with connect(shared_broker.address, "alice") as client:
        offset = client.send("exec.a", hostile, event=hostile, headers={"k": hostile})
        log_id = client.log_id
    show = "; ".join(
        f'printf "%s\\0" "$ZCHAT_{name}"'
        for name in ("ROOM", "FROM", "OFFSET", "PLACE", "TIME", "EVENT", "HEADERS", "USER", "BROKER", "TRY")
    )
    run = f"cat; printf '\\0'; {show}"
    shown = zchat("listen", "exec.a", "--last", "1", "-n", "1", "--exec", run, broker=shared_broker)
    body, room, user, at, place, time, event, headers, own, broker, tries, end = shown.stdout.split("\0")
    assert (shown.stderr, shown.status, end) == ("", 0, "")
    assert (body, room, user, at, place) == (hostile, "exec.a", "alice", str(offset), f"{offset}@{log_id}")
    assert time.endswith("Z") and event == hostile.replace("\n", "\\n") and json.loads(headers) == {"k": hostile}
    assert (own, broker, tries) == ("tester", shared_broker.address, "1"), "a zchat in the command is the same user"
    assert not owned.exists()


def test_a_failure_without_a_cursor_is_told_and_the_rest_goes_on(shared_broker: BrokerProcess) -> None:
    offsets = send(shared_broker, "exec.b", "1", "2", "3")
    run = 'read -r n || true; echo "$n"; [ "$n" != 2 ]'
    shown = zchat("listen", "exec.b", "--end", "--exec", run, broker=shared_broker)
    assert (shown.stdout, shown.status) == ("1\n2\n3\n", 1)
    assert shown.stderr == f"zchat: the command failed with status 1 for offset {offsets[1]} of exec.b\n"


def test_a_message_counts_when_its_command_succeeded(broker: BrokerProcess, tmp_path: Path) -> None:
    zchat("listen", "jobs", "--resume", "w", "-t", "0.01", broker=broker)
    offsets = send(broker, "jobs", "1", "2", "3")
    args = ("listen", "jobs", "--resume", "w", "--exec")
    run = f'n=$(cat); echo "$n"; [ "$n" != 2 ] || [ -e {tmp_path}/mended ]'
    shown = zchat(*args, run, "--retries", "1", "-n", "3", broker=broker)
    assert (shown.stdout, shown.status) == ("1\n2\n2\n", 1)
    told = f"zchat: the command failed with status 1 for offset {offsets[1]} of jobs after 2 tries; it comes again with"
    assert shown.stderr == f"{told} --resume w\n"
    assert cursor(broker, "w") == offsets[0]
    (tmp_path / "mended").touch()
    shown = zchat(*args, run, "-n", "2", broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("2\n3\n", "", 0)
    assert cursor(broker, "w") >= offsets[2]


def test_several_commands_run_at_once(broker: BrokerProcess, tmp_path: Path, start_zchat: Start) -> None:
    """Each waits for the others: with fewer at once none would end."""
    zchat("listen", "jobs", "--resume", "w", "-t", "0.01", broker=broker)
    offsets = send(broker, "jobs", *map(str, range(6)))
    run = f"touch {tmp_path}/$ZCHAT_OFFSET; until [ $(ls {tmp_path} | grep -cv command) -ge 3 ]; do sleep 0.02; done"
    listener = start_zchat("listen", "jobs", "--resume", "w", "--jobs", "3", "--exec", run, broker=broker)
    eventually(lambda: cursor(broker, "w") >= offsets[-1], "all have succeeded, and count")
    assert listener.end(2).status == -2


def test_a_signal_lets_a_command_end_and_its_message_count(broker: BrokerProcess) -> None:
    zchat("listen", "jobs", "--resume", "w", "-t", "0.01", broker=broker)
    (offset, after) = send(broker, "jobs", "1", "2")
    shown = zchat("listen", "jobs", "--resume", "w", "--exec", "kill -TERM $PPID; echo done", broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("done\n", "", -15)
    assert offset <= cursor(broker, "w") < after


def test_a_command_that_does_not_end_is_ended_and_its_message_comes_again(
    broker: BrokerProcess, tmp_path: Path, start_zchat: Start
) -> None:
    zchat("listen", "jobs", "--resume", "w", "-t", "0.01", broker=broker)
    send(broker, "jobs", "1")
    run = f"echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    listener = start_zchat("listen", "jobs", "--resume", "w", "--exec", run, broker=broker)
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the command runs")
    pid = int((tmp_path / "pid").read_text())
    before = cursor(broker, "w")
    assert listener.end(15).status == -15
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert cursor(broker, "w") == before
    assert zchat("listen", "jobs", "--resume", "w", "-n", "1", "--raw", broker=broker).stdout == "1\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--exec", "cat", "--json"], "--exec and --json cannot go together"),
        (["--jobs", "2"], "--jobs goes with --exec"),
        (["--retries", "2"], "--retries goes with --exec"),
        (["--end", "--expect-every", "1h"], "--end and --expect-every cannot go together"),
    ],
)
def test_what_cannot_go_together_is_a_usage_error(args: list[str], told: str) -> None:
    shown = zchat("listen", "a", *args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (shown.stdout, shown.stderr, shown.status) == ("", f"zchat: {told}\n", 2)


# --- a dead man's switch -----------------------------------------------------------------------------


def test_no_message_for_so_long_is_a_status_of_its_own(shared_broker: BrokerProcess) -> None:
    shown = zchat("listen", "silent", "--expect-every", "0.3", broker=shared_broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("", "zchat: nothing came for 0.3 s\n", 5)
    shown = zchat("listen", "silent", "--expect-every", "1h", "-t", "0.2", broker=shared_broker)
    assert (shown.stderr, shown.status) == ("", 0)


def test_each_message_that_is_chosen_begins_the_time_anew(broker: BrokerProcess, start_zchat: Start) -> None:
    with connect(broker.address, "alice") as client:
        args = ("--expect-every", "3s", "--event", "beat", "--raw", "-v")
        listener = start_zchat("listen", "beats", *args, broker=broker).live()
        began = time.monotonic()
        for number in range(4):
            eventually(lambda due=began + 1.1 * number: time.monotonic() > due, "it is time")  # type: ignore[misc]
            client.send("beats", "x", event="beat")

        def has_ended() -> bool:
            client.send("beats", "noise")
            return listener.process.poll() is not None

        eventually(has_ended, "it ends, as other messages are none that were expected")
    ended = listener.end()
    assert (ended.stdout, ended.status) == ("x\n" * 4, 5)
