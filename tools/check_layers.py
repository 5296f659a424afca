#!/usr/bin/env python3
"""Checks that every #include keeps to the table of docs/architecture.md (who may include whom).

The table is the first fenced block whose info string is `layers`: lines "module -> allowed modules".
A module is a folder of src/; a module may always include itself. Exit code 0: clean; 1: violations,
one a line, `file:line: ...`; 2: the table is wrong.

  check_layers.py [--root DIR]
  check_layers.py --self-test      the check itself finds what it must find
"""

import argparse
import pathlib
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def read_table(document: pathlib.Path) -> dict:
    """module -> set of modules that it may include."""
    text = document.read_text(encoding="utf-8")
    block = re.search(r"^```layers\n(.*?)^```", text, re.M | re.S)
    if not block:
        raise ValueError(f"{document}: want a ```layers block, found none")
    table = {}
    for line in block.group(1).splitlines():
        if not line.strip():
            continue
        match = re.fullmatch(r"(\w+)\s+->\s*([\w ]*)", line.strip())
        if not match:
            raise ValueError(f'{document}: want "module -> modules", found "{line}"')
        if match.group(1) in table:
            raise ValueError(f'{document}: module "{match.group(1)}" stands there twice')
        table[match.group(1)] = set(match.group(2).split())
    for module, allowed in table.items():
        for name in allowed - set(table):
            raise ValueError(f'{document}: "{module}" may include "{name}", which is no module')
    check_acyclic(table, document)
    return table


def check_acyclic(table: dict, document: pathlib.Path) -> None:
    done = set()

    def visit(module, path):
        if module in path:
            raise ValueError(f"{document}: a circle: {' -> '.join(path + [module])}")
        if module in done:
            return
        for name in sorted(table[module]):
            visit(name, path + [module])
        done.add(module)

    for module in sorted(table):
        visit(module, [])


def violations(root: pathlib.Path, table: dict) -> list:
    found = []
    src = root / "src"
    for folder in sorted(p.name for p in src.iterdir() if p.is_dir()):
        if folder not in table:
            found.append(f'src/{folder}: want a line in the table of docs/architecture.md, found none')
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
            continue
        relative = path.relative_to(root)
        if len(relative.parts) < 3:
            found.append(f"{relative}: want a source file in a module's folder, found it in src/")
            continue
        module = relative.parts[1]
        allowed = table.get(module, set()) | {module}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            first = target.split("/")[0]
            if target.startswith("..") or "/../" in target:
                found.append(f'{relative}:{number}: want a path from src/, found "{target}"')
            elif not (src / target).exists() and not (src / first).is_dir():
                # A quoted include that is not ours: only a library's own header may be that.
                if not first.endswith(".h"):
                    continue
                if (path.parent / target).exists():
                    found.append(f'{relative}:{number}: want a path from src/, found "{target}"')
            elif first not in allowed:
                names = " ".join(sorted(allowed - {module})) or "nothing"
                found.append(f'{relative}:{number}: {module} may include {names}; found "{target}"')
    return found


def self_test() -> int:
    table_text = "text\n```layers\ncore ->\ntensor -> core\nkv -> core tensor\n```\n"
    cases = [
        # file, content, whether it is a violation
        ("src/tensor/a.h", '#include "core/b.h"\n', False),
        ("src/tensor/a.h", '#include "tensor/b.h"\n', False),
        ("src/kv/a.cc", '#include <vector>\n#include "tensor/b.h"\n', False),
        ("src/tensor/a.h", '#include "kv/b.h"\n', True),
        ("src/core/a.h", '#  include "tensor/b.h"\n', True),
        ("src/kv/a.cc", '#include "../core/b.h"\n', True),
        ("src/kv/a.cc", '#include "b.h"\n', True),
        ("src/new/a.cc", "int x;\n", True),
        ("src/a.cc", "int x;\n", True),
    ]
    wrong_tables = [
        "no table",
        "```layers\ncore -> nothing_like_this\n```\n",
        "```layers\ncore -> kv\nkv -> core\n```\n",
        "```layers\ncore ->\ncore ->\n```\n",
        "```layers\ncore: kv\n```\n",
    ]
    failures = 0
    for name, content, bad in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "docs").mkdir()
            (root / "docs/architecture.md").write_text(table_text)
            for module in ("core", "tensor", "kv"):
                (root / "src" / module).mkdir(parents=True)
                (root / "src" / module / "b.h").write_text("")
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(content)
            found = violations(root, read_table(root / "docs/architecture.md"))
            if bool(found) != bad:
                print(f"self-test: {name}: {content!r}: want violation={bad}, found {found}")
                failures += 1
    for text in wrong_tables:
        with tempfile.TemporaryDirectory() as folder:
            document = pathlib.Path(folder) / "architecture.md"
            document.write_text(text)
            try:
                read_table(document)
            except ValueError:
                continue
            print(f"self-test: a wrong table was accepted: {text!r}")
            failures += 1
    print(f"layers: self-test, {len(cases) + len(wrong_tables)} cases, {failures} wrong")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    root = pathlib.Path(arguments.root)
    try:
        table = read_table(root / "docs/architecture.md")
    except (ValueError, OSError) as error:
        print(f"layers: {error}")
        return 2
    found = violations(root, table)
    for line in found:
        print(line)
    print(f"layers: {len(table)} modules, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
