#!/usr/bin/env python3
"""Makes the completions for bash, zsh and fish from the program's own help, read by make_man.py.

Completed are commands, options, the values of options that take one of a few names (also those that
only the option's parser knows), and paths, behind NAME= too.

  make_completions.py --program PROGRAM --out FOLDER      writes onepass.bash, _onepass, onepass.fish
"""

import argparse
import pathlib
import sys

from make_man import Command, Fault, Parameter, argument_of, read_program

ORIGIN = "Made from the program's own help by tools/make_completions.py."


def single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def takes_paths(command: Command) -> bool:
    return any(argument.path for argument in command.arguments)


# --- bash ---

BASH = r"""# Completion of onepass for bash. @ORIGIN@

# The commands below a command.
_onepass_commands() {
  case $1 in
@COMMANDS@
  esac
}

# The options of a command.
_onepass_options() {
  case $1 in
@OPTIONS@
  esac
}

# What an option of a command takes: names; / for a path; - for a value that is not completed;
# nothing for a flag. Behind =: names that may follow a flag.
_onepass_values() {
  case "$1 $2" in
@VALUES@
  esac
}

# Whether a command has arguments that are paths.
_onepass_takes_paths() {
  case $1 in
@PATHS@
    *) return 1 ;;
  esac
}

_onepass() {
  # Bash may have cut words at =: put together again.
  local words=() word glue=""
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ ${#words[@]} -gt 0 && ($glue || $word == =) ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    [[ $word == = && $COMP_WORDBREAKS == *=* ]] && glue=1 || glue=
  done
  local current=${words[-1]}
  unset 'words[-1]'

  # The command, and the option whose value comes next.
  local command="" option="" values
  for word in "${words[@]}"; do
    if [[ $option ]]; then
      option=
    elif [[ $word == -* ]]; then
      values=$(_onepass_values "$command" "$word")
      [[ $word != *=* && $values && $values != =* ]] && option=$word
    elif [[ " $(_onepass_commands "$command") " == *" $word "* ]]; then
      command+=${command:+ }$word
    fi
  done

  local value=$current
  if [[ ! $option && $current == --*=* ]]; then
    option=${current%%=*}
    value=${current#*=}
  fi
  if [[ $option ]]; then
    values=$(_onepass_values "$command" "$option")
    values=${values#=}
  elif [[ $current == -* ]]; then
    values=$(_onepass_options "$command")
  else
    values=$(_onepass_commands "$command")
    _onepass_takes_paths "$command" && values+=" /"
  fi

  COMPREPLY=()
  local names=${values%/}
  [[ $values == - ]] || mapfile -t COMPREPLY < <(compgen -W "$names" -- "$value")
  if [[ $values == */ ]]; then
    compopt -o filenames 2>/dev/null
    local path=${value##*=} file
    while IFS= read -r file; do COMPREPLY+=("${value%"$path"}$file"); done < <(compgen -f -- "$path")
  fi
  # Bash puts in place only what stands behind the last of its word breaks.
  local kept=${current%"$value"} cut="" i
  [[ $COMP_WORDBREAKS == *=* ]] && cut=${current%"${current##*=}"}
  for i in "${!COMPREPLY[@]}"; do
    word=$kept${COMPREPLY[i]}
    COMPREPLY[i]=${word#"$cut"}
  done
}

complete -F _onepass onepass
"""


def bash_value(parameter: Parameter) -> str:
    if not parameter.kind:
        return "=" + " ".join(parameter.values) if parameter.values else ""
    return " ".join(parameter.values) or ("/" if parameter.path else "-")


def bash(root: Command) -> str:
    def cases(entries: dict[str, str]) -> str:
        """Keys of the same text stand in one case."""
        by_text: dict[str, list[str]] = {}
        for key, text in entries.items():
            if text:
                by_text.setdefault(text, []).append(key)
        return "\n".join("    {}) echo {} ;;".format(
            " | ".join(f'"{key}"' for key in keys), single_quoted(text))
            for text, keys in by_text.items())

    commands = list(root.all())
    values = {"COMMANDS": cases({c.path: " ".join(s.path.split()[-1] for s in c.commands)
                                 for c in commands}),
              "OPTIONS": cases({c.path: " ".join(o.name for o in c.options) for c in commands}),
              "VALUES": cases({f"{c.path} {o.name}": bash_value(o)
                               for c in commands for o in c.options}),
              "PATHS": "    " + " | ".join(f'"{c.path}"' for c in commands if takes_paths(c)) +
                       ") return 0 ;;",
              "ORIGIN": ORIGIN}
    text = BASH
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


# --- zsh ---


