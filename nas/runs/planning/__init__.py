"""What is decided before anything is trained.

plan    all of it: data, proxy, limits, workers
effort  what of a proxy the time allows, from the pace of the device
timing  that pace, from some seconds of real training steps
shares  how a limited time is divided among the stages
"""
