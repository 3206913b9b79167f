"""DataLoader: the same bits for any number of workers, resumed anywhere; errors name the file; no thread stays."""

import gc
import threading
import time
from collections import Counter

import numpy as np
import pytest

import minires.random
from minires.data import ArrayDataset, DataLoader, ImageFolder, Subset, last_batch_size
from minires.data.transforms import (
    ColorJitter,
    Compose,
    Lambda,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToTensor,
)
from minires.errors import DataError
from minires.random import Generator, generator
from minires.tensor import Tensor
from tests.data.helpers import make_folder

AUGMENT = Compose([RandomResizedCrop(6), RandomHorizontalFlip(), ColorJitter(0.4, 0.4, 0.4), ToTensor(),
                   RandomErasing(0.5)])  # fmt: skip


def dataset(count: int = 23, transform=AUGMENT) -> ArrayDataset:
    images = np.random.default_rng(0).integers(0, 256, (count, 9, 8, 3), np.uint8)
    return ArrayDataset(images, np.arange(count), transform)


def numbers(loader) -> list[list[int]]:
    return [target.tolist() for _, target in loader]


def everything(loader) -> list[tuple[bytes, bytes]]:
    return [(images.array.tobytes(), targets.array.tobytes()) for images, targets in loader]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("minires-")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    gc.collect()
    assert threads() == []


# ------------------------------------------------------------------------------------------------------------ batches


def test_batches_are_channels_last_float32_with_int64_targets():
    data = dataset(5, ToTensor())
    images, targets = next(iter(DataLoader(data, batch_size=4)))
    assert isinstance(images, Tensor) and images.shape == (4, 3, 9, 8) and images.dtype == np.float32
    assert images.array.transpose(0, 2, 3, 1).flags.c_contiguous
    assert targets.dtype == np.int64 and targets.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(images.array[2], data[2][0].array)


def test_float_targets_and_several_of_them():
    images = np.zeros((3, 4, 4), np.uint8)
    _, targets = next(iter(DataLoader(ArrayDataset(images, [0.5, 1.5, 2.5]), batch_size=3)))
    assert targets.dtype == np.float32 and targets.tolist() == [0.5, 1.5, 2.5]
    _, targets = next(iter(DataLoader(ArrayDataset(images, np.ones((3, 2))), batch_size=3)))
    assert targets.shape == (3, 2)
    samples = [(Tensor(np.zeros((1, 2, 2), np.float32)), (1.0, 2.0), "name")] * 2
    _, targets, names = next(iter(DataLoader(samples, batch_size=2)))
    assert targets.tolist() == [[1.0, 2.0]] * 2 and targets.dtype == np.float32 and names == ["name", "name"]


@pytest.mark.parametrize(
    ("count", "batch", "drop", "sizes"),
    [(10, 4, False, [4, 4, 2]), (10, 4, True, [4, 4]), (8, 4, False, [4, 4]), (3, 4, True, []), (3, 4, False, [3])],
)
def test_length_and_last_batch(count, batch, drop, sizes):
    for workers in (0, 3):
        loader = DataLoader(dataset(count), batch_size=batch, drop_last=drop, num_workers=workers)
        assert [len(targets) for targets in numbers(loader)] == sizes
        assert len(loader) == len(sizes)


def test_a_last_batch_of_one_is_foretold():
    assert DataLoader(dataset(9), batch_size=4).last_batch_size == 1
    assert DataLoader(dataset(9), batch_size=4, drop_last=True).last_batch_size == 4
    assert last_batch_size(8, 4) == 4 and last_batch_size(1, 4) == 1 and last_batch_size(10, 4) == 2


def test_images_of_different_shapes_are_named(tmp_path):
    make_folder(tmp_path, {"a": 2}, size=8)
    make_folder(tmp_path, {"b": 1}, size=9)
    loader = DataLoader(ImageFolder(tmp_path, ToTensor()), batch_size=3, num_workers=2)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) and \(3, 9, 9\) \(.*b/0\.png\): resize or crop"):
        list(loader)
    with pytest.raises(TypeError, match="end the data set's transform with ToTensor"):
        list(DataLoader(ImageFolder(tmp_path), batch_size=1))


def test_own_collate_function():
    loader = DataLoader(dataset(4), batch_size=2, collate_fn=lambda samples: [target for _, target in samples])
    assert list(loader) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("setting", [
    {"batch_size": 0}, {"num_workers": -1}, {"prefetch_factor": 0}, {"on_bad_image": "ignore"}, {"batch_size": 2.0},
    {"shuffle": True, "sampler": [0]}])  # fmt: skip
def test_senseless_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        DataLoader(dataset(3), **setting)


def test_empty_data_set_and_unknown_argument():
    with pytest.raises(DataError, match="no samples"):
        DataLoader(Subset(dataset(3), []))
    with pytest.raises(TypeError, match="pin_memory_device"):
        DataLoader(dataset(3), pin_memory_device="cuda")


