"""What is seen: metrics, drift, evaluation, HTTP server."""
