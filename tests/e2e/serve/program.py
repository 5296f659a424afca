"""Runs the program: a server for a test, a chain over records."""

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = os.environ["ONEPASS"]
SANITIZED = os.environ.get("ONEPASS_SANITIZED") == "1"  # it is some thirty times slower
CHAIN = ROOT / "chains/demo/fthss.yaml"


class Server:
    """`onepass serve` on a free port of loopback. Ends with the `with` block."""

    def __init__(self, *flags: str, chains: dict[str, Path] | None = None):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        named = {"qa": CHAIN} if chains is None else chains
        arguments = [f"--chain={name}={path}" for name, path in named.items()]
        self.process = subprocess.Popen(
            [PROGRAM, "serve", *arguments, "--port=0", "--threads=2", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "http://" not in line:
            self.process.wait()
            self.process.stdout.close()
            with self.log:
                raise RuntimeError(f"no server: {Path(self.log.name).read_text()}")
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        # Sanitizers speak at the end.
        if self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}: "
                                 f"{Path(self.log.name).read_text()[-4000:]}")

    def log_lines(self) -> list[dict]:
        return [json.loads(line) for line in Path(self.log.name).read_text().splitlines()]

    def request(self, method: str, path: str, body=None, headers=None, timeout=60):
        """Status, headers and text of one request; `body` is JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"Content-Type": "application/json", **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value, summed over its labels, or over those that have all of `labels`; 0
        where none has."""
        _, _, text = self.request("GET", "/metrics")
        lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
        if not lines and not labels:
            raise KeyError(name)
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if all(f'{key}="{value}"' in line for key, value in labels.items()))

    def wait_until_idle(self, seconds: float = 20) -> None:
        """Until no run is there, and every page that is used is idle."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            busy = self.metric("onepass:num_requests_running")
            busy += self.metric("onepass:num_requests_waiting")
            used = self.metric("onepass:kv_pages_used")
            if busy == 0 and used == self.metric("onepass:kv_pages_idle"):
                return
            time.sleep(0.02)
        raise AssertionError(f"{busy} runs, {used} pages are still held")


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def records(count: int, seed: int = 2) -> list[dict]:
    """Questions of the generated world, with documents and gold answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        subprocess.run([PROGRAM, "data", "world", "--task=compress-qa", "--split=test",
                        f"--count={count}", f"--seed={seed}", f"--out={path}"],
                       check=True, capture_output=True)
        return [json.loads(line) for line in path.read_text().splitlines()]


def run_chain(chain: Path, given: list[dict], *flags: str) -> list[dict]:
    """What `onepass run` says of the records."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        source.write_text("".join(json.dumps(record) + "\n" for record in given))
        subprocess.run([PROGRAM, "run", str(chain), f"--input={source}", f"--output={target}",
                        *flags], check=True, capture_output=True)
        return [json.loads(line) for line in target.read_text().splitlines()]
