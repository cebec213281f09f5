"""The prompts that the demonstration sends: deterministic, with the sharing that real chats have."""

from dataclasses import dataclass, field

_WORDS = tuple(
    word
    for line in (
        "the router reads a prompt and finds which pod has seen its first part before",
        "because what is cached need not be computed again",
        "while queues grow and shrink with every request that comes and goes",
    )
    for word in line.split()
)

CHARS_PER_TOKEN = 4
"""The rough rule for English text; the simulated pods count tokens the same way."""


def text(seed: int, tokens: int) -> str:
    """About `tokens` tokens of words, different for each seed from the first word on."""
    words = [f"Note {seed}:"]
    length, state = len(words[0]), seed * 2654435761 + 12345
    while length < tokens * CHARS_PER_TOKEN:
        state = (state * 1103515245 + 12345) % 2**31
        word = _WORDS[(state >> 8) % len(_WORDS)]
        words.append(word)
        length += len(word) + 1
    return " ".join(words)


@dataclass(slots=True)
class Conversation:
    """A chat that grows by a question and an answer per turn. Mutable: `messages`, by `ask` and `answered`."""

    seed: int
    document_tokens: int
    """Length of the document that the user brings along in the first question."""
    system: str = "You are a helpful assistant. Answer briefly and to the point."
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0

    def ask(self) -> list[dict[str, str]]:
        """The messages of the next turn."""
        if not self.messages:
            self.messages.append({"role": "system", "content": self.system})
            question = f"{text(self.seed, self.document_tokens)}\nWhat is it about?"
        else:
            question = f"And what follows from point {self.turns}?"
        self.turns += 1
        self.messages.append({"role": "user", "content": question})
        return list(self.messages)

    def answered(self, content: str) -> None:
        """Adds the assistant's answer, as a chat client sends it back in the next turn."""
        self.messages.append({"role": "assistant", "content": content})
