"""A user's own client, unchanged: the openai package against `onepass serve`."""

import concurrent.futures
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import openai

from program import CHAIN, PROGRAM, ROOT, SANITIZED, Server, records, run_chain

PROMPT = "Answer the question.\nQuestion: Where is the kitchen?\nAnswer:"
LONG = {"ignore_eos": True}  # as many tokens as may be


def ask(client: openai.OpenAI, record: dict, **options):
    """The chain's answer to a record, as a chat."""
    return client.chat.completions.create(
        model="qa",
        messages=[{"role": "system", "content": record["I_A"]},
                  {"role": "user", "content": record["I_ALL"]}], **options)


class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-running=16", "--prefill-rows=32")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)
        cls.records = records(24)
        cls.expected = run_chain(CHAIN, cls.records)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.__exit__()

    def test_models_are_the_chain_its_stages_and_the_base(self):
        names = [model.id for model in self.client.models.list()]
        self.assertEqual(names, ["qa", "qa/compress", "qa/answer", "base"])
        self.assertEqual(self.client.models.retrieve("qa/answer").id, "qa/answer")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-none")

    def test_chat_with_a_chain_gives_what_run_gives(self):
        for record, expected in zip(self.records[:8], self.expected):
            answer = ask(self.client, record)
            self.assertEqual(answer.choices[0].message.content, expected["text"])
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            usage = answer.usage
            self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
            self.assertEqual(usage.completion_tokens,
                             sum(len(stage["token_ids"]) for stage in expected["stages"]))

    def test_many_at_once_give_the_same(self):
        def one(i: int) -> str:
            if i % 2:
                return ask(self.client, self.records[i]).choices[0].message.content
            parts = ask(self.client, self.records[i], stream=True)
            return "".join(part.choices[0].delta.content or "" for part in parts)
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(one, range(24)))
        self.assertEqual(answers, [expected["text"] for expected in self.expected])

    def test_the_second_time_the_shared_input_is_cached(self):
        record = {"I_ALL": "Who owns the red boat in the harbour of the town?", "I_A": "Text 1: No."}
        first, second = ask(self.client, record), ask(self.client, record)
        self.assertEqual(first.choices[0].message.content, second.choices[0].message.content)
        self.assertEqual(first.usage.prompt_tokens, second.usage.prompt_tokens)
        self.assertGreater(second.usage.prompt_tokens_details.cached_tokens,
                           first.usage.prompt_tokens_details.cached_tokens)

    def test_completions_of_the_base_stream_as_they_answer(self):
        options = dict(model="base", prompt=PROMPT, max_tokens=12, temperature=1, seed=7,
                       extra_body=LONG)
        whole = self.client.completions.create(**options)
        parts = list(self.client.completions.create(
            **options, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(part.choices[0].text for part in parts[:-1]),
                         whole.choices[0].text)
        self.assertEqual(parts[-1].choices, [])
        self.assertEqual(parts[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(parts[-2].choices[0].finish_reason, whole.choices[0].finish_reason)
        plain = list(self.client.completions.create(**options, stream=True))
        self.assertTrue(all(part.choices for part in plain), "no usage unless it is asked for")
        tokens = json.loads(self.server.request("POST", "/tokenize", {"prompt": PROMPT})[2])
        self.assertEqual(whole.usage.prompt_tokens, tokens["count"])

    def test_n_answers_of_several_prompts(self):
        options = dict(model="base", prompt=[PROMPT, "Bert lives in"], n=3, max_tokens=6,
                       temperature=1, seed=5, extra_body=LONG)
        answer = self.client.completions.create(**options)
        self.assertEqual([choice.index for choice in answer.choices], list(range(6)))
        texts = [choice.text for choice in answer.choices]
        self.assertGreater(len(set(texts[:3])), 1, "each draws for itself")
        again = self.client.completions.create(**options)
        self.assertEqual([choice.text for choice in again.choices], texts)
        streamed = [""] * 6
        for part in self.client.completions.create(**options, stream=True):
            streamed[part.choices[0].index] += part.choices[0].text
        self.assertEqual(streamed, texts)
        alone = self.client.completions.create(
            **{**options, "prompt": "Bert lives in", "n": 1})
        self.assertEqual(alone.choices[0].text, texts[3])

    def test_logprobs_and_token_ids(self):
        answer = self.client.completions.create(
            model="base", prompt=PROMPT, max_tokens=5, logprobs=3,
            extra_body={"return_token_ids": True})
        choice = answer.choices[0]
        self.assertEqual(len(choice.logprobs.tokens), answer.usage.completion_tokens)
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        for token, logprob, top in zip(choice.logprobs.tokens, choice.logprobs.token_logprobs,
                                       choice.logprobs.top_logprobs):
            self.assertLessEqual(logprob, 0)
            self.assertEqual(max(top.values()), top[token], "greedy takes the likeliest")
        text = json.loads(self.server.request(
            "POST", "/detokenize", {"tokens": choice.token_ids})[2])["prompt"]
        self.assertEqual(text, choice.text)
        chat = ask(self.client, self.records[0], logprobs=True, top_logprobs=2)
        content = chat.choices[0].logprobs.content
        self.assertEqual("".join(entry.token for entry in content),
                         chat.choices[0].message.content)
        self.assertTrue(all(len(entry.top_logprobs) == 2 for entry in content))

    def test_streamed_logprobs_and_token_ids_are_those_of_the_whole(self):
        def joined(lists) -> list:
            return [entry for entries in lists for entry in entries or []]

        options = dict(model="base", prompt=PROMPT, max_tokens=12, temperature=1, seed=7,
                       logprobs=3, extra_body={**LONG, "return_token_ids": True})
        whole = self.client.completions.create(**options).choices[0]
        parts = [part.choices[0]
                 for part in self.client.completions.create(**options, stream=True)]
        for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual(joined(getattr(part.logprobs, key) for part in parts if part.logprobs),
                             getattr(whole.logprobs, key), key)
        self.assertEqual(len(whole.token_ids), 12)
        tokens = json.loads(self.server.request("POST", "/tokenize", {"prompt": PROMPT})[2])
        chat = dict(logprobs=True, top_logprobs=2, extra_body={"return_token_ids": True})
        whole_chat = ask(self.client, self.records[0], **chat).choices[0]
        chat_parts = [part.choices[0]
                      for part in ask(self.client, self.records[0], **chat, stream=True)]
        self.assertEqual(joined(part.logprobs.content for part in chat_parts if part.logprobs),
                         whole_chat.logprobs.content)
        self.assertEqual(whole_chat.token_ids, self.expected[0]["stages"][-1]["token_ids"])
        for answer, streamed in ((whole, parts), (whole_chat, chat_parts)):
            self.assertGreater(len(answer.token_ids), 0)
            for key in ("token_ids", "prompt_token_ids"):
                self.assertEqual(joined(getattr(part, key, []) for part in streamed),
                                 getattr(answer, key), key)
        self.assertEqual(whole.prompt_token_ids, tokens["tokens"])

    def test_a_chat_streams_its_usage_where_it_is_asked_for(self):
        whole = ask(self.client, self.records[1])
        parts = list(ask(self.client, self.records[1], stream=True,
                         stream_options={"include_usage": True}))
        usage = parts.pop().usage
        for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertEqual(getattr(usage, key), getattr(whole.usage, key), key)
        for part in parts:
            self.assertIsNone(part.usage)
            self.assertEqual(len(part.choices), 1)
        self.assertEqual(parts[-1].choices[0].finish_reason, whole.choices[0].finish_reason)
        self.assertTrue(all(part.choices and part.usage is None
                            for part in ask(self.client, self.records[1], stream=True)))

    def test_a_seed_decides_a_draw(self):
        def draw(seed: int) -> str:
            return self.client.completions.create(
                model="base", prompt=PROMPT, max_tokens=20, temperature=1, seed=seed,
                extra_body=LONG).choices[0].text

        one, two = draw(1), draw(2)
        self.assertNotEqual(one, two)
        self.assertEqual([draw(1), draw(2)], [one, two])

    def test_cuts_that_leave_one_token_are_greedy_at_any_temperature(self):
        def draw(temperature: float, **cuts) -> str:
            return self.client.completions.create(
                model="base", prompt=PROMPT, max_tokens=20, temperature=temperature, seed=9,
                extra_body={**LONG, **cuts}).choices[0].text

        greedy = draw(0)
        self.assertNotEqual(draw(2), greedy)
        self.assertEqual(draw(2, top_k=1), greedy)
        self.assertEqual(draw(2, top_p=1e-6), greedy)
        self.assertNotEqual(draw(2, top_k=1000, top_p=1), greedy)

    def test_a_hand_off_by_text_has_less_cached(self):
        def cached(handoff: str) -> int:
            fields = {key: self.records[2][key] for key in ("I_ALL", "I_A")}
            answer = self.client.completions.create(
                model="qa", prompt="", extra_body={"handoff": handoff, "fields": fields})
            return answer.usage.prompt_tokens_details.cached_tokens

        for _ in range(2):  # the second time prompts and shared inputs are there
            text, kv = cached("text"), cached("kv")
        self.assertLess(text, kv)

    def test_a_stop_string_ends_the_answer_and_is_not_in_it(self):
        whole = self.client.completions.create(model="base", prompt=PROMPT, max_tokens=12, extra_body=LONG,
                                               temperature=1, seed=11).choices[0].text
        stop = whole[3:5]
        cut = self.client.completions.create(model="base", prompt=PROMPT, max_tokens=12,
                                             temperature=1, seed=11, extra_body=LONG,
                                             stop=[stop, "never said"])
        self.assertEqual(cut.choices[0].text, whole[:whole.index(stop)])
        self.assertEqual(cut.choices[0].finish_reason, "stop")
        parts = self.client.completions.create(model="base", prompt=PROMPT, max_tokens=12,
                                               temperature=1, seed=11, stop=stop, stream=True,
                                               extra_body=LONG)
        self.assertEqual("".join(part.choices[0].text for part in parts), cut.choices[0].text)

    def test_at_a_stop_string_ids_logprobs_and_usage_are_of_what_was_sampled(self):
        options = dict(model="base", prompt=PROMPT, max_tokens=12, logprobs=1)
        whole = self.client.completions.create(
            **options, extra_body={**LONG, "return_token_ids": True}).choices[0]
        tokens, offsets = whole.logprobs.tokens, whole.logprobs.text_offset
        for first in (0, 3, 7):
            # From the midst of a token to the midst of another.
            begin = offsets[first] + (offsets[first + 1] - offsets[first]) // 2
            stop = whole.text[begin:begin + 3]
            found = whole.text.find(stop)
            count = next(i for i in range(1, 12) if offsets[i] >= found + len(stop))
            for stream in (False, True):
                answer = self.client.completions.create(
                    **options, stop=stop, stream=stream,
                    extra_body={**LONG, "return_token_ids": True})
                parts = [part for part in answer if part.choices] if stream else [answer]
                choices = [part.choices[0] for part in parts]
                self.assertEqual("".join(choice.text for choice in choices), whole.text[:found])
                ids = [id for choice in choices for id in getattr(choice, "token_ids", None) or []]
                self.assertEqual(ids, whole.token_ids[:count], stop)
                named = [token for choice in choices if choice.logprobs
                         for token in choice.logprobs.tokens]
                self.assertEqual(named, tokens[:count])
                if not stream:
                    self.assertEqual(answer.usage.completion_tokens, count)

    def test_without_a_seed_chance_differs_and_what_is_not_asked_for_does_not(self):
        def answer(**options) -> str:
            return self.client.completions.create(model="base", prompt=PROMPT, max_tokens=20,
                                                  extra_body=LONG, **options).choices[0].text
        self.assertGreater(len({answer(temperature=1.5) for _ in range(4)}), 1)
        listed = self.client.completions.create(model="base", prompt=[PROMPT] * 4, max_tokens=20,
                                                temperature=1.5, n=2, extra_body=LONG)
        self.assertGreater(len({choice.text for choice in listed.choices}), 4)
        self.assertEqual(len({answer() for _ in range(3)}), 1)

    def test_fields_go_where_the_clients_types_want_messages(self):
        fields = {key: self.records[0][key] for key in ("I_ALL", "I_A")}
        chat = self.client.chat.completions.create(model="qa", messages=[],
                                                   extra_body={"fields": fields})
        self.assertEqual(chat.choices[0].message.content, self.expected[0]["text"])
        with self.assertRaisesRegex(openai.BadRequestError, 'a system message too.*"I_A\\\\?"'):
            self.client.chat.completions.create(
                model="qa", messages=[{"role": "user", "content": fields["I_ALL"]}])

    def test_a_chain_whose_stage_has_no_start_token_is_served_too(self):
        chain = CHAIN.parent / "rag.yaml"
        with Server(chains={"rag": chain}) as server:
            status, _, text = server.request(
                "POST", "/v1/completions", {"model": "rag/answer", "prompt": PROMPT})
            self.assertEqual(status, 200, text)
            record = {key: self.records[0][key] for key in ("I_ALL", "I_A")}
            answer = json.loads(server.request(
                "POST", "/v1/chains/rag/run", {"fields": record})[2])
            self.assertEqual(answer["text"], run_chain(chain, self.records[:1])[0]["text"])

    def test_a_stage_alone_is_a_model(self):
        answer = self.client.completions.create(model="qa/answer", prompt="Question: Who is it?",
                                                max_tokens=4)
        self.assertLessEqual(answer.usage.completion_tokens, 4)

    def test_faults_are_errors_of_the_client(self):
        cases = [
            (openai.NotFoundError, dict(model="none", prompt="x")),
            (openai.BadRequestError, dict(model="base", prompt="x", temperature=-1)),
            (openai.BadRequestError, dict(model="base", prompt="x", n=0)),
            (openai.BadRequestError, dict(model="base", prompt="x", max_tokens=10**9)),
            (openai.BadRequestError, dict(model="base", prompt=[])),
            (openai.BadRequestError, dict(model="base", prompt=[1, 2, 3])),
            (openai.BadRequestError, dict(model="base", prompt="x", echo=True)),
            (openai.BadRequestError, dict(model="base", prompt="word " * 5000)),
        ]
        for error, options in cases:
            with self.assertRaises(error, msg=str(options)[:60]) as raised:
                self.client.completions.create(**options)
            self.assertTrue(raised.exception.message)
            self.assertEqual(raised.exception.type, "invalid_request_error")
        with self.assertRaises(openai.BadRequestError) as raised:
            self.client.completions.create(model="base", prompt="x", top_p=7)
        self.assertEqual(raised.exception.param, "top_p")
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(
                model="qa", messages=[{"role": "user", "content": "a"},
                                      {"role": "assistant", "content": "b"},
                                      {"role": "user", "content": "c"}])

    def steps(self) -> float:
        """Forward calls so far: counters are those of the last step."""
        self.server.wait_until_idle()
        return self.server.metric("onepass:engine_steps_total")

    def test_a_client_that_goes_away_frees_its_pages(self):
        def aborted() -> float:
            return self.server.metric("onepass:request_success_total", finished_reason="abort")

        steps, before = self.steps(), aborted()
        for _ in range(5):
            stream = self.client.completions.create(
                model="base", prompt=PROMPT, max_tokens=800, temperature=1, stream=True,
                extra_body=LONG)
            next(iter(stream))
            stream.close()
        steps = self.steps() - steps
        self.assertEqual(aborted() - before, 5)
        self.assertLess(steps, 5 * 800 / 2, "nobody read what they computed")

    def test_requests_at_once_share_their_steps(self):
        prompts = ["Bert lives in" + " the house of Anna" * i for i in range(8)]

        def answer(prompt: str) -> str:
            return self.client.completions.create(
                model="base", prompt=prompt, max_tokens=400, extra_body=LONG).choices[0].text

        begin = self.steps()
        alone = [answer(prompt) for prompt in prompts[:3]]
        between = self.steps()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(pool.map(answer, prompts))
        end = self.steps()
        self.assertGreaterEqual(between - begin, 3 * 399)
        self.assertLess(end - between, between - begin)
        self.assertEqual(together[:3], alone)

    def test_a_chains_run_tells_its_stages(self):
        record = {key: self.records[0][key] for key in ("I_ALL", "I_A")}
        status, _, text = self.server.request(
            "POST", "/v1/chains/qa/run", {"fields": record, "stream": True})
        self.assertEqual(status, 200)
        events = [event.split("\n") for event in text.strip().split("\n\n")]
        self.assertEqual(events.pop(), ["data: [DONE]"])
        names = [event[0].removeprefix("event: ") for event in events]
        self.assertEqual([name for name in names if name != "token"],
                         ["stage_started", "stage_finished"] * 2 + ["finished"])
        data = [json.loads(event[1].removeprefix("data: ")) for event in events]
        said = {"compress": "", "answer": ""}
        for name, event in zip(names, data):
            if name == "token":
                said[event["name"]] += event["text"]
        expected = {stage["name"]: stage["text"] for stage in self.expected[0]["stages"]}
        self.assertEqual(said, expected)
        times = [event["at_ms"] for event in data[:-1]]
        self.assertEqual(times, sorted(times))
        self.assertEqual(data[-1]["stages"][1]["tokens_recomputed"], 0)
        again = json.loads(self.server.request(
            "POST", "/v1/chains/qa/run", {"fields": record, "handoff": "text"})[2])
        self.assertGreater(again["stages"][1]["tokens_recomputed"], 0)
        self.assertEqual(again["stages"][0]["text"], expected["compress"])


TOOL_CHAIN = """name: tool
base: {base}
shared: "Question:{{Q}}"
tools: [{{name: search, index: {index}, query: "{{Q}} {{ask}}", top: 1}}]
stages:
  - {{name: ask, start: "\\nNext:", stop_tokens: ["<eos>"], max_tokens: 8}}
  - {{name: answer, input: "\\nDocuments:\\n{{search}}", start: "\\nAnswer:", stop_tokens: ["<eos>"],
     max_tokens: 8}}
flow: [ask, search, answer]
"""


class ToolTest(unittest.TestCase):
    def test_a_chain_that_searches_says_what_it_found_and_counts_what_it_reused(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "docs.jsonl").write_text("".join(
                json.dumps({"id": f"d{i}", "text": f"{who} lives in {where}."}) + "\n"
                for i, (who, where) in enumerate([("Bert", "Rome"), ("Anna", "Oslo")])))
            subprocess.run([PROGRAM, "index", "build", f"--input={folder}/docs.jsonl",
                            f"--out={folder}/index"], check=True, capture_output=True)
            chain = folder / "chain.yaml"
            chain.write_text(TOOL_CHAIN.format(base=ROOT / "models/base", index=folder / "index"))
            record = {"Q": " Where does Anna live?"}
            expected = run_chain(chain, [record])[0]
            with Server(chains={"tool": chain}) as server:
                counters = ("hand_offs_total", "tokens_reused_total", "tokens_recomputed_total")
                for handoff in ("kv", "text"):
                    before = [server.metric(f"onepass:{name}") for name in counters]
                    status, _, text = server.request(
                        "POST", "/v1/chains/tool/run",
                        {"fields": record, "stream": True, "handoff": handoff})
                    self.assertEqual(status, 200)
                    events = [event.split("\n") for event in text.strip().split("\n\n")][:-1]
                    data = {event[0].removeprefix("event: "):
                            json.loads(event[1].removeprefix("data: ")) for event in events}
                    self.assertEqual(data["tool_call"]["name"], "search")
                    self.assertEqual(data["tool_call"]["result"]["documents"][0]["id"], "d1")
                    done = data["finished"]
                    if handoff == "kv":
                        self.assertEqual(done["text"], expected["text"])
                    server.wait_until_idle()  # counters are those of the last step
                    after = [server.metric(f"onepass:{name}") for name in counters]
                    stages = done["stages"]
                    self.assertEqual([b - a for a, b in zip(before, after)],
                                     [1, sum(stage["tokens_reused"] for stage in stages),
                                      sum(stage["tokens_recomputed"] for stage in stages)])
                    self.assertEqual(stages[1]["tokens_recomputed"] > 0, handoff == "text")
            for path in (folder / "index").iterdir():
                path.write_bytes(path.read_bytes()[:100])
            with self.assertRaisesRegex(RuntimeError, "onepass: .*index"):
                Server(chains={"tool": chain})


# Rounds of outputs of one length, until the base's 1024 positions are over.
LONG_CHAIN = """name: rounds
base: {base}
shared: "{{Q}}"
stages:
  - {{name: talk, start: " Bert", max_tokens: 200}}
flow: [{{loop: [talk], rounds: 9}}]
"""


class LoopTest(unittest.TestCase):
    def test_a_round_that_does_not_fit_any_more_ends_the_run_with_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder) / "rounds.yaml"
            chain.write_text(LONG_CHAIN.format(base=ROOT / "models/base"))
            with Server(chains={"rounds": chain}) as server:
                body = {"fields": {"Q": PROMPT}}
                status, _, text = server.request("POST", "/v1/chains/rounds/run", body)
                self.assertEqual(status, 400)
                self.assertIn("positions", json.loads(text)["error"]["message"])
                status, _, text = server.request("POST", "/v1/chains/rounds/run",
                                                 {**body, "stream": True})
                self.assertEqual(status, 200)
                events = text.strip().split("\n\n")
                name, data = events[-1].split("\n")
                self.assertEqual(name, "event: error")
                self.assertIn("positions", json.loads(data.removeprefix("data: "))["error"]["message"])
                finished = [event for event in events if event.startswith("event: stage_finished")]
                self.assertIn(len(finished), range(2, 9))
                server.wait_until_idle()


class MetricsTest(unittest.TestCase):
    def test_they_are_what_clients_saw(self):
        names = ("time_to_first_token_seconds", "request_time_per_output_token_seconds",
                 "e2e_request_latency_seconds", "request_queue_time_seconds")
        with Server() as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
            begin = time.monotonic()
            answers = [client.completions.create(model="base", prompt=PROMPT, max_tokens=20,
                                                 extra_body=LONG) for _ in range(3)]
            elapsed = time.monotonic() - begin
            server.wait_until_idle()
            for name in names:
                metric = f"onepass:{name}"
                self.assertEqual(server.metric(metric + "_count", model_name="base"), 3)
                buckets = [server.metric(metric + "_bucket", le=le)
                           for le in ("0.001", "0.01", "0.1", "1", "10", "300", "+Inf")]
                self.assertEqual(buckets, sorted(buckets))
                self.assertEqual(buckets[-1], 3)
            first, gap, whole, queue = (server.metric(f"onepass:{name}_sum") for name in names)
            self.assertLess(whole, elapsed)
            self.assertGreater(whole, elapsed / 10)
            self.assertLess(first, whole)
            self.assertLess(queue, first)
            # From the first of 20 tokens to the last, and the end soon afterwards.
            self.assertLess(19 * gap, whole - first)
            self.assertGreater(19 * gap, (whole - first) / 4)
            for name, count in (("prompt_tokens_total", "prompt_tokens"),
                                ("generation_tokens_total", "completion_tokens")):
                self.assertEqual(server.metric(f"onepass:{name}"),
                                 sum(getattr(answer.usage, count) for answer in answers))
            # A prompt is looked for three times and found twice.
            length = answers[0].usage.prompt_tokens
            self.assertEqual(server.metric("onepass:prefix_cache_queries_total"), 3 * length)
            self.assertEqual(server.metric("onepass:prefix_cache_hits_total"), 2 * length)
            self.assertEqual(server.metric("onepass:kv_cache_usage_perc"), 0)
            self.assertGreater(server.metric("onepass:kv_pages_idle"), 0)
            self.assertEqual(server.metric("onepass:request_success_total",
                                           finished_reason="length"), 3)
            self.assertEqual(server.request("POST", "/v1/completions", {"model": "base"})[0], 400)
            self.assertEqual(server.metric("onepass:requests_rejected_total", status="400"), 1)
            client.close()


    def test_pages_and_rows_are_counted(self):
        config = json.loads((ROOT / "models/base/config.json").read_text())
        page = 16  # tokens
        page_bytes = (2 * config["num_hidden_layers"] * config["num_key_value_heads"] *
                      config["head_dim"] * 4 * page)
        names = ("kv_bytes_live", "kv_bytes_freed_total", "tokens_computed_total")
        with Server() as server:
            def state() -> list[float]:
                server.wait_until_idle()
                return [server.metric(f"onepass:{name}") for name in names]

            self.assertEqual(state(), [0, 0, 0])
            freed = 0
            for i, length in enumerate((1, 17, 100)):
                computed = state()[2]
                status, _, text = server.request("POST", "/v1/completions", {
                    "model": "base", "prompt": PROMPT, "max_tokens": length, **LONG})
                self.assertEqual(status, 200)
                prompt = json.loads(text)["usage"]["prompt_tokens"]
                # The prompt's pages stay; the last token of an answer is not read.
                freed += -(-(length - 1) // page)
                self.assertEqual(state(), [-(-prompt // page) * page_bytes, freed * page_bytes,
                                           computed + length - 1 + (prompt if i == 0 else 0)])
                self.assertEqual(server.metric("onepass:kv_pages_used") * page_bytes, state()[0])


class KeyTest(unittest.TestCase):
    def test_without_the_key_the_api_is_closed(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("# ours\nfirst-key-123\nsecond-key-456\n")
            keys.flush()
            with Server(f"--api-key-file={keys.name}") as server:
                for key, opens in (("second-key-456", True), ("second-key-457", False),
                                   ("# ours", False)):
                    client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0)
                    if opens:
                        self.assertEqual(len(client.models.list().data), 4)
                    else:
                        with self.assertRaises(openai.AuthenticationError):
                            client.models.list()
                    client.close()
                self.assertEqual(server.request("GET", "/health")[0], 200)
                self.assertEqual(server.request("POST", "/tokenize", {"prompt": "x"})[0], 401)
            self.assertNotIn("key-45", Path(server.log.name).read_text())


class QueueTest(unittest.TestCase):
    def test_more_than_the_queue_holds_is_told_to_come_again(self):
        with Server("--max-running=1", "--max-waiting=0") as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
            stream = client.completions.create(model="base", prompt=PROMPT, max_tokens=900,
                                               temperature=1, stream=True, extra_body=LONG)
            next(iter(stream))
            with self.assertRaises(openai.RateLimitError) as raised:
                client.completions.create(model="base", prompt="x", max_tokens=1)
            self.assertGreaterEqual(int(raised.exception.response.headers["Retry-After"]), 1)
            stream.close()
            server.wait_until_idle()
            client.completions.create(model="base", prompt="x", max_tokens=1)
            client.close()


class FakeLlamaCpp(http.server.BaseHTTPRequestHandler):
    """Answers as a llama.cpp server does, and keeps what it was asked."""

    asked: list[dict] = []

    def do_POST(self):
        """/completion, streamed or whole."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text = {"content": " x" * body["n_predict"]}
        answer = json.dumps(text)
        if body["stream"]:
            answer = f"data: {answer}\n\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        """Says nothing."""


class BenchTest(unittest.TestCase):
    def test_bench_serve_measures_both_hand_offs_and_a_peer(self):
        given = records(6)
        peer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeLlamaCpp)
        threading.Thread(target=peer.serve_forever, daemon=True).start()
        with Server() as server, tempfile.NamedTemporaryFile("w", suffix=".jsonl") as source:
            source.write("".join(json.dumps(record) + "\n" for record in given))
            source.flush()
            done = subprocess.run(
                [PROGRAM, "bench", "serve", f"--url={server.url}", "--chain=qa",
                 f"--input={source.name}", "--rates=5,20", "--seconds=0.5", "--runs=2",
                 "--output-tokens=4", f"--llamacpp=http://127.0.0.1:{peer.server_port}",
                 f"--chain-file={CHAIN}", "--json"], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            refused = subprocess.run(
                [PROGRAM, "bench", "serve", f"--url={server.url}", "--chain=none",
                 f"--input={source.name}"], capture_output=True, text=True, timeout=60)
        peer.shutdown()
        peer.server_close()
        ways = ["kv", "text", "llama.cpp, text"]
        self.assertEqual([row["way"] for row in report["rows"]], [w for w in ways for _ in "12"])
        for row in report["rows"]:
            self.assertEqual(row["failed"] + row["rejected"], 0)
            self.assertGreater(row["sent"], 0)
            self.assertLessEqual(row["first_token_p50_ms"], row["latency_p50_ms"])
        self.assertEqual(len({row["sent"] for row in report["rows"][::2]}), 1, "the same requests")
        # Its second prompt has the first answer as text.
        first, second = FakeLlamaCpp.asked[:2]
        self.assertTrue(second["prompt"].startswith(
            f"Question: {given[0]['I_ALL']}" + " x" * first["n_predict"]), second["prompt"])
        self.assertIn(given[0]["I_A"], first["prompt"])
        self.assertEqual(second["n_predict"], 4)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("status 404", refused.stderr)

    def test_bench_serve_gives_its_key(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "keys").write_text("# ours\na-key-of-the-test\n")
            (folder / "records.jsonl").write_text(json.dumps(records(1)[0]) + "\n")
            with Server(f"--api-key-file={folder}/keys") as server:
                def bench(*flags: str) -> subprocess.CompletedProcess:
                    return subprocess.run(
                        [PROGRAM, "bench", "serve", f"--url={server.url}", "--chain=qa", *flags,
                         f"--input={folder}/records.jsonl", "--rates=5", "--seconds=0.3",
                         "--runs=1", "--json"], capture_output=True, text=True, timeout=60)
                self.assertIn("status 401", bench().stderr)
                done = bench(f"--api-key-file={folder}/keys")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual([row["failed"] for row in json.loads(done.stdout)["rows"]], [0, 0])

    @unittest.skipIf(SANITIZED, "measures for minutes; its server and client are tested above")
    def test_bench_sh_makes_its_table(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [ROOT / "tools/bench.sh"], capture_output=True, text=True, timeout=120,
                env={**os.environ, "PARTS": "serve", "OUT": folder, "ONEPASS": PROGRAM,
                     "RATES": "5,20", "RATE_SECONDS": "0.5", "THREADS": "2"})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            table = (Path(folder) / "tables.md").read_text().split("### Serving\n", 1)[1]
        rows = [line for line in table.splitlines() if line.startswith("|")]
        self.assertEqual(rows[0], "| asked a second | kv: answers in time a second | "
                         "kv: p50, p99 ms | text: answers in time a second | text: p50, p99 ms |")
        self.assertEqual([row.split(" | ")[0] for row in rows[2:]], ["| 5", "| 20"])
        self.assertIn("In time is ", table)


if __name__ == "__main__":
    unittest.main(verbosity=1)
