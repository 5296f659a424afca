#!/usr/bin/env python3
"""Makes the manual pages from the texts in packaging/man and the program's own help.

Names, options, values and defaults are read from `onepass --help` and every subcommand's, so that
no page can say what the program does not. What stands there by hand: onepass.mdoc, the overview,
with @COMMANDS@ for the list; COMMAND.mdoc, where it exists, the description and further sections of
onepass-COMMAND(1), with @OPTIONS@ for its options and those of its own subcommands.

  make_man.py --program PROGRAM --texts FOLDER --changelog FILE --version VERSION --out FOLDER

A help text of an unknown form ends this with a message: what reads help must grow with it.
"""

import argparse
import datetime
import email.utils
import pathlib
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field

# What only says which machine made the page: its values, and what stands behind the semicolon.
OF_THE_MACHINE = {"--instruction-set"}

# TEXT that is no path on disk, where nothing else says so: no values, no NAME=FILE. Each must exist.
NO_PATH = {
    "tokenize": {"--text", "--pattern", "--special-token", "--bos"},
    "data world": {"--format"},
    "index build": {"--stem", "--id-field", "--text-field", "--title-field"},
    "index search": {"--query"},
    "train": {"overrides"},
    "kv dump": {"overrides"},
    "eval": {"--seeds", "--task"},
    "eval report": {"--title", "--note"},
    "serve": {"--model-name", "--host"},
    "bench replay": {"--outputs"},
}

HEAD = re.compile(
    r"(?P<name>[^\s{]+)(?:\{(?P<given>[^}]*)\})?"
    r"(?: (?P<type>TEXT|INT|UINT|FLOAT)?"
    r"(?::(?P<check>\{[^}]*\}|[A-Z]+ in \[[^\]]*\]|NONNEGATIVE|POSITIVE))?(?:=(?P<default>\S+))?)?"
    r"(?P<repeated> \.\.\.)?(?P<required> REQUIRED)?(?: Excludes:(?P<excludes>(?: --\S+)+))?")
# What a parser says that knows names: "want one of a, b, c, found ...", "want a, b or c, found ...".
NAMES_WANTED = re.compile(r": want (?:one of )?([\w.-]+(?:, [\w.-]+)+(?: or [\w.-]+)?), found ")


EXIT_STATUS = [".Sh EXIT STATUS", ".Bl -tag -width Ds", ".It 0", "It was done.", ".It 1",
               "A fault; one line on standard error says which.", ".It 2", "Wrong usage.", ".El"]


class Fault(Exception):
    """One line for the user."""


@dataclass
class Parameter:
    """An option, or an argument where `names` has no dash."""
    names: list[str]
    kind: str = ""  # TEXT, INT, UINT, FLOAT; empty: a flag
    values: list[str] = field(default_factory=list)
    given: str = ""  # the value of a flag that may have one
    limits: str = ""
    default: str = ""
    repeated: bool = False
    required: bool = False
    excludes: list[str] = field(default_factory=list)
    text: str = ""
    form: str = ""  # NAME=FILE, where the text begins with such a word
    path: bool = False  # a file or folder

    @property
    def name(self) -> str:
        return self.names[-1]

    @property
    def is_option(self) -> bool:
        return self.name.startswith("-")


@dataclass
class Command:
    path: str  # "", "run", "data world"
    text: str = ""
    arguments: list[Parameter] = field(default_factory=list)
    options: list[Parameter] = field(default_factory=list)
    one_of: list[list[str]] = field(default_factory=list)  # options of which exactly one is needed
    commands: list["Command"] = field(default_factory=list)

    def all(self):
        yield self
        for command in self.commands:
            yield from command.all()


def run(program: str, words: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False,
                          stdin=subprocess.DEVNULL)


def help_of(program: str, path: str) -> list[str]:
    result = run(program, [*path.split(), "--help"])
    if result.returncode != 0:
        raise Fault(f"{program} {path} --help ended with {result.returncode}: {result.stderr}")
    return result.stdout.splitlines()


