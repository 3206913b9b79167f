"""AutoAugment and AugMix: their tables, draws and strengths."""

import numpy as np
import pytest
from PIL import Image

from minires.data.transforms import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from minires.random import address
from tests.data.helpers import noise

PICTURE = noise(24, 18)


@pytest.mark.parametrize("policy", list(AutoAugmentPolicy))
def test_every_pair_of_every_policy_runs(policy):
    transform = AutoAugment(policy)
    pairs = transform.policies
    assert len(pairs) == 25 and all(len(pair) == 2 for pair in pairs)
    assert all(0 <= chance <= 1 and (place is None or 0 <= place < 10) for pair in pairs for _, chance, place in pair)
    for pair in pairs:
        transform.policies = [[(name, 1.0, place) for name, _, place in pair]]
        changed = transform(PICTURE)
        assert (changed.size, changed.mode) == (PICTURE.size, "RGB")
    assert repr(transform) == f"AutoAugment(policy=AutoAugmentPolicy.{policy.name})"


def test_the_papers_first_pairs():
    assert AutoAugment().policies[0] == [("Posterize", 0.4, 8), ("Rotate", 0.6, 9)]
    assert AutoAugment("cifar10").policies[0] == [("Invert", 0.1, None), ("Contrast", 0.2, 6)]
    assert AutoAugment("svhn").policies[0] == [("ShearX", 0.9, 4), ("Invert", 0.2, None)]


def test_probabilities_of_a_pair():
    transform = AutoAugment()
    transform.policies = [[("Invert", 0.25, None), ("Invert", 0.0, None)]]
    with address(0, "test"):
        changed = sum(transform(PICTURE) is not PICTURE for _ in range(1000))
    assert 200 < changed < 300
    inverted = next(image for image in iter(lambda: transform(PICTURE), None) if image is not PICTURE)
    assert np.array_equal(np.asarray(inverted), 255 - np.asarray(PICTURE))


@pytest.mark.parametrize("transform", [AutoAugment(), AugMix(), AugMix(10, 2, 1, 0.5, False)], ids=repr)
def test_draws_have_addresses(transform):
    def run(index):
        with address(7, "augment", 0, index):
            return np.asarray(transform(PICTURE))

    assert all(np.array_equal(run(index), run(index)) for index in range(5))
    assert len({run(index).tobytes() for index in range(30)}) > 10
    with pytest.raises(TypeError, match="Pillow picture"):
        transform(np.zeros((3, 3)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_augmix_mixes(mode):
    picture = noise(24, 18, mode)
    transform = AugMix()
    transform._change = lambda rng, ranges, img: img  # of unchanged copies, only the rounding down is left
    with address(0, "test"):
        mixed = transform(picture)
    assert mixed.mode == mode
    assert np.abs(np.asarray(mixed).astype(int) - np.asarray(picture)).max() <= 1


def test_augmixs_strengths():
    table = AugMix()._table(PICTURE)
    assert table["Posterize"][0].tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0] and table["TranslateX"][0][-1] == 8
    assert len(table) == 13 and len(AugMix(all_ops=False)._table(PICTURE)) == 9


@pytest.mark.parametrize("kind", [RandAugment, TrivialAugmentWide, AutoAugment, AugMix])
def test_fill_and_interpolation_of_what_moves(kind):
    white = Image.new("RGB", (20, 20), "white")
    transform = kind(fill=(9, 8, 7), interpolation="nearest")
    assert "fill=(9, 8, 7)" in repr(transform) and "fill" not in repr(kind())
    turned = transform.operate("Rotate", white, 45.0)
    assert turned.getpixel((0, 0)) == (9, 8, 7) and kind().operate("Rotate", white, 45.0).getpixel((0, 0)) == (0, 0, 0)
    smooth = kind(interpolation="bilinear").operate("ShearX", PICTURE, 0.2)
    assert np.array_equal(np.asarray(smooth), np.asarray(PICTURE.transform(
        PICTURE.size, Image.Transform.AFFINE, (1, 0.2, 0, 0, 1, 0), Image.Resampling.BILINEAR)))  # fmt: skip
    with pytest.raises(ValueError, match="interpolation must be one of"):
        kind(interpolation="cubic")


def test_refusals():
    for make, reason in ((lambda: AutoAugment("mnist"), "policy must be one of imagenet, cifar10, svhn"),
                         (lambda: AugMix(11), "severity"), (lambda: AugMix(mixture_width=0), "mixture_width"),
                         (lambda: AugMix(alpha=0), "alpha")):  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            make()
