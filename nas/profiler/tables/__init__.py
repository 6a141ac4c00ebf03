"""What is kept of a device: latencies of layers, and networks predicted from them."""
