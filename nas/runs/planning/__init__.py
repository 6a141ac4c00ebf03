"""What is decided before anything is trained.

plan    all of it: data, proxy, limits, workers
effort  what of a proxy the time allows, from the pace of the device
timing  that pace, and memory beside what is computed, asked of some real training steps
steps   those steps, in a process of their own on a GPU
shares  how a limited time is divided among the stages
"""
