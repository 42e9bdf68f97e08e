"""Monitoring: metrics, the live page, health, logs and the HTTP server."""
