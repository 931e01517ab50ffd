"""The playground in a real browser: its answers are those of the latest setting, and its safety."""

import json
from functools import partial

import pytest
from chromium import NEEDS_CHROMIUM, serious_violations, started_chromium
from PIL import Image
from server_thread import ServerThread, post, send

from calib.serving.http.access import Access
from calib.serving.playground.playground import Playground
from calib.serving.worker import Worker

playwright = pytest.importorskip("playwright.sync_api", reason="the test extra brings playwright")
pytest.importorskip("axe_playwright_python.sync_playwright")
expect = playwright.expect
expect.set_options(timeout=60_000)  # only ends a test that hangs
pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture(scope="module")
def chromium():
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def opened(chromium):
    """A function that opens the page of a server. Messages of the page and requests to elsewhere
    fail the test."""
    contexts, trouble = [], []

    def open_page(server, prepare=lambda page: None, **options):
        context = chromium.new_context(**options)
        context.set_default_timeout(60_000)  # only ends a test that hangs
        contexts.append(context)
        page = context.new_page()
        address = f"http://127.0.0.1:{server.port}/"
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((address, "data:"))
                or trouble.append(asked.url))  # fmt: skip
        prepare(page)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in trouble if "status of 401" not in text] == []


def answered(page, count=2):
    """Wait for complete answers, and return their texts by strength."""
    expect(page.locator("#cards[aria-busy=false] .badge")).to_have_count(count)
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#cards .card')].map("
        "card => [card.dataset.strength, card.querySelector('.text').firstChild.data]))"
    )


def messages_of(server, number=0):
    example = send(server, "GET", f"/playground/example/{number}/mini").json()
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in example["pictures"]]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": example["query"]}]}]


def test_twenty_changes_of_the_slider_lose_no_answer_and_show_no_stale_one(server, opened):
    page = opened(server)
    assert set(answered(page)) == {"0", "4"}
    strengths = [round(-8 + 0.8 * k, 1) for k in range(21) if k != 10]
    expected = {}
    for strength in strengths:
        calib = {"strength": strength, "layer": 3}
        body = {"model": "mini", "messages": messages_of(server), "calib": calib}
        expected[strength] = post(server, body).json()["choices"][0]["message"]["content"]
    assert len(set(expected.values())) > 2
    slider = page.locator("#strength")

    def move(strength):
        slider.evaluate(
            "(one, value) => { one.value = value; one.dispatchEvent(new Event('input')); }",
            str(strength),
        )

    for k, strength in enumerate(strengths):
        move(strength)
        if k % 2:  # every other change interrupts the answer to the previous one
            page.locator(f"#cards .card[data-strength='{strength:g}']").wait_for()
            assert answered(page)[f"{strength:g}"] == expected[strength]
        else:
            page.wait_for_timeout(20 * k)
    assert page.locator("#status").inner_text() == "2 answers."
    for strength in strengths:  # all within one pause
        move(strength)
    page.locator(f"#cards .card[data-strength='{strengths[-1]:g}']").wait_for()
    assert answered(page)[f"{strengths[-1]:g}"] == expected[strengths[-1]]
    assert server.limits.open_requests == 0
    command = page.locator("#commands code").first.inner_text()
    assert command == f"python -m calib.serve method=steer strength={strengths[-1]:g} layer=3"


def test_a_row_of_strengths_is_one_batch(server, opened, monkeypatch):
    page = opened(server)
    answered(page)
    batches, attempt = [], Worker._attempt
    monkeypatch.setattr(
        Worker, "_attempt", lambda self, jobs: (batches.append(len(jobs)), attempt(self, jobs))[1]
    )
    page.locator("#several").check()
    page.fill("#row", "−4, 2 four")
    expect(page.locator("#row-error")).to_contain_text("four")
    assert page.locator("#row").get_attribute("aria-invalid") == "true"
    page.fill("#row", "−4, 2; 4 -0.5")
    page.locator("#cards .card[data-strength='-0.5']").wait_for()
    assert list(answered(page, 5)) == ["0", "2", "4", "-4", "-0.5"]  # integers come first in JS
    assert batches[-1] == 5


