"""What a device tells: latency, memory, and what disturbed the measurement.

`measure` asks, `process` starts the fresh process that answers, `phases` and `execution` are what
it does. What is kept of many layers is the room `tables`; nothing here predicts.
"""
