#!/usr/bin/env python3
"""The completions, asked for by the shells themselves.

  completion_test.py PROGRAM FOLDER     the folder that tools/make_completions.py wrote

Bash is asked in two ways: for what its function offers, and by a TAB at a terminal.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

FOLDER = Path()
PROGRAM = ""
PATIENCE = 30  # seconds for a shell to start or to answer

# What is typed, and all that is offered (bash offers what stands behind the last =).
OFFERED = {
    "se": ["serve"],
    "serve --ch": ["--chain"],
    "serve --max-r": ["--max-running"],
    "run --handoff ": ["text", "text-cached", "kv"],
    "run --handoff=text-": ["text-cached"],
    "run --kv b": ["bf16"],
    "run --explain=": ["text", "json"],
    "run --input chains/one.yaml --ha": ["--handoff"],
    "run --output serve --han": ["--handoff"],
    "data ": ["world", "babi", "squad"],
    "data world --split v": ["validation"],
    "data babi --ta": ["--task"],
    "kv d": ["dump"],
    "eval re": ["report"],
    "bench kv-": ["kv-memory", "kv-error"],
    "bench prefill --shape llama": ["llama3.2-1b", "llama3-8b"],
    "bench handoff --json --dtype f": ["f32", "f16"],
    "run chains/o": ["chains/one.yaml"],
    "serve --chain one=chains/o": ["chains/one.yaml"],
    "serve --chain=one=chains/o": ["chains/one.yaml"],
    "serve --port ": [],
    "index search --query chains/": [],
    "no-such-command --": ["--help", "--version"],
}


class Terminal:
    """A shell at a terminal, in which `onepass` prints its arguments."""

    def __init__(self, command: list[str], cwd: str):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(cwd)
            os.environ.update(TERM="dumb", PS1="$ ", HOME=cwd, INPUTRC="/dev/null")
            os.execvp(command[0], command)
        self.pid, self.seen = pid, ""

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, mark: str) -> str:
        """What was written up to the mark."""
        end = time.monotonic() + PATIENCE
        while mark not in self.seen:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"no {mark!r} in {self.seen!r}")
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        before, self.seen = self.seen.split(mark, 1)
        return before

    def arguments(self, typed: str) -> str:
        """The arguments that `onepass TYPED`, a TAB and Return give."""
        self.send(f"onepass {typed}\t")
        time.sleep(0.5)  # the shell completes; what comes after must not reach it as its input
        self.send("\r")
        self.wait_for("<arguments:")
        return self.wait_for(">")

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)


class Completion(unittest.TestCase):
    def setUp(self):
        self.cwd = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.cwd)
        (Path(self.cwd) / "chains").mkdir()
        (Path(self.cwd) / "chains" / "one.yaml").touch()

    def need(self, shell: str) -> None:
        if shutil.which(shell) is None:
            self.fail(f"{shell} is not installed; tools/setup.sh package installs it")

    def offers_of_bash(self, lines: list[str]) -> list[list[str]]:
        """What the function of bash offers behind each of the lines."""
        script = r"""
          source "$1/onepass.bash"
          while IFS= read -r typed; do
            line=${typed//=/ = }
            read -ra COMP_WORDS <<<"onepass $line"
            [[ ! $typed || $typed == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            _onepass
            echo "${COMPREPLY[*]}"
          done"""
        said = subprocess.run(["bash", "--norc", "--noprofile", "-c", script, "bash", FOLDER],
                              input="\n".join(lines) + "\n", cwd=self.cwd, text=True,
                              capture_output=True, timeout=PATIENCE, check=True)
        self.assertEqual(said.stderr, "")
        return [line.split() for line in said.stdout.splitlines()]

    def test_bash_function_offers(self):
        for (typed, expected), offered in zip(OFFERED.items(), self.offers_of_bash(list(OFFERED)),
                                              strict=True):
            self.assertEqual(offered, expected, typed)

    def test_every_command_and_option_of_the_help_is_offered(self):
        paths, lines, expected = [""], [], []
        for path in paths:
            text = subprocess.run([PROGRAM, *path.split(), "--help"], capture_output=True, text=True,
                                  timeout=PATIENCE, check=True).stdout
            options = re.findall(r"^ +(?:-\w,)?(--[\w-]+)", text, re.MULTILINE)
            _, _, below = text.partition("\nSubcommands:\n")
            commands = re.findall(r"^  ([\w-]+)", below, re.MULTILINE)
            paths += [f"{path} {name}".strip() for name in commands]
            lines += [f"{path} --".strip(), *([f"{path} ".lstrip()] if commands else [])]
            expected += [options, *([commands] if commands else [])]
        self.assertGreater(len(paths), 20)
        for line, names, offered in zip(lines, expected, self.offers_of_bash(lines), strict=True):
            self.assertEqual(set(names) - set(offered), set(), line)
            if line.endswith("--"):
                self.assertEqual(set(offered) - set(names), set(), line)

    def test_bash_completes_at_a_terminal(self):
        bash = Terminal(["bash", "--norc", "--noprofile", "-i"], self.cwd)
        self.addCleanup(bash.close)
        bash.send(f"source {FOLDER}/onepass.bash; "
                  "onepass() { echo \"<argu\"\"ments:$*>\"; }; echo rea''dy\r")
        bash.wait_for("ready")
        for typed, arguments in {
                "se": "serve", "serve --ch": "serve --chain", "run --handoff k": "run --handoff kv",
                "run --handoff=k": "run --handoff=kv",
                "serve --chain one=chains/o": "serve --chain one=chains/one.yaml"}.items():
            self.assertEqual(bash.arguments(typed), arguments)

    def test_zsh_completes_at_a_terminal(self):
        self.need("zsh")
        zsh = Terminal(["zsh", "-f", "-i"], self.cwd)
        self.addCleanup(zsh.close)
        zsh.send(f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u -D; "
                 "onepass() { echo \"<argu\"\"ments:$*>\"; }; echo rea''dy\r")
        zsh.wait_for("ready")
        for typed, arguments in {
                "se": "serve", "serve --ch": "serve --chain", "run --handoff k": "run --handoff kv",
                "data wor": "data world", "eval rep": "eval report",
                "serve --chain one=chains/o": "serve --chain one=chains/one.yaml",
                "run chains/o": "run chains/one.yaml"}.items():
            self.assertEqual(zsh.arguments(typed).removesuffix("="), arguments)

    def test_fish_offers(self):
        self.need("fish")
        # Fish offers whole words, paths that merely hold what was typed, and no value for a flag.
        asked = {typed: offered for typed, offered in OFFERED.items()
                 if "chains/" not in typed and typed not in ("run --explain=", "no-such-command --")}
        script = f"source {FOLDER}/onepass.fish\n" + "\n".join(
            f"complete -C 'onepass {typed}' | string replace -r '\\t.*' '' | string join ' '\n"
            "echo '|'" for typed in asked)
        said = subprocess.run(["fish", "--no-config", "-c", script], cwd=self.cwd, text=True,
                              capture_output=True, timeout=PATIENCE, check=False,
                              env={**os.environ, "HOME": self.cwd})
        self.assertEqual(said.stderr, "")
        for (typed, offered), words in zip(asked.items(), said.stdout.split("|\n")[:-1],
                                           strict=True):
            self.assertEqual(sorted(word.split("=")[-1] for word in words.split()),
                             sorted(offered), typed)


if __name__ == "__main__":
    FOLDER = Path(sys.argv.pop()).resolve()
    PROGRAM = sys.argv.pop()
    unittest.main()
