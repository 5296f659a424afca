"""Writes tests/golden/eval/squad_metrics.json: answers scored by SQuAD 1.1's definitions.

The functions below restate the official definitions in the language that they were written in, so
that the C++ is checked against Python's own regular expressions, lower() and split().
Run: python3 tools/make_metric_goldens.py
"""

import collections
import json
import pathlib
import re
import string

PAIRS = [
    ("Paris", "paris"),
    ("The Eiffel Tower!", "eiffel tower"),
    ("a man, a plan, a canal", "man plan canal"),
    ("an", "the"),
    ("", ""),
    ("", "something"),
    ("theatre", "the atre"),
    ("the-atre", "atre"),
    ("U.S.A.", "usa"),
    ("it's the cat's", "its cats"),
    ("New  York\tCity\n", "York New"),
    ("to be or not to be", "to be"),
    ("be be be", "be to be"),
    ("$5,000.50", "500050"),
    ("snake_case", "snakecase"),
    ("yes", "no"),
    ("yes", "yes"),
    ("no", "no one"),
    ("noanswer", "no answer"),
    ("Yes, the", "yes"),
    ("42", "42.0"),
    ("É. Zola", "é zola"),
    ("École the «A» Paris", "école paris"),
    ("“the” end", "end"),
    ("naïve a–b", "naïve b"),
    ("Москва", "МОСКВА"),
    ("東京 the 都", "東京 都"),
    ("x² a", "x²"),
    ("a\u00a0dog", "dog"),
    ("an\u2028owl", "OWL"),
    ("a\u0301", "\u0301"),
    ("the\u200bcat", "cat"),
    ("A a A", "a"),
    ("Amber Forge", "Amber Forge Works"),
    ("the the cat", "cat"),
]


def normalize(text):
    text = text.lower()
    text = "".join(c for c in text if c not in set(string.punctuation))
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def exact_match(found, wanted):
    return float(normalize(found) == normalize(wanted))


def f1(found, wanted):
    found_words, wanted_words = normalize(found).split(), normalize(wanted).split()
    same = sum((collections.Counter(found_words) & collections.Counter(wanted_words)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(found_words), same / len(wanted_words)
    return 2 * precision * recall / (precision + recall)


def hotpot_f1(found, wanted):
    a, b = normalize(found), normalize(wanted)
    closed = ("yes", "no", "noanswer")
    if (a in closed or b in closed) and a != b:
        return 0.0
    return f1(found, wanted)


rows = [
    {
        "found": found,
        "wanted": wanted,
        "normalized": normalize(found),
        "em": exact_match(found, wanted),
        "f1": f1(found, wanted),
        "hotpot_f1": hotpot_f1(found, wanted),
    }
    for found, wanted in PAIRS
]
out = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/eval/squad_metrics.json"
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
