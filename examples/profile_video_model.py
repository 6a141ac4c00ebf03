"""What a video model of Hugging Face costs, part by part: profile_video_model.py [LAYERS]

The model is built from a configuration, so nothing is downloaded. `build` is also a factory for the
command, which measures it as well; in the folder of this file:

    nas profile profile_video_model:build --input 1x16x3x224x224 --compare
"""

import sys

import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import nas

PARTS = 12  # rows that are printed


def build(layers: int = 12) -> VideoMAEForVideoClassification:
    """VideoMAE for 400 classes, at 16 frames of 224x224 pixels; 12 layers are its base size."""
    config = VideoMAEConfig(num_hidden_layers=layers)
    config.num_labels = 400
    return VideoMAEForVideoClassification(config).eval()


def main(arguments: list[str]) -> None:
    with torch.device("meta"):  # shapes are enough: no number is computed
        model = build(*map(int, arguments))
    figures = nas.cost(model, torch.empty(1, 16, 3, 224, 224, device="meta"))
    print(f"{figures.macs / 1e9:.1f} GFLOPs, {figures.params / 1e6:.1f} M parameters")
    print(f"{figures.training_bytes('adamw') / 1e9:.2f} GB to train on one clip with AdamW")
    for row in sorted(figures.layers, key=lambda row: -row.macs)[:PARTS]:
        print(f"{row.macs / 1e9:8.2f} GFLOPs  {row.path}")


if __name__ == "__main__":
    main(sys.argv[1:])
