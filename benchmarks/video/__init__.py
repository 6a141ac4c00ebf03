"""The parts of `search_video.py`."""
