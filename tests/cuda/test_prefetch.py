"""Batches copied ahead to the GPU: the order of streams and events, and that each of its waits is needed."""

import threading
import weakref

import numpy as np
import pytest

import minires as mr
from minires import backend
from minires.data import DataLoader, Prefetcher, TensorDataset
from minires.data.collate import each_tensor
from tests.cuda import fake_streams
from tests.cuda.fake_streams import ORDER, Unordered
from tests.cuda.harness import needs_emulator
from tests.cuda.test_training import a_trainer, batches

pytestmark = [needs_emulator, pytest.mark.usefixtures("stand_in")]
COMPUTING = (0, 0)


def loader(count=4, **settings):
    x = mr.arange(count * 2.0).reshape(count * 2, 1) * mr.ones(1, 500)
    return DataLoader(TensorDataset(x, mr.arange(count * 2)), 2, **{"pin_memory": True, **settings})


def consumed(batches):
    """Twice the batches' first columns and the labels, computed by a GPU that has not begun when the next one comes."""
    found = []
    with fake_streams.slow():
        for x, labels in batches:
            assert x.device == labels.device == "cuda:0"
            found.append(x[:, 0] * 2 + labels)
    return [value.tolist() for value in found]


EXPECTED = [[0, 3], [6, 9], [12, 15], [18, 21]]


@pytest.mark.parametrize("settings", [{}, {"num_workers": 2}, {"pin_memory": False}])
def test_it_gives_what_the_loader_gives(settings):
    assert consumed(Prefetcher(loader(**settings), "cuda")) == EXPECTED


def test_the_order_of_copies_and_waits():
    for _ in Prefetcher(loader(3), "cuda"):
        ORDER.log.append("computed")
    copying = next(queue for what, queue, *_ in (entry for entry in ORDER.log if entry[0] == "copy"))
    assert copying != COMPUTING
    copy = [("copy", copying), ("record", copying)] * 2  # pictures and labels; pinned memory is kept until each event
    wait, free = [("record", copying), ("wait", COMPUTING, copying)], [("record", COMPUTING)] * 2
    assert ORDER.log == [*copy, *wait, *copy, "computed", *wait, *copy, *free, "computed", *wait, *free, "computed"]


@pytest.mark.parametrize(("owner", "name", "instead"), [
    (mr.cuda.Stream, "wait_stream", lambda self, other: None),  # the batch is computed before it is there
    (mr.Tensor, "record_stream", lambda self, stream: None),  # its memory goes to a later copy
    (backend, "_keep", lambda memory, streams: None),  # either kind of memory is given away
    (mr.cuda, "current_stream", lambda device: mr.cuda.Stream(device)),  # another stream waits than that which computes
], ids=["wait", "record_stream", "kept", "stream"])  # fmt: skip
def test_a_missing_wait_is_found(owner, name, instead, monkeypatch):
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(Unordered):
        consumed(Prefetcher(loader(8), "cuda"))


def test_memory_is_given_back_when_the_other_stream_has_done_with_it():
    """record_stream: not before the last reference goes, then until the stream comes to that place, and no longer."""
    side = mr.cuda.Stream()
    with mr.cuda.stream(side):
        x = mr.ones(300).cuda() * 2
    mr.cuda.current_stream().wait_stream(side)
    view, memory = x[:5], weakref.ref(x.array.memory)
    view.record_stream(mr.cuda.current_stream())
    x.record_stream(mr.cuda.current_stream())
    with fake_streams.slow():
        y = view + 1
        del x
        assert memory() is not None and not backend._in_flight
        del view
        assert len(backend._in_flight) == 1 and memory() is not None
        with mr.cuda.stream(side):
            z = mr.zeros(300).cuda()  # other memory
    assert y.tolist() == [3] * 5 and z.device == "cuda:0"
    mr.cuda.empty_cache()  # as does whoever keeps something
    assert memory() is None and not backend._in_flight


def test_without_record_stream_the_pool_gives_it_away():
    side = mr.cuda.Stream()
    with mr.cuda.stream(side):
        x = mr.ones(300).cuda() * 2
    mr.cuda.current_stream().wait_stream(side)
    x + 1
    del x
    with fake_streams.slow(), pytest.raises(Unordered, match="is given memory by the pool"), mr.cuda.stream(side):
        mr.zeros(300).cuda()


def test_record_stream_refuses(stand_in):
    with pytest.raises(RuntimeError, match="the tensor is on cpu, the stream on cuda:0"):
        mr.ones(2).record_stream(mr.cuda.current_stream())
    x, captured = mr.ones(2).cuda(), mr.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="cannot be captured"), mr.cuda.graph(captured):
        x.record_stream(mr.cuda.current_stream())


def test_pinned_memory_used_again_too_early_is_found(monkeypatch):
    monkeypatch.setattr(backend, "_keep", lambda memory, streams: None)
    with fake_streams.slow(), pytest.raises(Unordered, match="is given pinned memory by the pool"):
        for _ in range(2):
            mr.ones(300).pin_memory().to("cuda", non_blocking=True)


def test_threads_pin_ahead(monkeypatch, two_devices):
    """The copy into pinned memory does not hold up whoever computes, and no other GPU is woken for it."""
    names, devices = set(), set()

    def noted(batch, function):
        names.add(threading.current_thread().name)
        devices.add(ORDER.device)
        return each_tensor(batch, function)

    monkeypatch.setattr("minires.data.loader.each_tensor", noted)
    with mr.cuda.device(1):
        assert all(x.is_pinned() for x, _ in loader(num_workers=2))
    assert names and all(name.startswith("minires-loader") for name in names) and devices == {1}


