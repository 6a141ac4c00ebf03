"""Weights for networks: reading checkpoints, names of image networks, filling, building with
weights.
"""
