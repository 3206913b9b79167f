"""The random transforms of warps, tones and order: their ranges, draws, texts and refusals."""

import pickle
from collections import Counter

import numpy as np
import pytest

from minires.data import transforms as T
from minires.data.transforms import functional
from minires.data.transforms.matrices import affine_matrix, perspective_coefficients, rotated_size
from minires.random import address
from minires.tensor import Tensor
from tests.data.helpers import noise

PICTURE = noise(31, 23).point(lambda value: 40 + value // 2)
IMAGE = functional.pil_to_tensor(PICTURE)
RANDOM = [
    T.RandomAffine(20, (0.2, 0.3), (0.5, 1.5), 10), T.RandomAffine((5, 9), shear=(1, 2, 3, 4), fill=7),
    T.RandomPerspective(0.6, 1.0), T.ElasticTransform(20.0, 2.0), T.GaussianBlur(3), T.RandomGrayscale(0.5),
    T.RandomInvert(), T.RandomPosterize(3), T.RandomSolarize(100), T.RandomAdjustSharpness(2), T.RandomAutocontrast(),
    T.RandomEqualize(), T.RandomRotation(30), T.RandomCrop(5, padding=2), T.RandomResizedCrop(6),
    T.ColorJitter(0.4, 0.4),
    T.RandomHorizontalFlip(), T.RandomVerticalFlip(), T.RandomOrder([T.RandomInvert(), T.RandomPosterize(2)]),
    T.RandomChoice([T.RandomInvert(1.0), T.RandomPosterize(2, 1.0)], [0.3, 0.7]),
]  # fmt: skip


def array(image):
    return image.numpy() if isinstance(image, Tensor) else np.asarray(image)


@pytest.mark.parametrize("image", [PICTURE, IMAGE], ids=["picture", "tensor"])
@pytest.mark.parametrize("transform", RANDOM, ids=lambda transform: type(transform).__name__)
def test_draws_come_from_the_address(transform, image):
    def run(index):
        with address(3, "augment", 0, index):
            return transform(image)

    results = [run(index) for index in range(12)]
    assert type(results[0]) is type(image)
    assert all(np.array_equal(array(run(index)), array(results[index])) for index in range(12))
    assert len({array(result).tobytes() for result in results}) > 1


def test_random_affine_stays_inside_its_ranges():
    with address(0, "test"):
        drawn = [
            T.RandomAffine.get_params((10, 20), (0.1, 0.5), (0.5, 2), (1, 2, -4, -3), (100, 40)) for _ in range(400)
        ]
    for angle, (x, y), scale, (along_x, along_y) in drawn:
        assert 10 <= angle <= 20 and abs(x) <= 10 and abs(y) <= 20 and 0.5 <= scale <= 2
        assert 1 <= along_x <= 2 and -4 <= along_y <= -3
    assert {x for _, (x, _), _, _ in drawn} == set(range(-10, 11)) and {y for _, (_, y), _, _ in drawn} >= {-19, 19}


def test_random_perspective_moves_corners_inwards():
    with address(0, "test"):
        ends = np.array([T.RandomPerspective.get_params(21, 11, 0.5)[1] for _ in range(500)])
    assert ends.min(0).tolist() == [[0, 0], [15, 0], [15, 8], [0, 8]]
    assert ends.max(0).tolist() == [[5, 2], [20, 2], [20, 10], [5, 10]]
    assert T.RandomPerspective(p=0.0)(PICTURE) is PICTURE


def test_elastic_field():
    with address(0, "test"):
        field = T.ElasticTransform.get_params([50.0, 20.0], [4.0, 4.0], (30, 60)).array
        rough = T.ElasticTransform.get_params([1.0, 1.0], [0.0, 0.0], (30, 60)).array
        tiny = T.ElasticTransform.get_params([1.0, 1.0], [5.0, 5.0], (1, 2))
    assert field.shape == (1, 30, 60, 2) and tiny.shape == (1, 1, 2, 2)
    steps = [np.abs(np.diff(moves[0, ..., 0], axis=1)).mean() / np.abs(moves).mean() for moves in (field, rough)]
    assert steps[0] < 0.3 * steps[1]
    assert np.abs(rough[..., 0]).max() <= 1 / 60 and np.abs(rough[..., 1]).max() <= 1 / 30


def test_matrices():
    forward = affine_matrix((5, 4), 30, (2, -1), 1.5, (10, 20), inverted=False)
    backward = affine_matrix((5, 4), 30, (2, -1), 1.5, (10, 20))
    both = [np.vstack([np.reshape(matrix, (2, 3)), [0, 0, 1]]) for matrix in (forward, backward)]
    np.testing.assert_allclose(both[0] @ both[1], np.eye(3), atol=1e-12)
    assert rotated_size(affine_matrix((0, 0), 90, (0, 0), 1, (0, 0)), 30, 20) == (20, 30)
    start, end = [[0, 0], [10, 0], [10, 7], [0, 7]], [[2, 1], [9, 2], [8, 7], [1, 6]]
    a, b, c, d, e, f, g, h = perspective_coefficients(start, end)
    for (x, y), goal in zip(end, start, strict=True):
        weight = g * x + h * y + 1
        np.testing.assert_allclose([(a * x + b * y + c) / weight, (d * x + e * y + f) / weight], goal, atol=1e-5)
    with pytest.raises(ValueError, match="exactly four corners"):
        perspective_coefficients(start[:3], end)
    with pytest.raises(ValueError, match="no perspective"):
        perspective_coefficients(start, [[0, 0]] * 4)


def test_choice_and_order():
    transforms = [T.Lambda(lambda text, letter=letter: text + letter) for letter in "abc"]
    with address(0, "test"):
        chosen = Counter(T.RandomChoice(transforms, [1, 0, 3])("") for _ in range(800))
        orders = Counter(T.RandomOrder(transforms)("") for _ in range(600))
    assert chosen["b"] == 0 and 520 < chosen["c"] < 680
    assert len(orders) == 6 and min(orders.values()) > 60 and all(sorted(order) == ["a", "b", "c"] for order in orders)
    for wrong in ([0.5], [-1, 1, 1], [0, 0, 0]):
        with pytest.raises(ValueError, match="p needs a probability"):
            T.RandomChoice(transforms, wrong)


def test_probabilities():
    for transform in (T.RandomInvert(0.25), T.RandomGrayscale(0.25), T.RandomSolarize(0, 0.25)):
        with address(0, "test"):
            changed = sum(transform(PICTURE) is not PICTURE for _ in range(1000))
        assert 200 < changed < 300
        with pytest.raises(ValueError, match="p must lie"):
            type(transform)(p=2, **({"threshold": 0} if isinstance(transform, T.RandomSolarize) else {}))


def test_linear_transformation():
    rng = np.random.default_rng(0)
    matrix, mean = rng.standard_normal((12, 12)), rng.standard_normal(12)
    images = rng.standard_normal((5, 3, 2, 2))
    found = T.LinearTransformation(Tensor(matrix), Tensor(mean))(Tensor(images)).numpy()
    np.testing.assert_allclose(found.reshape(5, 12), (images.reshape(5, 12) - mean) @ matrix)
    with pytest.raises(ValueError, match="incompatible shape"):
        T.LinearTransformation(Tensor(matrix), Tensor(mean))(Tensor(images[..., :1]))
    with pytest.raises(ValueError, match="should be square"):
        T.LinearTransformation(Tensor(matrix), Tensor(mean[:3]))


TEXTS = {
    T.RandomAffine(10, shear=(1, 2), fill=3): "RandomAffine(degrees=[-10.0, 10.0], shear=[1.0, 2.0], fill=3)",
    T.RandomPerspective(): "RandomPerspective(p=0.5)", T.FiveCrop(3): "FiveCrop(size=(3, 3))",
    T.TenCrop((3, 4), True): "TenCrop(size=(3, 4), vertical_flip=True)",
    T.RandomPosterize(3): "RandomPosterize(bits=3,p=0.5)",
    T.ElasticTransform(): "ElasticTransform(alpha=[50.0, 50.0], sigma=[5.0, 5.0], interpolation=bilinear, fill=0)",
    T.GaussianBlur(3): "GaussianBlur(kernel_size=(3, 3), sigma=(0.1, 2.0))",
    T.RandomGrayscale(): "RandomGrayscale(p=0.1)",
    T.RandomChoice([T.ToTensor()]): "RandomChoice(\n    ToTensor()\n)(p=None)",
    T.RandomOrder([T.ToTensor()]): "RandomOrder(\n    ToTensor()\n)",
}  # fmt: skip


@pytest.mark.parametrize("transform", TEXTS, ids=lambda transform: type(transform).__name__)
def test_texts(transform):
    assert repr(transform) == TEXTS[transform]


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda: T.RandomAffine(-1), "must be positive"), (lambda: T.RandomAffine(1, (2, 0)), "between 0 and 1"),
     (lambda: T.RandomAffine(1, scale=(0, 1)), "range of positive"),
     (lambda: T.RandomAffine(1, shear=(1, 2, 3)), "shear"),
     (lambda: T.RandomPerspective(2), "distortion_scale"), (lambda: T.ElasticTransform(-1), "alpha"),
     (lambda: T.GaussianBlur(4), "odd"), (lambda: T.GaussianBlur(3, (0, 1)), "sigma"),
     (lambda: T.RandomPosterize(9), "bits"), (lambda: T.RandomAdjustSharpness(-1), "sharpness_factor"),
     (lambda: T.FiveCrop(40)(PICTURE), "bigger than input size"),
     (lambda: functional.gaussian_blur(IMAGE, 63), "too large"),
     (lambda: functional.affine(PICTURE, 0, (0, 0), 0, 0), "positive"), (lambda: T.RandomChoice([]), "empty"),
     (lambda: functional.rotate(IMAGE, 3, "bicubic"), "nearest or bilinear"),
     (lambda: functional.rotate(IMAGE, 3, fill=(1, 2)), "fill has 2 values"),
     (lambda: functional.resize(IMAGE, 3, "lanczos"), "a tensor is resized by"),
     (lambda: functional.elastic_transform(IMAGE, Tensor(np.zeros((1, 2, 3, 2), np.float32))), "displacement")],
    ids=range(18),
)  # fmt: skip
def test_refusals(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize("name", functional.__all__)
def test_functions_can_be_sent_to_worker_processes(name):
    function = getattr(functional, name)
    assert pickle.loads(pickle.dumps(function)) is function and function.__doc__


@pytest.mark.parametrize("transform", RANDOM, ids=lambda transform: type(transform).__name__)
def test_transforms_can_be_sent_to_worker_processes(transform):
    assert repr(pickle.loads(pickle.dumps(transform))) == repr(transform)


def test_tensors_that_are_no_images():
    for wrong in (Tensor(np.zeros((2, 4, 4), np.uint8)), Tensor(np.zeros((4, 4), np.float32))):
        with pytest.raises(TypeError, match="C = 1 or 3"):
            functional.adjust_contrast(wrong, 2)
    with pytest.raises(TypeError, match="Only uint8"):
        functional.equalize(Tensor(np.zeros((3, 4, 4), np.float32)))
    with pytest.raises(TypeError, match="one number"):
        functional.pad(IMAGE, 1, (1, 2, 3))


def test_batches_of_tensors_are_changed_alike():
    batch = Tensor(np.stack([IMAGE.array, IMAGE.array[:, ::-1]]))
    for change in (functional.hflip, lambda x: functional.rotate(x, 20, "bilinear"),
                   lambda x: functional.resize(x, (5, 6)),
                   lambda x: functional.adjust_hue(x, 0.1), lambda x: functional.gaussian_blur(x, 3)):  # fmt: skip
        together = change(batch).numpy()
        assert all(np.array_equal(together[place], change(Tensor(batch.array[place])).numpy()) for place in (0, 1))
