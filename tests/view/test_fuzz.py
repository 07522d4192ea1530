"""Odd addresses, queries and bodies at every endpoint: no failure of ours, and no file from outside."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from nucseg_jax.view.library import Library
from tests.view.conftest import PORT, TOKEN

METHODS = ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]

many = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

ODD = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            *("..", "../..", "..%2f..", "%2e%2e", ".", "", "/", "//", "\\..\\..", "\0", "%00", "C:\\", "~"),
            *(
                "/etc/passwd",
                "../../secret.txt",
                "secret.txt",
                "summary.json",
                "9/0_0.jpg",
                "-1",
                "1e999",
                "NaN",
            ),
            *("9" * 5000, "🔬", "\u202e", "None", "0x10", "1_0", "١"),
        ]
    ),
)
PARTS = st.lists(
    st.one_of(
        ODD,
        st.sampled_from(
            [
                *("api", "slides", "results", "library", "jobs", "uploads", "models", "nuclei", "nucleus"),
                *("region", "density", "density.png", "files", "SLIDE", "RESULT", "LOST", "SLIDE.dzi"),
                *("SLIDE_files", "nuclei.geojson", "9", "0_0.jpg", "compare", "corrections"),
                *("corrected.geojson", "merged-outline", "summary.html"),
            ]
        ),
    ),
    max_size=6,
)
QUERY = st.dictionaries(
    st.one_of(
        ODD,
        st.sampled_from(
            [
                *("x", "y", "w", "h", "scale", "value", "id", "name"),
                *("against", "role", "reference", "other"),
            ]
        ),
    ),
    st.one_of(
        ODD,
        st.floats().map(str),
        st.integers().map(str),
        st.sampled_from(["RESULT", "LOST", "reference", "other"]),
    ),
    max_size=6,
)
NUMBERS = st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=5))
BODY = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        NUMBERS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=5),
            st.dictionaries(
                st.sampled_from(["rectangle", "polygon", "unit", "slide", "mpp", "model", "x"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=25,
    ).map(lambda document: json.dumps(document).encode()),
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=3, max_size=8).map(
        lambda points: json.dumps({"polygon": points}).encode()
    ),
)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def ask(client: TestClient, method: str, path: str, query: str = "", body: bytes = b"") -> Answer:
    """Call the application as uvicorn does; HTTP clients would straighten the path before."""
    sent: list[Any] = []
    received = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if received:
            return received.pop()
        await asyncio.sleep(60)  # the client stays until it has the answer
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": f"/{TOKEN}/{path}",
        "raw_path": quote(f"/{TOKEN}/{path}").encode(),
        "root_path": "",
        "query_string": query.encode("ascii", "replace"),
        "headers": [(b"host", f"127.0.0.1:{PORT}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", PORT),
        "state": {},
    }
    asyncio.run(client.app(scope, receive, send))
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], headers, content.decode("utf-8", "replace"))


def filled(text: str, library: Library) -> str:
    ids = {result.name: result.id for result in library.results()}
    names = {"SLIDE": library.slides()[0].id, "RESULT": ids["out"], "LOST": ids["lost"]}
    for name, id_ in names.items():
        text = text.replace(name, id_)
    return text


def check(answer: Answer) -> None:
    assert answer.status < 500 or answer.status == 503, answer.text
    assert "secret of the test" not in answer.text and "root:" not in answer.text
    if answer.status >= 400 and answer.text:
        said = answer.text if answer.status == 403 else json.loads(answer.text)["error"]
        assert said and "Traceback" not in said
    assert answer.headers["x-content-type-options"] == "nosniff"


@many
@given(PARTS, QUERY.map(urlencode) | st.text(max_size=20), st.sampled_from([*["GET"] * 4, *METHODS]), BODY)
def test_odd_addresses(client: TestClient, library: Library, parts, query, method, body):
    check(ask(client, method, filled("/".join(parts), library), query, body))


@many
@given(
    st.sampled_from(["results/RESULT", "results/LOST", "slides/SLIDE", "results/x"]),
    st.sampled_from(
        [
            *("", "/nuclei", "/nucleus", "/files/summary.json", "_files/9/0_0.jpg", "/density.png"),
            *("/corrections", "/corrected.geojson", "/summary.html"),
        ]
    ),
    QUERY.map(urlencode),
)
def test_odd_queries(client: TestClient, library: Library, kind, what, query):
    check(ask(client, "GET", filled(f"api/{kind}{what}", library), filled(query, library)))


@many
@given(
    st.sampled_from(["compare", "results/RESULT/nuclei", "results/LOST/nuclei"]),
    *[st.none() | ODD | st.sampled_from(["RESULT", "LOST", "SLIDE", "reference", "other"])] * 4,
    st.booleans(),
)
def test_odd_comparisons(client: TestClient, library: Library, where, one, two, three, role, has_value):
    given_ = {"reference": one, "other": two, "against": three, "role": role, "x": "0", "y": "0"}
    given_ |= {"w": "400", "h": "300", **({"value": "area_um2"} if has_value else {})}
    query = urlencode({name: value for name, value in given_.items() if value is not None})
    check(ask(client, "GET", filled(f"api/{where}", library), filled(query, library)))


@many
@given(st.sampled_from(["results/RESULT/region", "results/LOST/region", "jobs", "jobs/x/cancel"]), BODY)
def test_odd_bodies(client: TestClient, library: Library, where, body):
    check(ask(client, "POST", filled(f"api/{where}", library), body=body))


NUCLEUS_IDS = st.lists(st.integers(1, 60), max_size=4)
DRAWN = {
    "id": st.sampled_from(["a1", "a2", "a3"]),
    "polygon": st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), min_size=3, max_size=8),
    "replaces": NUCLEUS_IDS,
}
CORRECTIONS = {
    "version": st.just(0),
    "removed": NUCLEUS_IDS,
    "added": st.lists(st.fixed_dictionaries(DRAWN), max_size=3, unique_by=lambda drawn: drawn["id"]),
    "regions": st.lists(st.fixed_dictionaries(DRAWN), max_size=3, unique_by=lambda drawn: drawn["id"]),
}
ODD_DRAWN = {
    "id": ODD,
    "polygon": st.lists(st.lists(NUMBERS, max_size=3), max_size=4),
    "replaces": st.lists(NUMBERS, max_size=4),
}
ODD_CORRECTIONS = {
    "version": NUMBERS,
    "removed": st.one_of(NUMBERS, st.lists(st.integers(-1, 70), max_size=4)),
    "added": st.one_of(NUMBERS, st.lists(st.fixed_dictionaries(ODD_DRAWN), max_size=3)),
}


@st.composite
def corrections(draw: st.DrawFn) -> dict[str, Any]:
    """Right ones, and some of which a part is odd."""
    document = draw(st.fixed_dictionaries(CORRECTIONS))
    odd = draw(st.sampled_from([None, None, *ODD_CORRECTIONS]))
    return document if odd is None else document | {odd: draw(ODD_CORRECTIONS[odd])}


@many
@given(st.sampled_from(["out", "lost"]), corrections() | BODY, st.booleans())
def test_odd_corrections(client: TestClient, library: Library, which, body, is_current):
    (result,) = (result.id for result in library.results() if result.name == which)
    before = ask(client, "GET", f"api/results/{result}/corrections")
    if isinstance(body, dict):
        if is_current:
            body["version"] = json.loads(before.text)["version"]
        body = json.dumps(body).encode()
    saved = ask(client, "PUT", f"api/results/{result}/corrections", body=body)
    check(saved)
    event(f"status {saved.status}")
    after = ask(client, "GET", f"api/results/{result}/corrections")
    if saved.status == 200:
        assert json.loads(after.text)["version"] == json.loads(before.text)["version"] + 1
    else:
        assert after.text == before.text
    file = ask(client, "GET", f"api/results/{result}/corrected.geojson")
    check(file)
    assert file.status != 200 or json.loads(file.text)["type"] == "FeatureCollection"


@many
@given(ODD | st.sampled_from(["a.png", "b.TIF", "../../c.png", "d.svs"]), st.binary(max_size=200))
def test_odd_uploads(client: TestClient, named: Path, name, body):
    before = sorted(named.rglob("*.png"))
    answer = ask(client, "POST", "api/uploads", urlencode({"name": name}), body)
    check(answer)
    assert answer.status == 422 and sorted(named.rglob("*.png")) == before
    assert not list((named / "state" / "uploads").iterdir())


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/%2e%2e/secret.txt",
        "/secret.txt",
        "index.html/../../../secret.txt",
        "api/results/RESULT/files/..%2f..%2f..%2fsecret.txt",
        "api/slides/..%2f..%2fsecret.txt",
    ],
)
def test_nothing_outside_is_read(client, library, named, path):
    assert (named / "secret.txt").is_file()
    for form in (path, unquote(path)):
        answer = ask(client, "GET", filled(form, library))
        assert answer.status == 404 and "secret of the test" not in answer.text