def test_any_nesting_and_other_things():
    given = [{"x": mr.ones(2), "names": ["a"], "rest": (mr.zeros(1), 3)}, mr.ones(1)]
    first, second = Prefetcher(given, "cuda")
    assert first["x"].is_cuda and first["rest"][0].is_cuda and first["names"] == ["a"] and first["rest"][1] == 3
    assert second.is_cuda and len(Prefetcher(given, "cuda")) == 2
    (here, _) = Prefetcher([mr.ones(1).cuda(), mr.ones(1)], "cpu")
    assert here.device == "cpu"
    already = mr.ones(3).cuda()
    assert next(iter(Prefetcher([already], "cuda"))) is already


def test_an_error_comes_in_its_turn():
    def broken():
        yield mr.ones(1)
        yield mr.ones(2)
        raise ValueError("no third batch")

    found = []
    with pytest.raises(ValueError, match="no third batch"):
        found.extend(map(len, Prefetcher(broken(), "cuda")))
    assert found == [1, 2]


def test_whoever_stops_early_closes_the_loader():
    closed = []

    def source():
        try:
            while True:
                yield mr.ones(1)
        finally:
            closed.append(True)

    iterator = iter(Prefetcher(source(), "cuda"))
    next(iterator)
    iterator.close()
    assert closed == [True]


def test_the_state_is_that_of_the_batch_in_hand():
    ours = Prefetcher(loader(), "cuda")
    iterator = iter(ours)
    next(iterator)
    assert ours.state_dict() == {"epoch": 0, "position": 1} and ours.batches.state_dict()["position"] == 2
    iterator.close()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_trainer_copies_ahead_and_resumes_at_its_step(steps):
    whole = a_trainer()
    whole.fit(batches(True), batches(True), epochs=2)
    copies = {queue for what, queue, *_ in (entry for entry in ORDER.log if entry[0] == "copy")}
    assert COMPUTING in copies and len(copies) > 1, "the model's own copies, and the batches'"
    parts = a_trainer()
    with fake_streams.slow():
        parts.fit(batches(True), batches(True), epochs=2, max_steps=steps)
    assert (parts.step, parts.position) == (steps, steps % 3)
    again = a_trainer()
    again.load_state_dict(parts.state_dict())
    again.fit(batches(True), batches(True), epochs=2)
    assert again.history.rows == whole.history.rows
    for ours, expected in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert np.array_equal(ours.cpu().numpy(), expected.cpu().numpy())
    assert np.array_equal(again.predict(batches(True)).cpu().numpy(), whole.predict(batches()).cpu().numpy())


def test_the_trainer_on_the_second_gpu(two_devices):
    found = []
    for place in ("cuda:1", "cpu"):
        trainer = a_trainer(device=place)
        trainer.fit(batches(place != "cpu"), batches(), epochs=1)
        found.append(trainer.history.rows[0]["loss"])
        assert {p.device for p in trainer.model.parameters()} == {place}
    assert found[0] == pytest.approx(found[1], rel=2e-5) and mr.cuda.current_device() == 0


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(channels_last=False, count=4):
    x = np.random.default_rng(0).integers(0, 256, (count, 5, 4, 3), np.uint8)
    x = x.transpose(0, 3, 1, 2) if channels_last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return DataLoader(TensorDataset(mr.tensor(x), mr.arange(count)), 2, pin_memory=True)


@pytest.mark.parametrize("channels_last", [False, True])
def test_bytes_become_normalised_numbers_on_the_way(channels_last, stand_in):
    normalise = mr.data.transforms.Normalize(MEAN, STD)
    expected = [normalise(x.float() / 255) for x, _ in pictures(channels_last)]
    with fake_streams.slow():
        found = [(x * 1, labels) for x, labels in Prefetcher(pictures(channels_last), "cuda", normalise=(MEAN, STD))]
    assert stand_in.launched == ["normalise_images<float>"] * 2
    for (x, labels), there in zip(found, expected, strict=True):
        assert x.dtype == mr.float32 and x.array.transpose(0, 2, 3, 1).flags.c_contiguous
        assert np.allclose(x.cpu().numpy(), there.numpy(), atol=1e-6) and labels.dtype == mr.int64
    on_cpu = [x for x, _ in Prefetcher(pictures(channels_last), "cpu", normalise=(MEAN, STD))]
    assert all(np.allclose(a.numpy(), b.numpy(), atol=1e-6) for a, b in zip(on_cpu, expected, strict=True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("data", "normalise", "message"), [
    (loader, (MEAN, STD), "this batch has none"),
    (pictures, ((0.5, 0.5), STD), "mean has 2 values, the image 3 channels"),
    (pictures, (MEAN, (0.0,)), "has a zero"),
])  # fmt: skip
def test_normalising_what_does_not_fit(data, normalise, message, device):
    with pytest.raises(ValueError, match=message):
        list(Prefetcher(data(), device, normalise=normalise))


def test_no_pictures_become_no_numbers():
    empty = mr.tensor(np.zeros((0, 3, 4, 4), np.uint8))
    ((x,),) = Prefetcher([(empty,)], "cuda", normalise=(MEAN, STD))
    assert x.shape == (0, 3, 4, 4) and x.dtype == mr.float32 and x.is_cuda
