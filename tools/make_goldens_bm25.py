"""Writes tests/golden/retrieval/bm25.json: BM25 scores of a small corpus, by the package rank_bm25.

rank_bm25's BM25Okapi is the formula of docs/formats/index.md but for the idf of common words, which
it replaces by a quarter of the mean idf. Rows with "floor": false hold words with odds of at least 2
alone, and are the package's own scores. Of the others the idf is replaced by ours before it scores.
Run: python3 tools/make_goldens_bm25.py   (wants rank_bm25, see tools/requirements.txt)
"""

import json
import math
import pathlib

from rank_bm25 import BM25Okapi

DOCUMENTS = [
    "the old harbour of the town was built by sailors",
    "a sailor keeps a parrot and a cat on the ship",
    "the cat of the baker sleeps beside the oven all day",
    "bread from the oven of the baker is sold in the town",
    "ships leave the harbour at dawn",
    "a parrot can live for sixty years",
    "the mayor of the town owns no cat no dog and no parrot",
    "dawn",
    "years ago the river ran through the old town and the mill stood beside the river",
    "the miller sold flour to the baker",
    "flour and water and salt make bread bread bread",
    "at night the lighthouse guides ships past the rocks",
    "no one lives on the island of rocks and gulls",
    "gulls follow the ships into the harbour",
    "the dog of the miller follows the cat of the mayor",
]
QUERIES = [
    "parrot",
    "harbour ships",
    "bread flour oven",
    "cat cat dog",
    "dawn island gulls rocks river river river",
    "lighthouse nowhere",
    "the town",
    "the the of and cat",
    "who owns the parrot of the mayor",
]
WEIGHTS = [(1.2, 0.75), (0.9, 0.4), (2.0, 1.0), (1.5, 0.0), (0.1, 0.75)]


def odds(bm25, word):
    holders = sum(word in counts for counts in bm25.doc_freqs)
    return (bm25.corpus_size - holders + 0.5) / (holders + 0.5)


class Floored(BM25Okapi):
    """The same with our idf."""

    def _calc_idf(self, nd):
        super()._calc_idf(nd)
        for word in self.idf:
            o = odds(self, word)
            self.idf[word] = math.log(o) if o >= 2 else math.log(1 + o / 2)


corpus = [text.split() for text in DOCUMENTS]
rows = []
for k1, b in WEIGHTS:
    plain, floored = BM25Okapi(corpus, k1=k1, b=b), Floored(corpus, k1=k1, b=b)
    for query in QUERIES:
        words = query.split()
        is_floored = any(w in plain.idf and odds(plain, w) < 2 for w in words)
        scores = [float(s) for s in (floored if is_floored else plain).get_scores(words)]
        order = sorted(range(len(scores)), key=lambda d: (-scores[d], d))
        hits = [{"document": d, "score": scores[d]} for d in order if scores[d] > 0]
        # Ranks that hang on the last bits would test the order of sums, not the formula.
        for a, c in zip(hits, hits[1:]):
            assert a["score"] == c["score"] or a["score"] - c["score"] > 1e-9, (query, a, c)
        rows.append({"query": query, "k1": k1, "b": b, "floor": is_floored, "hits": hits})
assert any(row["floor"] for row in rows) and any(not row["floor"] for row in rows)

out = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/retrieval/bm25.json"
out.parent.mkdir(parents=True, exist_ok=True)
lines = lambda values: ",\n".join("  " + json.dumps(value) for value in values)
out.write_text(f'{{"documents": [\n{lines(DOCUMENTS)}\n],\n"rows": [\n{lines(rows)}\n]}}\n')
