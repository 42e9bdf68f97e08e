"""Everything that decides the next θ: pure, without Kafka, disk or clock."""

from streamlearn.learner.learner import Learner

__all__ = ["Learner"]
