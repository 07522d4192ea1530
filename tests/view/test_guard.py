"""Who is refused."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from nucseg_jax.view.guard import Guard, new_token

TOKEN = "abc-DEF_123"
OWN = f"http://127.0.0.1:8765/{TOKEN}/page"


async def behind(scope, receive, send):
    assert scope["root_path"] == f"/{TOKEN}"
    await PlainTextResponse("in")(scope, receive, send)


@pytest.fixture
def browser() -> TestClient:
    return TestClient(Guard(behind, token=TOKEN, port=8765), base_url="http://127.0.0.1:8765")


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        (OWN, {}),
        (f"http://localhost:8765/{TOKEN}", {}),
        (OWN, {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}),
        (OWN, {"Sec-Fetch-Site": "none"}),
        (OWN, {"Host": "LOCALHOST:8765"}),
    ],
)
def test_our_page_comes_in(browser, address, headers):
    assert browser.get(address, headers=headers).text == "in"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    ("address", "headers", "why"),
    [
        ("/", {}, "token"),
        ("/api/library", {}, "token"),
        ("/abc-DEF_12/page", {}, "token"),
        (f"/{TOKEN}x/page", {}, "token"),
        (f"/{TOKEN.lower()}/page", {}, "token"),
        (f"//{TOKEN}/page", {}, "token"),
        (f"/page/{TOKEN}", {}, "token"),
        (f"/page?token={TOKEN}", {}, "token"),
        ("/\N{SNOWMAN}/page", {}, "token"),
        (OWN, {"Host": "evil.example:8765"}, "host"),
        (OWN, {"Host": "127.0.0.1:80"}, "host"),
        (OWN, {"Host": "127.0.0.1"}, "host"),
        (OWN, {"Host": "127.0.0.1:8765.evil.example"}, "host"),
        (OWN, {"Host": ""}, "host"),
        (OWN, {"Origin": "http://evil.example"}, "another page"),
        (OWN, {"Origin": "null"}, "another page"),
        (OWN, {"Origin": "http://127.0.0.1:9999"}, "another page"),
        (OWN, {"Origin": "https://127.0.0.1:8765"}, "another page"),
        (OWN, {"Origin": ""}, "another page"),
        (OWN, {"Sec-Fetch-Site": "cross-site"}, "another page"),
        (OWN, {"Sec-Fetch-Site": "same-site"}, "another page"),
    ],
)
def test_all_others_are_refused_with_a_line(browser, method, address, headers, why):
    answer = browser.request(method, address, headers=headers)
    assert answer.status_code == 403
    if method != "HEAD":
        assert answer.text.startswith("refused: ") and why in answer.text and answer.text.count("\n") == 1
        assert TOKEN not in answer.text
    check_headers(answer)


def test_two_hosts_are_refused(browser):
    headers = [("Host", "127.0.0.1:8765"), ("Host", "evil.example")]
    assert browser.get(OWN, headers=headers).status_code == 403


def test_answers_have_the_headers_that_keep_the_page_alone(browser):
    check_headers(browser.get(OWN))


def check_headers(answer):
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_sockets_of_pages_are_refused(browser):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), browser.websocket_connect(f"/{TOKEN}/page"):
        pass


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 43


def test_a_ticket_works_once_and_leads_to_the_page():
    app = Guard(behind, token=TOKEN, port=8765, ticket="once")
    browser = TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)
    assert browser.get("/once", headers={"Host": "evil.example"}).status_code == 403
    assert browser.get("/once/more").status_code == 403
    answer = browser.get("/once")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{TOKEN}/")
    check_headers(answer)
    assert browser.get("/once").status_code == 403
    assert browser.get(f"/{TOKEN}/").text == "in"
