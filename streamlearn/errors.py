"""The errors a person reads: each is one sentence, and each knows the exit code it ends a command with."""


class StreamlearnError(Exception):
    """Something failed; the message says what, and what to do."""

    exit_code = 1


class UnforeseenError(StreamlearnError):
    """A bug in streamlearn, not a mistake of the user."""


class NotKeptError(StreamlearnError):
    """The learner was stopped, and what it has learnt since its last checkpoint could not be saved."""


class ConfigurationError(StreamlearnError):
    """The configuration or the arguments are wrong; nothing was started."""

    exit_code = 2


class BrokerError(StreamlearnError):
    """Kafka cannot be reached or refused a request."""

    exit_code = 3


class UnavailableError(BrokerError):
    """Kafka does not answer, which may be temporary."""


class StateError(StreamlearnError):
    """State on disk cannot be read, written or trusted."""

    exit_code = 4


class NotFiniteError(StateError):
    """The state contains a value that is not finite, and would be useless."""


class UnpredictableError(StreamlearnError, ValueError):
    """A text has no probabilities; ``why`` says why, ``index`` is its position among the texts to predict, from 0."""

    def __init__(self, index: int, why: str = "its probabilities are not finite") -> None:
        super().__init__(f"the text at index {index} cannot be labelled: {why}")
        self.index, self.why = index, why


class FencedError(StateError):
    """Another learner has claimed the directory."""


class DeviceError(StreamlearnError):
    """The device has run out of memory or failed, which says nothing about the texts."""


class AstrayError(StreamlearnError):
    """θ has diverged so far that it predicts nothing any more: learning on from here would be useless."""


class FruitlessError(StreamlearnError):
    """None of the events of many steps in a row could be learnt."""
