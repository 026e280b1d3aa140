"""The live page in a real Chromium: it shows what is there, updates by itself, works by keyboard and screen reader."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from confluent_kafka import Consumer, Producer, TopicPartition
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from stream_app.api.workers import CATCHING_UP
from stream_app.pages.page import Document, Section, page
from stream_app.pages.plots import coverage_figure
from tests.api.chromium import find_chromium
from tests.api.conftest import DRIFTING, SERIES, TICKS, TOKEN, Plant, Running, start_api
from tests.app.published import forecast
from tests.app.running_worker import START_MS, STEP_MS, World, readings, wait_until

LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
# View → what is there once it is drawn.
SHOWN = {"series": "#fan .main-svg", "drift": "#all-drift > *", "models": "#models a", "dead-letters": "#letters td"}
KEPT = "tidecast-token"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = find_chromium()
    with sync_playwright() as playwright:
        try:
            # Its own sandbox takes rights that a container or root does not have; it sees nothing but these pages.
            browser = playwright.chromium.launch(
                executable_path=found.path, env=found.environment, args=["--no-sandbox"]
            )
        except Error as error:
            pytest.skip(f"this Chromium does not start here: {str(error)[:300]}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser, plant: Plant, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that has its token. What the browser complains of, and who else is asked, fails the test."""
    looks = getattr(request, "param", {})
    context = chromium.new_context(viewport=looks.get("viewport", LAPTOP), color_scheme=looks.get("scheme", "light"))
    context.add_init_script(f"sessionStorage.setItem({KEPT!r}, {TOKEN!r})")
    seen = Watched(context.new_page, plant.api.url)
    opened = seen.page
    opened.goto(plant.api.url)
    expect(opened.locator("#series-rows tr")).to_have_count(len(SERIES))
    expect(opened.locator("#said")).to_have_text("live")
    yield opened
    context.close()
    assert seen.said == []


class Watched:
    """A new page, and what the browser complained of in it."""

    def __init__(self, make: Callable[[], Page], base: str) -> None:
        self.page = make()
        self.said: list[str] = []
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.said.append(message.text))
        self.page.on("request", lambda asked: self._asked(asked.url, base))

    def _asked(self, url: str, base: str) -> None:
        if not url.startswith((base, "data:", "blob:")):
            self.said.append(f"asked {url}")


# Each width and each scheme in every view; the other two pairs in the fullest one.
LOOKS = [
    pytest.param({"viewport": viewport, "scheme": scheme}, views, id=f"{name}-{scheme}")
    for name, viewport, scheme, views in (
        ("laptop", LAPTOP, "light", tuple(SHOWN)),
        ("phone", PHONE, "dark", tuple(SHOWN)),
        ("laptop", LAPTOP, "dark", ("series",)),
        ("phone", PHONE, "light", ("series",)),
    )
]


def go(opened: Page, view: str) -> None:
    opened.locator(f"nav a[data-view={view}]").click()
    expect(opened.locator(f"nav a[data-view={view}]")).to_have_attribute("aria-current", "page")
    expect(opened.locator(f"#view-{view}")).to_be_visible()
    expect(opened.locator(SHOWN[view]).first).to_be_visible()


