#!/usr/bin/env python3
"""Trains tiny tokenizers of every kind that src/tokenizer reads and saves what Hugging Face
`tokenizers` and `tiktoken` make of awkward texts with them.

    python3 tools/make_goldens_tokenizer.py [--out tests/golden/tokenizer]

Needs the packages tokenizers (0.21 or later) and tiktoken. Deterministic: the training text is made
here. For each kind KIND it writes KIND.json, the tokenizer, and KIND.cases.json, a list of
    {"text", "ids": special tokens matched, "plain": not matched, "added": with the template,
     "decoded": of "added", "skipped": of "added" without special tokens}
Newer versions of the package decode an added token that is matched normalized to its normalized
text, older ones and src/tokenizer to its content: such texts have no "decoded" and "skipped".
and for the rank file tiny.tiktoken the same as tiktoken encodes; for gap.tiktoken, whose ranks have a
gap, its named patterns.
"""

import argparse
import base64
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
BYTES = [f"<0x{b:02X}>" for b in range(256)]

TEXTS = [
    "",
    " ",
    "  ",
    "   three spaces",
    "Hello, world!",
    "Hello,   world!  \n\n  It's  DON'T we'LL they'Ve I\u017f'\u017f x",
    "tabs\t\tand\r\nCRLF\r\n\r\nand\n \n\t end ",
    "1 12 123 1234 12345678 3.14 \u0661\u0662\u0663 \u00bd\u00b2 \u2167 \u3007",
    "caf\u00e9 cafe\u0301 \u1e9b\u0323 \u212b \ufb01 \uff21\uff22 \u0130stanbul STRASSE stra\u00dfe",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \u4e2d\u6587\u3002",
    "\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 ok \u2764\ufe0f",
    "zero\u200bwidth\u00a0nbsp\u3000wide\u2028line\u2029par\u0085nel\u180emvs\ufefFbom".replace("\ufefF", "\ufeff"),
    "\u0000nul \u0001\u0007 \u001b[0m \u007f del \ufffd \U0010ffff \ue000",
    "<s> hi</s> x <s><s>y</s>",
    "a <|special|> b<|special|>c  <|special|>  d\n<|special|>\n",
    "<|plain|><|special|><|plain|> <|plain| > <|special",
    "left   <left>   right   <right>   both   <both>   word <word> xword<word>y",
    "Upper UPPER upper <UP> <up> \u2581meta\u2581space \u2581 Ġbyte Ċ",
    "<0x41> <0xE2><0x96><0x81> <unk> </w> ## ##a",
    "def f(x):\n    return {'a': [1, 2, 3]}  # comment\n\n\n",
    "https://example.com/?q=a%20b&c=d#e foo@bar.baz $1,234.56 -- ... !!! ???",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethethethethethethethethethetheandandandandandandandingingingin" * 2,
    " leading and trailing ",
    "\n\n\n",
    "\u0301combining first",
    "the the\tthe  the   the    the\u00a0\u00a0the",
]

WORDS = (
    "the and of to in is was he for it with as his on be at by had not are but from or have an they "
    "which one you were her all she there would their we him been has when who will more no if out "
    "so said what up its about into than them can only other new some could time these two may then "
    "do first any my now such like our over man me even most made after also did many before must "
    "walking talking reading don't we'll it's caf\u00e9 na\u00efve stra\u00dfe \u65e5\u672c "
    "\u4e2d\u6587 \U0001f600 1999 2024 42 (x) [y] {z} foo_bar a+b=c"
).split()


def corpus():
    rng = random.Random(7)
    lines = []
    for _ in range(1500):
        words = [rng.choice(WORDS[: rng.choice([20, 60, len(WORDS)])]) for _ in range(12)]
        line = " ".join(words) + rng.choice([".", "!", "?", "\n", "  ", "\t", ""])
        lines.append(line.capitalize() if rng.random() < 0.3 else line)
    return lines


def special(text, **kw):
    return AddedToken(text, **{"special": True, "normalized": False, **kw})


def plain(text, **kw):
    return AddedToken(text, **{"special": False, "normalized": True, **kw})


def byte_level(kind_size=380, prefix=False, regex=True, pre=None, normalizer=None, **model):
    tok = Tokenizer(models.BPE(**model))
    if normalizer:
        tok.normalizer = normalizer
    step = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    tok.pre_tokenizer = pre_tokenizers.Sequence([*pre, step]) if pre else step
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=kind_size,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok


