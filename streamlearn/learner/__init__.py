"""What decides the next θ: pure, without Kafka, disk or clock."""

from streamlearn.learner.learner import Learner, Rise, StepReport

__all__ = ["Learner", "Rise", "StepReport"]
