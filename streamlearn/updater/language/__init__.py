"""The objective ``language_model``: texts without labels, each token predicted from those before it."""
