"""The page in headless Chromium: it draws, plays, and asks nobody."""

import json
import shutil
import time

import pytest

from ssps_plugin.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
PATIENCE_SECONDS = 60

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="chromium or chromedriver is not installed (Debian's packages "
    "chromium and chromium-driver)",
)


def wait_for(ask):
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := ask()):
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)
    return answer


class Page:
    """A page in a browser, at a width and in a colour scheme."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, width=1440, scheme="light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.driver.get(path.resolve().as_uri())
        wait_for(lambda: self.ask("document.documentElement.dataset.drawn"))

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def ask(self, expression):
        return self.driver.execute_script(f"return {expression}")

    def requests(self):
        """Addresses that the browser has asked for since last time."""
        entries = self.driver.get_log("performance")
        events = [json.loads(one["message"])["message"] for one in entries]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]


@pytest.fixture(scope="module")
def page():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        *("--no-sandbox", "--headless=new", "--disable-gpu", "--mute-audio"),
        *("--disable-dev-shm-usage", "--window-size=1440,900"),
        "--autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(argument)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="module")
def report(pair, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(list(pair), path, png=False, device="cpu")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_page_is_drawn_without_an_error_or_a_request(
    page, report, width, scheme
):
    page.requests()
    page.open(report, width, scheme)
    num_charts = page.ask("document.querySelectorAll('[data-chart]').length")
    assert num_charts > 10
    drawn = page.ask(
        "[...document.querySelectorAll('[data-chart]')].filter(c => "
        "c.querySelector('.scatterlayer .trace path, .barlayer .trace path'))"
        ".length"
    )
    assert drawn == num_charts
    assert page.driver.get_log("browser") == []
    assert page.requests() == [report.resolve().as_uri()]
    # Nothing is wider than the screen.
    assert page.ask("document.documentElement.scrollWidth") <= width


def test_colours_follow_the_reader(page, report):
    page.open(report, scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('.scatterlayer path.js-line').style.stroke"
    light = page.ask(colour), page.ask(line)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.command("Emulation.setEmulatedMedia", features=features)
    wait_for(lambda: page.ask(line) != light[1])
    assert page.ask(colour) != light[0]


def test_labels_of_marks_do_not_lie_on_each_other_or_outside(page, report):
    page.open(report, 390)
    outside = page.ask(
        "[...document.querySelectorAll('.annotation, .legendtext')].filter("
        "e => { const b = e.getBoundingClientRect(); "
        "return b.left < -1 || b.right > 391; }).map(e => e.textContent)"
    )
    assert outside == []
    # Titles of axes and the legend below them.
    overlapping = page.ask(
        "[...document.querySelectorAll('[data-chart]')].filter(c => {"
        "const a = c.querySelector('.xtitle'), l = c.querySelector('.legend');"
        "return a && l && a.getBoundingClientRect().bottom > "
        "l.getBoundingClientRect().top + 2; }).map(c => c.dataset.chart)"
    )
    assert overlapping == []


def test_every_clip_has_a_length_and_one_plays(page, report):
    page.open(report)
    lengths = wait_for(
        lambda: page.ask(
            "(a => a.every(e => e.readyState > 0) && a.map(e => e.duration))"
            "([...document.querySelectorAll('audio')])"
        )
    )
    assert len(lengths) >= 8 and all(0.3 < one < 3.5 for one in lengths)
    page.driver.execute_script("document.querySelector('audio').play()")
    wait_for(lambda: page.ask("document.querySelector('audio').currentTime"))
    assert page.ask("document.querySelector('audio').error") is None


def test_clip_that_starts_stops_the_others(page, report):
    page.open(report)
    page.driver.execute_script(
        "const a = document.querySelectorAll('audio'); a[0].loop = true; "
        "a[0].play(); setTimeout(() => a[1].play(), 200);"
    )
    second = "document.querySelectorAll('audio')[1]"
    wait_for(lambda: page.ask(f"{second}.currentTime > 0 || {second}.ended"))
    assert page.ask("document.querySelector('audio').paused")


def test_map_is_coloured_by_what_is_chosen(page, report):
    page.open(report)
    fills = (
        "[...document.querySelector('.switch').parentNode.querySelectorAll("
        "'.scatterlayer .point')].map(p => p.style.fill).join()"
    )
    by_speaker = page.ask(fills)
    buttons = page.driver.find_elements("css selector", ".switch button")
    assert [one.text for one in buttons[:2]] == [
        *("Colour by speaker", "Colour by recording"),
    ]
    page.driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})",
        buttons[1],
    )
    buttons[1].click()
    wait_for(lambda: page.ask(fills) != by_speaker)
    assert buttons[1].get_attribute("aria-pressed") == "true"
    buttons[0].click()
    wait_for(lambda: page.ask(fills) == by_speaker)


def test_hostile_names_run_nothing(page, tmp_path):
    from tests.report.conftest import write_run

    name = "<img src=x onerror=\"document.title='owned'\">"
    path = write_report(
        write_run(tmp_path / "a" / name.replace("/", "")),
        tmp_path / "out.html",
        png=False,
    )
    page.open(path)
    assert "owned" not in page.driver.title.replace(name, "")
    assert page.ask("document.querySelectorAll('main img').length") == 0
    assert page.driver.get_log("browser") == []