def zsh_text(text: str, marks: str) -> str:
    for mark in "\\" + marks:
        text = text.replace(mark, "\\" + mark)
    return text


def zsh_action(parameter: Parameter) -> str:
    name = zsh_text(argument_of(parameter), ":")
    if parameter.values:
        return f"{name}:({' '.join(parameter.values)})"
    if parameter.form and parameter.path:
        return f"{name}:_onepass_named_path"
    return f"{name}:_files" if parameter.path else f"{name}: "


def zsh_specs(command: Command) -> list[str]:
    specs = []
    for option in command.options:
        text = f"[{zsh_text(option.text, '[]:')}]"
        if option.name in ("--help", "--version"):
            specs += [f"(- *){name}{text}" for name in option.names]
        elif not option.kind:
            specs.append(f"{option.name}{text}" if not option.values
                         else f"{option.name}=-{text}::{zsh_action(option)}")
        else:
            excludes = f"({' '.join([option.name, *option.excludes])})"
            specs.append(("*" if option.repeated else excludes) +
                         f"{option.name}={text}:{zsh_action(option)}")
    if command.commands:
        return [*specs, "1: :->command"]
    for argument in command.arguments:
        specs.append(("*" if argument.repeated else "") + f":{zsh_action(argument)}")
    return specs


def zsh_function(command: Command) -> list[str]:
    name = "_onepass" + "".join(f"_{word.replace('-', '_')}" for word in command.path.split())
    specs = [single_quoted(spec) for spec in zsh_specs(command)]
    lines = ["", f"{name}_command() {{"]
    if command.commands:
        lines += [f"  local below={name}_${{words[2]//-/_}}_command",
                  "  if (( CURRENT > 2 && $+functions[$below] )); then",
                  "    shift words", "    (( CURRENT-- ))", "    $below", "    return", "  fi",
                  "  local curcontext=$curcontext state line"]
    lines += ["  _arguments -C \\" if command.commands else "  _arguments \\",
              *(f"    {spec} \\" for spec in specs[:-1]), f"    {specs[-1]}"]
    if command.commands:
        lines += ["  local result=$?", "  [[ $state == command ]] || return $result",
                  "  local -a commands=("]
        lines += ["    " + single_quoted(f"{sub.path.split()[-1]}:{sub.text}")
                  for sub in command.commands]
        lines += ["  )", "  _describe command commands"]
        if takes_paths(command):
            lines.append("  _files")
    return [*lines, "}"]


def zsh(root: Command) -> str:
    lines = ["#compdef onepass", f"# Completion of onepass for zsh. {ORIGIN}", "",
             "# NAME=PATH", "_onepass_named_path() {",
             "  if compset -P '*='; then _files; else _message 'NAME='; fi", "}"]
    for command in root.all():
        lines += zsh_function(command)
    return "\n".join([*lines, "", '_onepass_command "$@"']) + "\n"


# --- fish ---


def fish(root: Command) -> str:
    groups = " ".join(c.path for c in root.commands if c.commands)
    lines = [f"# Completion of onepass for fish. {ORIGIN}", "",
             "# Whether the command line is at this command: its words, none for the program itself.",
             "function __onepass_at",
             "    set -l words (commandline -opc)[2..]",
             "    set -l command",
             "    if set -q words[1]; and not string match -q -- '-*' $words[1]",
             "        set command $words[1]",
             f"        if contains -- $words[1] {groups}; and set -q words[2]",
             '            if contains -- "$words[1..2]" ' +
             " ".join(single_quoted(s.path) for c in root.commands for s in c.commands),
             "                set command $words[1..2]",
             "            end", "        end", "    end",
             '    test "$command" = "$argv"', "end", ""]
    for command in root.all():
        here = f"complete -c onepass -n '{('__onepass_at ' + command.path).strip()}'"
        if not takes_paths(command):
            lines.append(f"{here} -f")
        for sub in command.commands:
            lines.append(f"{here} -a {sub.path.split()[-1]} -d {single_quoted(sub.text)}")
        for option in command.options:
            line = here + "".join(f" -l {n[2:]}" if n.startswith("--") else f" -s {n[1:]}"
                                  for n in option.names)
            if option.kind:
                line += (f" -x -a '{' '.join(option.values)}'" if option.values
                         else " -r -F" if option.path else " -x")
            lines.append(line + f" -d {single_quoted(option.text)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    flags = parser.parse_args()
    root = read_program(flags.program)
    flags.out.mkdir(parents=True, exist_ok=True)
    for name, make in (("onepass.bash", bash), ("_onepass", zsh), ("onepass.fish", fish)):
        (flags.out / name).write_text(make(root))


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"make_completions: {fault}")
