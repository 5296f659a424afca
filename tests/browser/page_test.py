"""Tests the web page of `onepass serve` in headless Chromium; tests/browser/run.sh runs it.

Every test uses the page as a person would. Each one also fails on any error in the browser's console,
any fault of the page's script, and any violation of the page's content security policy.
"""

import argparse
import json
import os
import pathlib
import sys
import time
import unittest
import urllib.error
import urllib.request
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HANDOFFS = ("kv", "text")
HOSTILE = "<img src=x onerror=hacked()></script><script>hacked()</script>"

# Collects what the page must never do.
WATCH = """
window.seen = {violations: [], hacked: false, texts: []};
window.hacked = () => { window.seen.hacked = true; };
document.addEventListener("securitypolicyviolation", (event) =>
  window.seen.violations.push(event.violatedDirective + " " + event.blockedURI));
"""

# Notes each text that is put into a stage's output.
WATCH_OUTPUTS = """() => new MutationObserver((changes) => {
  for (const change of changes) {
    if (!change.target.matches?.(".text")) continue;
    const stage = change.target.closest("li").querySelector("h4").textContent;
    for (const node of change.addedNodes) {
      window.seen.texts.push({run: change.target.closest("div[id]").id, stage, text: node.data});
    }
  }
}).observe(document.getElementById("runs"), {childList: true, subtree: true})"""

# Presses Cancel as soon as an output has a token.
CANCEL_AT_FIRST_TOKEN = """() => new MutationObserver((changes, observer) => {
  if (!document.querySelector("#runs .text")?.textContent) return;
  observer.disconnect();
  document.getElementById("cancel").click();
}).observe(document.getElementById("runs"), {childList: true, subtree: true})"""

# Gives each byte of a stream as a chunk of its own.
CUT_STREAMS = """
const wholeFetch = window.fetch;
window.fetch = async (...request) => {
  const response = await wholeFetch(...request);
  if (!response.headers.get("Content-Type").startsWith("text/event-stream")) return response;
  const cutter = new TransformStream({
    transform(chunk, controller) {
      for (const byte of chunk) controller.enqueue(new Uint8Array([byte]));
    },
  });
  return new Response(response.body.pipeThrough(cutter), response);
};
"""

OPTIONS = argparse.Namespace()


def ask(url: str, body: dict[str, Any] | None = None) -> bytes:
    """What the server answers, the body of a fault too; without a body GET, otherwise POST."""
    answer: bytes
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=60) as response:
            answer = response.read()
    except urllib.error.HTTPError as fault:
        answer = fault.read()
    return answer


def run_chain(fields: dict[str, str], handoff: str) -> dict[str, Any]:
    """The demo chain's run by the API alone, without a stream."""
    body = {"fields": fields, "handoff": handoff}
    result: dict[str, Any] = json.loads(ask(f"{OPTIONS.open}/v1/chains/demo/run", body))
    return result


def plan_of(chain: str, handoff: str) -> dict[str, Any]:
    """The plan that the server tells."""
    plan: dict[str, Any] = json.loads(ask(f"{OPTIONS.open}/v1/chains/{chain}"))["plans"][handoff]
    return plan


def aborted_requests() -> float:
    """How many requests the server ended because their client had gone."""
    lines = ask(f"{OPTIONS.open}/metrics").decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if 'finished_reason="abort"' in line)


def event(name: str, data: dict[str, Any]) -> str:
    """One event of a stream, as the server writes it."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def stage_result(text: str) -> dict[str, Any]:
    """A stage's result with some numbers."""
    keys = ("prefill_ms", "handoff_ms", "first_token_ms", "decode_ms")
    counts = ("tokens_computed", "tokens_reused", "tokens_recomputed")
    facts = {**dict.fromkeys(keys, 1.0), **dict.fromkeys(counts, 1)}
    return {"text": text, "token_ids": [1], "finish": "stop_token", **facts}


