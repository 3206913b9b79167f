"""NaN and infinity: found in the step that makes them, named by layer, and never saved."""

import math

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.autograd import Function
from minires.errors import NumericalError
from minires.training import Callback, EarlyStopping, ModelCheckpoint, NotFiniteError
from tests.training.helpers import bits, fingerprint, make_loaders, make_trainer


class _SpoilGradient(Function):
    """y = x;  dx = dy, with a NaN in it."""

    @staticmethod
    def forward(ctx, x):
        return x.copy()

    @staticmethod
    def backward(ctx, grad):
        grad = grad.copy()
        grad.ravel()[0] = np.nan
        return grad


class Trap(nn.Module):
    """Hands its input on until `armed`: then its output, or its gradient, is not finite."""

    def __init__(self):
        super().__init__()
        self.armed = ""

    def forward(self, x):
        if self.armed == "output":
            return x * math.inf
        return _SpoilGradient.apply(x) if self.armed == "gradient" else x + 0


class Block(nn.Module):
    def __init__(self, trap):
        super().__init__()
        self.linear, self.trap, self.relu = nn.Linear(12, 12), trap, nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.trap(self.linear(x)))


class Arm(Callback):
    """Sets the trap before step `at` (from 1)."""

    def __init__(self, trap, at, kind):
        self.trap, self.at, self.kind = trap, at, kind

    def before_step(self, trainer):
        self.trap.armed = self.kind if trainer.step + 1 == self.at else ""


def trapped(kind, at=9, callbacks=()):
    trap = Trap()
    with mr.random.address(1, "model"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Dropout(0.2), Block(trap),
                              nn.Linear(12, 3))  # fmt: skip
    return make_trainer([Arm(trap, at, kind), *callbacks], model=model), trap


@pytest.mark.parametrize(
    ("kind", "what", "place"),
    [("output", "the loss is nan", "the output of 4.trap (Trap)"),
     ("gradient", "the norm of the gradient is nan", "the gradient that 4.trap (Trap) passes back")],
)  # fmt: skip
def test_the_step_the_rate_and_the_layer_are_named(tmp_path, kind, what, place):
    trainer, _ = trapped(kind, callbacks=[ModelCheckpoint(tmp_path)])
    with pytest.raises(NotFiniteError) as caught:
        trainer.fit(*make_loaders(), epochs=3)
    error = caught.value
    assert isinstance(error, NumericalError) and error.code == "numerics.not_finite"
    assert (error.step, error.place, error.lr) == (9, place, trainer.last_lr)
    assert what in str(error) and "step 9 (epoch 2, learning rate 0.07" in str(error)
    assert trainer.status == "failed" and trainer.consistent and trainer.step == 8
    assert not any(module.has_hooks for module in trainer.model.modules())
    good, _ = trapped("", callbacks=[])
    good.fit(*make_loaders(), epochs=3, max_steps=8)
    assert bits(good) == bits(trainer), "weights, statistics and history are those before the step"
    resumed, _ = trapped("", callbacks=[ModelCheckpoint(tmp_path)])
    resumed.resume(tmp_path)
    assert resumed.step == 8
    resumed.fit(*make_loaders(), epochs=3)
    whole, _ = trapped("")
    whole.fit(*make_loaders(), epochs=3)
    assert fingerprint(resumed) == fingerprint(whole)


def test_a_trainer_goes_on_after_the_cause_is_gone():
    trainer, trap = trapped("output", at=3)
    with pytest.raises(NotFiniteError):
        trainer.fit(*make_loaders(), epochs=1)
    trainer.events.callbacks = [one for one in trainer.events.callbacks if not isinstance(one, Arm)]
    trap.armed = ""
    trainer.fit(*make_loaders(), epochs=1)
    whole, _ = trapped("")
    whole.fit(*make_loaders(), epochs=1)
    assert fingerprint(trainer) == fingerprint(whole)


class Spoil(Callback):
    """Puts a NaN into the inputs or the targets of the first batch."""

    def __init__(self, part):
        self.part = part

    def before_step(self, trainer):
        parts = [mr.tensor(part.numpy().copy()) for part in trainer.batch]
        parts[self.part].array.ravel()[1] = np.nan
        trainer.batch = tuple(parts)


def test_the_batch_is_looked_at_first():
    with pytest.raises(NotFiniteError, match="begins at the inputs of the batch"):
        make_trainer([Spoil(0)]).fit(*make_loaders())
    images = mr.randn(8, 1, 3, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    trainer = make_trainer([Spoil(1)], model=model, loss_fn=nn.MSELoss(), metrics=(), stopping=False)
    with pytest.raises(NotFiniteError, match="begins at the targets of the batch"):
        trainer.fit([(images, mr.ones(8, 1))])


def test_weights_and_the_loss_function_are_named():
    trainer = make_trainer()
    trainer.model[5].weight.array[0, 0] = np.nan
    with pytest.raises(NotFiniteError, match=r"the values of 5\.weight, which are not finite before the step"):
        trainer.fit(*make_loaders())

    def log_of_nothing(outputs, targets):
        return (outputs * 0).sum() / 0.0

    with pytest.raises(NotFiniteError, match="the loss function: the model's outputs are finite"):
        make_trainer(loss_fn=log_of_nothing).fit(*make_loaders())


def test_an_infinite_derivative_of_a_finite_number():
    class Root(nn.Module):
        def forward(self, x):
            return (x * 0).sqrt()

    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), Root())
    with np.errstate(divide="ignore"), pytest.raises(NotFiniteError, match=r"2 \(Root\)"):
        make_trainer(model=model).fit(*make_loaders())


def test_a_learning_rate_that_explodes():
    trainer = make_trainer(lr=1e30, scheduler=None)
    with pytest.raises(NotFiniteError, match=r"learning rate 1e\+30"):
        trainer.fit(*make_loaders(), epochs=20)
    assert all(np.isfinite(parameter.detach().numpy()).all() for parameter in trainer.model.parameters())


def test_nan_in_validation_is_never_the_best(tmp_path):
    class Broken(nn.CrossEntropyLoss):
        calls = 0

        def forward(self, input, target):
            Broken.calls += 1
            return super().forward(input, target) * (math.nan if Broken.calls <= 3 else 1.0)  # epoch 1: three batches

    best, saved = EarlyStopping("val_loss", None), ModelCheckpoint(tmp_path)
    trainer = make_trainer([best, saved], stopping=False, eval_loss_fn=Broken())
    trainer.fit(*make_loaders(), epochs=1)
    assert math.isnan(trainer.history["val_loss"][0])
    assert best.best_weights is None and best.monitor.best is None and not (tmp_path / "best.safetensors").exists()
    trainer.fit(*make_loaders(), epochs=3)
    finite = trainer.history["val_loss"][1:]
    assert best.monitor.best == min(finite) and best.best_epoch == 2 + finite.index(min(finite))
