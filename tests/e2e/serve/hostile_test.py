"""Bodies, headers and connections of hostile origin: each gets an answer, and the server goes on."""

import http.client
import json
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from program import CHAIN, PROGRAM, ROOT, SANITIZED, Server, resident_bytes

GOOD = {"model": "base", "prompt": "Bert lives in", "max_tokens": 3}
CHAT = {"model": "base", "messages": [{"role": "user", "content": "Bert lives in"}],
        "max_tokens": 3}
RECORD = {"fields": {"I_ALL": "Who is it?", "I_A": "It is Bert."}}
COUNTS = [-1, 0, 1.5, "x", True, [], 1e308, 2**63]
# Values of a key that no request may have, by route.
WRONG_SAMPLING = [
    ("max_tokens", COUNTS), ("max_completion_tokens", COUNTS),
    ("temperature", [-1, 3, 1e308, "x", True]), ("top_p", [-1, 0, 2, "x", True]),
    ("top_k", [-2, 1.5, "x", True, 2**63]), ("seed", [1.5, "x", True, 2**63, 10**30]),
    ("stop", [1, True, {}, "", [""], [1], ["x", 1], ["x"] * 17]), ("stream", [0, 1, "x", []]),
    ("ignore_eos", [1, "x"]), ("handoff", [1, True, "", "x", []])]
WRONG_MODEL = WRONG_SAMPLING + [
    ("model", [None, 1, True, "", [], {}]), ("n", [-1, 0, 129, 1.5, "x", True]),
    ("stream_options", [1, "x", [], {"include_usage": True}]), ("return_token_ids", [1, "x"]),
    ("echo", [True, "x"]), ("tools", [[{}], "x"])]
WRONG = {
    "/v1/completions": (GOOD, WRONG_MODEL + [
        ("prompt", [None, 1, True, {}, [], [1], ["x", 1], [["x"]], ["x"] * 129]),
        ("logprobs", [-1, 21, 1.5, "x", True])]),
    "/v1/chat/completions": (CHAT, WRONG_MODEL + [
        ("messages", [None, [], "x", {}, [1], [{"role": 1}], [{"role": "user"}],
                      [{"role": "user", "content": 1}], [{"role": "x", "content": "x"}],
                      [{"content": "x"}]]),
        ("logprobs", [-1, 1, "x"]), ("top_logprobs", [-1, 2, 21, "x"])]),
    "/v1/chains/qa/run": (RECORD, WRONG_SAMPLING + [("fields", [None, [], 1, "x"])]),
    "/tokenize": ({"prompt": "x"}, [("prompt", [None, 1, []]), ("add_special_tokens", [1, "x"])]),
    "/detokenize": ({}, [("tokens", [None, 1, "x", {}, [-1], [1.5], ["x"], [[1]], [2**40]])]),
}


