"""Texts in pieces: the same ids as of the whole, by any way."""

import json
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from ext_proc.tokens import encoder as module
from ext_proc.tokens.encoder import MAX_TEXT_CHARS, PIECE_CHARS, TRIALS, Encoder
from ext_proc.tokens.errors import TokenizerError
from tests.kit.tiny_tokenizer import BEGIN, END, START, WORDS, bpe, content

TOKENIZER = bpe()
CONTENT = content(TOKENIZER)


def ids_of(encoder: Encoder, text: str, *, special: bool = False) -> list[int]:
    """By the encoder."""
    plan = encoder.plan(text)
    found = encoder.finish(plan, encoder.work(plan), has_special_tokens=special)
    return list(struct.unpack(f"<{len(found) // 4}I", found))


def whole(text: str, *, special: bool = False) -> list[int]:
    """By the library."""
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=special).ids
    return ids


TEXTS = st.lists(
    st.one_of(
        st.sampled_from([START, END, BEGIN, " ", "\n", "  ", WORDS, "user\n", " a b", "é", "你好", "<|im_"]), st.text()
    ),
    max_size=20,
).map("".join)


@settings(deadline=None, max_examples=30)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_pieces_are_the_whole(texts: list[str]) -> None:
    """Whatever was tokenised before, and with small pieces too."""
    encoder = Encoder(CONTENT)
    encoder._trials_left = 0
    for text in texts:
        assert ids_of(encoder, text) == whole(text)
        long = text * 3 + WORDS * 30 + text
        assert ids_of(encoder, long) == whole(long)


def test_a_conversation_costs_its_last_turn() -> None:
    """What was said before is known, also within a long message."""
    encoder = Encoder(CONTENT)
    assert encoder.cuts_long_texts
    turn = f"{START}user\n{WORDS * 60}{END}\n"
    ids_of(encoder, turn)
    plan = encoder.plan(turn + f"{START}user\nand now?{END}\n")
    assert set(plan.missing.values()) == {f"{END}\n{START}user\nand now?{END}\n"}
    longer = encoder.plan(f"{START}user\n{WORDS * 60}The rest is new.{END}\n")
    assert longer.missing_chars < PIECE_CHARS + 300
    assert ids_of(encoder, turn) == whole(turn)


def test_a_text_of_special_tokens_only() -> None:
    """Has few pieces all the same, and a longer one begins with the same ones; what is long stays by itself."""
    encoder = Encoder(CONTENT)
    text = f"{START}user\nhi{END}\n" * 2_000
    pieces = encoder.pieces(text).pieces
    assert "".join(pieces) == text
    assert len(pieces) <= len(text) / module.SMALL_CHARS
    assert encoder.pieces(text * 2).pieces[: len(pieces) - 1] == pieces[:-1]
    long = "x" * module.SMALL_CHARS
    assert encoder.pieces(f"{START}{long}{END}").pieces == (START, long, END)
    assert ids_of(encoder, text) == whole(text)


def test_beginning_and_end() -> None:
    """Completions get what the post-processor adds."""
    encoder = Encoder(CONTENT)
    assert ids_of(encoder, "I think", special=True) == whole("I think", special=True)
    assert ids_of(encoder, "", special=True) == whole("", special=True) == [TOKENIZER.token_to_id(BEGIN)]


def test_truncation_and_padding_are_the_engines_matter() -> None:
    """A `tokenizer.json` may come with either; engines do neither."""
    tokenizer = bpe()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    assert ids_of(Encoder(content(tokenizer)), WORDS) == whole(WORDS)


def words_in_a_row() -> Tokenizer:
    """Words are joined across spaces, as in tokenizers with superwords."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(?: ?\p{L}+)+|\s+|[^\s\p{L}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([WORDS, module._PROBE] * 4, trainer)
    return tokenizer


def with_prefix() -> Tokenizer:
    """Llama 2's: every text gets a space before it, so that a piece is not what it is within the whole."""
    tokenizer = Tokenizer(models.BPE(unk_token="?", byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("_"), normalizers.Replace(" ", "_")])
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["?"], show_progress=False)
    tokenizer.train_from_iterator([WORDS] * 4, trainer)
    return tokenizer