def meta_base(size=420, byte_fallback=True, fuse=True, normalizer=None, pre=None, alphabet=None):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=fuse))
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    words = ["<unk>", "<s>", "</s>"] + (BYTES if byte_fallback else [])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=words,
        limit_alphabet=70,
        max_token_length=12,
    )
    # Whole lines as words would make merges across spaces, as SentencePiece's files do not have.
    train = Tokenizer(models.BPE(unk_token="<unk>"))
    train.pre_tokenizer = pre_tokenizers.Metaspace()
    train.train_from_iterator(corpus(), trainer)
    vocab = json.loads(train.to_str())["model"]
    tok.model = models.BPE(
        vocab=vocab["vocab"],
        merges=[tuple(m) for m in vocab["merges"]],
        unk_token="<unk>",
        byte_fallback=byte_fallback,
        fuse_unk=fuse,
    )
    return tok


def sentencepiece_decoder():
    return decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )


def bos_template(tok, token):
    return processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, tok.token_to_id(token))]
    )


def llama3():
    tok = byte_level(
        regex=False,
        pre=[pre_tokenizers.Split(Regex(LLAMA3), "isolated")],
        ignore_merges=True,
    )
    tok.add_tokens([special("<|begin|>"), special("<|special|>"), special("<|eot|>"), plain("<|plain|>")])
    tok.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), bos_template(tok, "<|begin|>")]
    )
    return tok


def qwen2():
    tok = byte_level(
        regex=False,
        pre=[pre_tokenizers.Split(Regex(QWEN2), "isolated")],
        normalizer=normalizers.NFC(),
    )
    tok.add_tokens([special("<|endoftext|>"), special("<|special|>"), plain("<|plain|>", normalized=False)])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def smollm2():
    tok = byte_level(pre=[pre_tokenizers.Digits(individual_digits=True)])
    tok.add_tokens([special("<|special|>"), special("<s>"), special("</s>")])
    return tok


def gpt2():
    tok = byte_level()
    tok.add_tokens([special("<|special|>", normalized=True), special("<|endoftext|>", normalized=True)])
    tok.post_processor = processors.ByteLevel(trim_offsets=True)
    return tok


def gpt2_prefix():
    tok = byte_level(prefix=True)
    tok.add_tokens([special("<s>"), special("</s>"), special("<|special|>", lstrip=True)])
    tok.post_processor = processors.RobertaProcessing(
        ("</s>", tok.token_to_id("</s>")), ("<s>", tok.token_to_id("<s>")), True, True
    )
    return tok


def llama2():
    tok = meta_base(
        normalizer=normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
    )
    tok.add_tokens([special("<unk>"), special("<s>"), special("</s>")])
    tok.decoder = sentencepiece_decoder()
    tok.post_processor = bos_template(tok, "<s>")
    return tok


def phi3():
    tok = llama2()
    tok.add_tokens(
        [
            special("</s>", rstrip=True),
            special("<|special|>", rstrip=True),
            special("<|plain|>", rstrip=True),
            plain("<left>", lstrip=True, normalized=False),
        ]
    )
    return tok


def metaspace_first():
    tok = meta_base(pre=pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    tok.add_tokens([special("<unk>"), special("<s>"), special("</s>"), special("<|special|>")])
    tok.decoder = sentencepiece_decoder()
    tok.post_processor = bos_template(tok, "<s>")
    return tok


def metaspace_split():
    tok = meta_base(
        byte_fallback=False, fuse=False, pre=pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    )
    tok.add_tokens([special("<unk>"), special("<s>"), plain("<|plain|>"), plain("<word>", single_word=True)])
    tok.decoder = decoders.Metaspace()
    return tok


def clip():
    tok = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tok.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tok.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
    )
    tok.train_from_iterator(corpus(), trainer)
    tok.add_tokens([special("<|startoftext|>"), special("<|endoftext|>"), plain("<UP>")])
    return tok


