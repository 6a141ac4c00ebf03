"""Trained networks: the folder that one lives in, and what is done with it.

    folder      the folder: architecture, weights, classes, preprocessing, provenance

What trains a network step by step is `nas.training`; what searches for one is `nas.runs`; neither
options nor printing of a command belong here.
"""
