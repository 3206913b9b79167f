"""Samplers, parts of data sets and collate under PyTorch's names: what they mean, and what torch answers."""

from collections import Counter, namedtuple

import numpy as np
import pytest

from minires.data import (
    ArrayDataset,
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from minires.random import Generator, address
from minires.tensor import Tensor


def numbers(count: int) -> ArrayDataset:
    images = np.arange(count, dtype=np.float32).reshape(count, 1, 1, 1)
    return ArrayDataset(images, np.arange(count))


def test_orders():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    with address(0, "test"):
        assert sorted(RandomSampler(range(20))) == list(range(20))
        assert Counter(RandomSampler(range(5), num_samples=13)).keys() == set(range(5))
        assert max(Counter(RandomSampler(range(5), num_samples=13)).values()) == 3
        assert len(list(RandomSampler(range(5), True, 40))) == 40 and len(RandomSampler(range(5), True, 40)) == 40
        assert sorted(SubsetRandomSampler([7, 3, 9])) == [3, 7, 9]


def test_draws_have_addresses():
    for sampler in (RandomSampler(range(30)), SubsetRandomSampler(range(30)), WeightedRandomSampler(range(30), 30)):
        orders = []
        for epoch in (0, 1, 0):
            with address(3, "shuffle", epoch):
                orders.append(list(sampler))
        assert orders[0] == orders[2] != orders[1]
    fixed = [list(RandomSampler(range(30), generator=Generator(5))) for _ in range(2)]
    assert fixed[0] == fixed[1]


def test_weights():
    with address(0, "test"):
        drawn = Counter(WeightedRandomSampler([1, 0, 3], 4000))
        assert drawn[1] == 0 and 0.7 < drawn[2] / 4000 < 0.8
        assert sorted(WeightedRandomSampler([1, 0, 3], 2, replacement=False)) == [0, 2]
        firsts = Counter(next(iter(WeightedRandomSampler([1, 3], 2, False))) for _ in range(800))
    assert 0.7 < firsts[1] / 800 < 0.8
    for wrong in ([-1, 2], [0, 0], [[1]], [float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="weights"):
            WeightedRandomSampler(wrong, 1)
    with pytest.raises(ValueError, match="only 2 weights are above zero"):
        WeightedRandomSampler([1, 0, 3], 3, replacement=False)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_counts_are_checked(wrong):
    for make in (
        lambda: RandomSampler(range(3), num_samples=wrong),
        lambda: WeightedRandomSampler([1.0], wrong),
        lambda: BatchSampler([1], wrong, False),
    ):
        with pytest.raises(ValueError, match="should be a positive integer"):
            make()
    with pytest.raises(TypeError, match="boolean"):
        BatchSampler([1], 1, "no")


def test_batches_of_a_batch_sampler():
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(SequentialSampler(range(5)), 2, True)) == [[0, 1], [2, 3]]
    loader = DataLoader(numbers(5), batch_sampler=[[4, 1], [0], [2, 2, 3]])
    assert [labels.numpy().tolist() for _, labels in loader] == [[4, 1], [0], [2, 2, 3]]
    assert len(loader) == 3
    with pytest.raises(ValueError, match="only the batch_sampler knows"):
        _ = loader.last_batch_size
    for other in ({"batch_size": 2}, {"shuffle": True}, {"sampler": [1]}, {"drop_last": True}):
        with pytest.raises(ValueError, match="batch_sampler excludes"):
            DataLoader(numbers(5), batch_sampler=[[0]], **other)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_sampler_resumes_inside_an_epoch(workers):
    def make():
        batches = BatchSampler(RandomSampler(range(7)), 2, False)
        return DataLoader(numbers(7), batch_sampler=batches, seed=4, num_workers=workers)

    def labels(loader):
        return [batch.numpy().tolist() for _, batch in loader]

    whole, half = make(), make()
    first, second = labels(whole), labels(whole)
    assert first != second and sorted(label for batch in first for label in batch) == list(range(7))
    half.load_state_dict({"epoch": 1, "position": 2})
    assert labels(half) == second[2:]


def test_a_batch_sampler_hears_of_the_epoch():
    class Turned(list):
        def set_epoch(self, epoch):
            self[:] = [(epoch + place) % 3 for place in range(3)]

    loader = DataLoader(numbers(3), batch_sampler=BatchSampler(Turned([0, 1, 2]), 2, False))
    assert [[labels.numpy().tolist() for _, labels in loader] for _ in range(2)] == [[[0, 1], [2]], [[1, 2], [0]]]


def test_tensor_dataset():
    dataset = TensorDataset(Tensor(np.arange(6.0).reshape(3, 2)), np.array([5, 6, 7]))
    row, label = dataset[1]
    assert len(dataset) == 3 and row.numpy().tolist() == [2.0, 3.0] and label == 6
    batch = next(iter(DataLoader(dataset, 3)))
    assert batch[0].shape == (3, 2) and batch[1].numpy().tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match=r"they have \[3, 2\] rows"):
        TensorDataset(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()


def test_concat_dataset():
    both = ConcatDataset([numbers(2), Subset(numbers(9), [8, 7, 6])])
    assert [target for _, target in (both[index] for index in range(5))] == both.targets == [0, 1, 8, 7, 6]
    assert both.cumulative_sizes == [2, 5] and both[-1][1] == 6 and both.sample_name(2) == "sample 8"
    for wrong in (5, -6):
        with pytest.raises(IndexError, match="out of range for a data set of 5"):
            both[wrong]
    with pytest.raises(ValueError, match="empty"):
        ConcatDataset([])


@pytest.mark.parametrize(("lengths", "expected"), [([3, 7], [3, 7]), ([0.5, 0.25, 0.25], [6, 2, 2]), ([1.0], [10]),
                                                   ([1 / 3, 1 / 3, 1 / 3], [4, 3, 3])])  # fmt: skip
def test_random_split(lengths, expected):
    parts = random_split(numbers(10), lengths, Generator(1))
    again = random_split(numbers(10), lengths, Generator(1))
    assert [len(part) for part in parts] == expected
    assert sorted(index for part in parts for index in part.indices) == list(range(10))
    assert [part.indices for part in parts] == [part.indices for part in again]


def test_random_split_as_torch_counts():
    torch_data = pytest.importorskip("torch.utils.data")
    for count in range(3, 14):
        for lengths in ([0.1, 0.9], [0.3, 0.3, 0.4], [0.5, 0.5]):
            if min(lengths) * count < 1:
                continue
            theirs = [len(part) for part in torch_data.random_split(range(count), lengths)]
            assert [len(part) for part in random_split(numbers(count), lengths)] == theirs


def test_random_split_refuses():
    with pytest.raises(ValueError, match=r"does not equal the length .* They sum to 9 and not 10"):
        random_split(numbers(10), [4, 5])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(numbers(10), [-0.5, 1.5])
    with pytest.raises(ValueError, match="the length at index 1 is neither"):
        random_split(numbers(10), [5, 5.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(numbers(2), [0.9, 0.1])


Pair = namedtuple("Pair", "image label")
SAMPLES = [
    [1, 2], [1.5, 2.5], [True, False], ["a", "b"], [b"a", b"b"], [np.float32(1), np.float32(2)],
    [np.arange(3), np.arange(3)], [{"x": 1, "y": [0.5, "t"]}, {"x": 2, "y": [1.5, "u"]}], [(1, 2.0), (3, 4.0)],
    [Pair(1, 2.0), Pair(3, 4.0)],
    [[(1, {"a": np.zeros((2, 2), np.float32)})], [(2, {"a": np.ones((2, 2), np.float32)})]],
]  # fmt: skip


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (type(value).__name__, [plain(item) for item in value])
    return value if isinstance(value, str | bytes) else (str(np.asarray(value).dtype), np.asarray(value).tolist())


@pytest.mark.parametrize("samples", SAMPLES, ids=repr)
def test_default_collate_is_torchs(samples):
    torch_data = pytest.importorskip("torch.utils.data")
    assert plain(default_collate(samples)) == plain(torch_data.default_collate(samples))


def test_default_collate_refuses():
    with pytest.raises(TypeError, match="found NoneType"):
        default_collate([None, None])
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError, match="same keys"):
        default_collate([{"a": 1}, {"b": 1}])
    with pytest.raises(ValueError, match="different shapes"):
        default_collate([np.zeros(2), np.zeros(3)])
