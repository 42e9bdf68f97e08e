"""Learners of labels inside the updater."""
