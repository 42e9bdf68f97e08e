"""A laptop's Kafka, feed and demo. Production code never imports it."""