def wordpieces():
    """A continuing prefix, unknown tokens, and added tokens that strip, lower and stand alone."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True))
    tok.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, continuing_subword_prefix="##", special_tokens=["<unk>"]
    )
    tok.train_from_iterator(corpus(), trainer)
    tok.add_tokens(
        [
            special("<|special|>"),
            plain("<left>", lstrip=True),
            plain("<right>", rstrip=True),
            plain("<both>", lstrip=True, rstrip=True, normalized=False),
            plain("<word>", single_word=True),
            plain("<UP>"),
        ]
    )
    return tok


KINDS = {
    "llama3": llama3,
    "qwen2": qwen2,
    "smollm2": smollm2,
    "gpt2": gpt2,
    "gpt2_prefix": gpt2_prefix,
    "llama2": llama2,
    "phi3": phi3,
    "metaspace_first": metaspace_first,
    "metaspace_split": metaspace_split,
    "clip": clip,
    "wordpieces": wordpieces,
}
# Written as the older files are: merges as strings, no type in the model.
LEGACY = {"gpt2", "qwen2", "llama2", "smollm2", "clip"}


def rewritten_ids(tok):
    """Added tokens whose normalized text is another one."""
    if tok.normalizer is None:
        return set()
    return {
        i
        for i, t in tok.get_added_tokens_decoder().items()
        if t.normalized and tok.normalizer.normalize_str(t.content) != t.content
    }


def cases_of(tok):
    cases = []
    rewritten = rewritten_ids(tok)
    for text in TEXTS:
        tok.encode_special_tokens = False
        ids = tok.encode(text, add_special_tokens=False).ids
        added = tok.encode(text).ids
        tok.encode_special_tokens = True
        cases.append(
            {
                "text": text,
                "ids": ids,
                "plain": tok.encode(text, add_special_tokens=False).ids,
                "added": added,
                "decoded": tok.decode(added, skip_special_tokens=False) if added else "",
                "skipped": tok.decode(added, skip_special_tokens=True) if added else "",
            }
        )
        tok.encode_special_tokens = False
        if rewritten & set(added):
            del cases[-1]["decoded"], cases[-1]["skipped"]
    return cases


def write_cases(path, cases):
    lines = [json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def write_kind(out, name, tok):
    data = json.loads(tok.to_str())
    if name in LEGACY:
        model = data["model"]
        model["merges"] = [" ".join(m) for m in model["merges"]]
        del model["ignore_merges"]
        if name == "gpt2":
            del model["type"]
            model["unk_token"] = ""
            model["continuing_subword_prefix"] = ""
            model["end_of_word_suffix"] = ""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (out / f"{name}.json").write_text(text + "\n")
    write_cases(out / f"{name}.cases.json", cases_of(Tokenizer.from_str(text)))


def write_tiktoken(out):
    import tiktoken

    source = json.loads(llama3().to_str())
    char_bytes = {c: b for b, c in byte_chars().items()}
    tokens = {}
    for text, rank in sorted(source["model"]["vocab"].items(), key=lambda kv: kv[1]):
        tokens[bytes(char_bytes[c] for c in text)] = rank
    with open(out / "tiny.tiktoken", "w") as f:
        for token, rank in tokens.items():
            f.write(f"{base64.b64encode(token).decode()} {rank}\n")
    names = ["<|begin_of_text|>", "<|special|>", "<|eot|>"]
    specials = {name: len(tokens) + i for i, name in enumerate(names)}
    enc = tiktoken.Encoding("tiny", pat_str=LLAMA3, mergeable_ranks=tokens, special_tokens=specials)
    cases = []
    for text in TEXTS:
        ids = enc.encode(text, allowed_special="all")
        cases.append(
            {
                "text": text,
                "ids": ids,
                "plain": enc.encode_ordinary(text),
                "added": [specials[names[0]]] + ids,
                "decoded": enc.decode([specials[names[0]]] + ids),
                "skipped": enc.decode([i for i in ids if i < len(tokens)]),
            }
        )
    write_cases(out / "tiny.tiktoken.cases.json", cases)
    write_patterns(out, tokens)


def write_patterns(out, tokens):
    """The named patterns, over ranks with a gap in which a special token stands."""
    import tiktoken
    from tiktoken_ext import openai_public

    gap, width = 300, 5
    tokens = {t: rank if rank < gap else rank + width for t, rank in tokens.items()}
    with open(out / "gap.tiktoken", "w") as f:
        for token, rank in tokens.items():
            f.write(f"{base64.b64encode(token).decode()} {rank}\n")
    specials = {"<|eot|>": gap + 2, "<|special|>": 500}
    # The patterns stand in functions that also fetch the ranks, which are not needed here.
    openai_public.data_gym_to_mergeable_bpe_ranks = lambda **_: {}
    openai_public.load_tiktoken_bpe = lambda *_, **__: {}
    patterns = {
        "gpt2": openai_public.gpt2,
        "cl100k": openai_public.cl100k_base,
        "o200k": openai_public.o200k_base,
    }
    cases = []
    for name, make in patterns.items():
        enc = tiktoken.Encoding(
            name, pat_str=make()["pat_str"], mergeable_ranks=tokens, special_tokens=specials
        )
        for text in TEXTS:
            ids = enc.encode(text, allowed_special="all")
            cases.append(
                {
                    "pattern": name,
                    "text": text,
                    "ids": ids,
                    "plain": enc.encode_ordinary(text),
                    "skipped": enc.decode([i for i in ids if i not in specials.values()]),
                }
            )
    write_cases(out / "gap.tiktoken.cases.json", cases)


def byte_chars():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars = {b: chr(b) for b in printable}
    rest = [b for b in range(256) if b not in chars]
    chars.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return chars


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests/golden/tokenizer")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, make in KINDS.items():
        write_kind(out, name, make())
    write_tiktoken(out)


if __name__ == "__main__":
    main()
