"""The experts: the learners of labels inside the updater, and the registry of them."""
