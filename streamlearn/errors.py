"""The errors a person reads: each is one sentence, and each knows the exit code it ends a command with."""


class StreamlearnError(Exception):
    """Something failed; the message says what, and what to do."""

    exit_code = 1


class UnforeseenError(StreamlearnError):
    """A defect of streamlearn, and no mistake of whoever runs it."""


class NotKeptError(StreamlearnError):
    """The learner was told to end, and what it has learnt since its last checkpoint is not kept."""


class ConfigurationError(StreamlearnError):
    """The configuration or the arguments are wrong; nothing was started."""

    exit_code = 2


class BrokerError(StreamlearnError):
    """Kafka cannot be reached or refused what was asked of it."""

    exit_code = 3


class UnavailableError(BrokerError):
    """Kafka does not answer, which may pass."""


class StateError(StreamlearnError):
    """State on disk cannot be read, written or trusted."""

    exit_code = 4


class NotFiniteError(StateError):
    """The state holds a value that is not finite, and would be of no use."""


class UnpredictableError(StreamlearnError, ValueError):
    """A text has no probabilities: ``why``; ``index`` is its place among those that were to be predicted, from 0."""

    def __init__(self, index: int, why: str = "its probabilities are not finite") -> None:
        super().__init__(f"the text at index {index} cannot be labelled: {why}")
        self.index, self.why = index, why


class FencedError(StateError):
    """Another learner has claimed the directory."""


class DeviceError(StreamlearnError):
    """The device has no memory for a step, or has failed, which says nothing about the texts."""


class AstrayError(StreamlearnError):
    """θ has gone so far astray that it predicts nothing any more: what would be learnt from here on is lost."""


class FruitlessError(StreamlearnError):
    """None of the events of many steps in a row could be learnt."""
