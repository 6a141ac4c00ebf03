"""What is kept of a device: latencies of layers, how they grow, and networks predicted from them."""
