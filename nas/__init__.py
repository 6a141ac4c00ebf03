"""Architecture search for video networks, with costs that are measured."""
