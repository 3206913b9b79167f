"""Embeddings in a loop of one's own: the head, class means, the losses of a Trainer, new classes, nearest pictures."""

import numpy as np
import pytest

import minires as mr
from minires import models, nn
from minires.data import DataLoader, MPerClassSampler, ShapesDataset
from minires.finetune import embeddings as E
from minires.finetune import replace_head
from minires.optim import SGD
from minires.tensor import Tensor
from minires.training import ExponentialAverage, Trainer
from tests.models.test_zoo import every_family, pictures, small


def model_of(classes=4, size=8, **options):
    mr.manual_seed(0)
    model = models.resnet20(weights="shapes", **options)
    model.reset_head(E.embedding_head(model.num_features, classes, size, 10.0))
    return model


def shapes(samples=32, classes=4):
    data = ShapesDataset(samples * 10)
    return data.rendered().take([i for i in range(len(data)) if 20 <= data.targets[i] < 20 + classes][:samples])


def loader(data, first=20, **options):
    data.target_transform = lambda target: target - first
    return DataLoader(data, 8, **options)


@every_family
def test_every_family_gives_embeddings(family):
    model = small(family)
    model.reset_head(E.embedding_head(model.num_features, 3, 6))
    x = pictures(family)
    rows = E.embed(model.eval(), x)
    np.testing.assert_allclose(np.linalg.norm(rows.array, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model(x).array, E.directions(model)(rows).array, rtol=1e-5, atol=1e-5)
    with E.noted_embeddings(model) as noted:
        model(x)
    assert np.array_equal(noted[0], rows.array) and not E.directions(model).has_hooks


def test_class_means_are_means_and_name_the_nearest_class():
    model = model_of().train()
    data = shapes()
    E.set_class_means(model, loader(data))
    rows, labels = E.embed_all(model, loader(data))
    weight = E.directions(model).weight.array
    for label in range(4):
        mean = rows[labels == label].mean(0)
        np.testing.assert_allclose(weight[label], mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-5)
    assert model.training
    scores = np.concatenate([model.eval()(x).array for x, _ in loader(data)])
    assert np.array_equal(scores.argmax(1), (rows @ weight.T).argmax(1))
    assert not E.class_means(rows, labels, 6)[4:].any()  # classes without a picture


@pytest.mark.parametrize(("averages", "validates"), [([], True), ([ExponentialAverage(0.5)], False)])
def test_triplets_in_a_trainer(averages, validates):
    model, data = model_of(), shapes()
    sampler = MPerClassSampler(np.asarray(data.targets) - 20, 2, 8)
    plain = loader(data)
    loss = E.OnEmbeddings(nn.BatchHardTripletLoss(0.5), model)
    before = E.directions(model).weight.array.copy()
    seen = []

    class Watch(mr.training.Callback):
        def after_step(self, trainer):
            seen.append(E.directions(trainer.model).weight.grad)

    trainer = Trainer(model, SGD(model.parameters(), lr=0.02, momentum=0.9), loss, eval_loss_fn=nn.CrossEntropyLoss(),
                      metrics=["accuracy"], callbacks=[E.ClassMeans(plain), Watch(), *averages],
                      progress=False)  # fmt: skip
    train = DataLoader(data, 8, sampler=sampler, drop_last=True)
    history = trainer.fit(train, plain if validates else None, epochs=3)
    assert all(gradient is None for gradient in seen)  # the directions are no part of the loss
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    if validates:
        assert history.rows[-1]["val_accuracy"] > 0.8
    if averages:
        own = trainer.averaged
        mr.training.weights.restore_weights(model, own)
    assert not np.array_equal(E.directions(model).weight.array, before)
    expected = E.class_means(*E.embed_all(model, plain), 4)
    np.testing.assert_allclose(E.directions(model).weight.array, expected, rtol=1e-3, atol=1e-4)


def test_a_loss_of_embeddings_needs_the_forward_before_it():
    model = model_of()
    loss = E.OnEmbeddings(nn.BatchHardTripletLoss(), model)
    scores, targets = Tensor(np.zeros((4, 4), np.float32)), Tensor(np.array([0, 0, 1, 1]))
    with pytest.raises(RuntimeError, match="without the model's forward before it"):
        loss(scores, targets)
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32))
    loss(model(x), targets).backward()
    with pytest.raises(RuntimeError, match="without the model's forward before it"):
        loss(scores, targets)


def test_new_classes_without_training():
    model, data = model_of(3).eval(), shapes(32, 4)
    known, new = (data.take([i for i in range(32) if (data.targets[i] == 23) == late]) for late in (False, True))
    E.set_class_means(model, loader(known))
    rows, _ = E.embed_all(model, loader(new))
    before = model(pictures("resnet")).array
    E.add_directions(model, rows.mean(0))
    assert model.config["num_classes"] == 4
    after = model(pictures("resnet")).array
    assert after.shape == (2, 4)
    np.testing.assert_allclose(after[:, :3], before, rtol=1e-5, atol=1e-5)
    scores = np.concatenate([model(x).array for x, _ in loader(new)])
    assert (scores.argmax(1) == 3).mean() > 0.7
    again = models.create(**model.config)
    again.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="embeddings of this model have 8 numbers, not 3"):
        E.add_directions(model, np.zeros((1, 3)))


def test_the_nearest_pictures():
    gallery = E.Gallery(["a", "b", "c"], np.array([[1, 0], [0, 3.0], [1, 1]]))
    found = gallery.nearest(np.array([0.1, 1.0]), 2)
    assert [name for name, _ in found] == ["b", "c"] and found[0][1] == pytest.approx(0.995, abs=1e-3)
    assert len(gallery.nearest(np.array([1.0, 0]), 9)) == 3
    with pytest.raises(ValueError, match="2 names for 3 embeddings"):
        E.Gallery(["a", "b"], np.zeros((3, 2)))


def test_other_heads_are_named():
    model = models.resnet20()
    with pytest.raises(ValueError, match="resnet20 has no head for embeddings: it ends with Linear"):
        E.embed(model, pictures("resnet"))
    replace_head(model, 3, [4])
    with pytest.raises(ValueError, match="it ends with Linear"):
        E.add_directions(model, np.zeros((1, 4)))
    with pytest.raises(ValueError, match="there are no pictures to embed"):
        E.set_class_means(model_of(), [])
