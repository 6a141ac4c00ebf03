"""Stems: from a clip (B, T, H, W, 3) to the first feature map (B, T', H', W', C); one file for
each, named as its type's file in `nas.architecture.stems`.

The clip comes as a view of (B, 3, T, H, W). Stems that read all of it copy its few channels to the
end, so that the many channels of the map need no copy.
"""
