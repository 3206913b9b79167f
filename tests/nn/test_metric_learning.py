"""Embeddings: ArcFace, CosFace and batch-hard triplets against formulas written for torch, and the layers for them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import models, nn
from minires.nn import functional as F
from minires.ops.loss_of_angles import hardest
from minires.optim import SGD
from minires.tensor import Tensor

quick = settings(max_examples=25, deadline=None, derandomize=True)


def torch_arcface(torch, embeddings, weight, labels, margin, scale):
    """Deng et al. 2019, eq. 3, by angles; beyond pi the straight line of the authors' code."""
    cosines = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(weight).T
    own = torch.nn.functional.one_hot(labels, len(weight)).bool()
    angles = torch.arccos(cosines.clamp(-1 + 1e-9, 1 - 1e-9))
    moved = torch.where(angles + margin < math.pi, torch.cos(angles + margin), cosines - margin * math.sin(margin))
    return torch.nn.functional.cross_entropy(scale * torch.where(own, moved, cosines), labels)


def torch_cosface(torch, embeddings, weight, labels, margin, scale):
    cosines = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(weight).T
    own = torch.nn.functional.one_hot(labels, len(weight)).double()
    return torch.nn.functional.cross_entropy(scale * (cosines - margin * own), labels)


@pytest.mark.parametrize(("loss", "theirs"), [(nn.ArcFaceLoss, torch_arcface), (nn.CosFaceLoss, torch_cosface)])
@quick
@given(
    st.integers(1, 6), st.integers(2, 5), st.integers(2, 4), st.sampled_from([0.0, 0.3, 0.5, 1.2]), st.integers(0, 999)
)
def test_margins_as_torch_with_all_gradients(loss, theirs, rows, classes, width, margin, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    x, w, labels = (
        rng.standard_normal((rows, width)),
        rng.standard_normal((classes, width)),
        rng.integers(0, classes, rows),
    )
    layer = nn.CosineLinear(width, classes, scale=8.0, dtype="float64")
    layer.weight.array[...] = w
    ours = Tensor(x, requires_grad=True)
    value = loss(margin, 8.0)(layer(ours), Tensor(labels))
    value.backward()
    tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    expected = theirs(torch, tx, tw, torch.tensor(labels), margin, 8.0)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    np.testing.assert_allclose(ours.grad.array, tx.grad.numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(layer.weight.grad.array, tw.grad.numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-5, math.pi])
def test_no_infinite_gradient_where_embedding_and_class_coincide(angle):
    x = Tensor(np.array([[math.cos(angle), math.sin(angle)]], np.float32), requires_grad=True)
    weight = Tensor(np.eye(2, dtype=np.float32))
    loss = F.arcface_loss(F.linear(x, weight) * 64.0, Tensor(np.array([0])))
    loss.backward()
    assert math.isfinite(loss.item()) and np.isfinite(x.grad.array).all()


def test_a_larger_margin_costs_more_and_none_is_cross_entropy():
    scores, labels = Tensor(np.array([[5.0, -3.0], [2.0, 6.0]])), Tensor(np.array([0, 1]))
    plain = F.cross_entropy(scores, labels).item()
    for function in (F.arcface_loss, F.cosface_loss):
        losses = [function(scores, labels, margin=margin, scale=8.0).item() for margin in (0.0, 0.2, 0.5)]
        assert losses[0] == pytest.approx(plain) and losses == sorted(losses)
        each = function(scores, labels, margin=0.2, scale=8.0, reduction="none")
        assert each.shape == (2,) and each.mean().item() == pytest.approx(losses[1])


def by_hand(x, labels, margin):
    """One loss for each anchor that has both, pair by pair."""
    losses = []
    for i, anchor in enumerate(x):
        distances = [math.dist(anchor, other + 0.0) for other in x]
        near = [d for j, d in enumerate(distances) if j != i and labels[j] == labels[i]]
        far = [d for j, d in enumerate(distances) if labels[j] != labels[i]]
        if near and far:
            difference = max(near) - min(far)
            losses.append(math.log1p(math.exp(difference)) if margin is None else max(difference + margin, 0.0))
    return losses


@quick
@given(st.integers(2, 9), st.integers(1, 3), st.sampled_from([None, 0.2, 2.0]), st.integers(0, 999))
def test_batch_hard_as_pair_by_pair(rows, classes, margin, seed):
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal((rows, 3)), rng.integers(0, classes, rows)
    expected = by_hand(x, labels, margin)
    if not expected:
        with pytest.raises(ValueError, match="no triplet in this batch"):
            F.batch_hard_triplet_loss(Tensor(x), Tensor(labels), margin)
        return
    each = F.batch_hard_triplet_loss(Tensor(x), Tensor(labels), margin, reduction="none")
    np.testing.assert_allclose(each.array, expected, atol=1e-5)  # pairwise_distance adds 1e-6
    assert nn.BatchHardTripletLoss(margin)(Tensor(x), Tensor(labels)).item() == pytest.approx(
        np.mean(expected), abs=1e-5
    )


def test_gradients_of_triplets_as_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((8, 4)), np.array([0, 0, 0, 1, 1, 2, 2, 3])
    ours = Tensor(x, requires_grad=True)
    F.batch_hard_triplet_loss(ours, Tensor(labels), 1.5).backward()
    theirs = torch.tensor(x, requires_grad=True)
    places = [torch.tensor(part) for part in hardest(x, labels)]
    torch.nn.functional.triplet_margin_loss(*(theirs[part] for part in places), margin=1.5).backward()
    np.testing.assert_allclose(ours.grad.array, theirs.grad.numpy(), rtol=1e-7, atol=1e-10)
    assert 7 not in places[0].tolist()  # the only one of its class


def test_equal_embeddings_have_a_finite_gradient():
    x = Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    F.batch_hard_triplet_loss(x, Tensor(np.array([0, 0, 1, 1]))).backward()
    assert np.isfinite(x.grad.array).all()


def test_layers():
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    unit = nn.L2Normalize()(Tensor(x)).array
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    layer = nn.CosineLinear(4, 3, scale=16.0)
    scores = layer(Tensor(x)).array
    assert abs(scores).max() <= 16 + 1e-4
    np.testing.assert_allclose(layer(Tensor(7 * x)).array, scores, rtol=1e-4, atol=1e-4)
    assert repr(layer) == "CosineLinear(in_features=4, out_features=3, scale=16)" and layer.bias is None
    assert abs(layer.weight.array).max() <= math.sqrt(6 / 7)


def test_a_head_for_embeddings_can_be_written_down():
    model = models.resnet20()
    model.reset_head(nn.Sequential(nn.Linear(64, 8), nn.L2Normalize(), nn.CosineLinear(8, 3, scale=20.0)))
    assert model.config["head"] == [["Linear", 64, 8], ["L2Normalize"], ["CosineLinear", 8, 3, 20.0]]
    again = models.create(**model.config)
    again.load_state_dict(model.state_dict())
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32))
    assert np.array_equal(again.eval()(x).array, model.eval()(x).array)