# -------------------------------------------------------------------------------------------------------- determinism


def test_every_number_of_workers_gives_the_same_bits():
    expected = everything(DataLoader(dataset(), 4, shuffle=True, seed=7))
    for workers, ahead in ((1, 1), (4, 1), (4, 3), (9, 2)):
        loader = DataLoader(dataset(), 4, shuffle=True, seed=7, num_workers=workers, prefetch_factor=ahead)
        assert everything(loader) == expected, (workers, ahead)
    assert everything(DataLoader(dataset(), 4, shuffle=True, seed=8)) != expected


def test_a_slow_sample_does_not_change_the_order():
    def dawdle(image):
        time.sleep(0.002 * int(generator().integers(5)))
        return image

    data = dataset(12, Compose([Lambda(dawdle), ToTensor()]))
    assert numbers(DataLoader(data, 2, num_workers=4)) == [[i, i + 1] for i in range(0, 12, 2)]


def test_epochs_differ_are_permutations_and_can_be_chosen():
    loader = DataLoader(dataset(), 5, shuffle=True, seed=1)
    epochs = [[index for batch in numbers(loader) for index in batch] for _ in range(3)]
    assert all(sorted(order) == list(range(23)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    loader.set_epoch(1)
    assert [index for batch in numbers(loader) for index in batch] == epochs[1]
    assert [index for batch in numbers(loader) for index in batch] == epochs[2]


def test_augmentation_differs_from_epoch_to_epoch_but_not_with_the_batch_size():
    loader = DataLoader(dataset(), 23)
    first, second = everything(loader)[0][0], everything(loader)[0][0]
    assert first != second
    assert b"".join(images for images, _ in everything(DataLoader(dataset(), 1))) == first


def test_the_process_wide_generator_is_neither_used_nor_disturbed():
    minires.random.manual_seed(3)
    expected = everything(DataLoader(dataset(), 4, shuffle=True))
    before = minires.random.default_generator.get_state()
    minires.random.manual_seed(4)
    generator()
    assert everything(DataLoader(dataset(), 4, shuffle=True)) == expected
    assert before == {"seed": 3, "draws": 0}


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_resume_at_every_position(workers):
    whole = DataLoader(dataset(), 4, shuffle=True, seed=2)
    epochs = [everything(whole), everything(whole), everything(whole)]
    for position in range(len(whole) + 1):
        first = DataLoader(dataset(), 4, shuffle=True, seed=2, num_workers=(workers + 1) % 5)
        first.set_epoch(1)
        batches = iter(first)
        taken = [next(batches) for _ in range(position)]
        state = first.state_dict()
        batches.close()
        assert state == {"epoch": 1, "position": position} and len(taken) == position
        second = DataLoader(dataset(), 4, shuffle=True, seed=2, num_workers=workers, prefetch_factor=3)
        second.load_state_dict(state)
        assert second.state_dict() == state
        expected = epochs[1][position:] or epochs[2]  # nothing left: the next epoch, not an empty one
        assert everything(second) == expected, position


def test_set_epoch_to_the_loaded_epoch_keeps_the_place_and_another_drops_it():
    whole = DataLoader(dataset(), 4, shuffle=True)
    epochs = [everything(whole), everything(whole)]
    loader = DataLoader(dataset(), 4, shuffle=True)
    loader.load_state_dict({"epoch": 0, "position": 2})
    loader.set_epoch(0)
    assert everything(loader) == epochs[0][2:]
    loader.load_state_dict({"epoch": 0, "position": 2})
    loader.set_epoch(1)
    assert everything(loader) == epochs[1]
    loader.load_state_dict({"epoch": 0, "position": 6})
    loader.set_epoch(0)
    assert everything(loader) == []  # asked for an epoch that is over
    assert everything(loader) == epochs[1]


def test_stopping_early_starts_the_next_epoch_afresh():
    whole = DataLoader(dataset(), 4, shuffle=True)
    epochs = [numbers(whole), numbers(whole)]
    loader = DataLoader(dataset(), 4, shuffle=True)
    for _, targets in loader:
        assert targets.tolist() == epochs[0][0]
        break
    assert numbers(loader) == epochs[1]


@pytest.mark.parametrize(("epoch", "position"), [(0, 7), (-1, 0), (0, -1)])
def test_impossible_states(epoch, position):
    with pytest.raises(ValueError, match="no place for this loader of 6 batches"):
        DataLoader(dataset(), 4).load_state_dict({"epoch": epoch, "position": position})


def test_explicit_generator():
    def run() -> list[list[int]]:
        loader = DataLoader(dataset(), 4, shuffle=True, generator=Generator(5))
        return numbers(loader) + numbers(loader)

    assert run() == run()
    loader = DataLoader(dataset(), 4, shuffle=True, generator=Generator(5))
    with pytest.raises(ValueError, match="cannot go on inside an epoch"):
        loader.load_state_dict({"epoch": 0, "position": 1})


class Balanced:
    """A sampler that draws with replacement."""

    def __iter__(self):
        return iter(generator().integers(0, 3, 30).tolist())

    def __len__(self) -> int:
        return 30


def test_sampler_with_repeats_draws_under_the_epochs_address():
    loaders = [DataLoader(dataset(), 4, sampler=Balanced(), num_workers=workers) for workers in (0, 3)]
    first, second = (everything(loader) for loader in loaders)
    assert first == second and len(first) == len(loaders[0]) == 8
    assert everything(loaders[0]) != first
    images, targets = next(iter(DataLoader(dataset(), 30, sampler=Balanced())))
    repeated = Counter(targets.tolist()).most_common(1)[0][0]
    copies = {images.array[place].tobytes() for place, target in enumerate(targets.tolist()) if target == repeated}
    assert len(copies) > 1  # the same picture, augmented anew each time


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "3.png").write_bytes(b"")
    return ImageFolder(tmp_path, ToTensor())


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_bad_picture_reaches_the_main_thread_in_its_turn(folder, workers):
    got = []
    with pytest.raises(DataError, match=r"a/3\.png: the file is empty") as caught:
        got.extend(DataLoader(folder, 2, num_workers=workers))
    assert len(got) == 1 and caught.value.file.endswith("a/3.png")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_bad_picture_is_left_out_and_counted_never_replaced(folder, workers):
    loader = DataLoader(folder, 2, num_workers=workers, on_bad_image="skip")
    batches = list(loader)
    assert [targets.tolist() for _, targets in batches] == [[0, 0], [0], [0, 1], [1, 1], [1, 1]]
    np.testing.assert_array_equal(batches[1][0].array[0], folder[2][0].array)
    assert list(loader.skipped) == [folder.samples[3][0]] and "is empty" in loader.skipped[folder.samples[3][0]]
    assert loader.state_dict() == {"epoch": 0, "position": 5}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_bad_pictures_alone_is_left_out(folder, workers):
    loader = DataLoader(folder, 1, num_workers=workers, on_bad_image="skip")
    assert len(numbers(loader)) == 9 and loader.state_dict()["position"] == 10


def test_skipping_does_not_hide_other_errors(folder):
    def refuse(image):
        raise ValueError("no such crop")

    folder.transform = refuse
    with pytest.raises(DataError, match=r"a/0\.png: no such crop"):
        list(DataLoader(folder, 2, on_bad_image="skip"))


@pytest.mark.parametrize("workers", [0, 2])
def test_other_exceptions_keep_their_type_and_say_which_sample(folder, workers):
    class UnpicklableError(RuntimeError):
        def __reduce__(self):
            raise TypeError("cannot be pickled")

    def fail(image):
        raise UnpicklableError("broken transform")

    folder.transform = fail
    with pytest.raises(UnpicklableError, match="broken transform") as caught:
        list(DataLoader(folder, 2, num_workers=workers))
    assert any("while loading sample 0 (" in note and "a/0.png" in note for note in caught.value.__notes__)


def test_even_an_exit_in_a_worker_arrives():
    def leave(image):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(DataLoader(dataset(6, leave), 2, num_workers=2))


def test_a_worker_that_hangs_is_named_with_its_file(folder):
    release = threading.Event()

    def hang(image):
        release.wait(30)
        return image

    folder.transform = hang
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.2 s \(worker 0 at .*a/0\.png"):
        list(DataLoader(folder, 2, num_workers=1, timeout=0.2))
    assert time.monotonic() - start < 5
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("minires-"):
            thread.join(5)


def test_closing_early_ends_the_threads_soon():
    def slow(image):
        time.sleep(0.03)
        return image

    loader = DataLoader(dataset(200, Compose([Lambda(slow), ToTensor()])), 50, num_workers=3)
    before = len(threads())
    batches = iter(loader)
    next(batches)
    assert len(threads()) == before + 3
    start = time.monotonic()
    batches.close()
    assert threads() == [] and time.monotonic() - start < 1  # the sample in hand, not the batch of 50
    for _ in loader:
        break
    gc.collect()
    assert threads() == []


def test_prefetching_is_bounded():
    loaded = []

    def note(image):
        loaded.append(1)
        return image

    loader = DataLoader(dataset(100, Compose([Lambda(note), ToTensor()])), 1, num_workers=2, prefetch_factor=2)
    batches = iter(loader)
    next(batches)
    time.sleep(0.2)
    assert len(loaded) <= 5  # one handed out, two workers with two batches each ahead
    assert loader.state_dict() == {"epoch": 0, "position": 1}
    batches.close()


def test_workers_do_work_at_the_same_time():
    together = threading.Barrier(3, timeout=10)

    def meet(image):
        together.wait()
        return image

    data = dataset(3, Compose([Lambda(meet), ToTensor()]))
    assert len(list(DataLoader(data, 1, num_workers=3))) == 3