@pytest.mark.parametrize("make", [words_in_a_row, with_prefix])
def test_tokenizers_that_cannot_be_cut(make: Callable[[], Tokenizer]) -> None:
    """They are found out when they are loaded, and texts stay whole."""
    tokenizer = make()
    encoder = Encoder(content(tokenizer))
    assert not encoder.cuts_long_texts
    text = WORDS * 40
    assert ids_of(encoder, text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_found_out_at_work() -> None:
    """A tokenizer that behaved at loading and does not later is not cut any more, and nothing wrong is remembered."""
    tokenizer = words_in_a_row()
    encoder = Encoder(content(tokenizer))
    encoder._cuts = True
    text = WORDS * 40
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids_of(encoder, text) == expected
    assert not encoder.cuts_long_texts
    assert ids_of(encoder, text) == expected


def test_trials_come_to_an_end() -> None:
    """Then a long text is tokenised once."""
    encoder = Encoder(CONTENT)
    for number in range(TRIALS):
        plan = encoder.plan(f"{number} {WORDS * 40}")
        work = encoder.work(plan)
        assert work.whole is not None
        encoder.finish(plan, work, has_special_tokens=False)
    assert encoder.work(encoder.plan(f"last {WORDS * 40}")).whole is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest pieces go."""
    monkeypatch.setattr(module, "MEMORY_BYTES", 20_000)
    encoder = Encoder(CONTENT)
    for number in range(200):
        ids_of(encoder, f"text {number}")
    assert 15_000 < encoder.memory_bytes <= 20_000
    assert not encoder.plan("text 199").missing
    assert encoder.plan("text 0").missing


@settings(deadline=None, max_examples=100)
@given(
    st.sets(st.text("ab<|.*", min_size=1, max_size=4), min_size=1, max_size=12),
    st.text("ab<|.*", max_size=30),
)
def test_the_longest_special_token_counts(special: set[str], text: str) -> None:
    """At each place, as if all were tried one after the other."""
    expected, at = [], 0
    while at < len(text):
        found = max((each for each in special if text.startswith(each, at)), key=len, default="")
        expected += [(at, found)] if found else []
        at += len(found) or 1
    assert [(each.start(), each.group()) for each in module._pattern(tuple(special)).finditer(text)] == expected


def test_a_thousand_special_tokens_are_not_tried_one_by_one() -> None:
    """Their common beginning is looked at once, whatever the text has of it."""
    special = [f"<SPECIAL_{number}>" for number in range(1_000)] + ["[INST]"]
    assert module._pattern(special).pattern.count("SPECIAL") == 1
    tokenizer = bpe()
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in special])
    encoder = Encoder(content(tokenizer))
    text = "<SPECIAL_99><SPECIAL_999><SPECIAL_9990>[INST]<SPEC"
    found = module._pattern(special).findall(text)
    assert found == ["<SPECIAL_99>", "<SPECIAL_999>", "[INST]"]
    assert ids_of(encoder, text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_files_on_which_the_library_fails() -> None:
    """Some load and tokenise nothing, some make the library itself fail: neither takes anybody down."""
    nothing_known = Tokenizer(models.WordLevel({"x": 0}, unk_token="[UNK]"))
    with pytest.raises(TokenizerError, match="Missing"):
        Encoder(content(nothing_known))
    failing = json.loads(CONTENT) | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}
    with pytest.raises(TokenizerError, match="precompiled_charsmap"):
        Encoder(json.dumps(failing).encode())
    failing = json.loads(CONTENT) | {"pre_tokenizer": {"type": "FixedLength", "length": 0}}
    with pytest.raises(TokenizerError, match="non-zero"):
        Encoder(json.dumps(failing).encode())


def test_what_is_not_taken() -> None:
    """No tokenizer, and texts that none takes."""
    for broken in (b"", b"{}", b"\xff", b"[" * 9_999, b'{"model": {"type": "BPE"}}'):
        with pytest.raises(TokenizerError):
            Encoder(broken)
    encoder = Encoder(CONTENT)
    with pytest.raises(ValueError, match="more than"):
        encoder.plan("x" * (MAX_TEXT_CHARS + 1))
    with pytest.raises(ValueError, match="does not take it"):
        encoder.work(encoder.plan("\ud800"))
