import pytest
import torch

from nas.training.mixing import Mixing, cutmix_box, draw_mixing
from nas.training.recipe import Recipe


def test_mixup_blends_clips_and_targets() -> None:
    mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.75, 0.75], dtype=torch.float64))
    clips = torch.tensor([0.0, 8.0], dtype=torch.float64).view(2, 1, 1, 1, 1)
    mixed = mixing.clips(clips, clips[mixing.partner], slice(0, 2))
    assert mixed.flatten().tolist() == [2, 6]
    targets = mixing.targets(torch.eye(2, dtype=torch.float64))
    assert targets.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_a_micro_batch_is_mixed_as_in_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = draw_mixing(Recipe(1, mixup=0.8), 4, (2, 2), generator)
    assert mixing is not None
    clips = torch.rand(4, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    whole = mixing.clips(clips, clips[mixing.partner], slice(0, 4))
    part = slice(2, 4)
    assert torch.equal(mixing.clips(clips[part], clips[mixing.partner[part]], part), whole[part])


def test_cutmix_pastes_one_box_into_all_frames_and_counts_its_area() -> None:
    box, kept = cutmix_box(0.75, (8, 8), [0.5, 0.5])  # a quarter of the area: sides of 4
    assert box == (2, 6, 2, 6) and kept == 0.75
    mixing = Mixing(torch.tensor([1, 0]), torch.full((2,), kept, dtype=torch.float64), box)
    clips = torch.stack([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)])
    mixed = mixing.clips(clips, clips[mixing.partner], slice(0, 2))
    assert (mixed[0, 0].sum((1, 2)) == 16).all() and (mixed[1, 0].sum((1, 2)) == 48).all()
    assert mixed[0, 0, :, 2:6, 2:6].min() == 1


def test_a_box_is_cut_off_at_the_border() -> None:
    box, kept = cutmix_box(0.75, (8, 8), [0.0, 0.99])
    assert box == (0, 2, 5, 8) and kept == pytest.approx(1 - 6 / 64)


def test_which_mixing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    assert draw_mixing(Recipe(1), 4, (4, 4), generator) is None
    drawn = [draw_mixing(Recipe(1, mixup=0.8, cutmix=1.0), 4, (8, 8), generator) for _ in range(400)]
    assert 150 < sum(mixing is not None and mixing.box is not None for mixing in drawn) < 250
    assert all(mixing is not None and mixing.share[0] == mixing.share[3] for mixing in drawn)


def test_shares_of_mixup_are_of_the_beta_distribution() -> None:
    """Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)), here 1/12."""
    generator = torch.Generator().manual_seed(0)
    mixings = [draw_mixing(Recipe(1, mixup=1.0), 1, (4, 4), generator) for _ in range(2000)]
    shares = torch.tensor([mixing.share.item() for mixing in mixings if mixing is not None])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / 12, abs=0.006)
