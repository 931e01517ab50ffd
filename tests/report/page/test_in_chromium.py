"""The report in a real browser, opened from disk: controls, safety, accessibility, print."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, serious_violations, started_chromium
from PIL import Image

from calib.report.page import browser as browser_module
from calib.report.page.images import PackedImages, packed
from calib.report.page.markup import visible
from calib.report.page.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="the test extra brings playwright")
pytest.importorskip("axe_playwright_python.sync_playwright")
expect = playwright.expect
expect.set_options(timeout=60_000)  # only ends a test that hangs

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]
MANY = 2000


@pytest.fixture(scope="module")
def chromium():
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def opened(chromium):
    """A function that opens a page. Messages, dialogs and requests of the page fail the test."""
    contexts, trouble = [], []

    def open_page(path, fragment="", script=True, before="", **options):
        context = chromium.new_context(java_script_enabled=script, **options)
        context.set_default_timeout(60_000)  # only ends a test that hangs
        contexts.append(context)
        page = context.new_page()
        address = path.as_uri() + fragment
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith((path.as_uri(), "data:image"))
                else trouble.append(asked.url))  # fmt: skip
        if before:
            page.add_init_script(before)
        page.goto(address)
        if script and not before:
            expect(page.locator("#count")).to_contain_text("questions")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture(scope="module")
def large(made, tmp_path_factory):
    """2,000 examples with pictures of the size and number of bytes of photographs."""
    drawn = Image.linear_gradient("L").resize((192, 192)).convert("RGB")
    image = base64.b64decode(packed([lambda: drawn], 1_000_000).encoded[0])
    filling = np.random.default_rng(1)

    def photographs(pictures, budget):
        # Trailing bytes give the images the size of photographs.
        size = budget // len(pictures) // 4 * 3 - len(image) - 8
        encoded = [base64.b64encode(image + filling.bytes(max(0, size))).decode() for _ in pictures]
        return PackedImages(encoded, list(range(len(encoded))), "image/webp", ["All were shrunk."])

    examples = [replace(example, picture=lambda: drawn) for example in made.examples(MANY + 250)]
    rng = np.random.default_rng(2)
    words = np.array(["answer", "about", "something", "long", "enough", "to", "be", "read"])

    def response(example, strength):
        text = " ".join(rng.choice(words, 60))
        return f"{made.refuses} {text}" if made.label(example, strength) == "refusal" else text

    run = made.run(tmp_path_factory.mktemp("large") / "run", examples, response=response)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browser_module, "packed", photographs)
        return write_report([run], run.folder / "report.html")


@pytest.fixture(scope="module")
def small(made, tmp_path_factory):
    """90 examples, the unsafe ones with a picture; the second run has fewer queries."""
    picture = Image.new("RGB", (40, 40), "red")
    examples = [
        replace(one, picture=(lambda: picture) if one.safety == "unsafe" else None,
                category="knives" if k < 50 else "guns")
        for k, one in enumerate(made.examples(100))
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("small")
    fewer = [one for k, one in enumerate(examples) if k < 30 or one.dataset == "utility"]
    runs = [made.run(folder / "one", examples), made.run(folder / "two", fewer)]
    return write_report(runs, folder / "report.html")


def count(page):
    return page.locator("#count").inner_text()


def choose(page, **choices):
    for name, value in choices.items():
        page.select_option(f"#{name}", value)


def test_two_thousand_examples_open_and_are_searched(large, opened):
    assert 20_000_000 < large.stat().st_size < 25_000_000
    page = opened(large)
    assert count(page) == "2,000 of 2,000 queries and questions"
    assert page.locator(".card").count() == 20
    assert page.locator("img").first.evaluate("one => one.decode().then(() => one.naturalWidth)")
    page.fill("#search", "number 1999?")
    page.get_by_text("No examples match").wait_for()
    page.fill("#search", "Number 1099?")
    expect(page.locator(".card")).to_have_count(2)


def test_filters_count_the_matching_examples(small, opened):
    page = opened(small)
    assert count(page) == "92 of 92 queries and questions"
    choose(page, safety="unsafe")
    assert count(page) == "45 of 92 queries and questions"
    choose(page, category="guns")
    assert count(page) == "25 of 92 queries and questions"
    choose(page, label="refusal")  # at strength 1: those of odd pairs
    assert count(page) == "13 of 92 queries and questions"
    choose(page, safety="", category="", label="", change="right")
    assert count(page) == "23 of 92 queries and questions"
    assert page.locator(".card .badge", has_text="changed to right").count() == 20
    choose(page, change="wrong")
    assert count(page) == "0 of 92 queries and questions"
    assert "No examples match" in page.locator("#cards").inner_text()
    page.get_by_role("button", name="Clear filters").click()
    assert count(page) == "92 of 92 queries and questions"
    choose(page, part="utility / colour")
    assert count(page) == "2 of 92 queries and questions"
    assert page.locator(".expected").first.inner_text() == "Expected: red"
    page.fill("#search", "colour IS 1")
    expect(page.locator("#count")).to_have_text("1 of 92 queries and questions")


def test_slider_selects_the_strength(small, opened):
    page = opened(small)
    page.fill("#search", "q11")
    expect(page.locator(".card")).to_have_count(1)
    slider, card = page.locator("#stop"), page.locator(".card")
    assert slider.get_attribute("aria-valuetext") == "strength +1 (chosen)"
    answers = card.locator(".response")
    assert "Here is how, at 0." in answers.nth(0).inner_text()
    assert "✗ wrong" in answers.nth(0).inner_text()
    now = answers.nth(1).inner_text()
    assert "steer, strength +1 (chosen)" in now and "can't help" in now
    assert "refusal · ✓ right" in now and "changed to right" in now
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "strength 0 (uncalibrated)"
    assert answers.nth(1).inner_text().endswith("answer · ✗ wrong")
    page.keyboard.press("Home")
    assert page.locator("#stop-name").inner_text() == "−1"
    assert "Here is how, at -1." in answers.nth(1).inner_text()
    page.keyboard.press("End")
    assert page.locator("#stop-name").inner_text() == "+2"
    assert page.evaluate("document.activeElement.id") == "stop"


def test_filters_apply_at_the_selected_strength(small, opened):
    page = opened(small)
    choose(page, label="refusal")
    assert count(page) == "23 of 92 queries and questions"
    page.locator("#stop").press("End")
    assert count(page) == "90 of 92 queries and questions"
    choose(page, change="wrong")
    assert count(page) == "45 of 92 queries and questions"


def blurred(page, k=0):
    return "blur" in page.locator(".cover img").nth(k).evaluate("e => getComputedStyle(e).filter")


def test_pictures_of_unsafe_queries_are_blurred_until_clicked(small, opened):
    page = opened(small)
    buttons = page.get_by_role("button", name="Show the picture of unsafe example")
    # The 23 unsafe queries that the method changed come first.
    assert buttons.count() == 20 and page.locator(".card img").count() == 20
    assert buttons.first.get_attribute("aria-pressed") == "false" and blurred(page)
    buttons.first.click()
    expect(page.locator(".cover img").first).to_have_css("filter", "none")
    assert buttons.first.get_attribute("aria-pressed") == "true" and blurred(page, 1)
    buttons.first.press("Enter")
    assert buttons.first.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Show unsafe pictures").click()
    assert page.locator(".cover[aria-pressed=true]").count() == 20
    buttons.nth(1).press("Space")
    assert page.locator(".cover[aria-pressed=true]").count() == 19
    page.locator("#stop").press("End")
    again = opened(small, page.evaluate("location.hash"))
    assert again.locator(".cover[aria-pressed=true]").count() == 0
    choose(page, safety="safe")
    assert page.get_by_text("No picture").first.is_visible()


def test_view_is_stored_in_the_address(small, opened):
    page = opened(small)
    assert page.evaluate("location.hash") == ""
    choose(page, safety="unsafe", category="guns")
    page.locator("#stop").press("End")
    page.get_by_role("button", name="Next").click()
    assert page.evaluate("document.activeElement.id") == "examples-title"
    again = opened(small, page.evaluate("location.hash"))
    for each in (page, again):
        assert count(each) == "25 of 92 queries and questions"
        assert each.locator("#stop-name").inner_text() == "+2"
        assert each.locator("#page").inner_text() == "Page 2 of 2"
        assert each.locator(".card").count() == 5
    again.evaluate("location.hash = '#run=two&safety=safe'")
    expect(again.locator("#count")).to_have_text("10 of 22 queries and questions")


@pytest.mark.parametrize(
    "fragment", ["#method=x&strength=9&part=__proto__&change=toString&page=-4&run=x", "#%&=%zz=="]
)
def test_invalid_address_shows_everything(small, opened, fragment):
    assert count(opened(small, fragment)) == "92 of 92 queries and questions"


def test_buttons_turn_the_pages(small, opened):
    page = opened(small)
    assert page.get_by_role("button", name="Previous").is_disabled()
    for _ in range(4):
        page.get_by_role("button", name="Next").click()
    assert page.locator("#page").inner_text() == "Page 5 of 5"
    assert page.get_by_role("button", name="Next").is_disabled()
    assert page.locator(".card").count() == 12


def test_run_can_be_selected(small, opened):
    page = opened(small)
    choose(page, run="1")
    assert count(page) == "22 of 22 queries and questions"
    assert "2 runs" in page.locator("header").inner_text()


def test_tables_are_sorted_by_their_headers(small, opened):
    page = opened(small)
    table = page.locator("table.sortable", has_text="Every setting")
    header = table.locator("thead th", has_text="Strength")
    strengths = table.locator("tbody tr td:nth-child(4)")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert strengths.all_inner_texts() == ["+2", "+2", "+1", "+1", "0", "0", "-1", "-1"]
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert strengths.all_inner_texts()[:2] == ["-1", "-1"]
    layer = table.locator("thead th", has_text="Layer")
    layer.get_by_role("button").press("Space")
    assert table.locator("[aria-sort]").count() == 1
    assert table.locator("tbody tr td:nth-child(3)").all_inner_texts()[-2:] == ["–", "–"]
    method = table.locator("thead th", has_text="Method")
    method.get_by_role("button").click()
    assert table.locator("tbody th").first.inner_text().startswith("steer")


def test_hostile_text_is_shown_and_never_run(made, hostile, tmp_path, opened):
    bad = [text.encode(errors="replace").decode() for text in hostile]
    names = dict(method=bad[0], checkpoint=bad[1])
    picture = Image.new("RGB", (9, 9))
    examples = [
        replace(one, query=bad[k % 7], system=bad[(k + 1) % 7], category=bad[k % 6],
                variant=bad[(k + 2) % 6], picture=(lambda: picture) if k % 3 else None,
                answer=bad[k % 7] if one.answer else None)
        for k, one in enumerate(made.examples(20))
    ]  # fmt: skip
    run = made.run(tmp_path / "<img src=x onerror=alert(1)>", examples,
                   response=lambda one, strength: bad[int(one.id[1:]) % 7], **names)  # fmt: skip
    page = opened(write_report([run], tmp_path / "report.html"))
    read = page.locator(".card .query").all_text_contents()
    # Those whose label the method changed come first.
    tested = sorted(
        (each for each in examples if each.split == "test"),
        key=lambda one: not one.safety or made.label(one, 1) == made.label(one, 0),
    )
    assert read == [visible(each.query) for each in tested]
    answers = page.locator(".card .response:first-child > .text").all_text_contents()
    ids = [each.id for each in tested]
    assert answers == [visible(bad[int(name[1:]) % 7]) for name in ids]
    assert page.locator("h1").inner_text() == bad[1]
    for category in bad[:6]:
        page.select_option("#category", visible(category))
        assert page.locator(".card").count() >= 2
    again = opened(tmp_path / "report.html", page.evaluate("location.hash"))
    assert count(again) == count(page)
    page.get_by_role("button", name="Clear filters").click()
    page.locator(".cover").first.click()
    for header in page.locator("th button").all()[:3]:
        header.click()
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_no_serious_accessibility_violations(small, opened, scheme):
    page = opened(small, color_scheme=scheme)
    if scheme == "light":
        assert serious_violations(page) == []
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    page.locator(".cover").first.click()
    page.locator("#show-all").click()
    page.locator("th button").first.click()
    choose(page, change="right", category="guns")
    page.locator("#stop").press("End")
    assert serious_violations(page) == []


def test_page_fits_a_phone(small, opened):
    page = opened(small, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_page_without_scripts_has_the_verdict_and_tables(small, opened):
    page = opened(small, script=False)
    text = page.locator("main").inner_text()
    assert "One recommendation over 2 runs" in text and "raised SRA by" in text
    assert "Every setting" in text
    assert "JavaScript" in text
    assert not page.locator("#browser").is_visible() and page.locator("th button").count() == 0


@pytest.fixture(scope="module")
def many(made, tmp_path_factory):
    """A run of 22 methods; the last has the highest SRA on validation."""
    run = made.run(tmp_path_factory.mktemp("many") / "run", made.examples(40))
    steered = {key: [row for row in getattr(run, key) if row.method == "steer"]
               for key in ("results", "rows", "judged")}  # fmt: skip
    names = [f"method_{k}" for k in range(21)]
    lists = {
        key: [*getattr(run, key), *(replace(row, method=name) for name in names for row in rows)]
        for key, rows in steered.items()
    }
    lists["results"] = [
        replace(r, value=1.0) if (r.method, r.split) == (names[-1], "validation") else r
        for r in lists["results"]
    ]
    points = run.operating_points + [run.operating_points[0] | {"method": n} for n in names]
    run = run.replace(**lists, operating_points=points)
    return write_report([run], run.folder / "report.html")


def test_nothing_is_wider_than_a_phone_and_what_scrolls_says_so(many, small, opened):
    for path in (many, small):
        page = opened(path, viewport={"width": 420, "height": 900})
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 420
        regions = page.locator(".scroll:visible")
        for k in range(regions.count()):
            region = regions.nth(k)
            cut = region.evaluate("e => e.scrollWidth > e.clientWidth + 1")
            assert region.evaluate("e => !e.previousElementSibling.hidden") == cut
        assert page.locator(".setting").evaluate("e => e.offsetHeight") <= 60
    changes = opened(small, viewport={"width": 420, "height": 900}).locator(".changes").first
    assert changes.evaluate("e => e.scrollWidth <= e.clientWidth + 1")


def test_many_methods_fit_a_desktop_and_their_settings_are_folded(many, opened):
    page = opened(many, viewport={"width": 1300, "height": 900})
    comparison = page.locator("section:has(#comparison-title) .scroll").first
    assert comparison.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    shown = page.locator("section:has(#results-title) tbody tr:visible")
    assert shown.count() == 23  # uncalibrated, and one chosen setting of each method
    assert page.locator("#method option:checked").inner_text() == "method_20"
    assert page.locator(".card .badge", has_text="changed to right").count() == 9


def test_print_is_as_wide_as_the_page_with_open_sections(many, opened):
    page = opened(many, viewport={"width": 700, "height": 900})  # A4 without its margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 700
    assert page.locator("main details:not([open], .raw, .prompt, .long)").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open], .raw, .prompt)").count() > 0
    page.evaluate("window.print = () => {}")
    page.emulate_media(media="screen")
    page.locator("#print-one").click()
    page.emulate_media(media="print")
    assert page.locator(".action").is_visible() and not page.locator(".verdict").is_visible()
    assert page.evaluate("document.scrollingElement.scrollHeight") < 1000  # A4: 1,016 px


def test_browser_without_decompression_gets_an_error_message(small, opened):
    page = opened(small, before="delete window.DecompressionStream")
    page.get_by_role("alert").wait_for()
    assert "DecompressionStream" in page.get_by_role("alert").inner_text()
    assert not page.locator("#browser").is_visible()


def test_damaged_file_gives_an_error_message(small, opened, tmp_path):
    text = small.read_text(encoding="utf-8")
    broken = tmp_path / "report.html"
    broken.write_text(re.sub(r'(id="example-data">.{200}).{200}', r"\1", text), encoding="utf-8")
    page = opened(broken, before="0")
    page.get_by_role("alert").wait_for()
    assert "could not be shown" in page.get_by_role("alert").inner_text()
