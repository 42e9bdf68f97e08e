"""Why a checkpoint cannot be gone on from with the experts that are configured, in one sentence with what to set."""

from __future__ import annotations

from streamlearn.state import State

BEFORE_THE_MIXTURE = (
    "the checkpoint is of an earlier streamlearn, whose transformer learnt alone; to go on from it, set "
    "updater.experts: [transformer], updater.pooling: native and, unless you have set it, updater.trains: all; or name "
    "another publisher.directory to learn anew"
)


def misfit(state: State, error: Exception) -> str:
    """Return what to do where `error` has come of loading the experts of an updater's `state`."""
    if "steps" not in state:  # which the mixture counts
        return BEFORE_THE_MIXTURE
    first = str(error).splitlines()[0].removesuffix(":")
    return (
        f"the checkpoint does not fit the configured model ({first}); updater.experts, updater.pooling and "
        "updater.trains must be what they were when it was made, or publisher.directory another one"
    )
