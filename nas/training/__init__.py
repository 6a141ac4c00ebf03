"""Training and evaluation of one network, from tensors to tensors.

    recipe        how a network is trained, as plain values
    initial       how a network begins that no checkpoint fills
    feed          clips on their way to the device
    augmentation  whole clips varied, on their device
    mixing        mixup and CutMix
    stages        smaller clips and fixed parameters, in turn
    optimizer     parameter groups, learning rate, moving average
    recompute     activation checkpointing
    batch_norm    batch normalisation over the clips of several processes
    workers       several processes that train one network, each on its share of a batch
    stills        images that every second step reads, for a second head
    loop          the steps, and accuracy
    state         what an exact resume needs, as one file

What knows of folders of users, the command line or several trainings does not belong here.
"""
