"""What a device tells: latency, memory, and what disturbed the measurement."""