def split_line(line: str) -> tuple[str, str]:
    """What a line describes, and the description, which begins 30 columns behind the indent of
    its section or, where the former is longer, on a line of its own."""
    if HEAD.fullmatch(line.strip()):
        return line.strip(), ""
    indent = len(line) - len(line.lstrip())
    return line[:28 + indent].strip(), line[28 + indent:].strip()


def parse_parameter(head: str, text: str) -> Parameter:
    match = HEAD.fullmatch(head)
    if not match:
        raise Fault(f"a line of help has an unknown form: {head!r}")
    check = match["check"] or ""
    parameter = Parameter(
        names=match["name"].split(","), kind=match["type"] or "", given=match["given"] or "",
        default=match["default"] or "", repeated=bool(match["repeated"]),
        required=bool(match["required"]), excludes=(match["excludes"] or "").split(), text=text)
    if check.startswith("{"):
        parameter.values = check[1:-1].split(",")
    elif " in [" in check:
        parameter.limits = check.split("[")[1][:-1].replace(" - ", " to ")
    elif check:
        parameter.limits = {"NONNEGATIVE": "0 or more", "POSITIVE": "more than 0"}[check]
    if form := re.match(r"([A-Za-z]+(?:\.prompt)?=[\w.]+)[:,] ", text):
        parameter.form, parameter.text = form[1], text[form.end():]
    if parameter.name in OF_THE_MACHINE:
        parameter.values = []
        parameter.text = text.split(";")[0] + "; --help lists the machine's own"
    return parameter


def ask_for_values(program: str, path: str, option: str) -> list[str]:
    """The names an option takes, where its parser lists them when it is given another one.

    Nothing is run: the unknown option behind it would end the program too.
    """
    said = run(program, [*path.split(), option, ".", "--no-such-option"]).stderr
    match = NAMES_WANTED.search(said)
    return re.split(r", | or ", match[1]) if match and said.startswith(f"onepass: {option}: ") else []


def read_command(program: str, path: str) -> Command:
    lines = help_of(program, path)
    command = Command(path, text=lines[0])
    if not lines[1].startswith("Usage: "):
        raise Fault(f"{path} --help: the second line is not the usage: {lines[1]!r}")
    section = ""
    found: list[tuple[str, str, str]] = []  # section, head, text
    for line in lines[2:]:
        words = line.strip()
        if words in ("Options:", "Positionals:", "Subcommands:"):
            section = words
        elif words.startswith("[Option Group: "):
            section = words
        elif section.startswith("[Option Group: "):
            if words.startswith("[Exactly 1 of "):
                command.one_of.append([])
        elif line.startswith(" " * 30):
            found[-1] = (*found[-1][:2], f"{found[-1][2]} {words}".strip())
        elif words:
            head, text = split_line(line)
            found.append((section, head, text))
            if command.one_of:
                command.one_of[-1].append(head.split()[0])
    for where, head, text in found:
        if where == "Subcommands:":
            command.commands.append(read_command(program, f"{path} {head}".strip()))
        elif where == "Positionals:":
            command.arguments.append(parse_parameter(head, text))
        elif where == "Options:":
            command.options.append(parse_parameter(head, text))
        else:
            raise Fault(f"{path} --help: a line stands in no section: {head!r}")
    no_path = NO_PATH.get(path, set())
    for parameter in command.arguments + command.options:
        if parameter.kind != "TEXT":
            continue
        if parameter.is_option and not parameter.values and parameter.name not in OF_THE_MACHINE:
            parameter.values = ask_for_values(program, path, parameter.name)
        parameter.path = not (parameter.values or parameter.name in no_path | OF_THE_MACHINE)
    unknown = no_path - {p.name for p in command.arguments + command.options}
    if unknown:
        raise Fault(f"NO_PATH names what '{path}' does not have: {', '.join(sorted(unknown))}")
    return command


