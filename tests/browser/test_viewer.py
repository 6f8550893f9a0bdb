"""The viewer in a real browser: runs are found, followed, read, compared, by mouse and by keyboard, wide and narrow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import stage

PAGES = ("/", "/new", "/evaluations", "/runs/quick", "/runs/hostile", "/runs/nested", "/runs/absent", "/runs/fused",
         "/runs/long", "/runs/wide", "/compare?run=quick&run=absent")  # fmt: skip


def told(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def rows(page: Any) -> Any:
    return page.get_by_role("table", name="Runs").locator("tbody tr")


def count(locator: Any, number: int) -> None:
    """Wait until there are so many."""
    from playwright.sync_api import expect

    expect(locator).to_have_count(number, timeout=15_000)


def open_turn(page: Any, name: str) -> Any:
    """Open a turn among the messages; gives the reader."""
    page.get_by_role("button", name=re.compile(name)).first.click()
    reader = page.locator(".reader")
    reader.get_by_role("heading").first.wait_for()
    return reader


# ---- the list ---------------------------------------------------------------------------------------------------


def test_runs_are_filtered_and_the_address_says_how(page: Any, url: str) -> None:
    page.goto(url)
    count(rows(page).filter(has_text="wide"), 1)
    page.keyboard.press("/")
    page.keyboard.type("three fri")
    count(rows(page), 1)
    assert "three friends" in rows(page).inner_text()
    assert re.search(r"[?&]text=three", page.url)
    page.reload()  # a link to it shows the same
    count(rows(page), 1)
    page.get_by_role("searchbox").fill("")
    count(rows(page).filter(has_text="wide"), 1)
    page.get_by_role("combobox", name="Debate").select_option("absent voices")
    count(rows(page), 1)
    assert "unknown" in rows(page).inner_text()  # a price that is not known is not zero
    page.get_by_role("combobox", name="Status").select_option("failed")
    count(rows(page), 0)


def test_two_runs_side_by_side(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_role("checkbox", name="Compare run quick").check()
    page.get_by_role("checkbox", name="Compare run absent").check()
    page.get_by_role("link", name=re.compile("^Compare")).or_(
        page.get_by_role("button", name=re.compile("^Compare"))
    ).first.click()
    page.wait_for_url(re.compile(r"/compare\?run="))
    page.get_by_role("heading", name="What they came to").wait_for()
    shown = page.get_by_role("main").inner_text()
    for said in ("three friends", "absent voices", "They come to different answers"):
        assert said in shown


# ---- a run ------------------------------------------------------------------------------------------------------


def test_the_reader_shows_exactly_what_an_agent_saw(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/quick")
    page.get_by_role("gridcell", name=re.compile("42 changed after bob")).get_by_role("button").click()
    reader = page.locator(".reader")
    reader.locator(".prompt").wait_for()
    records = told(f"{url}/api/runs/quick")["records"]
    (call,) = (r for r in records if r["type"] == "call" and r["path"] == "ann/1/revise")
    asked = told(f"{url}/api/runs/quick/calls/{call['id']}")["request"]["messages"]
    sent = reader.locator(".prompt .sent")
    shown = ["".join(sent.nth(i).locator(".words").all_text_contents()) for i in range(sent.count())]
    assert shown == [content for _, content in asked]
    assert "6 times 7 is 42" in shown[-1]  # what bob had said
    assert "bob" in sent.last.locator(".gutter").all_inner_texts()[-1]  # and that it was he
    assert "turn=" in page.url  # a link to it
    page.reload()
    reader.get_by_role("heading").first.wait_for()
    page.keyboard.press("Escape")
    reader.wait_for(state="hidden")


def test_a_live_debate_is_followed_to_its_verdict(page: Any, url: str, store: Path) -> None:
    with stage.playing(store, "slow"):
        while not any(run["id"] == "slow" for run in told(f"{url}/api/runs")["runs"]):
            page.wait_for_timeout(50)
        page.goto(url)
        rows(page).filter(has_text="slow friends").get_by_role("link").first.click()
        main = page.get_by_role("main")
        main.get_by_text("Running").first.wait_for()
        page.get_by_role("gridcell", name=re.compile("41")).first.wait_for()  # a first answer, while others think
        assert main.get_by_text("Done").count() == 0
        main.get_by_text("Done").first.wait_for(timeout=30_000)
        page.get_by_role("columnheader", name=re.compile("Round 2")).wait_for()
        assert "42" in page.locator("article strong, .verdict").first.inner_text()
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1  # the page was never loaded anew


def test_a_run_is_replayed(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/quick")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    page.get_by_role("gridcell", name=re.compile("42")).first.wait_for(state="detached")
    page.get_by_role("combobox", name="Speed").select_option("very fast")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("columnheader", name=re.compile("Round 2")).wait_for()
    page.get_by_text("decided").first.wait_for()


def test_a_nested_debate_opens(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/nested")
    page.get_by_role("button", name=re.compile("panel.*round 0", re.I)).or_(
        page.get_by_role("link", name=re.compile("panel.*round 0", re.I))).first.click()  # fmt: skip
    page.get_by_text("eve").first.wait_for()


def test_tokens_have_heat(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/fused")
    open_turn(page, "fused : read round 0")
    text = page.locator(".heat .tokens")
    text.wait_for()
    assert text.locator(".tok").count() == 7
    assert text.inner_text().replace("·", " ").replace("↵", "").split() == [
        "The",
        "answer",
        "is",
        "<i>",
        "Answer:",
        "42",
    ]
    text.locator(".tok").first.click()
    page.keyboard.press("ArrowRight")
    said = page.locator(".heat").inner_text()
    assert "answer" in said
    assert "left" in said  # each member's probability
    assert "right" in said


# ---- hostile texts ----------------------------------------------------------------------------------------------


def test_nothing_that_was_said_does_anything(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/hostile")
    turns = page.get_by_role("button", name=re.compile(": read round"))
    turns.first.wait_for()
    assert turns.count() == 10
    for i in range(10):
        turns.nth(i).click()
        page.locator(".reader .prompt").first.wait_for()
        page.wait_for_timeout(100)
    assert page.evaluate("window.__hit") is None
    assert page.locator("main img, main iframe, main script, main object, main embed").count() == 0
    addresses = page.eval_on_selector_all("a", "links => links.map(a => a.getAttribute('href'))")
    assert all(re.match(r"^(/|#)", address) for address in addresses), addresses
    shown = page.get_by_role("main").inner_text()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b\x07]", shown)  # they are named instead


def test_another_site_learns_and_does_nothing(chromium: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    command = [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={"PYTHONUNBUFFERED": "1"}
    )
    try:
        assert server.stdout is not None
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port is not None
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{port[1]}/")
        before = len(told(f"{url}/api/runs")["runs"])
        got = page.evaluate(
            """async (url) => {
              const out = [];
              for (const [where, how] of [['/api/runs', {}], ['/api/runs/quick', {}], ['/api/runs', {mode: 'no-cors'}],
                  ['/api/debates', {method: 'POST', body: '{}', mode: 'no-cors'}],
                  ['/api/debates', {method: 'POST', body: '{}', headers: {'content-type': 'application/json'}}]]) {
                try { const r = await fetch(url + where, how); out.push(r.type + (await r.text()).length) }
                catch (e) { out.push('refused') }
              }
              return out;
            }""",
            url,
        )
        assert got == ["refused", "refused", "opaque0", "opaque0", "refused"]
        assert len(told(f"{url}/api/runs")["runs"]) == before
        context.close()
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


# ---- keyboard, narrow, readable ---------------------------------------------------------------------------------


def test_a_run_is_read_by_keyboard_alone(page: Any, url: str) -> None:
    page.goto(url)
    rows(page).first.wait_for()

    def tab_to(match: str, most: int = 80) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || ''"
            )
            if re.search(match, name):
                return
        raise AssertionError(f"no tab stop {match!r}")

    page.keyboard.press("/")
    page.keyboard.type("three friends")
    count(rows(page), 1)
    tab_to("six times seven")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/runs/quick"))
    page.get_by_role("grid").wait_for()
    tab_to("ann: 42")  # in the graph, which is one stop
    page.keyboard.press("ArrowRight")
    assert "bob" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    tab_to(r"^(ann|A|B|41|42|A 41)")  # the table, one stop too
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".reader").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('.reader').contains(document.activeElement)")
    page.keyboard.press("Escape")
    page.locator(".reader").wait_for(state="hidden")
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.closest('[role=grid]') !== null")  # back where it was


@pytest.mark.parametrize("width", [320, 375, 768])
def test_no_page_is_wider_than_the_screen(chromium: Any, url: str, width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    for address in PAGES:
        page.goto(url + address)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    page.goto(f"{url}/runs/quick")
    open_turn(page, "ann : read round 1")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Any, url: str, scheme: str) -> None:
    if not stage.AXE.is_file():
        pytest.skip("axe-core is not there: npm ci in agora/view/front")
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    found = []
    for address in (*PAGES, "/runs/quick#reader", "/runs/fused#reader"):
        page.goto(url + address.removesuffix("#reader"))
        page.wait_for_timeout(500)
        if address.endswith("#reader"):
            open_turn(page, ": read round").locator(".prompt").wait_for()
            page.wait_for_timeout(300)
        page.add_script_tag(path=str(stage.AXE))
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            (address, v["id"], v["nodes"][0]["html"][:160], v["nodes"][0].get("failureSummary", "")[:300])
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
        ]
    context.close()
    assert found == []


def test_movement_can_be_left_out(chromium: Any, url: str) -> None:
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{url}/runs/quick")
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.get_by_role("combobox", name="Speed").select_option("fast")
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(500)
    moving = page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length")
    assert moving == 0
    assert page.locator("svg .dot").count() == 0
    context.close()


# ---- as one file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", ["quick", "hostile", "nested", "fused", "long"])
def test_a_file_opens_without_a_network(chromium: Any, store: Path, tmp_path: Path, scene: str) -> None:
    path = tmp_path / "run.html"
    command = [sys.executable, "-m", "agora.cli", "show", scene, "--html", str(path), "--store", str(store)]
    subprocess.run(command, check=True, capture_output=True)
    context = chromium.new_context(offline=True)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    page.get_by_role("grid").wait_for()
    open_turn(page, ": read round").locator(".prompt").wait_for()
    assert "What is six times seven?" in page.locator(".reader").inner_text() or scene == "hostile"
    assert page.evaluate("window.__hit") is None
    assert [each for each in asked if not each.startswith("file:")] == []
    assert wrong == []
    context.close()


# ---- many -------------------------------------------------------------------------------------------------------


def test_a_thousand_agents_are_few_elements(page: Any, url: str) -> None:
    page.goto(f"{url}/runs/wide")
    page.get_by_role("grid").wait_for()
    assert page.locator("svg").first.is_visible()
    assert page.evaluate("document.getElementsByTagName('*').length") < 20_000
    stops = page.evaluate("[...document.querySelectorAll('svg [tabindex=\"0\"]')].length")
    assert stops <= 1


# ---- begun from the page ----------------------------------------------------------------------------------------


def test_a_debate_is_begun_from_the_form_and_followed(page: Any, url: str) -> None:
    page.goto(f"{url}/new")
    page.get_by_role("textbox", name="Question").fill("What is six times seven?")
    page.get_by_role("radio", name=re.compile(r"^duo \(file\)")).check()
    page.get_by_role("region", name="What it would be").get_by_text("Calls").wait_for()  # before anything is sent
    page.get_by_role("button", name="Start the debate").click()
    page.wait_for_url(re.compile("/runs/"))
    main = page.get_by_role("main")
    main.get_by_text("Running").first.wait_for()
    main.get_by_text("Done").first.wait_for(timeout=30_000)
    assert "42" in page.locator("article strong").first.inner_text()


def test_a_person_takes_a_seat_and_speaks(page: Any, url: str) -> None:
    page.goto(f"{url}/new")
    page.get_by_role("textbox", name="Question").fill("Ida has 12 pens and buys 30. How many pens now?")
    for number in (4, 3, 2):
        page.get_by_role("button", name=re.compile(f"^Take out .* number {number}$")).click()
    page.get_by_role("checkbox", name="I take part").check()
    page.get_by_role("textbox", name=re.compile("name|called", re.I)).first.fill("Ida")
    page.get_by_role("button", name="Start the debate").click()
    page.wait_for_url(re.compile("/runs/"))
    for said in ("I say it is 41. Answer: 41", "Right, I had miscounted. Answer: 42"):
        seat = page.get_by_role("region", name="Your turn as Ida")
        seat.wait_for()
        assert "pens" in seat.inner_text()
        box = seat.get_by_role("textbox", name="Your answer")
        box.fill(said)
        box.press("Control+Enter")
        page.get_by_role("gridcell", name=re.compile(said[-2:])).first.wait_for()
        if page.get_by_role("main").get_by_text("Done").count():
            break
    page.get_by_role("main").get_by_text("Done").first.wait_for(timeout=30_000)
    records = told(f"{url}/api/runs/{page.url.rpartition('/runs/')[2].partition('#')[0]}")["records"]
    assert [r["text"] for r in records if r["type"] == "call" and r["path"].startswith("Ida/0")] == [
        "I say it is 41. Answer: 41"
    ]
