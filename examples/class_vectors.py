"""Vectors of class names for zero-shot tests: class_vectors.py OUT [--model NAME] CLASS...

`--model openai/clip-vit-base-patch32` downloads a trained text encoder; without it a small one is
built from a configuration, its weights random, which shows the form of the file and knows nothing.

    nas train net.yaml --data clips/ --classes words.safetensors --out runs/best
    nas evaluate runs/best --data other_clips/ --classes words.safetensors

The head of net.yaml is {op: similarity, dimension: D}.
"""

import argparse

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from nas.trained.zero_shot import write_class_vectors

PROMPT = "a video of a person doing {}"


def small_encoder(texts: list[str], dimension: int = 64) -> Tensor:
    """Embeddings (K, D) by a text model of two layers over the bytes of the texts."""
    config = CLIPTextConfig(
        vocab_size=258,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=dimension,
        max_position_embeddings=128,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
    )
    torch.manual_seed(0)
    model = CLIPTextModelWithProjection(config).eval()
    tokens = [[256, *text.encode()[:126], 257] for text in texts]
    length = max(map(len, tokens))
    ids = torch.tensor([row + [257] * (length - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in tokens])
    with torch.inference_mode():
        embeddings: Tensor = model(input_ids=ids, attention_mask=mask).text_embeds
    return embeddings


def named_encoder(name: str, texts: list[str]) -> Tensor:
    """Embeddings (K, D) by a CLIP text encoder on the Hugging Face hub."""
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(name)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        embeddings: Tensor = CLIPTextModelWithProjection.from_pretrained(name).eval()(**inputs).text_embeds
    return embeddings


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("classes", nargs="+", metavar="CLASS")
    parser.add_argument("--model")
    given = parser.parse_args(arguments)
    texts = [PROMPT.format(name.replace("_", " ")) for name in given.classes]
    vectors = named_encoder(given.model, texts) if given.model else small_encoder(texts)
    write_class_vectors(given.out, given.classes, vectors)
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers are in {given.out}")


if __name__ == "__main__":
    main()