def read_program(program: str) -> Command:
    """Every command of the program, by its own word."""
    root = read_command(program, "")
    unknown = NO_PATH.keys() - {command.path for command in root.all()}
    if unknown:
        raise Fault(f"NO_PATH names commands that are not there: {', '.join(sorted(unknown))}")
    return root


# --- mdoc ---


def plain(text: str) -> str:
    """Text of help as text of mdoc."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"`([^`]*)`", r"\\(oq\1\\(cq", text)
    text = re.sub(r"'([^']*)'", r"\\(oq\1\\(cq", text)
    return re.sub(r"(?<!\w)--?(?=\w)", lambda dashes: "\\-" * len(dashes[0]), text)


def paragraph(text: str) -> list[str]:
    """A line a sentence, none longer than 78 characters, none taken for a request."""
    lines = []
    for sentence in re.split(r"(?<=[a-z0-9)]\.) (?=[A-Z])", text):
        for line in textwrap.wrap(plain(sentence), 78, break_long_words=False,
                                  break_on_hyphens=False):
            lines.append("\\&" + line if line[0] in ".'" else line)
    return lines


def sentence(text: str) -> str:
    """A fragment of help as a sentence."""
    if re.match(r"[a-z]+\b(?!\.\w|=)", text):
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else text + "."


def listed(names: list[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def argument_of(parameter: Parameter) -> str:
    if parameter.form:
        return parameter.form
    if not parameter.is_option:
        return parameter.name.lower()
    if parameter.values:
        return "name"
    if parameter.kind == "TEXT":
        return "path" if parameter.path else "text"
    return {"FLOAT": "number"}.get(parameter.kind, "n")


def item(parameter: Parameter) -> list[str]:
    if parameter.is_option:
        head = ".It " + " , ".join(f"Fl {name[1:]}" for name in parameter.names)
        if parameter.kind:
            head += f" Ar {argument_of(parameter)}"
        elif parameter.values:
            head += f" Ns Op No = Ns Ar {'|'.join(parameter.values)}"
        if parameter.kind and parameter.repeated:
            head += " ..."
    else:
        head = f".It Ar {argument_of(parameter)}" + (" ..." if parameter.repeated else "")
    said = [sentence(parameter.text)] if parameter.text else []
    if parameter.kind and parameter.values:
        values = listed(parameter.values, "or")
        if not all(re.search(rf"(?<![\w-]){re.escape(v)}(?![\w-])", parameter.text)
                   for v in parameter.values):
            said.append(f"One of {values}.")
    if parameter.limits:
        said.append(f"From {parameter.limits}." if " to " in parameter.limits
                    else f"{parameter.limits[0].upper()}{parameter.limits[1:]}.")
    if parameter.default and parameter.kind:
        default = parameter.default.strip("[]").replace(",", " ")
        said.append(f"Default: {default}.")
    if parameter.required and parameter.is_option:
        said.append("Required.")
    if parameter.excludes:
        said.append(f"Not together with {listed(parameter.excludes, 'or')}.")
    return [head, *(line for part in said for line in paragraph(part))]


def lists(command: Command) -> list[str]:
    """The arguments and options of a command."""
    lines = []
    options = [option for option in command.options if option.name != "--help"]
    for parameters, title in ((command.arguments, "arguments"), (options, "options")):
        if parameters:
            lines += [".Pp"] if lines else []
            lines += [f"The {title} are:", ".Bl -tag -width Ds"]
            for parameter in parameters:
                lines += item(parameter)
            lines.append(".El")
    for names in command.one_of:
        lines += [".Pp", *paragraph(f"Exactly one of {listed(names, 'and')} is needed.")]
    return lines


def synopsis(command: Command) -> list[str]:
    lines = [f".Nm onepass {command.path}"]
    for option in command.options:
        if option.required:
            lines.append(f".Fl {option.name[1:]} Ar {argument_of(option)}")
    lines.append(".Op Ar option ...")
    for argument in command.arguments:
        name = argument_of(argument) + (" ..." if argument.repeated else "")
        lines.append(f".Ar {name}" if argument.required else f".Op Ar {name}")
    return lines


def summary(command: Command) -> str:
    """What a command does, as part of a sentence."""
    text = command.text
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def command_list(command: Command) -> list[str]:
    lines = [".Bl -tag -width Ds"]
    for sub in command.commands:
        lines += [f".It Xr onepass-{sub.path} 1", *paragraph(sentence(sub.text))]
    return lines + [".El"]


def command_page(command: Command, texts: pathlib.Path, head: dict[str, str]) -> list[str]:
    name = f"onepass-{command.path}"
    lines = [f".Dd {head['DATE']}", f".Dt {name.upper()} 1", f".Os onepass {head['VERSION']}",
             ".Sh NAME", f".Nm {name}", f".Nd {plain(summary(command))}", ".Sh SYNOPSIS"]
    leaves = [c for c in command.all() if not c.commands or c.arguments]
    for leaf in leaves:
        lines += synopsis(leaf)
    options = lists(command) if command in leaves else []
    for leaf in leaves:
        if leaf is not command:
            lines_of = [f".Ss onepass {leaf.path}", *paragraph(sentence(leaf.text)), ".Pp"]
            options += lines_of + lists(leaf)
    text = texts / f"{command.path}.mdoc"
    if text.exists():
        body = filled(text, {**head, "OPTIONS": "\n".join(options)})
    else:
        body = [".Sh DESCRIPTION", *paragraph(sentence(command.text))]
        body += [".Pp", *options] if command in leaves else options
    if ".Sh SEE ALSO" not in body:
        body += [".Sh SEE ALSO", ".Xr onepass 1"]
    if ".Sh EXIT STATUS" not in body:
        where = next(i for i, line in enumerate(body) if line in (".Sh EXAMPLES", ".Sh SEE ALSO"))
        body[where:where] = EXIT_STATUS
    return lines + body


def filled(text: pathlib.Path, values: dict[str, str]) -> list[str]:
    def value(match: re.Match) -> str:
        if match[1] not in values:
            raise Fault(f"{text}: @{match[1]}@ is not known")
        return values[match[1]]

    written = "".join(line for line in text.read_text().splitlines(keepends=True)
                      if not line.startswith('.\\"'))
    missing = {"OPTIONS", "COMMANDS"} & values.keys() - set(re.findall(r"@([A-Z]+)@", written))
    if missing:
        raise Fault(f"{text}: no @{missing.pop()}@")
    return re.sub(r"@([A-Z]+)@", value, written).splitlines()


def release_date(changelog: pathlib.Path) -> datetime.date:
    """The date of the newest entry of a Debian changelog."""
    signed = re.search(r"^ -- .*>  (.*)$", changelog.read_text(), re.MULTILINE)
    if not signed:
        raise Fault(f"{changelog}: no entry is signed")
    return email.utils.parsedate_to_datetime(signed[1]).date()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    for name in ("--texts", "--changelog", "--out"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    parser.add_argument("--version", required=True)
    flags = parser.parse_args()
    root = read_program(flags.program)
    date = release_date(flags.changelog)
    head = {"DATE": f"{date:%B} {date.day}, {date.year}", "VERSION": flags.version}
    flags.out.mkdir(parents=True, exist_ok=True)
    unused = {path.stem for path in flags.texts.glob("*.mdoc")}
    unused -= {"onepass", *(command.path for command in root.commands)}
    if unused:
        raise Fault(f"{flags.texts}: no command is called {listed(sorted(unused), 'or')}")
    pages = {"onepass": filled(flags.texts / "onepass.mdoc",
                               {**head, "COMMANDS": "\n".join(command_list(root))})}
    for command in root.commands:
        pages[f"onepass-{command.path}"] = command_page(command, flags.texts, head)
    for name, lines in pages.items():
        (flags.out / f"{name}.1").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"make_man: {fault}")
