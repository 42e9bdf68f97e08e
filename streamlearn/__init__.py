"""streamlearn keeps a transformer text classifier up to date from a Kafka topic of labelled events."""

__version__ = "0.1.0"