def told_run(text: str) -> str:
    """A stream of one stage and one tool that say `text` wherever a text can stand."""
    head = {"step": 0, "name": "compress", "round": 1}
    tool = {"query": text, "documents": [{"id": text, "score": 1.0}], "ms": 0.5}
    stage = stage_result(text)
    done = {"text": text, "stages": [stage], "total_ms": 9.0, "tokens_computed": 1}
    done |= {"tokens_reused": 1, "tokens_recomputed": 0, "peak_kv_bytes": 1000}
    return "".join(
        [
            event("stage_started", head | {"at_ms": 1.0, "handoff": "kv"}),
            event("token", head | {"at_ms": 3.0, "text": text, "token_ids": [1]}),
            event("stage_finished", head | {"at_ms": 4.0, "result": stage}),
            event("tool_call", head | {"name": text, "step": 1, "at_ms": 5.0, "result": tool}),
            event("finished", done),
            "data: [DONE]\n\n",
        ]
    )


def numbers(bars: Locator, attribute: str) -> list[float]:
    """An attribute of each of several shapes."""
    return [float(bar.get_attribute(attribute) or "nan") for bar in bars.all()]


class PageTest(unittest.TestCase):
    """One browser for all tests, one context a test."""

    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        cls.browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self) -> None:
        self.faults: list[str] = []
        self.expected_status = ""  # of an answer that the console may complain of
        self.page = self.new_page()

    def tearDown(self) -> None:
        for page in self.page.context.pages:
            seen = page.evaluate("window.seen")
            self.assertEqual(seen["violations"], [])
            self.assertFalse(seen["hacked"])
        self.page.context.close()
        self.assertEqual(self.faults, [])

    def new_page(self, url: str = "", **settings: Any) -> Page:
        """The page in a fresh context, with its chains loaded."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(20_000)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.on("console", lambda message: self.note(message.type, message.text))
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.on("dialog", lambda dialog: self.faults.append("a dialog: " + dialog.message))
        page.goto(url or OPTIONS.open)
        return page

    def note(self, kind: str, text: str) -> None:
        """Keeps what the console says, but for the refusal that a test asks for."""
        refusal = (
            self.expected_status and f"the server responded with a status of {self.expected_status}" in text
        )
        if kind in ("error", "warning") and not refusal:
            self.faults.append(text)

    def ready(self, page: Page) -> Page:
        """The page when its form can be used."""
        expect(page.locator("#run")).to_be_enabled()
        return page

    def run_and_wait(self, page: Page) -> None:
        """Presses Run and waits for both hand-offs."""
        self.ready(page).get_by_role("button", name="Run").click()
        expect(page.get_by_role("status")).to_have_text("Done.")

    def fields(self, page: Page) -> dict[str, str]:
        """What stands in the form."""
        areas = page.locator("#fields textarea").all()
        return {str(area.get_attribute("name")): area.input_value() for area in areas}

    def choose(self, page: Page, chain: str) -> None:
        """Chooses a chain and waits for its form."""
        self.ready(page).get_by_role("combobox", name="Chain", exact=True).select_option(chain)
        self.ready(page)

    def paste(self, page: Page, record: Any) -> None:
        """Pastes a whole record."""
        if not page.get_by_label("Record").is_visible():
            page.get_by_text("Paste a whole record").click()
        text = record if isinstance(record, str) else json.dumps(record)
        page.get_by_label("Record").fill(text)

    def measure_shown_run(self, page: Page) -> None:
        """Chooses that no runs follow those that are shown."""
        self.ready(page).get_by_role("combobox", name="Measure", exact=True).select_option("0")

    def answer_runs_with(self, page: Page, stream: str) -> None:
        """Lets every run be answered with this stream."""

        def respond(route: Route) -> None:
            route.fulfill(status=200, content_type="text/event-stream; charset=utf-8", body=stream)

        page.route("**/run", respond)

    # The tests.

    def test_served_page_is_the_file(self) -> None:
        self.assertEqual(ask(OPTIONS.open + "/"), (REPOSITORY / "src/serve/page.html").read_bytes())

    def test_form_shows_chains_and_an_example(self) -> None:
        page = self.ready(self.page)
        models = json.loads(ask(OPTIONS.open + "/v1/models"))["data"]
        self.assertEqual(
            page.locator("#chain option").all_inner_texts(),
            [
                model["id"]
                for model in sorted(models, key=lambda model: ("chain", "stage", "base").index(model["kind"]))
            ],
        )
        self.assertEqual(set(self.fields(page)), {"I_ALL", "I_A"})
        self.assertTrue(all(self.fields(page).values()))

    def test_tokens_of_every_stage_stream(self) -> None:
        self.ready(self.page).evaluate(WATCH_OUTPUTS)
        fields = self.fields(self.page)
        self.run_and_wait(self.page)
        texts = self.page.evaluate("window.seen.texts")
        for handoff in HANDOFFS:
            for stage in run_chain(fields, handoff)["stages"]:
                pieces = [
                    seen["text"]
                    for seen in texts
                    if (seen["run"], seen["stage"]) == (f"run-{handoff}", stage["name"])
                ]
                self.assertEqual("".join(pieces), stage["text"])
                self.assertEqual(len(pieces), len(stage["token_ids"]))

    def test_answers_are_those_of_the_api(self) -> None:
        self.ready(self.page).get_by_label("I_ALL", exact=True).fill("Where does Alice Vance live?")
        self.run_and_wait(self.page)
        for handoff in HANDOFFS:
            answer = run_chain(self.fields(self.page), handoff)["text"]
            self.assertEqual(self.page.locator(f"#answer-{handoff}").text_content(), answer)

    def test_timeline_has_the_bars_of_each_stage(self) -> None:
        self.run_and_wait(self.page)
        for i, handoff in enumerate(HANDOFFS):
            svg = self.page.locator("#timelines svg").nth(i)
            steps = {
                kind: [bar.get_attribute("data-step") for bar in svg.locator(f"rect.{kind}").all()]
                for kind in ("prefill", "handoff", "decode")
            }
            # Under kv the answering stage has nothing to prefill.
            prefilled = ["0"] if handoff == "kv" else ["0", "1"]
            self.assertEqual(steps, {"prefill": prefilled, "handoff": ["1"], "decode": ["0", "1"]})
            begins = numbers(svg.locator("rect.decode"), "x")
            first_end = begins[0] + numbers(svg.locator("rect.decode"), "width")[0]
            handoff_begin = numbers(svg.locator("rect.handoff"), "x")[0]
            self.assertLessEqual(first_end, handoff_begin + 2.5)
            self.assertLess(handoff_begin, begins[1])
            prefill = svg.locator("rect.prefill").first
            self.assertAlmostEqual(
                numbers(prefill, "x")[0] + numbers(prefill, "width")[0], begins[0], delta=2
            )

    def test_timelines_have_one_scale(self) -> None:
        self.run_and_wait(self.page)
        lines = [numbers(svg.locator("line.grid"), "x1") for svg in self.page.locator("#timelines svg").all()]
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0], lines[1])

    def test_segments_are_those_of_the_plan(self) -> None:
        self.ready(self.page)
        for handoff, again in (("kv", 0), ("text", 2), ("text-cached", 1)):
            if handoff != "kv":
                self.page.get_by_role("combobox", name="Compare with hand-off", exact=True).select_option(
                    handoff
                )
            plan = plan_of("demo", handoff)
            svg = self.page.get_by_role(
                "region", name=f"Segments under hand-off {handoff}", exact=True
            ).locator("svg")
            expect(svg.locator("rect[data-segment]")).to_have_count(len(plan["segments"]))
            expect(svg.locator("rect[fill]")).to_have_count(again)
            reads = {
                (step, read)
                for step, made in enumerate(plan["steps"])
                for written in made["writes"]
                for read in plan["segments"][written]["view"]
            }
            expect(svg.locator("circle")).to_have_count(len(reads))

    def test_costs_are_those_of_the_api(self) -> None:
        self.run_and_wait(self.page)
        cells = (
            self.page.locator("#cost-table tr")
            .filter(has_text="tokens recomputed")
            .locator("td")
            .all_inner_texts()
        )
        expected = [run_chain(self.fields(self.page), handoff)["tokens_recomputed"] for handoff in HANDOFFS]
        self.assertEqual([int(cell) for cell in cells[:2]], expected)
        self.assertEqual(int(cells[0]), 0)
        self.assertGreater(int(cells[1]), 0)

    def test_measured_runs_alternate_and_are_counted(self) -> None:
        asked: list[Any] = []
        self.page.on(
            "request",
            lambda request: asked.append(request.post_data_json) if request.method == "POST" else None,
        )
        self.run_and_wait(self.page)
        expect(self.page.locator("#cost-note")).to_contain_text("Medians of 5 runs")
        self.assertEqual([body["handoff"] for body in asked], ["kv", "text"] * 6)
        self.assertEqual([body["stream"] for body in asked], [True] * 2 + [False] * 10)
        asked.clear()
        self.measure_shown_run(self.page)
        self.run_and_wait(self.page)
        expect(self.page.locator("#cost-note")).to_contain_text("one each")
        self.assertEqual(len(asked), 2)

    def test_hostile_record_is_text(self) -> None:
        page = self.ready(self.page)
        self.paste(page, {"I_ALL": HOSTILE, "I_A": HOSTILE, HOSTILE: 1})
        self.assertEqual(self.fields(page), {"I_ALL": HOSTILE, "I_A": HOSTILE})
        expect(page.locator("#record-note")).to_contain_text(HOSTILE)
        self.run_and_wait(page)
        self.assertEqual(page.locator("img").count(), 0)

    def test_hostile_output_is_text(self) -> None:
        self.answer_runs_with(self.page, told_run(HOSTILE))
        self.measure_shown_run(self.page)
        self.run_and_wait(self.page)
        expect(self.page.locator("#answer-kv")).to_have_text(HOSTILE)
        expect(self.page.locator("#run-kv h4").nth(1)).to_have_text(HOSTILE)
        self.assertEqual(self.page.locator("#run-kv .text").all_inner_texts(), [HOSTILE, HOSTILE])
        self.assertEqual(self.page.locator("img").count(), 0)

    def test_hostile_names_are_text(self) -> None:
        page = self.ready(self.page)
        chain = json.loads(ask(OPTIONS.open + "/v1/chains/demo"))
        chain["fields"] = [HOSTILE]
        for plan in chain["plans"].values():
            for named in plan["segments"] + plan["steps"]:
                named["name"] = HOSTILE
        models = {"data": [{"id": HOSTILE, "kind": "chain"}]}
        page.route("**/v1/models", lambda route: route.fulfill(json=models))
        page.route("**/v1/chains/*", lambda route: route.fulfill(json=chain))
        page.reload()
        self.ready(page)
        expect(page.locator("#fields label")).to_have_text(HOSTILE)
        expect(page.locator("#chain option")).to_have_text(HOSTILE)
        self.assertEqual(page.locator("img").count(), 0)

    def test_fault_of_a_field_is_shown(self) -> None:
        self.expected_status = "400"
        page = self.ready(self.page)
        self.paste(page, {"I_ALL": "Where?", "I_A": [HOSTILE]})
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#error")).to_contain_text('field "I_A": want a string or a number, found array')
        self.ready(page)

    def test_record_that_is_no_json_is_refused(self) -> None:
        page = self.ready(self.page)
        before = self.fields(page)
        for text, fault in (("{oops", "Not JSON"), ("[1]", "Want an object")):
            self.paste(page, text)
            expect(page.locator("#record-fault")).to_contain_text(fault)
        self.assertEqual(self.fields(page), before)

    def test_fault_in_a_stream_is_shown(self) -> None:
        started = event(
            "stage_started", {"step": 0, "name": "compress", "round": 1, "at_ms": 1.0, "handoff": "kv"}
        )
        for stream, fault in (
            (started + event("error", {"error": {"message": "too late"}}), "too late"),
            (started, "the connection ended before the run did"),
        ):
            self.answer_runs_with(self.page, stream)
            self.ready(self.page).get_by_role("button", name="Run").click()
            expect(self.page.locator("#error")).to_have_text(fault)

    def test_chunks_may_end_anywhere(self) -> None:
        text = "Grüße, 東京 \U0001f600"
        self.page.context.add_init_script(CUT_STREAMS)
        self.answer_runs_with(self.page, told_run(text))
        self.page.reload()
        self.measure_shown_run(self.page)
        self.run_and_wait(self.page)
        expect(self.page.locator("#answer-text")).to_have_text(text)
        self.page.unroute_all()
        self.run_and_wait(self.page)
        answer = run_chain(self.fields(self.page), "text")["text"]
        self.assertEqual(self.page.locator("#answer-text").text_content(), answer)

    def test_cancel_ends_the_run_here_and_on_the_server(self) -> None:
        page = self.page
        self.choose(page, "long")
        before = aborted_requests()
        page.locator("#fields textarea").fill("Rosa Dalton")
        page.evaluate(CANCEL_AT_FIRST_TOKEN)
        page.get_by_role("button", name="Run").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Cancelled.")
        expect(page.get_by_role("button", name="Run")).to_be_focused()
        expect(page.locator("#answer-kv")).to_be_hidden()
        expect(page.locator("#costs")).to_be_hidden()
        # The browser closes the connection when it likes, but long before the answer would end.
        end = time.monotonic() + 5
        while aborted_requests() == before and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(aborted_requests(), before + 1)
        self.choose(page, "demo")
        self.run_and_wait(page)

    def test_cancel_does_not_wait_for_the_server(self) -> None:
        self.page.route("**/run", lambda route: None)  # no answer ever comes
        self.ready(self.page).get_by_role("button", name="Run").click()
        self.page.get_by_role("button", name="Cancel").click()
        expect(self.page.get_by_role("status")).to_have_text("Cancelled.")
        self.ready(self.page)

    def test_loops_are_drawn(self) -> None:
        page = self.page
        self.choose(page, "rounds")
        self.run_and_wait(page)
        for handoff in HANDOFFS:
            svg = page.get_by_role("region", name=f"Segments under hand-off {handoff}", exact=True).locator(
                "svg"
            )
            expect(svg.locator("rect[data-segment]")).to_have_count(
                len(plan_of("rounds", handoff)["segments"])
            )
        expect(page.locator("#timelines svg").first.locator("rect.decode")).to_have_count(12)
        expect(page.locator("#run-kv li")).to_have_count(12)

    def test_one_stage_is_compared_with_nothing(self) -> None:
        self.choose(self.page, "demo/compress")
        self.run_and_wait(self.page)
        expect(self.page.locator("#runs > div")).to_have_count(1)
        expect(self.page.locator("#cost-table thead th")).to_have_count(2)

    def test_keys_open_the_api(self) -> None:
        self.expected_status = "401"
        page = self.new_page(OPTIONS.keyed)
        self.addCleanup(page.context.close)
        field = page.get_by_label("API key")
        field.fill("wrong")
        field.press("Enter")
        expect(page.locator("#error")).to_contain_text("want an API key that is known")
        expect(field).to_have_value("")
        field.fill(OPTIONS.key)
        field.press("Enter")
        expect(field).to_be_hidden()
        self.run_and_wait(page)
        self.assertEqual(
            page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]"), [0, 0, ""]
        )

    def test_keyboard_alone_runs_a_chain(self) -> None:
        page = self.ready(self.page)
        page.keyboard.press("Tab")
        for name in ("Chain", "Compare with hand-off", "Measure"):
            expect(page.get_by_role("combobox", name=name, exact=True)).to_be_focused()
            page.keyboard.press("Tab")
        expect(page.get_by_label("I_ALL", exact=True)).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_label("I_A", exact=True)).to_be_focused()
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("status")).to_have_text("Done.")

    def test_page_fits_wide_and_narrow_light_and_dark(self) -> None:
        for name, width, scheme in (
            ("page", 1280, "light"),
            ("page-dark", 1280, "dark"),
            ("page-narrow", 400, "light"),
        ):
            page = self.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            self.run_and_wait(page)
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
            page.screenshot(path=f"{OPTIONS.screenshots}/{name}.png", full_page=True)
            page.context.close()


def main() -> None:
    """Reads the flags of run.sh, then runs the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", required=True, help="address of a server without keys")
    parser.add_argument("--keyed", required=True, help="address of a server with --key")
    parser.add_argument("--key", required=True)
    parser.add_argument("--screenshots", required=True, help="folder")
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
