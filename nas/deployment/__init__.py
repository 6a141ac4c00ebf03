"""Files in which a network leaves this package.

    kinds       which there are, and what is refused before torch is loaded
    files       writes one and runs it beside PyTorch
    clips       the clips that it is run on
    programs    torch.export and ONNX
    standalone  one Python file that needs torch alone
    sources     definitions cut out of this package's sources, with all that they use
    shipped     what standalone files hold beside the layers
    card        the model card
    runtimes    what runs a network: torch, compiled, ONNX Runtime, OpenVINO
    benchmark   a network in all of them, side by side
    timing      what the process does that times them in turn

What reads such files is the user's; nothing here loads one that it did not write itself.
"""
