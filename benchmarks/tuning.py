"""Finds what each peer is set to: of what its file says is tried, the setting that is right most often on both streams.

    python -m benchmarks.tuning --peers scikit_learn

Seed 0 alone; it is the mean of the two accuracies that decides, and it is one setting for both streams.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.figures import figures
from benchmarks.runs import KEPT, run_peer
from benchmarks.streams import NAMES, Stream, built_in


def lend_embeddings(peer: Any, stream: Stream) -> None:
    """Give `peer`, where it has an encoder, the embeddings of `stream`, which are made once and kept."""
    encoder = getattr(peer, "encoder", None)
    if encoder is None:
        return
    path = KEPT / f"frozen-{stream.name}-{stream.digest()[:12]}.npy"
    if not path.exists():
        KEPT.mkdir(exist_ok=True)
        np.save(path, np.concatenate([encoder.embed([text]) for text in stream.texts]))
    encoder.known = dict(zip(stream.texts, np.load(path), strict=True))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--peers", nargs="+", choices=peers.PEERS, default=list(peers.PEERS))
    arguments.add_argument("--share", type=float, default=1.0, help="of the events of each part")
    options = arguments.parse_args()
    streams = [built_in(name, 0, options.share) for name in NAMES]
    for name in options.peers:
        found: list[tuple[float, dict[str, Any]]] = []
        for tried in peers.module(name).TRIED:
            own: dict[str, float] = {}
            for stream in streams:
                peer = peers.make(name, stream.classes, tried)
                lend_embeddings(peer, stream)
                together = {**peers.module(name).SETTINGS, **tried}["together"]
                said = figures(stream, run_peer(stream, peer, together))
                own |= {f"{stream.name[:4]}_{key}": said[key] for key in ("overall", "log_loss", "events_per_second")}
            found.append((own["news_overall"] + own["sent_overall"], tried))
            print(name, tried, own, flush=True)
        print(f"{name}: the best is {max(found, key=lambda pair: pair[0])}", flush=True)


if __name__ == "__main__":
    main()
