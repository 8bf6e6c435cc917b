"""Logging in by a provider, which runs in the test: what it says well lets in, and all else does not."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.conftest import BrokerProcess, zchat
from tests.web.conftest import WebProcess

pytestmark = pytest.mark.slow  # a gateway is a process


class TinyProvider:
    """Says that whoever comes is alice; `claims` and `key` are what is wrong with it."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.key = self.known = ECKey.generate_key("P-256", {"kid": "1"})
        self.begun: dict[str, dict[str, str]] = {}  # code -> what was asked
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                if path == "/authorize":
                    asked = dict(urllib.parse.parse_qsl(query))
                    provider.begun["code-1"] = asked
                    back = urllib.parse.urlencode({"code": "code-1", "state": asked["state"]})
                    self.send_response(303)
                    self.send_header("location", f"{asked['redirect_uri']}?{back}")
                    self.end_headers()
                elif path == "/keys":
                    self.say(KeySet([provider.known]).as_dict(private=False))
                else:
                    ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
                    self.say({"issuer": provider.url} | {name: f"{provider.url}/{end}" for name, end in ends.items()})

            def do_POST(self) -> None:
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                asked = provider.begun.pop(form["code"], None)
                verified = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode()
                if (
                    asked is None
                    or verified.rstrip("=") != asked["code_challenge"]
                    or form["client_secret"] != "s3cret"
                ):
                    self.send_error(400)
                    return
                now = int(time.time())
                claims = {"iss": provider.url, "aud": "zchat", "nonce": asked["nonce"], "exp": now + 60, "iat": now}
                claims |= {"sub": "17", "preferred_username": "Alice"} | provider.claims
                self.say({"id_token": jwt.encode({"alg": "ES256", "kid": "1"}, claims, provider.key)})

            def say(self, what: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(what).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def provider() -> Iterator[TinyProvider]:
    provider = TinyProvider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


class Browser:
    def __init__(self, web: WebProcess) -> None:
        self.web, self.jar = web, CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with self._opener.open(self.web.url + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read()


@pytest.fixture
def browsers(
    broker: BrokerProcess, start_web: Callable[..., WebProcess], provider: TinyProvider, tmp_path: Path
) -> Callable[[], Browser]:
    file = tmp_path / "oidc.toml"
    file.touch(0o600)
    web = WebProcess(broker, tmp_path, "--oidc", str(file))
    file.write_text(
        f'issuer = "{provider.url}"\nclient_id = "zchat"\nclient_secret = "s3cret"\nurl = "http://{web._listen}"\n'
    )
    web.start()

    def browser() -> Browser:
        return Browser(web)

    browser.web = web  # type: ignore[attr-defined]
    return browser


@pytest.fixture(autouse=True)
def stops(browsers: Any) -> Iterator[None]:
    yield
    print(browsers.web.stderr())
    browsers.web.kill()


def test_who_logs_in_by_the_provider_is_who_that_says(browsers: Callable[[], Browser]) -> None:
    browser, other = browsers(), browsers()
    assert browser.get("/me")[0] == 401
    assert b'href="/login/oidc"' in browser.get("/login")[1]
    status, page = browser.get("/login/oidc")
    assert status == 200 and b"zchat" in page
    assert json.loads(browser.get("/me")[1])["user"] == "Alice"
    (cookie,) = [cookie for cookie in browser.jar if cookie.name == "zchat"]
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert other.get("/me")[0] == 401


def test_a_token_that_is_not_for_this_log_in_lets_nobody_in(
    browsers: Callable[[], Browser], provider: TinyProvider
) -> None:
    wrong: list[dict[str, Any]] = [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"nonce": "another"},
        {"exp": 1},
        {"azp": "another"},
        {"preferred_username": None},
        {"preferred_username": "a/b"},
    ]
    for claims in wrong:
        provider.claims = claims
        browser = browsers()
        assert (browser.get("/login/oidc")[0], browser.get("/me")[0]) == (401, 401), claims
    provider.claims = {}
    assert browsers().get("/login/oidc")[0] == 200


def test_what_another_key_signed_and_what_nobody_began_lets_nobody_in(
    browsers: Callable[[], Browser], provider: TinyProvider
) -> None:
    provider.key = ECKey.generate_key("P-256", {"kid": "1"})
    assert browsers().get("/login/oidc")[0] == 401
    for query in ("", "?code=code-1", "?code=code-1&state=x", "?state=&code="):
        assert browsers().get(f"/login/oidc/back{query}")[0] == 401


def test_a_file_that_makes_no_sense_is_refused(browsers: object, broker: BrokerProcess, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.touch(0o600)
    whole = 'issuer = "https://a.example"\nclient_id = "z"\nclient_secret = "s"\nurl = "https://b.example"\n'
    for text, word in (
        ("", "is missing"),
        (whole + "x = 1\n", "none of"),
        (whole + "hours = 0\n", "hours"),
        (whole.replace("https://a", "http://a"), "https://"),
        ("[", "wrong.toml"),
    ):
        file.write_text(text)
        done = zchat("web", "--oidc", str(file), broker=broker)
        assert done.status == 2 and word in done.stderr and done.stderr.count("\n") == 1
    file.write_text(whole)
    file.chmod(0o644)
    assert "chmod 600" in zchat("web", "--oidc", str(file), broker=broker).stderr
