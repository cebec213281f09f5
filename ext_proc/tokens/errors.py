"""What can go wrong between a request and its tokens, in the operator's words. Needs no library."""


class TemplateError(Exception):
    """The template is none, or makes nothing of this conversation. `line` is where, 0 if that is not known."""

    def __init__(self, words: str, line: int = 0) -> None:
        super().__init__(words)
        self.line = line


class TemplateRefusedError(TemplateError):
    """The template itself says that it does not take such a conversation (`raise_exception`)."""


class BudgetExceededError(TemplateError):
    """The template does more than any that is meant well."""


class TokenizerError(ValueError):
    """The file is no tokenizer."""


class TokenFileError(ValueError):
    """A file cannot be used. `which` is the place of `TokenFiles`; `line` is in the file, 0 if that is not known."""

    def __init__(self, which: str, words: str, line: int = 0) -> None:
        super().__init__(words)
        self.which = which
        self.line = line
