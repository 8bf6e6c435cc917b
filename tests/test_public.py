"""What a programmer sees of `import zchat` in a shell, an editor and a checker: what is public, and nothing else."""

from __future__ import annotations

import ast
import re
import rlcompleter
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess

CLIENT_MD = (Path(__file__).parent.parent / "docs" / "client.md").read_text()


def test_the_public_names_are_listed_before_anything_is_imported() -> None:
    program = "import sys, zchat; print(*dir(zchat)); print('zmq' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    listed, imported = done.stdout.splitlines()
    assert {name for name in listed.split() if not name.startswith("_")} == set(zchat.__all__)
    assert "__version__" in listed and imported == "False"


def test_the_names_of_asyncio_are_listed_and_loaded_by_nobody_else() -> None:
    program = (
        "import sys, zchat; zchat.Client; print('asyncio' in sys.modules); import zchat.aio; print(*dir(zchat.aio))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, listed = done.stdout.splitlines()
    assert loaded == "False"
    assert listed.split() == zchat.aio.__all__ == ["Client", "Connecting", "Publication", "Subscription", "connect"]


def test_a_shell_completes_them() -> None:
    assert rlcompleter.Completer({"zchat": zchat}).complete("zchat.Un", 0) == "zchat.Unreachable("


def test_each_name_is_there_and_no_other() -> None:
    for name in zchat.__all__:
        assert getattr(zchat, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'zchat' has no attribute 'misspelt'"):
        zchat.misspelt  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.slow
def test_a_checker_knows_each_name_and_finds_what_is_misspelt(tmp_path: Path) -> None:
    lines = [
        "import zchat",
        *(f"zchat.{name}" for name in zchat.__all__),
        "zchat.misspelt",
        "from zchat import nothing",
    ]
    lines += ["client = zchat.connect()", 'client.pubish("a", "b")', 'for one in client.listen("a"): one.txt']
    lines += ['reveal_type(next(client.listen("a")))']
    program = tmp_path / "program.py"
    program.write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "--no-error-summary", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, timeout=110)
    assert re.findall(r'"(\w+)"(?:;| {2}\[attr-defined\])', done.stdout) == ["misspelt", "nothing", "pubish", "txt"], (
        done.stdout + done.stderr
    )
    assert 'Revealed type is "zchat.message.Message"' in done.stdout


# --- objects --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(shared_broker: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(shared_broker.address, "anna") as client:
        yield client


def seen(thing: object) -> set[str]:
    """What a shell offers of it, beside what every tuple has."""
    return {name for name in dir(thing) if not name.startswith("_")} - set(dir(tuple))


@pytest.mark.slow
def test_an_object_shows_what_the_docs_tell_and_nothing_else(client: zchat.Client) -> None:
    with client.listen("den", resume="c") as subscription:
        publication = client.publish("den", "x")
        message = subscription.get(10)
        shown = [client, subscription, publication, message, client.who()[0], client.rooms()[0], client.cursors()[0]]
        shown += [zchat.Notice("live")]
    for thing in shown:
        untold = {name for name in seen(thing) if not re.search(rf"\b{name}\b", CLIENT_MD)}
        assert not untold, f"{thing!r} shows what docs/client.md does not tell: {untold}"
    assert seen(publication) == {"add_done_callback", "done", "result"}
    assert seen(subscription) == {"close", "get", "commit", "pending", "repeats_after"}


@pytest.mark.slow
def test_an_object_says_what_it_is(client: zchat.Client, shared_broker: BrokerProcess) -> None:
    address = shared_broker.address
    assert repr(client) == f"<zchat.Client anna at {address}: connected>"
    with client.listen("den", "ops.**", resume="C") as subscription:
        assert repr(subscription) == "<zchat.Subscription of anna to den, ops.**, resumes c: open>"
    assert repr(subscription) == "<zchat.Subscription of anna to den, ops.**, resumes c: closed>"
    many = client.listen(*(f"r{number}" for number in range(9)))
    assert repr(many) == "<zchat.Subscription of anna to r0, r1, r2, r3, r4, 4 more: open>"
    many.close()
    offset = (publication := client.publish("den", "x")).result(10)
    assert repr(publication) == f"<zchat.Publication to den: offset {offset}>"
    (broadcast := client.publish("den", "x", volatile=True)).result(10)
    assert repr(broadcast) == "<zchat.Publication to den: broadcast>"


@pytest.mark.slow
def test_what_is_not_there_any_more_says_so(shared_broker: BrokerProcess) -> None:
    other = zchat.connect(shared_broker.address, "ben")
    other.close()
    assert repr(other) == f"<zchat.Client ben at {shared_broker.address}: closed>"


def test_the_lazy_table_is_what_a_checker_sees() -> None:
    tree = ast.parse(Path(zchat.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen_by_checker = {
        node.module: tuple(name.name for name in node.names)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
    }
    assert seen_by_checker == zchat._HOMES
    assert sorted(name for names in seen_by_checker.values() for name in names) == sorted(zchat.__all__)
