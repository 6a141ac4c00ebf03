"""Layers: one file for each operator, named as its type's file in `nas.architecture.layers`.

The module class of a layer is marked `@implements(Config)`, called as `Layer(config, shape_in,
shape_out, stride)` on torch's current default device, which may be `meta`, and maps (B, T, H, W, C)
to a contiguous (B, T', H', W', C'). Where the config `adds_stem_tokens`, `forward` gets the raw
tokens of the stem, (B, 1, 1, N, C), as a second argument. A module with a `tune(x)` method measures
its own equal ways to run when `nas.build` is asked to. `image_slots` and `fitted_state`, both
optional, say what it takes of other networks' weights (`nas.models.image_weights`), and
`parameter_kinds` what a stage of a training may leave as it is (`nas.training.stages`).
"""
