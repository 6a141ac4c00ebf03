"""Clips: the embedded motion task, video decoding and data sets."""
