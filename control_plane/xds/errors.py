"""What can go wrong with a client, each with what the caller has to do about it."""


class RefusedRequestError(ValueError):
    """A discovery request that ends its stream. `code` is the name of the gRPC status to end it with."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class ResourceError(ValueError):
    """A compiled resource that is not what its type demands; the text names it."""
