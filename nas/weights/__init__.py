"""Weights of other networks for a network of this package.

`checkpoints` reads files as plain tensors, `namings` and `image_networks` bring the names of other
libraries to one set, `slots` pairs them with the parameters of a network, `fill` and `own_state`
copy, `build` is `nas.build`. What a layer takes of an image network, and how, stands beside the
layer (`nas.models.image_weights`): no operator is named here. Nothing here trains, and nothing of a
checkpoint is unpickled.
"""