def hostile_bodies() -> list[bytes]:
    """Bodies that no handler must answer with 200, or end at."""
    values = [None, True, -1, 0, 1e308, -1e308, 10**30, 2**63, 1.5, "", "x", [], {}, [[]], ["", 1],
              {"type": "text"}, "\u0000", "\ud7ff"]
    keys = ["model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "n", "seed", "stop",
            "stream", "stream_options", "logprobs", "handoff", "fields", "messages", "tokens"]
    bodies = [json.dumps({**GOOD, key: value}).encode() for key in keys for value in values]
    whole = json.dumps(GOOD).encode()
    bodies += [whole[:i] for i in range(len(whole))]
    bodies += [b"", b"null", b"[]", b'"x"', b"{", b"nul", b"\xff\xfe{}", b'{"model":"\xff"}',
               b'{"model":"base","model":"base","prompt":"x"}',
               b"[" * 100_000, b'{"a":' * 100_000, b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}",
               b'{"model":"base","prompt":"x","seed":1e999}',
               b'{"model":"base","prompt":"x","temperature":NaN}',
               json.dumps({**GOOD, "prompt": ["x"] * 10_000}).encode(),
               json.dumps({**GOOD, "stop": ["x"] * 10_000}).encode(),
               json.dumps({**GOOD, **{f"k{i}": i for i in range(30_000)}}).encode(),
               json.dumps({**GOOD, "n": 128, "prompt": ["x"] * 128}).encode()]
    # Of /detokenize.
    bodies += [json.dumps({"tokens": value}).encode()
               for value in values + [[-1], [10**9], [2**40], [1.5], ["x"], [[1]], [None]]]
    return bodies


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-body-bytes=1000000", "--read-seconds=2")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def tearDown(self):
        self.assertIsNone(self.server.process.poll(), "the server died")
        self.server.wait_until_idle()
        status, _, text = self.server.request("POST", "/v1/completions", GOOD)
        self.assertEqual(status, 200, text)

    def raw(self, data: bytes, wait: float = 5) -> bytes:
        """What the server sends back to these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=wait) as client:
            client.sendall(data)
            answer = b""
            try:
                while block := client.recv(65536):
                    answer += block
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    def test_bodies(self):
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/chains/qa/run", "/tokenize",
                     "/detokenize"):
            for body in hostile_bodies():
                status, headers, text = self.server.request("POST", path, body)
                self.assertIn(status, (200, 400, 404), body[:80])
                if "text/event-stream" in headers["Content-Type"]:
                    continue
                answer = json.loads(text)
                if status != 200:
                    self.assertNotIn("\n", answer["error"]["message"])
                    self.assertEqual(set(answer["error"]), {"message", "type", "param", "code"})

    def test_a_value_that_is_wrong_is_refused_by_its_name(self):
        for path, (good, wrong) in WRONG.items():
            if good:
                self.assertEqual(self.server.request("POST", path, good)[0], 200, path)
            for key, value in ((key, value) for key, values in wrong for value in values):
                with self.subTest(path=path, key=key, value=value):
                    status, _, text = self.server.request("POST", path, {**good, key: value})
                    self.assertEqual(status, 400)
                    error = json.loads(text)["error"]
                    self.assertEqual((error["param"], error["type"]),
                                     (key, "invalid_request_error"))

    def test_broken_bodies_at_random(self):
        rng = random.Random(20261122)
        whole = json.dumps({**GOOD, "stop": ["a", "b"], "stream": False, "seed": 3}).encode()
        for _ in range(400):
            body = bytearray(whole)
            for _ in range(rng.randint(1, 6)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            status, _, _ = self.server.request("POST", "/v1/completions", bytes(body))
            self.assertIn(status, (200, 400, 404), bytes(body))

    def test_what_is_no_http_is_told_so_or_left(self):
        self.assertIn(b" 400 ", self.raw(b"hello there\r\n\r\n"))
        self.assertIn(b" 400 ", self.raw(b"GET /health HTTP/9.9\r\n\r\n"))
        self.assertIn(b" 431 ", self.raw(b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n"))
        many = b"".join(b"H%d: x\r\n" % i for i in range(500))
        self.assertIn(b" 431 ", self.raw(b"GET /health HTTP/1.1\r\n" + many + b"\r\n"))
        for head in (b"Content-Length: -1", b"Content-Length: 99999999999999999999",
                     b"Transfer-Encoding: chunked\r\nContent-Length: 3"):
            self.assertIn(b" 400 ", self.raw(b"POST /tokenize HTTP/1.1\r\n" + head + b"\r\n\r\n{}"))
        for coding in (b"gzip", b"identity", b"chunked, identity"):
            answer = self.raw(b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: " + coding +
                              b"\r\n\r\nGET /health HTTP/1.1\r\n\r\n")
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, "the body is no request")
            self.assertIn(b" 400 ", answer)
        self.assertIn(b" 400 ", self.raw(b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked"
                                         b"\r\n\r\nzz\r\n"))
        self.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(200))

    def test_a_body_that_is_too_large(self):
        status, _, text = self.server.request("POST", "/v1/completions", b" " * 3_000_000)
        self.assertEqual(status, 413)
        self.assertIn("error", json.loads(text))

    def test_heads_of_chunks_and_trailers_have_an_end(self):
        head = (b"POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        for begin in (b"5;a=", b"0\r\nA: ", b"1\r\nx\r\n5;a="):
            before = resident_bytes(self.server.process.pid)
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as client:
                client.sendall(head + begin)
                with self.assertRaises((ConnectionError, TimeoutError)):
                    for _ in range(200):
                        client.sendall(b"x" * 1_000_000)
            self.assertLess(resident_bytes(self.server.process.pid) - before, 20_000_000)

    def test_many_answers_copy_nothing_that_is_large(self):
        before = resident_bytes(self.server.process.pid)
        fields = {"I_ALL": "Who?", "I_A": "Nobody.", "junk": "x" * 900_000}
        status, _, _ = self.server.request("POST", "/v1/completions", {
            "model": "qa", "fields": fields, "n": 128, "max_tokens": 2})
        self.assertEqual(status, 200)
        if not SANITIZED:  # which keeps what was freed
            self.assertLess(resident_bytes(self.server.process.pid) - before, 64 << 20)
        status, _, text = self.server.request("POST", "/v1/completions",
                                              {**GOOD, "n": 128, "stop": "x" * 100_000})
        self.assertEqual((status, json.loads(text)["error"]["param"]), (400, "stop"))

    def test_paths_methods_and_types(self):
        for method, path, wanted in (("GET", "/nothing", 404), ("DELETE", "/v1/models", 405),
                                     ("GET", "/v1/completions", 405), ("GET", "/%", 404),
                                     ("GET", "/v1/models/%zz", 404), ("GET", "/v1/models/", 404),
                                     ("GET", "/../../etc/passwd", 404),
                                     ("POST", "/v1/chains/qa/other", 404)):
            status, _, text = self.server.request(method, path)
            self.assertEqual(status, wanted, path)
            self.assertIn("error", json.loads(text))
        status, _, _ = self.server.request("POST", "/v1/completions", GOOD,
                                           {"Content-Type": "text/plain"})
        self.assertEqual(status, 415)
        self.assertEqual(self.raw(b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n")[-4:],
                         b"\r\n\r\n")

    def test_a_name_that_was_made_to_mean_this_machine(self):
        def status(host: bytes) -> bytes:
            answer = self.raw(b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: " + host +
                              b"\r\n\r\n")
            return answer.split()[1]

        for host in (b"localhost", b"LOCALHOST:8000", b"127.0.0.1:1", b"[::1]:8000", b"[::1]", b""):
            self.assertEqual(status(host), b"200", host)
        for host in (b"evil.example:8000", b"localhost.evil.example", b"127.0.0.1.evil.example",
                     b"[", b"[x]"):
            self.assertEqual(status(host), b"403", host)

    def test_requests_in_a_row_on_one_connection(self):
        body = json.dumps(GOOD).encode()
        one = (b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body)) + body
        last = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.raw(one * 3 + last).count(b"HTTP/1.1 200"), 4)

    def test_slow_clients_are_left_in_time(self):
        slow = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(20)]
        begin = time.monotonic()
        for client in slow:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        while time.monotonic() < begin + 1.5:
            for client in slow:
                client.sendall(b" ")
            time.sleep(0.2)
        for client in slow:
            client.settimeout(5)
            try:
                while client.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            client.close()
        self.assertLess(time.monotonic() - begin, 6)

    def test_a_client_that_does_not_read_costs_nothing(self):
        body = json.dumps({**GOOD, "max_tokens": 900, "ignore_eos": True, "stream": True,
                           "n": 20, "temperature": 1, "logprobs": 20}).encode()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.server.port))
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        def aborted() -> float:
            return self.server.metric("onepass:request_success_total", finished_reason="abort")

        before, end = aborted(), time.monotonic() + 60
        while aborted() == before and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(aborted(), before + 1, "it was not left")
        self.server.wait_until_idle()
        client.close()

    def test_long_prompts_hold_no_stream_up(self):
        count = 0

        def stream() -> None:
            nonlocal count
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            connection.request("POST", "/v1/completions", json.dumps(
                {**GOOD, "max_tokens": 900, "ignore_eos": True, "stream": True}),
                {"Content-Type": "application/json"})
            for line in connection.getresponse():
                count += line.startswith(b"data: {")
            connection.close()

        reader = threading.Thread(target=stream)
        reader.start()
        # Takes a while to be read, and is too long.
        body = json.dumps({**GOOD, "prompt": "x" * 950_000}).encode()
        while count == 0 and reader.is_alive():
            time.sleep(0.01)
        before = count
        status, _, text = self.server.request("POST", "/v1/completions", body)
        during = count - before
        reader.join()
        self.assertEqual(status, 400)
        self.assertIn("positions", text)
        self.assertGreater(during, 10, "no token came while it was read")


class StartAndStopTest(unittest.TestCase):
    def fails(self, *flags: str, chain: Path = CHAIN) -> str:
        port = [] if any(flag.startswith("--port") for flag in flags) else ["--port=0"]
        done = subprocess.run([PROGRAM, "serve", f"--chain=qa={chain}", *port, *flags],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def test_what_is_damaged_at_the_start_is_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder)
            shutil.copytree(ROOT / "models", copy / "models")
            shutil.copytree(ROOT / "chains/demo", copy / "chains/demo")
            chain = copy / "chains/demo/fthss.yaml"
            prompt = copy / "models/prompts/world/answer-fthss/adapter_model.safetensors"
            data = prompt.read_bytes()
            prompt.write_bytes(data[:len(data) // 2])
            self.assertIn("adapter_model.safetensors", self.fails(chain=chain))
            prompt.write_bytes(data)
            base = next((copy / "models/base").glob("*.safetensors"))
            data = base.read_bytes()
            base.write_bytes(data[:1000])
            self.assertIn("safetensors", self.fails(chain=chain))
            base.write_bytes(data)
            chain.write_text(chain.read_text() + "\nnonsense: 1\n")
            self.assertIn("nonsense", self.fails(chain=chain))
            (copy / "keys").write_text("short\n")
            message = self.fails(f"--api-key-file={copy}/keys")
            self.assertIn("keys:1", message)
            self.assertNotIn("short", message)
        self.assertIn("want an IP address", self.fails("--host=no.such.host"))
        self.assertIn("no-such.yaml", self.fails(chain=Path("no-such.yaml")))

    def test_a_port_that_is_taken(self):
        with Server() as server:
            self.assertIn("in use", self.fails(f"--port={server.port}"))

    def test_a_log_that_cannot_be_written_disturbs_nothing(self):
        with Server("--log-file=/dev/full") as server:
            for _ in range(3):
                self.assertEqual(server.request("POST", "/v1/completions", GOOD)[0], 200)

    def test_what_is_logged_names_no_prompt_key_or_file(self):
        secret = "the secret of the prompt"
        with Server() as server:
            for path, body in (("/v1/completions", {**GOOD, "prompt": secret}),
                               ("/v1/completions", {**GOOD, "prompt": secret, "n": 0}),
                               ("/v1/chains/qa/run", {"fields": {"I_ALL": secret, "I_A": "x"}}),
                               ("/v1/chains/qa/run", {"fields": {secret: "x"}}),
                               (f"/{secret.replace(' ', '')}", {})):
                server.request("POST", path, body, {"Authorization": "Bearer secret-key"})
            server.wait_until_idle()
            text = Path(server.log.name).read_text()
        self.assertEqual(len(server.log_lines()), 8)  # listening, 5 requests, draining, stopped
        self.assertNotIn("secret", text)
        self.assertNotIn(str(ROOT), text)

    def long_request(self, server: Server, **options) -> socket.socket:
        body = json.dumps({**GOOD, "max_tokens": 900, "ignore_eos": True, "stream": True,
                           **options}).encode()
        client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertIn(b" 200 ", client.recv(100))
        return client

    def drain(self, server: Server) -> str:
        """What /ready says once the server drains."""
        server.process.send_signal(signal.SIGTERM)
        status, text, end = 200, "", time.monotonic() + 10
        while status == 200 and time.monotonic() < end:
            status, _, text = server.request("GET", "/ready")
        self.assertEqual(status, 503)
        return text

    def test_the_first_sigterm_drains(self):
        with Server() as server:
            idle = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            client = self.long_request(server)
            server.process.send_signal(signal.SIGTERM)
            answer = b""
            while block := client.recv(65536):
                answer += block
            self.assertTrue(answer.rstrip().endswith(b"data: [DONE]\n\n\r\n0"), answer[-60:])
            self.assertEqual(idle.recv(10), b"")
            self.assertEqual(server.process.wait(timeout=10), 0)
            idle.close()
            client.close()

    def test_while_it_drains_probes_learn_of_it(self):
        with Server("--drain-seconds=300") as server:
            length = 20 if SANITIZED else 200
            clients = [self.long_request(server, n=60, max_tokens=length) for _ in range(3)]
            answers = [b""] * len(clients)

            def read(i: int) -> None:
                while block := clients[i].recv(65536):
                    answers[i] = answers[i][-100:] + block

            readers = [threading.Thread(target=read, args=(i,)) for i in range(len(clients))]
            for reader in readers:
                reader.start()
            self.assertEqual(json.loads(self.drain(server)), {"status": "draining"})
            self.assertEqual(server.request("GET", "/health")[0], 200)
            status, headers, _ = server.request("POST", "/v1/completions", GOOD)
            self.assertEqual(status, 503)
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertTrue(any(reader.is_alive() for reader in readers), "the drain was over")
            for reader, client in zip(readers, clients):
                reader.join()
                client.close()
            for answer in answers:
                self.assertTrue(answer.rstrip().endswith(b"data: [DONE]\n\n\r\n0"), answer[-60:])
            self.assertEqual(server.process.wait(timeout=10), 0)

    def stopped_with(self, server: Server, unfinished: int) -> None:
        """It ended by itself, and said how many it ended."""
        self.assertEqual(server.process.wait(timeout=5), 0)
        lines = server.log_lines()
        events = [line["event"] for line in lines]
        self.assertEqual(lines[events.index("stopping")]["unfinished"], unfinished)
        self.assertEqual((lines[-1]["event"], lines[-1]["unfinished"]), ("stopped", 0))
        self.assertEqual([line["status"] for line in lines[events.index("stopping"):]
                          if line["event"] == "request"], [503] * unfinished)

    def test_what_is_not_done_in_the_time_to_drain_is_told_so(self):
        with Server("--drain-seconds=0.1") as server:
            body = json.dumps({**GOOD, "max_tokens": 900, "ignore_eos": True, "n": 60}).encode()
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while server.metric("onepass:num_requests_running") == 0:
                pass
            server.process.send_signal(signal.SIGTERM)
            answer = client.recv(65536)
            self.assertIn(b" 503 ", answer)
            self.assertIn(b"the server stopped", answer)
            self.stopped_with(server, 1)
            client.close()

    def test_the_second_sigterm_stops_at_once(self):
        with Server() as server:
            client = self.long_request(server, n=60)
            self.drain(server)
            server.process.send_signal(signal.SIGTERM)
            answer = b""
            while block := client.recv(65536):
                answer += block
            self.assertIn(b"the server stopped", answer[-400:])
            self.assertNotIn(b"[DONE]", answer[-400:])
            self.stopped_with(server, 1)
            client.close()

    def test_a_request_that_takes_too_long_is_told_so(self):
        with Server("--request-seconds=0.05") as server:
            body = {**GOOD, "max_tokens": 900, "ignore_eos": True}
            status, _, text = server.request("POST", "/v1/completions", body)
            self.assertEqual(status, 504)
            self.assertEqual(json.loads(text)["error"]["code"], "deadline_exceeded")
            # A stream that has begun says it in its last event, and does not end as if it were done.
            status, _, text = server.request("POST", "/v1/completions", {**body, "stream": True})
            self.assertEqual(status, 200)
            events = text.strip().split("\n\n")
            self.assertGreater(len(events), 1)
            self.assertEqual(json.loads(events[-1].removeprefix("data: "))["error"]["code"],
                             "deadline_exceeded")
            server.wait_until_idle()

    def test_the_base_alone_is_served_too(self):
        with Server(f"--model={ROOT}/models/base", "--model-name=tiny", chains={}) as server:
            models = json.loads(server.request("GET", "/v1/models")[2])["data"]
            self.assertEqual([(model["id"], model["kind"]) for model in models],
                             [("tiny", "base")])
            status, _, text = server.request("POST", "/v1/completions", {**GOOD, "model": "tiny"})
            self.assertEqual(status, 200)
            self.assertEqual(json.loads(text)["usage"]["completion_tokens"], 3)

    def test_what_the_pool_cannot_hold_is_refused_at_once(self):
        with Server("--max-kv-bytes=2000000") as server:
            status, _, text = server.request("POST", "/v1/completions",
                                             {**GOOD, "max_tokens": 900})
            self.assertEqual(status, 400)
            self.assertIn("pages of KV", json.loads(text)["error"]["message"])
            self.assertEqual(server.request("POST", "/v1/completions", GOOD)[0], 200)

    def test_too_many_connections(self):
        with Server("--max-connections=3") as server:
            held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
            time.sleep(0.1)
            status, headers, _ = server.request("GET", "/health")
            self.assertEqual(status, 503)
            for client in held:
                client.close()
            time.sleep(0.1)
            self.assertEqual(server.request("GET", "/health")[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=1)
