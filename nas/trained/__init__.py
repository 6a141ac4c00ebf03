"""Trained networks: the folder that one lives in, and what is done with it.

    files       the names of its files, and whether they are there (without torch)
    folder      the folder: architecture, weights, classes, preprocessing, provenance
    passes      from the pixels of one video to its class probabilities
    scores      what probabilities say against labels (arrays in, figures out)
    evaluation  a test on labelled clips, and the files that it writes
    windows     a window that slides over a video (frames in, windows out)
    prediction  what a network says of a video, or of windows of it
    zero_shot   vectors of classes that were never trained
    overlay     a video with its predictions in its frames
    pictures    confusion, worst clips, timeline
    attribution which frames and places moved a prediction
    show        pictures of kernels and of attributions
    plan        what a training decides before it begins, with reasons
    presets     recipes by the number of clips and by the start
    stage_memory memory of a step in each stage of a recipe
    pace        how long steps take, by stage
    curves      what is kept of each epoch: a table, event files
    decoded     the clips that a training reads
    moment      what is told of a training while it runs
    stopping    Ctrl-C as a wish that is read between two steps
    outcome     the networks that a training hands over, written and tested
    train       a training from its plan to its folder, resumed wherever it was stopped

More than a dozen files, because each is one thing that is done with a trained network.

What trains a network step by step is `nas.training`; what searches for one is `nas.runs`; neither
options nor printing of a command belong here.
"""
