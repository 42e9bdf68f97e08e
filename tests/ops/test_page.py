"""The live page in a real browser, while a real learner learns."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streamlearn.config import Config, load
from streamlearn.events import Event
from streamlearn.monitor.monitor import Monitor
from streamlearn.reports import ExpertReport, MicroBatch, Standing, StepReport, StepResult
from tests.integration.learner import LearnerProcess, send
from tests.ops.stack import needs
from tests.ops.streams import TRAINED, drifted, flowing, themed

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PIXELS_OF = """([id, names]) => {
    const painted = document.querySelector(`#${id} canvas`);
    const copy = Object.assign(document.createElement("canvas"), { width: painted.width, height: painted.height + 1 });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(painted, 0, 1);
    names.forEach((name, index) => {
        context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
        context.fillRect(index, 0, 1, 1);
    });
    const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer);
    return names.map((name, index) => pixels.filter((pixel) => pixel === pixels[index]).length - 1);
}"""
"""Counts a chart's pixels in each of the colours that custom properties of the page's style name."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def learner(config: Config, start_learner: Callable[..., LearnerProcess]) -> LearnerProcess:
    """A learner that has met poison, published a snapshot and found a drift."""
    learner = start_learner()
    send(config, [*map(themed, range(TRAINED)), b"poison", b"\xff"])
    learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
    send(config, map(drifted, range(TRAINED, 2 * TRAINED)))
    learner.wait_for("streamlearn_drift_detections_total", 1, detector="loss")
    return learner


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone-dark", "desktop-light"]
)
def test_the_page_shows_a_drift_and_a_publish_while_learning_runs(
    browser: Browser, config: Config, learner: LearnerProcess, viewport: dict[str, int], scheme: str
) -> None:
    page = browser.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    home = f"http://127.0.0.1:{learner.port}/"
    with flowing(config, map(drifted, count(2 * TRAINED))):
        page.goto(home)
        expect(page.locator("#state")).to_have_text("active")
        expect(page.locator("#happenings")).to_contain_text("drift: the loss has risen at event")
        expect(page.locator("#happenings")).to_contain_text("published at event")
        expect(page.locator("#snapshot")).to_have_text(re.compile(r"v\d+"))
        expect(page.locator("#refused")).to_have_text("2")
        expect(page.locator("#reasons")).to_contain_text("1 not_utf8")
        expect(page.locator("#refusals li")).to_have_count(2)
        expect(page.locator("#refusals")).to_contain_text(f"{config.kafka.topic}/0/")
        expect(page.locator("#labels")).to_contain_text("label-0")
        expect(page.locator("#matrix tbody")).to_contain_text("label-0")
        expect(page.locator("#experts")).to_contain_text("long memory")
        expect(page.locator("#experts")).to_contain_text("transformer")
        trained = number(page, "#trained")
        page.wait_for_function(
            "before => Number(document.querySelector('#trained').textContent.replaceAll(',', '')) > before", arg=trained
        )
        assert min(page.evaluate(PIXELS_OF, ["figure-chart", ["--drift", "--publish", "--accuracy"]])) > 50
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert said == []
    assert len(asked) > 6
    assert {url for url in asked if not url.startswith(home)} == set()
    page.close()


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone-dark", "desktop-light"]
)
def test_the_page_shows_each_expert_and_since_when_one_is_left_out(
    browser: Browser, viewport: dict[str, int], scheme: str
) -> None:
    monitor, standing = Monitor(load(overrides=["monitor.port=0"])), Standing(accuracy=0.5)
    monitor.start()
    assert monitor.server
    page = browser.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    rows, middle = page.locator("#experts tbody tr"), page.locator("#experts tbody tr").nth(1)
    try:
        page.goto(f"http://127.0.0.1:{monitor.server.port}/")
        expect(page.locator("#trained")).to_have_text("0")
        expect(page.locator("#mixture")).to_be_hidden()
        monitor.stepped(standing, mixed(softmax=0.25, middle_least_squares=1.5, transformer=-0.5), 0.1)
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_have_text("softmax0.251.000")
        expect(rows.nth(2)).to_have_text("transformer-0.501.000")
        monitor.stepped(standing, mixed(softmax=0.25, transformer=0.5, dropped="middle_least_squares"), 0.1)
        expect(middle).to_have_text(
            re.compile(r"^middle least squaresleft out since \d\d:\d\d:\d\d: not finite–1.000$")
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        monitor.stepped(standing, mixed(softmax=0.25, transformer=0.5, middle_least_squares=1.5), 0.1)
        expect(middle).to_have_text("middle least squares1.501.000")
        assert said == []
    finally:
        page.close()
        monitor.stop()


@pytest.fixture
def home(browser: Browser) -> Iterator[Callable[..., tuple[Monitor, Page]]]:
    """Starts the monitor of a learner that is active, and opens its page; what the page says on its console fails."""
    monitors, pages = [], []
    said: list[str] = []

    def start(*overrides: str, viewport: dict[str, int] = DESKTOP) -> tuple[Monitor, Page]:
        monitor = Monitor(load(overrides=["monitor.port=0", *overrides]))
        monitor.start()
        monitors.append(monitor)
        monitor.loaded()
        monitor.joined(True)
        monitor.activated(True)
        monitor.taken_over()
        assert monitor.server
        page = browser.new_page(viewport=viewport)  # type: ignore[arg-type]
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"http://127.0.0.1:{monitor.server.port}/")
        return monitor, page

    yield start
    for page in pages:
        page.close()
    for monitor in monitors:
        monitor.stop()
    assert said == []


