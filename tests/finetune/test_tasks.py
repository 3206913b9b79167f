"""Several labels, ranks and numbers: the figures of each, the losses, rank consistency, and what is decided by data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

import minires as mr
from minires import models
from minires.errors import UsageError
from minires.explain.task_intervals import multi_label_intervals, ordinal_intervals
from minires.finetune.losses import make_losses
from minires.finetune.settings import Settings
from minires.finetune.tasks import MultiLabel, Ordinal, Regression, make_task
from minires.finetune.tasks.losses import positive_weights
from minires.finetune.tasks.ranks import falling, make_consistent, set_thresholds
from minires.finetune.tasks.thresholds import tuned
from minires.training.metrics import Averages
from minires.training.metrics_multi_label import multi_label_metrics
from minires.training.metrics_ordinal import ordinal_metrics
from tests.cuda import fake_cupy

RNG = np.random.default_rng(4)
TRUTH = (RNG.random((50, 3)) < [0.5, 0.3, 0.1]).astype(np.float32)
SCORES = (RNG.normal(size=(50, 3)) + TRUTH).astype(np.float32)
RANKS = RNG.integers(0, 5, 60)
ABOVE = -np.sort(RNG.normal(size=(60, 4)) - (RANKS[:, None] - 2), axis=1)


def test_several_labels():
    task = MultiLabel(["red", "green", "blue"], {"threshold": 0.4, "usual": [0.5, 0.3, 0.1]})
    found = task.figures(SCORES, TRUTH)
    chance = task.values(SCORES)
    assert np.allclose(chance, 1 / (1 + np.exp(-SCORES.astype(float))))
    said = chance > 0.4
    assert found["map"] == pytest.approx(theirs.average_precision_score(TRUTH, SCORES, average="macro"))
    assert found["micro_f1"] == pytest.approx(theirs.f1_score(TRUTH, said, average="micro"))
    assert found["loss"] == pytest.approx(np.mean([theirs.log_loss(TRUTH[:, k], chance[:, k]) for k in range(3)]))
    assert found["per_class"]["red"]["recall"] == pytest.approx(theirs.recall_score(TRUTH[:, 0], said[:, 0]))
    assert found["per_class"]["blue"]["samples"] == TRUTH[:, 2].sum()
    assert found["baseline"]["map"] == pytest.approx(TRUTH.mean(axis=0).mean())
    always = np.tile([True, False, False], (50, 1))  # only red is frequent enough to be said of every picture
    assert found["baseline"]["exact_match"] == pytest.approx(theirs.accuracy_score(TRUTH, always))
    assert all(low <= found[name] <= high for name, (low, high) in found["intervals"].items())
    assert task.said([0.5, 0.3, 0.9]) == "red|blue" and task.labels([0.5, 0.3, 0.9]) == ["blue", "red"]
    assert task.said([0.1, 0.1, 0.1]) == "" and task.label([0, 1, 1]) == "green|blue"
    assert multi_label_intervals(SCORES, TRUTH) == multi_label_intervals(SCORES, TRUTH)


@given(st.integers(0, 10_000), st.integers(1, 14), st.sampled_from([0.2, 0.5, 0.8]))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_each_label_has_the_threshold_of_the_best_f1(seed, pictures, usual):
    """Against all cuts there are, tried one by one; scores have ties, labels may be nowhere or everywhere."""
    rng = np.random.default_rng(seed)
    truth = rng.random((pictures, 3)) < [0.1, 0.5, 0.95]
    scores = np.round(rng.normal(size=(pictures, 3)) + truth, 1)
    task = tuned(MultiLabel(["a", "b", "c"], {"threshold": usual, "usual": [0.1, 0.5, 0.9]}), scores, truth)
    for label in range(3):

        def f1(cut, column=scores[:, label], true=truth[:, label]):
            said = column > cut
            return 2 * (said & true).sum() / max(said.sum() + true.sum(), 1)

        cut = np.log(task.thresholds[label] / (1 - task.thresholds[label]))
        best = max(f1(each) for each in [*(scores[:, label] + 0.05), *(scores[:, label] - 0.05)])
        assert f1(cut) == pytest.approx(max(best, f1(np.log(usual / (1 - usual)))))
        if f1(np.log(usual / (1 - usual))) == f1(cut):
            assert task.thresholds[label] == usual


def test_figures_and_answers_by_thresholds_of_their_own():
    own = [0.6, 0.25, 0.1]
    task = MultiLabel(["red", "green", "blue"], {"threshold": 0.4, "thresholds": own, "usual": [0.5, 0.3, 0.1]})
    found, plain = task.figures(SCORES, TRUTH), MultiLabel(task.classes, {"threshold": 0.4}).figures(SCORES, TRUTH)
    said = task.values(SCORES) > own
    assert found["macro_f1"] == pytest.approx(theirs.f1_score(TRUTH, said, average="macro"))
    assert found["per_class"]["blue"]["threshold"] == 0.1
    assert found["per_class"]["blue"]["recall"] == pytest.approx(theirs.recall_score(TRUTH[:, 2], said[:, 2]))
    assert found["untuned"] == {"threshold": 0.4, **{name: plain[name] for name in task.headline}}
    assert found["intervals"]["macro_f1"][0] <= found["macro_f1"] <= found["intervals"]["macro_f1"][1]
    assert found["baseline"] == MultiLabel(task.classes, {"threshold": 0.4, "usual": [0.5, 0.3, 0.1]}).figures(
        SCORES, TRUTH)["baseline"]  # fmt: skip
    assert task.said([0.5, 0.3, 0.2]) == "green|blue" and task.labels([0.5, 0.2, 0.2]) == ["blue"]
    assert make_task(task.to_record(), task.classes).thresholds.tolist() == own
    for wrong in ([0.5], [0.5, 0.5, 1.0], [0.5, 0.5, float("nan")]):
        with pytest.raises(ValueError, match="not a probability for each of 3"):
            make_task({"name": "multi-label", "thresholds": wrong}, task.classes)


def test_a_baseline_without_a_frequent_label_says_the_most_frequent_one():
    truth = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], np.float32)
    found = MultiLabel(["a", "b"], {"usual": [0.3, 0.2]}).figures(np.zeros((4, 2)) - 1, truth)
    assert found["baseline"]["exact_match"] == 0.25  # "a" of every picture


def test_ranks():
    task = Ordinal(list("ABCDE"), {"usual": 2})
    found, chance = task.figures(ABOVE, RANKS), task.values(ABOVE)
    said = (ABOVE > 0).sum(axis=1)
    assert np.allclose(chance.sum(axis=1), 1) and chance.min() >= 0
    assert [task.rank(row) for row in chance] == said.tolist()
    assert found["mae"] == pytest.approx(theirs.mean_absolute_error(RANKS, said))
    assert found["qwk"] == pytest.approx(theirs.cohen_kappa_score(RANKS, said, weights="quadratic"))
    assert found["top1"] == pytest.approx(theirs.accuracy_score(RANKS, said))
    assert found["within_one"] == pytest.approx((abs(RANKS - said) <= 1).mean())
    assert found["baseline"]["mae"] == pytest.approx(abs(RANKS - 2).mean()) and found["baseline"]["qwk"] == 0
    assert all(low <= found[name] <= high for name, (low, high) in found["intervals"].items())
    right = ordinal_intervals(RANKS, RANKS, np.zeros(60))
    assert right["top1"][1] == pytest.approx(1) and right["top1"][0] > 0.9 and right["mae"] is None


def test_several_numbers():
    truth = RNG.normal(size=(40, 2)) * [1, 100] + [5, 30]
    said = truth + RNG.normal(size=(40, 2)) * [0.2, 70]
    task = Regression([], {"outputs": 2, "names": ["age", "weight"], "usual": [5.0, 30.0]})
    found = task.figures(said, truth)
    assert found["r2"] == pytest.approx(theirs.r2_score(truth, said))
    assert found["per_output"]["weight"]["mae"] == pytest.approx(theirs.mean_absolute_error(truth[:, 1], said[:, 1]))
    assert found["per_output"]["age"]["r2"] == pytest.approx(theirs.r2_score(truth[:, 0], said[:, 0]))
    assert found["baseline"]["mae"] == pytest.approx(abs(truth - [5, 30]).mean())
    low, high = found["intervals"]["r2"]
    assert low < found["r2"] < high and task.outputs == 2


def test_losses_are_those_of_torch():
    torch = pytest.importorskip("torch")
    scores, truth = torch.tensor(SCORES), torch.tensor(TRUTH)
    counts = TRUTH.sum(axis=0).astype(int).tolist()
    wish = {"data": "d", "task": "multi-label"}
    for weights, power in (("none", None), ("balanced", 1.0), ("0.5", 0.5)):
        train, val = make_losses(Settings(**wish, class_weights=weights).check(), counts, 50)
        weight = None if power is None else torch.tensor(((50 - TRUTH.sum(0)) / TRUTH.sum(0)) ** power)
        wanted = torch.nn.functional.binary_cross_entropy_with_logits(scores, truth, pos_weight=weight)
        assert float(train(mr.tensor(SCORES), mr.tensor(TRUTH)).item()) == pytest.approx(float(wanted), rel=1e-5)
        plain = torch.nn.functional.binary_cross_entropy_with_logits(scores, truth)
        assert float(val(mr.tensor(SCORES), mr.tensor(TRUTH)).item()) == pytest.approx(float(plain), rel=1e-5)
    assert positive_weights([0, 5], 10, 1.0).tolist() == [1, 1]
    assert positive_weights([10, 2], 10, 0.5).tolist() == [1, 2], "what every picture has is learnt, too"


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_coral_is_a_sum_of_questions(weights):
    torch = pytest.importorskip("torch")
    outputs = ABOVE.astype(np.float32)
    counts = np.bincount(RANKS, minlength=5).tolist()
    train, val = make_losses(Settings(data="d", task="ordinal", class_weights=weights).check(), counts, 60)
    levels = torch.tensor((RANKS[:, None] > np.arange(4)).astype(np.float32))
    each = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(outputs), levels, reduction="none").sum(1)
    own = torch.ones(60) if weights == "none" else torch.tensor(60 / 5 / np.array(counts)[RANKS])
    found = train(mr.tensor(outputs), mr.tensor(RANKS)).item()
    assert float(found) == pytest.approx(float((each * own).mean()), rel=1e-5)
    assert float(val(mr.tensor(outputs), mr.tensor(RANKS)).item()) == pytest.approx(float(each.mean()), rel=1e-5)
    assert np.allclose(Ordinal(list("ABCDE")).losses(outputs, RANKS), each.numpy(), rtol=1e-5)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=12))
def test_the_nearest_falling_sequence(values):
    from sklearn.isotonic import isotonic_regression

    found = falling(np.array(values))
    assert np.allclose(found, isotonic_regression(np.array(values, np.float64), increasing=False), atol=1e-9)
    assert np.array_equal(falling(found.astype(np.float32)).astype(np.float32), found.astype(np.float32))


def test_the_last_layer_cannot_contradict_itself_and_stays_as_it_is():
    model = models.create("cifar_resnet", depth=8, num_classes=4).eval()
    set_thresholds(model, [10, 5, 3, 1, 1])
    wanted = np.array([10 / 20, 5 / 20, 2 / 20, 1 / 20])
    assert np.allclose(1 / (1 + np.exp(-model.fc.bias.array)), wanted, atol=1e-6)
    model.fc.weight.array[...] += RNG.normal(size=model.fc.weight.shape).astype(np.float32)
    model.fc.bias.array[...] = np.array([0.1, 0.7, -0.4, 0.3], np.float32)
    make_consistent(model)
    before = model.fc.weight.array.copy(), model.fc.bias.array.copy()
    make_consistent(model)
    assert np.array_equal(before[0], model.fc.weight.array) and np.array_equal(before[1], model.fc.bias.array)
    x = mr.tensor(RNG.normal(size=(5, 3, 16, 16)).astype(np.float32))
    assert (np.diff(model(x).detach().numpy(), axis=1) <= 1e-6).all() and np.ptp(before[0], axis=0).max() == 0


@pytest.mark.parametrize(
    ("text", "task"),
    [("filename,labels\na.png,x|y\nb.png,x\n", "multi-label"), ("f,x,y\na.png,1,0\nb.png,0,0\n", "multi-label"),
     ("f,tags\na.png,x y\nb.png,y x\nc.png,x\n", "multi-label"), ("f,label\na.png,1.5\nb.png,2\n", "regression"),
     ("f,h,w\na.png,1.5,3\nb.png,2,1\n", "regression"), ("f,age\na.png,1.5\nb.png,nan\nc.png,\n", "regression"),
     ("f,label\na.png,1\nb.png,2\n", "classification"),
     ("f,label\na.png,golden retriever\nb.png,cat\n", "classification"), ("f,label\na.png,\n", "classification"),
     ("f,tags\na.png,golden retriever\nb.png,cat\n", "classification")],
)  # fmt: skip
def test_the_table_decides_where_it_is_clear(tmp_path, text, task):
    (tmp_path / "table.csv").write_text(text)
    for wish in ({"data": str(tmp_path / "table.csv")}, {"data": str(tmp_path), "labels": str(tmp_path / "table.csv")}):
        found = Settings(**wish).check().resolved("finetune")
        assert found.task == task
    assert Settings(data=str(tmp_path / "table.csv"), task="ordinal").check().resolved("finetune").loss == "coral"


@pytest.mark.parametrize(
    ("wish", "message"),
    [({"task": "multi-label", "loss": "ce"}, "--loss ce does not go with --task multi-label: there it is bce"),
     ({"task": "ordinal", "eval_metric": "map"}, "--eval-metric map does not go with --task ordinal: there it is one"),
     ({"task": "regression", "eval_metric": "top1"}, "--eval-metric top1 does not go"),
     ({"task": "regression", "mixup": 0.2}, "--mixup and --cutmix are for classification and multi-label, not for"),
     ({"task": "ordinal", "cutmix": 0.2}, "not for ordinal"),
     ({"task": "ordinal", "smoothing": 0.1}, "not for ordinal"),
     ({"task": "multi-label", "sampler": "balanced"}, "--sampler balanced is for classification and ordinal"),
     ({"task": "multi-label", "samples_per_class": 3}, "--samples-per-class does not go with --task multi-label"),
     ({"threshold": 0.3, "task": "ordinal"}, "--threshold is for --task multi-label"),
     ({"task": "regression", "class_weights": "balanced"}, "--class-weights is for classification"),
     ({"task": "multi"}, None), ({"task": "single"}, None), ({"task": "regression", "loss": "smooth_l1"}, None)],
)  # fmt: skip
def test_settings_that_do_not_go_together(wish, message):
    if message is None:
        assert Settings(data="d", **wish).check().task in ("multi-label", "classification", "regression")
        return
    with pytest.raises(UsageError, match=message):
        Settings(data="d", **wish).check()


def test_a_record_of_another_version():
    with pytest.raises(ValueError, match="the task 'segmentation' is none of classification, multi-label"):
        make_task({"name": "segmentation"}, ["a"])
    assert make_task(None, []).name == "regression" and make_task(None, ["a"]).name == "classification"


@pytest.fixture
def gpu(monkeypatch):
    with fake_cupy.in_place(monkeypatch):
        yield


@pytest.mark.parametrize(("task", "metrics"), [("multi-label", multi_label_metrics), ("ordinal", ordinal_metrics)])
@pytest.mark.usefixtures("gpu")
def test_losses_and_figures_of_arrays_on_a_gpu(task, metrics):
    scores = np.sort(RNG.normal(size=(6, 4)).astype(np.float32), axis=1)[:, ::-1].copy()
    truth = (RNG.random((6, 4)) > 0.5).astype(np.float32) if task == "multi-label" else RNG.integers(0, 5, 6)
    wish = Settings(data="d", task=task, class_weights="balanced").check()
    loss = make_losses(wish, [2, 3, 2, 1] if task == "multi-label" else [2, 1, 1, 1, 1], 6)[0]
    found = []
    for device in ("cpu", "cuda"):
        outputs, targets = (mr.tensor(each, device=device) for each in (scores, truth))
        sums = Averages(metrics())
        sums.add(0.0, outputs.array, targets.array)
        found.append({"own": float(loss(outputs, targets).item()), **sums.means()})
    assert found[0] == pytest.approx(found[1])
    model = models.create("cifar_resnet", depth=8, num_classes=4).to("cuda")
    set_thresholds(model, [1, 2, 3, 2, 1])
    assert (np.diff(model.fc.bias.array.get()) < 0).all()