@pytest.mark.parametrize(("open_page", "views"), LOOKS, indirect=["open_page"])
def test_every_view_is_accessible_and_fits(
    open_page: Page, views: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    for view in views:
        go(open_page, view)
        if view == "models":
            open_page.locator("#models a").first.click()
            expect(open_page.locator("#report figure .main-svg").first).to_be_visible()
        keep(open_page, f"{request.node.callspec.id}-{view}", request)
        is_accessible_and_fits(open_page)


def is_accessible_and_fits(opened: Page) -> None:
    found = Axe().run(opened).response["violations"]
    assert [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found] == []
    assert not opened.evaluate("document.documentElement.scrollWidth > innerWidth"), "too wide"


def keep(opened: Page, name: str, request: pytest.FixtureRequest) -> None:
    folder = request.config.getoption("--screenshots")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_series_shows_its_newest_forecast_and_the_one_whose_horizon_has_come(open_page: Page) -> None:
    open_page.get_by_role("link", name=SERIES[1], exact=True).click()
    expect(open_page.locator("#detail-title")).to_have_text(SERIES[1])
    names = open_page.evaluate("document.getElementById('fan').data.filter(each => each.name).map(each => each.name)")
    assert names == ["6 steps ago", "newest forecast", "actual"]
    drawn = open_page.evaluate("document.getElementById('fan').data.at(-1).y")
    assert len(drawn) >= TICKS
    open_page.get_by_text("The newest forecast as a table").click()
    expect(open_page.locator("#steps tr")).to_have_count(6)
    is_accessible_and_fits(open_page)
    expect(open_page.locator("#fan")).to_have_attribute("aria-label", re.compile(r"next step \d"))


def test_what_somebody_sent_is_text_and_nothing_else(open_page: Page) -> None:
    open_page.get_by_role("link", name=SERIES[-1], exact=True).click()
    expect(open_page.locator("#detail-title")).to_have_text(SERIES[-1])
    go(open_page, "dead-letters")
    expect(open_page.locator("#letters")).to_contain_text("<img src=x onerror=alert(1)>")
    assert open_page.locator("#letters img").count() == 0


def test_a_drift_record_says_how_the_errors_have_changed(open_page: Page) -> None:
    go(open_page, "drift")
    row = open_page.locator("#all-drift tbody tr").filter(has_text=DRIFTING)
    expect(row).to_contain_text("cusum")
    expect(row).to_contain_text("3.2 × usual, values above")


def test_it_works_by_keyboard(open_page: Page) -> None:
    open_page.keyboard.press("Tab")
    expect(open_page.locator(".skip")).to_be_focused()
    open_page.locator("#search").focus()
    open_page.keyboard.type("pump-2")
    expect(open_page.locator("#series-rows tr")).to_have_count(2)
    for _ in range(8):
        open_page.keyboard.press("Tab")
        if open_page.evaluate("document.activeElement.closest('#series-rows') !== null"):
            break
    open_page.keyboard.press("Enter")
    expect(open_page.locator("#detail-title")).to_have_text("pump-2.flow")
    expect(open_page.locator("#series-rows tr[aria-current=true]")).to_have_count(1)


def test_views_filters_and_a_report_are_reached_by_keyboard(open_page: Page) -> None:
    """By Tab alone from the top, each place with a ring that can be seen."""
    for view in ("drift", "models", "dead-letters", "series"):
        tab_to(open_page, f"nav a[data-view={view}]")
        open_page.keyboard.press("Enter")
        expect(open_page.locator(f"#view-{view}")).to_be_visible()
        if view == "models":
            tab_to(open_page, "#models a")
            open_page.keyboard.press("Enter")
            expect(open_page.locator("#report figure .main-svg").first).to_be_visible()
            is_accessible_and_fits(open_page)
    tab_to(open_page, "#status")
    open_page.keyboard.press("w")  # waiting
    expect(open_page.locator("#found")).to_have_text("Nothing is like that.")
    is_accessible_and_fits(open_page)
    open_page.keyboard.press("Home")  # any status; a letter so soon after another would be the second one of a word
    expect(open_page.locator("#series-rows tr")).to_have_count(len(SERIES))
    tab_to(open_page, "summary")
    open_page.keyboard.press("Enter")
    expect(open_page.locator("#steps tr")).to_have_count(6)


def tab_to(opened: Page, selector: str) -> None:
    """From the top of the page."""
    opened.evaluate("document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    opened.locator(".skip").focus()
    for _ in range(60):
        opened.keyboard.press("Tab")
        if opened.evaluate("selector => document.activeElement.matches(selector)", selector):
            shown = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert shown != "none", f"{selector} has no ring"
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_it_updates_by_itself(open_page: Page, plant: Plant) -> None:
    open_page.get_by_role("link", name="pump-2.temp", exact=True).click()
    said = open_page.locator("#facts")
    expect(said).to_contain_text("last value")
    before = said.inner_text()
    plant.send(TICKS, 2)
    expect(said).not_to_have_text(before, timeout=20_000)
    sent = plant.api.get("/api/v1/streams/tides/values", series_id="pump-2.temp", limit=1)
    expect(said).to_contain_text(f"{sent['values'][0]:.5g}")


def test_filters_and_order(open_page: Page) -> None:
    open_page.locator("#search").fill("nobody")
    expect(open_page.locator("#found")).to_have_text("Nothing is like that.")
    open_page.locator("#search").fill("")
    open_page.locator("#sort").select_option("coverage")
    expect(open_page.locator("#series-rows tr")).to_have_count(len(SERIES))
    open_page.locator("#status").select_option("waiting")
    expect(open_page.locator("#found")).to_have_text("Nothing is like that.")


def test_the_token_is_asked_for_and_a_wrong_one_refused(chromium: Browser, plant: Plant) -> None:
    opened = chromium.new_page()
    opened.goto(plant.api.url)
    expect(opened.get_by_role("dialog")).to_be_visible()
    is_accessible_and_fits(opened)
    opened.get_by_label("Token", exact=True).fill("not the token at all")
    opened.keyboard.press("Enter")
    expect(opened.get_by_role("dialog")).to_contain_text("That token is not the right one.")
    opened.set_viewport_size(PHONE)
    is_accessible_and_fits(opened)
    opened.get_by_label("Token", exact=True).fill(TOKEN)
    opened.keyboard.press("Enter")
    expect(opened.locator("#series-rows tr")).to_have_count(len(SERIES))
    expect(opened.get_by_role("dialog")).to_be_hidden()
    opened.close()


def test_an_address_of_what_is_not_there_says_so(chromium: Browser, plant: Plant) -> None:
    context = chromium.new_context()
    context.add_init_script(f"sessionStorage.setItem({KEPT!r}, {TOKEN!r})")
    opened = context.new_page()
    opened.goto(f"{plant.api.url}/#/tides/series/pump-9")
    expect(opened.locator("#detail-title")).to_have_text("pump-9")
    expect(opened.locator("#facts")).to_contain_text("no series 'pump-9'")
    for size in (LAPTOP, PHONE):
        opened.set_viewport_size(size)
        is_accessible_and_fits(opened)
    context.close()


def test_without_data_it_says_what_is_missing(chromium: Browser, world: World, tmp_path: Path) -> None:
    (tmp_path / "bare.created").touch()  # its outputs are not there
    api = start_api(world, world.deployment("bare"))
    seen = Watched(chromium.new_page, api.url)
    seen.page.goto(api.url)
    expect(seen.page.locator("#banner")).to_contain_text("tidecast topics create", timeout=20_000)
    expect(seen.page.locator("#found")).to_have_text("No reading has come yet.")
    expect(seen.page.locator("#said")).to_have_text("not current")
    seen.page.set_viewport_size(PHONE)
    for view in SHOWN:
        seen.page.locator(f"nav a[data-view={view}]").click()
        expect(seen.page.locator(f"#view-{view}")).to_be_visible()
        is_accessible_and_fits(seen.page)
    api.process.kill()
    expect(seen.page.locator("#said")).to_have_text("not connected; trying again", timeout=20_000)
    is_accessible_and_fits(seen.page)
    seen.page.close()


def test_while_workers_catch_up_it_says_that_what_it_shows_is_late_and_how_much_it_left_out(
    chromium: Browser, world: World, request: pytest.FixtureRequest
) -> None:
    """To the page workers are a group that has committed little, and outputs that come."""
    api = start_api(world, world.deployment("behind"), more="backlog_max = 1_000\ncatching_up_share = 0.0001")
    seen = Watched(chromium.new_page, api.url)
    seen.page.goto(api.url)
    said, late, passed = (seen.page.locator(name) for name in ("#said", "#late", "#passed"))
    expect(said).to_have_text("live", timeout=20_000)
    expect(late).to_be_empty()
    expect(passed).to_be_hidden()
    expect(late).to_have_role("status")  # there before it says something, or a screen reader would miss that
    sent = world.send(readings([[1.0] * 5] * (CATCHING_UP // 5 + 1)))
    with forecasts_that_come(world, f"{world.topic}.behind.forecasts"):
        expect(late).to_contain_text("Workers catch up with a backlog", timeout=30_000)
        expect(said).to_have_text("late")
        assert api.get("/api/v1/status")["gives_way"] is True
        sent += world.send(readings([[1.0] * 5] * 4_000))
        wait_until(lambda: passed.inner_text() == passed_over(api), 60, "the page to count what was passed over")
        for name, size, scheme in (("laptop", LAPTOP, "light"), ("phone", PHONE, "dark")):
            seen.page.set_viewport_size(size)
            seen.page.emulate_media(color_scheme=scheme)
            expect(late).to_be_visible()
            expect(passed).to_be_visible()
            keep(seen.page, f"{name}-{scheme}-late", request)
            is_accessible_and_fits(seen.page)
        group = Consumer({"bootstrap.servers": world.bootstrap, "group.id": f"{world.topic}.behind"})
        places = [TopicPartition(world.topic, each, sent) for each in range(world.partitions)]
        group.commit(offsets=places, asynchronous=False)
        group.close()
        expect(said).to_have_text("live", timeout=30_000)
        expect(late).to_be_empty()
    seen.page.close()
    assert seen.said == []


def passed_over(api: Running) -> str:
    count = api.get("/api/v1/status")["passed_over"]
    return count and (
        f"{count:,} messages were passed over: they came faster than this page reads. It does not show them; the "
        "topics have them."
    )


@contextmanager
def forecasts_that_come(world: World, topic: str) -> Iterator[None]:
    producer, over = Producer({"bootstrap.servers": world.bootstrap}), threading.Event()

    def come() -> None:
        for tick in count(START_MS // STEP_MS):
            key, value = forecast("s0", tick, [[1.0] * 6] * 9)
            producer.produce(topic, value, key)
            producer.flush(30)
            if over.wait(0.1):
                return

    coming = threading.Thread(target=come)
    coming.start()
    try:
        yield
    finally:
        over.set()
        coming.join()


def test_a_page_in_one_file_runs_under_its_own_policy(chromium: Browser, tmp_path: Path) -> None:
    figure = coverage_figure([1, 2], {}, 0.8)
    text = page(Document("a title", "and more", [("1", "card")], [Section("plot", figures=[figure])]))
    (tmp_path / "page.html").write_text(text)
    seen = Watched(chromium.new_page, "file://")
    seen.page.goto(f"file://{tmp_path / 'page.html'}")
    expect(seen.page.locator("#figure-0 .main-svg").first).to_be_visible()
    seen.page.close()
    assert seen.said == []
    assert "unsafe" not in text.split("<script>")[0]