def judged(pairs: list[tuple[str | int, str | int | None]]) -> StepReport:
    """Return the report of a step on events, of each its label and what was predicted."""
    right = np.array([label == predicted for label, predicted in pairs])
    result = StepResult(right, np.ones(len(pairs), np.float32), 1.0, 1.0, 0.1, predicted=[other for _, other in pairs])
    learnt = [Event("text", label, "", 0.0, "t", 0, number) for number, (label, _) in enumerate(pairs)]
    return StepReport(step=1, batch=MicroBatch(), outcomes=Counter(), refused=[], result=result, learnt=learnt)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_shows_what_each_label_was_taken_for_and_shows_hostile_labels_as_text(
    home: Callable[..., tuple[Monitor, Page]], viewport: dict[str, int]
) -> None:
    monitor, page = home(viewport=viewport)
    expect(page.locator("#trained")).to_have_text("0")
    expect(page.locator("#predictions")).to_be_hidden()
    markup, turned, long = '<img src=x onerror="document.title=1">', "\u202egnp.exe", "wide" * 100
    monitor.stepped(Standing(), judged([(markup, markup), (markup, turned), (turned, long), (long, long)]), 0.1)
    rows = page.locator("#matrix tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_have_text(f"1 {markup}250.0 %1·1")
    expect(rows.nth(1)).to_have_text(f"2 {long}1100.0 %·1·")
    expect(rows.nth(2)).to_have_text("3 \\u202egnp.exe10.0 %·1·")
    expect(page.locator("#matrix thead")).to_have_text("labeleventsrecallas 1as 2as 3")
    assert page.locator("#matrix img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    many = [(number, number) for number in range(30)]
    monitor.stepped(Standing(), judged([*many, *many[:9], *many[:9]]), 0.1)
    expect(rows).to_have_count(11)
    expect(rows.last).to_contain_text("other labels")
    expect(page.locator("#matrix thead")).to_contain_text("as other")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_each_number_stands_in_one_place_and_one_is_no_plural(home: Callable[..., tuple[Monitor, Page]]) -> None:
    monitor, page = home()
    counts = Counter(trained=7, duplicate=1, dead_letter=2, held_out=3)
    standing = Standing(counts=counts, reasons=Counter(not_json=2), buffer_records=7, buffer_capacity=100)
    lag = {("t", 0): 5}
    monitor.beat(lambda: (standing, lag))
    expect(page.locator("#trained")).to_have_text("7")
    expect(page.locator("#counts")).to_have_text("1 duplicate, 3 held out")
    expect(page.locator("#refused")).to_have_text("2")
    expect(page.locator("#reasons")).to_have_text("not_json")
    expect(page.locator("#lag")).to_have_text("5")
    expect(page.locator("#partitions")).to_have_text("1 partition")
    monitor.live.lags({("t", 0): 0, ("t", 1): 5})
    expect(page.locator("#partitions")).to_have_text("all of it in t/1")
    monitor.live.lags({("t", 0): 2, ("t", 1): 3})
    expect(page.locator("#partitions")).to_have_text("t/1: 3, t/0: 2")
    monitor.live.stands(
        replace(standing, counts=counts + Counter(duplicate=1), reasons=Counter(not_json=1, tombstone=1))
    )
    expect(page.locator("#counts")).to_have_text("2 duplicates, 3 held out")
    expect(page.locator("#reasons")).to_have_text("1 not_json, 1 tombstone")


def test_the_page_says_what_is_waited_for_and_nothing_while_it_learns(
    home: Callable[..., tuple[Monitor, Page]],
) -> None:
    monitor, page = home()
    waits = page.locator("#waits li")
    expect(page.locator("#state")).to_have_text("active")
    expect(waits).to_have_count(0)
    monitor.checkpointed("failed", 0.1, "No space left on device <b>")
    monitor.control.ask("pause")
    expect(page.locator("#state")).to_have_text("paused")
    expect(waits).to_have_count(2)
    expect(waits.first).to_have_text(
        re.compile(r"^paused by an operator: waiting for 'streamlearn resume' \(for \d+ s\)$")
    )
    expect(waits.last).to_contain_text("while learning goes on: No space left on device <b> (for")
    monitor.control.ask("resume")
    monitor.checkpointed("written", 0.1)
    expect(waits).to_have_count(0)


def test_of_a_language_model_the_page_shows_bits_per_byte_and_nothing_about_labels(
    home: Callable[..., tuple[Monitor, Page]],
) -> None:
    monitor, page = home("updater.objective=language_model")
    told = replace(judged([]), result=StepResult(np.empty(0, bool), np.ones(1, np.float32), 1.0, 1.0, 0.1))
    standing = Standing(counts=Counter(trained=1), bits_per_byte=1.25, buffer_records=1, by_label={"": 1})
    monitor.stepped(standing, told, 0.1)
    expect(page.locator("#figure")).to_have_text("1.250")
    expect(page.locator("#figure-name")).to_have_text("bits per byte")
    expect(page.locator("#figure-title")).to_have_text("Bits per byte over the events learnt")
    for about_labels in ("#predictions", "#mixture"):
        expect(page.locator(about_labels)).to_be_hidden()
    expect(page.locator("#labels tbody tr")).to_have_count(0)
    assert "accuracy" not in page.locator("main").inner_text().lower()


def mixed(*, dropped: str = "", **weights: float) -> StepReport:
    """Return the report of a step on one event, which every expert that was not `dropped` took with a loss of 1."""
    result = StepResult(
        np.array([True]),
        np.array([1.0], np.float32),
        *(1.0, 1.0, 0.1),
        experts={name: ExpertReport(weight, loss=1.0) for name, weight in weights.items()},
        dropped={dropped: "not_finite"} if dropped else {},
    )
    return StepReport(step=1, batch=MicroBatch(), outcomes=Counter(), refused=[], result=result)


def number(page: Page, selector: str) -> int:
    return int(page.locator(selector).inner_text().replace(",", ""))


def test_the_page_says_that_nobody_answers_and_since_when(browser: Browser, learner: LearnerProcess) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{learner.port}/")
    expect(page.locator("#state")).to_have_text("active")
    expect(page.locator("#silence")).to_be_hidden()
    learner.kill()
    expect(page.locator("#silence")).to_contain_text("No answer since")
    expect(page.locator("#state")).to_have_text("no answer")
    page.close()


def test_the_text_of_an_event_is_nowhere_on_the_page_or_in_the_log(
    config: Config, start_learner: Callable[..., LearnerProcess], browser: Browser
) -> None:
    learner = start_learner("monitor.log_level=debug", "monitor.log_format=json", "events.max_text_characters=60")
    marker = b"orbitmarker"
    text = b'{"text": "' + marker + b' %d", "label": "a"}'
    send(config, [text % number for number in range(300)])
    send(config, [marker, b'{"text": "' + marker * 100 + b'"}', b'{"text": ["' + marker + b'"], "label": "a"}'])
    learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
    learner.wait_for("streamlearn_dead_letters_total", 1, reason="wrong_type")
    page = browser.new_page()
    bodies: list[str] = []
    page.on("response", lambda response: bodies.append(response.text()))
    page.goto(f"http://127.0.0.1:{learner.port}/", wait_until="networkidle")
    assert any('"state"' in body for body in bodies)
    assert not [body for body in bodies if marker.decode() in body]
    page.close()
    assert learner.terminate() == 0
    log = learner.stderr()
    assert '"message"' in log
    assert marker.decode() not in log
