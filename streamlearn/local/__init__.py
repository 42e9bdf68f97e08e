"""A local Kafka, feed and demo for a laptop. Production code never imports it."""