@pytest.mark.parametrize("loss", ["arcface", "triplet"])
def test_classes_move_apart(loss):
    """Two classes on interleaved rings: after some steps the nearest neighbour is of one's own class."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    x = rng.standard_normal((40, 2))
    x = Tensor((x / np.linalg.norm(x, axis=1, keepdims=True) * (1 + labels[:, None])).astype(np.float32))
    body = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 4), nn.L2Normalize())
    head = nn.CosineLinear(4, 2, scale=8.0)
    for module in (body[0], body[2], head):
        module.weight.array[...] = rng.standard_normal(module.weight.shape)
    optimizer = SGD([*body.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    target, values = Tensor(labels), []
    for _ in range(80):
        embeddings = body(x)
        value = (F.arcface_loss(head(embeddings), target, 0.3, 8.0) if loss == "arcface"
                 else F.batch_hard_triplet_loss(embeddings, target, 0.5))  # fmt: skip
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    similarity = (embeddings.array @ embeddings.array.T) - 3 * np.eye(40)
    assert values[-1] < 0.7 * values[0]
    assert (labels[similarity.argmax(1)] == labels).mean() > 0.9


def test_wrong_use():
    scores, labels = Tensor(np.zeros((2, 3))), Tensor(np.array([0, 1]))
    with pytest.raises(ValueError, match="margin is an angle below pi"):
        F.arcface_loss(scores, labels, margin=4.0)
    with pytest.raises(ValueError, match="margin must be at least 0 and scale above 0, got -1"):
        F.cosface_loss(scores, labels, margin=-1.0)
    with pytest.raises(ValueError, match=r"scores of the shape \(N, K\) are needed"):
        F.arcface_loss(Tensor(np.zeros(3)), labels)
    with pytest.raises(RuntimeError, match="out of range for axis 1 with length 3"):
        F.arcface_loss(scores, Tensor(np.array([0, 3])))
    with pytest.raises(ValueError, match="margin must be above 0, or None, got 0"):
        F.batch_hard_triplet_loss(scores, labels, margin=0)
    with pytest.raises(ValueError, match=r"embeddings \(N, D\) and class numbers \(N,\) are needed"):
        F.batch_hard_triplet_loss(scores, Tensor(np.array([0])))
