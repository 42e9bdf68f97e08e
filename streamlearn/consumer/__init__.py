"""Kafka in: poll, decode, refuse (dead letters), positions, group membership."""