def test_the_page_works_from_the_keyboard_and_with_a_picture_of_ones_own(server, opened, tmp_path):
    page = opened(server)
    answered(page)
    assert page.locator("#strength").get_attribute("aria-valuetext") == "+4"
    page.locator("#layer").press("ArrowLeft")
    page.locator("h4", has_text="Projection at layer 2").first.wait_for()
    answered(page)
    assert page.locator(".heat").count() == 2
    assert "4 × 4" in page.locator(".heat").first.get_attribute("aria-label")
    Image.new("RGB", (50, 30), "red").save(tmp_path / "red.png")
    page.set_input_files("#file", tmp_path / "red.png")
    expect(page.locator("#status")).to_contain_text("changed")
    assert page.locator("#cards .card").count() == 0 and page.input_value("#example") == ""
    page.fill("#query", "What colour is it?")
    page.locator("#query").press("Enter")
    answered(page)
    assert "judge=string" in page.locator(".badge").first.inner_text()
    page.locator("#remove").click()
    page.locator("#ask").press("Enter")
    answered(page)
    assert page.locator(".heat").count() == 0 and page.locator(".strip").count() == 4


def test_the_key_is_asked_for_and_kept_nowhere(steered, opened):
    with ServerThread(steered, Playground(steered), access=Access("secret")) as server:
        page = opened(server)
        page.fill("#key", "wrong")
        page.locator("#key").press("Enter")
        expect(page.locator("#key-error")).to_contain_text("not")
        page.fill("#key", "secret")
        page.locator("#key").press("Enter")
        answered(page)
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        assert kept == [0, 0, ""] and page.input_value("#key") == ""
        page.reload()
        expect(page.locator("#key")).to_be_focused()


def test_text_of_models_and_benchmarks_is_shown_and_never_read_as_html(server, opened):
    listed = send(server, "GET", "/playground/examples/mini").json()
    listed["examples"][0] |= {"query": HOSTILE, "object": HOSTILE, "part": HOSTILE}
    listed["notes"] = [HOSTILE]
    shown = {"text": HOSTILE, "label": HOSTILE}
    example = {"query": HOSTILE, "system": HOSTILE, "pictures": [], "covered": False,
               "before": shown, "after": shown}  # fmt: skip
    projections = {"layer": 3, "tokens": [HOSTILE] * 3, "values": [0.1, -3, 2], "prompt_tokens": 2,
                   "pictures": [], "grid": None}  # fmt: skip
    events = [
        {"choices": [{"index": k, "delta": {"content": HOSTILE}, "finish_reason": reason,
                      "projections": projections}]}
        for k, reason in ((0, "stop"), (1, "length"))
    ]  # fmt: skip
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

    def fulfil(route, request, body):
        route.fulfill(body=body)

    def prepare(page):
        for path, reply in (
            ("playground/examples/mini", json.dumps(listed)),
            ("playground/example/0/mini", json.dumps(example)),
            ("playground/labels", json.dumps({"judge": HOSTILE, "labels": [HOSTILE, None]})),
            ("v1/chat/completions", stream),
        ):
            page.route(f"**/{path}", partial(fulfil, body=reply))

    page = opened(server, prepare)
    assert answered(page) == {"0": HOSTILE, "4": HOSTILE}
    page.locator("summary", has_text="Values").first.click()
    expect(page.locator("td").first).to_have_text(HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.images.length + document.scripts.length") == 1


def test_a_number_of_one_methods_list_is_never_labelled_in_the_list_of_another(server, opened):
    settings = send(server, "GET", "/playground/settings").json()
    settings["served"].append(settings["served"][0] | {"method": "other", "model": "other"})
    choices = [{"index": k, "delta": {"content": "No."}, "finish_reason": "stop"} for k in (0, 1)]
    stream = f"data: {json.dumps({'choices': choices})}\n\ndata: [DONE]\n\n"
    asked = []

    def label(route, request):
        asked.append(request.post_data_json)
        route.fulfill(body=json.dumps({"judge": "rules", "labels": ["refusal", "refusal"]}))

    def prepare(page):
        page.route("**/playground/settings", lambda route: route.fulfill(body=json.dumps(settings)))
        page.route("**/v1/chat/completions", lambda route: route.fulfill(body=stream))
        page.route("**/playground/labels", label)
        page.route("**/playground/examples/other", lambda route: None)  # still being loaded

    page = opened(server, prepare)
    answered(page)
    page.select_option("#method", "1")
    page.locator("#query").press("Enter")
    answered(page)
    assert [(body["model"], body["example"]) for body in asked] == [("mini", 0), ("other", None)]


@pytest.mark.parametrize(("scheme", "width"), [("light", 420), ("dark", 1300)])
def test_the_page_is_accessible_and_fits_its_window(server, opened, scheme, width):
    page = opened(server, color_scheme=scheme, viewport={"width": width, "height": 900})
    answered(page)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert serious_violations(page) == []
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    assert serious_violations(page) == []
    page.locator("#several").check()
    expect(page.locator("#cards .card")).not_to_have_count(2)  # the row has replaced both
    answered(page, page.locator("#cards .card").count())
    assert page.evaluate("document.documentElement.scrollWidth") == width
