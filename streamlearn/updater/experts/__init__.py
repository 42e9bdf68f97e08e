"""Learners of labels inside the updater: what each of them is, and which there are."""
