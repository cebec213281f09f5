"""The demonstration's prompts: the same in every run, and sharing what real chats share."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.demo.conversations import CHARS_PER_TOKEN, Conversation, text


@given(st.integers(0, 20_000), st.integers(1, 500))
def test_text_is_deterministic_and_about_as_long_as_asked(seed: int, tokens: int) -> None:
    """The same seed gives the same words; the length is met within a word."""
    made = text(seed, tokens)
    assert made == text(seed, tokens)
    assert tokens * CHARS_PER_TOKEN <= len(made) < tokens * CHARS_PER_TOKEN + 40


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_texts_of_different_seeds_share_no_block(one: int, other: int) -> None:
    """They differ from the first words on, so that no cache finds a shared prefix."""
    if one != other:
        assert text(one, 50)[:20] != text(other, 50)[:20]


def test_a_longer_text_begins_with_the_shorter_one() -> None:
    """Only the length changes with the number of tokens."""
    assert text(3, 200).startswith(text(3, 100))


def test_a_conversation_grows() -> None:
    """System prompt and document come once; each turn repeats all that was said, and adds a question."""
    conversation = Conversation(7, 100)
    first = conversation.ask()
    assert [message["role"] for message in first] == ["system", "user"]
    assert text(7, 100) in first[1]["content"]
    conversation.answered("It is about routers.")
    second = conversation.ask()
    assert second[:2] == first
    assert [message["role"] for message in second[2:]] == ["assistant", "user"]
    assert second[2]["content"] == "It is about routers."
    conversation.answered("More.")
    assert conversation.ask()[: len(second)] == second
    assert conversation.turns == 3


def test_what_was_asked_is_the_callers() -> None:
    """A list that was given out does not grow with the conversation."""
    conversation = Conversation(1, 10)
    asked = conversation.ask()
    conversation.answered("Yes.")
    assert len(asked) == 2


def test_two_conversations_share_the_system_prompt_only() -> None:
    """As chats of one application do."""
    one, other = Conversation(1, 50).ask(), Conversation(2, 50).ask()
    assert one[0] == other[0]
    assert one[1] != other[1]
