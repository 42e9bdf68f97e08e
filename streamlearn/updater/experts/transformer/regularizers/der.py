"""DER++: R = (1/K) ‖z − z'‖², where z' are the K logits that the model gave a text when it first learnt it.

So ∇R by z is (2/K) (z − z'). A replayed text has its label, which is in L, and the model's earlier logits, which say
more: how close the other labels were. Labels that are newer than these are left out.

Use it with replay if the transformer learns alone (``updater.experts: [transformer]``): the default mixture gains
nothing by it (benchmarks/results/regularizers.json). It costs some twenty bytes per text and no further pass. If the
labels of a text change (a switch), it holds on to what was right before.

References
----------
Buzzega, P. et al. (2020). Dark experience for general continual learning: a strong, simple baseline. NeurIPS; the mean
over K is that of their code.

"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.state import State
from streamlearn.updater.experts.transformer.batches import Part
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer

MOST = 2**25  # bytes of memory: enough for all texts of the default buffer with up to some 700 labels
KEY = 16  # bytes of the digest of a text's token ids
OVERHEAD = 200  # bytes of memory per text besides its logits


class DarkExperience(Regularizer):
    """Pulls the model's logits of a learnt text towards those from when it learnt it.

    The least recently seen texts are forgotten first: what is replayed stays.

    Parameters
    ----------
    strength
        λ, which the paper calls α.

    """

    name: ClassVar[str] = "der"
    default: ClassVar[float] = 0.1

    def __init__(self, strength: float) -> None:
        super().__init__(strength)
        self._said: OrderedDict[bytes, Tensor] = OrderedDict()  # of shape (labels known then,), on the CPU
        self._bytes = 0
        self._met: dict[bytes, Tensor] = {}

    def restart(self) -> None:
        """Forget all logits, because the model has restarted."""
        self._said.clear()
        self._bytes = 0
        self.drop()

    def per_text(self, part: Part, tokens: Sequence[NDArray[np.int32]], logits: Tensor) -> Tensor:
        """Return the squared distance of each text, 0 for texts seen for the first time."""
        keys = [_key(tokens[row]) for row in part.rows]
        self._met |= dict(zip(keys, logits.detach().cpu(), strict=True))
        then = torch.full_like(logits, torch.nan)
        for row, key in enumerate(keys):
            if key in self._said:
                then[row, : len(self._said[key])] = self._said[key].to(logits.device)
        return distance(logits, then)

    def apply(self) -> None:
        """Remember the logits of texts that are not remembered yet."""
        for key, logits in self._met.items():
            if key not in self._said:
                self._said[key] = logits.clone()
                self._bytes += _size(logits)
            self._said.move_to_end(key)
        while self._bytes > MOST:
            self._bytes -= _size(self._said.popitem(last=False)[1])
        self.drop()

    def drop(self) -> None:
        """Discard the logits of this step."""
        self._met = {}

    def state(self) -> State:
        """Return the digests of the texts and their logits, concatenated, least recently seen first."""
        keys, said = b"".join(self._said), list(self._said.values())
        return {
            "texts": torch.from_numpy(np.frombuffer(keys, dtype=np.uint8).reshape(-1, KEY).copy()),
            "labels": torch.tensor([len(logits) for logits in said], dtype=torch.int64),
            "logits": torch.cat(said) if said else torch.empty(0),
        }

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self.restart()
        said = state["logits"].clone().split(state["labels"].tolist())
        self._said.update(zip(map(bytes, state["texts"].numpy()), said, strict=True))
        self._bytes = sum(map(_size, said))


def distance(logits: Tensor, then: Tensor) -> Tensor:
    """Return the mean squared distance of each text's logits, of shape (texts,).

    Parameters
    ----------
    logits, then
        The model's logits now and then, of shape (texts, labels); NaN for labels that it did not know.

    """
    known = ~torch.isnan(then)
    squares = torch.where(known, logits - then.nan_to_num(), 0.0) ** 2
    return squares.sum(-1) / known.sum(-1).clamp(min=1)


def _key(tokens: NDArray[np.int32]) -> bytes:
    return hashlib.blake2b(tokens.tobytes(), digest_size=KEY).digest()


def _size(logits: Tensor) -> int:
    return OVERHEAD + logits.nbytes
