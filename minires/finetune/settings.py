"""Everything that can be set about a training job: one table for the API, the command line, TOML files and args.toml.

Each setting has a default, a range and one line of explanation. A default of None means "decided by the job": see
`RECIPES` for what `finetune` and `train` choose. `Settings.check` answers a senseless value before anything is made.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minires.data.transforms.pictures import InterpolationMode
from minires.data.transforms.presets import AUTO_AUGMENT
from minires.finetune.devices import AMP
from minires.finetune.embedding_settings import EMBEDDING_LOSSES, MARGINS, PER_CLASS, SCALE, SIZE
from minires.finetune.optimizer_table import USUAL, choose_rates
from minires.finetune.setting_checks import LOSSES_FOR, METRICS_FOR, REHEARSED, check_together, take_from_run
from minires.finetune.setting_values import check_value, flag, setting, shown, unknown_name
from minires.finetune.tasks.deciding import decide_task
from minires.io.weights import is_weights_file

__all__ = [
    "DIGITS", "FIELDS", "RECIPES", "Settings", "check_value", "flag", "make_settings", "shown", "unknown_name",
]  # fmt: skip

SCHEDULES = ("cosine", "linear", "poly", "exponential", "restarts", "step", "multistep", "plateau", "onecycle",
             "constant")  # fmt: skip
STRATEGIES = ("full", "head", "lp-ft", "gradual", "lora", "bitfit", "bn", "ssf", "adapter")
LORA_RANK = 8
LOSSES = ("ce", "bce", "focal", "mse", "l1", "huber", "coral", *EMBEDDING_LOSSES)
TASK_NAMES = ("classification", "multi-label", "regression", "ordinal")
EVAL_METRICS = tuple(dict.fromkeys(name for names in METRICS_FOR.values() for name in names))
DIGITS = "digits"  # the name of the data set that needs no files


@dataclass
class Settings:
    """The settings of one job. `Settings(data="photos", epochs=5)`; unknown names are answered with the nearest."""

    # data
    data: str | None = setting(None, "str", 'folder (CLASS/*.jpg or train/CLASS/*.jpg), CSV table or "digits"',
                               "--data-dir", "--data-path")  # fmt: skip
    labels: str | None = setting(None, "str", "CSV table of the labels of the pictures in --data, a row a picture",
                                 "--labels-csv")  # fmt: skip
    image_column: str | None = setting(None, "str", "its column of file names (default: one of a usual name, else the "
                                       "first)", "--fn-col", "--x-col")  # fmt: skip
    label_columns: tuple[str, ...] = setting((), "words", "its columns of labels (default: label, labels, tags or "
                                             "target, else all others)", "--label-col", "--y-col")  # fmt: skip
    label_delim: str | None = setting(None, "str", "between the labels of a cell (default: | or ; or comma, where they "
                                      "occur, else spaces)")  # fmt: skip
    train_split: str = setting("train", "str", "folder of the training pictures")
    val_split: str | float | None = setting(None, "split", "folder for validation, or a fraction (else 0.2)")
    test_split: str | float | None = setting(None, "split", "folder of the test pictures, or a fraction (else 0.1)")
    fold: str | None = setting(None, "str", "validate on this part of the pictures and train on the others: 2/5 is the "
                               "second of five")  # fmt: skip
    group_by: str | None = setting(None, "str", "regular expression on file names: equal matches share a split")
    class_map: str | None = setting(None, "str", "class order: a text file with one name a line, or JSON")
    samples_per_class: int | None = setting(
        None, "int", "train on this many pictures of each class only (--from: new ones)", low=1
    )
    num_classes: int | None = setting(None, "int", "how many classes the data must have (it decides; this checks it)",
                                      low=1)  # fmt: skip
    task: str | None = setting(None, "str", "what the labels are: classification (one class a picture), multi-label "
                               "(any number of classes), regression (numbers), ordinal (classes that have an order) "
                               "(default: what the table says, else classification)", choices=TASK_NAMES)  # fmt: skip
    threshold: float = setting(0.5, "float", "multi-label: probability above which a label is said", low=0, high=1,
                               open_low=True, open_high=True)  # fmt: skip
    tune_thresholds: bool = setting(False, "bool", "multi-label: give each label the threshold with the best F1 on the "
                                    "validation pictures; it stays with the model")  # fmt: skip
    on_bad_image: str = setting("error", "str", "unreadable picture: stop and name it, or leave it out and count it",
                                choices=("error", "skip"))  # fmt: skip
    review: str | None = setting(None, "str", "table of pictures to leave out or relabel: a run's review.csv with its "
                                 "column action filled in")  # fmt: skip
    workers: int | str = setting(0, "workers", 'workers that prepare batches (0: none), or "auto"', "-j", low=0)
    worker_type: str = setting("thread", "str", "what workers are; processes are for transforms slow in Python itself",
                               choices=("thread", "process"))  # fmt: skip

    # model
    model: str | None = setting(None, "str", "name of the model, such as resnet20 or resnet18 "
                                "(default for a weights file: what it holds), or a weights file; "
                                "with --weights none also a model directory or run that it is built like")  # fmt: skip
    weights: str | None = setting(None, "str", '"shapes" (built in, for resnet20), a .pth/.safetensors/.npz file '
                                  'or its URL, a model directory, a run, or "none"')  # fmt: skip
    from_run: str | None = setting(None, "str", "a finished run to train further on new data: its classes keep their "
                                   "numbers, new ones come behind them", "--from")  # fmt: skip
    rehearsal: int | None = setting(None, "int", "pictures of each earlier class that are mixed in, where they can be "
                                    f"had (else {REHEARSED}), with --from", low=0)  # fmt: skip
    store_rehearsal: int = setting(0, "int", "keep copies of so many training pictures of each class in the run, for a "
                                   "later --from", low=0)  # fmt: skip
    distill: float = setting(0.0, "float", "weight of distillation, with --from: hold the model to what the earlier "
                             "one says about its classes", low=0)  # fmt: skip
    distill_temperature: float = setting(2.0, "float", "temperature of distillation", low=0, open_low=True)
    in_chans: int | None = setting(None, "int", "channels of the pictures: 1 (grey), 3 (RGB) or 4 (RGBA); the "
                                   "weights are adapted (default: what they take)", low=1, high=4)  # fmt: skip
    model_kwargs: tuple[str, ...] = setting((), "words", "options of the model's own: name=value ...")
    head: str | None = setting(None, "str", 'new head: "linear", or sizes of hidden layers such as 1024,1024')
    head_dropout: float = setting(0.0, "float", "dropout before each layer of a head with hidden layers", low=0, high=1,
                                  open_high=True)  # fmt: skip
    freeze: str = setting("none", "str", 'what stays as it is: none, all-but-head (backbone), or "stem,layer1"')
    strategy: str = setting("full", "str", "what is trained: full, head, lp-ft (the head, then all), gradual (from the "
                            "head down), bitfit (biases), bn (norms), lora, ssf or adapter (new parameters)",
                            choices=STRATEGIES)  # fmt: skip
    unfreeze_at: tuple[str, ...] = setting((), "words", "after so many epochs train this stage (or all), too: 3:layer3 "
                                           "...")  # fmt: skip
    bn: str = setting("auto", "str", "batch norm statistics: frozen, batch (updated), auto (frozen where weights are), "
                      "reestimate (batch, and made anew before each validation)",
                      choices=("auto", "frozen", "batch", "reestimate"))  # fmt: skip
    lora_rank: int | None = setting(None, "int", f"rank of the adapters of --strategy lora (else {LORA_RANK})", low=1)
    lora_alpha: float | None = setting(None, "float", "their weight is this by the rank (else the rank)", low=0,
                                       open_low=True)  # fmt: skip

    device: str = setting("cpu", "str", "what computes: cpu, cuda (a GPU), cuda:1 (the second one), or auto: a GPU if "
                          "there is one")  # fmt: skip
    amp: str | None = setting(None, "str", "mixed precision on a GPU: float16 (fp16; also --amp alone) or bfloat16 "
                              "(bf16)", choices=AMP, bare="float16")  # fmt: skip

    # optimisation
    epochs: int | None = setting(None, "int", "passes over the training pictures", low=1)
    batch_size: int = setting(32, "int", 'pictures a step, or "auto": as many as fit into the memory', "-b", low=1)
    halve_on_oom: bool = setting(False, "bool", "out of memory: go on with half as many pictures at a time (auto does)")
    validation_batch_size: int | None = setting(None, "int", "pictures a batch in evaluation", "-vb", low=1)
    grad_accum_steps: int = setting(1, "int", "batches whose gradients are added up to one step", low=1)
    opt: str | None = setting(None, "str", "optimizer (weight decay of adamw, nadam, radam, lion and lamb is decoupled "
                              "from the gradient)", "--optimizer", choices=USUAL)  # fmt: skip
    sam: float = setting(0.0, "float", "sharpness-aware minimisation around --opt: step by the gradient at the worst "
                         "place so near; takes twice as long (alone: 0.05; 0: off)", low=0, bare="0.05")  # fmt: skip
    lr: float | None = setting(None, "float", "learning rate", low=0, open_low=True)
    probe_lr: float | None = setting(None, "float", "lp-ft: learning rate of the head while it is trained alone (else "
                                     "that of --lr, and 10 times the usual one where --lr is not given)", low=0,
                                     open_low=True)  # fmt: skip
    lr_base: float | None = setting(None, "float", "learning rate for batches of --lr-base-size; the real one grows "
                                    "with the batch (sgd, lars), or with its root", low=0, open_low=True)  # fmt: skip
    lr_base_size: int = setting(256, "int", "batch size that --lr-base is meant for", low=1)
    momentum: float = setting(0.9, "float", "momentum of sgd, rmsprop and lars", low=0, high=1, open_high=True)
    opt_betas: tuple[float, ...] | None = setting(None, "floats", "beta1, beta2 of adam and its kin (else 0.9,0.999; "
                                                  "lion: 0.9,0.99)", low=0, high=1, open_high=True)  # fmt: skip
    opt_eps: float | None = setting(None, "float", "epsilon of adam, its kin and others (else 1e-8; lamb, adadelta: "
                                    "1e-6; adagrad: 1e-10)", low=0)  # fmt: skip
    weight_decay: float | None = setting(None, "float", "weight decay", "--wd", low=0)
    norm_weight_decay: float | None = setting(None, "float", "weight decay of norms and biases", low=0)
    sched: str = setting("cosine", "str", "learning-rate schedule", "--lr-scheduler", choices=SCHEDULES)
    warmup_epochs: float | None = setting(None, "float", "epochs of linear warm-up", "--lr-warmup-epochs", low=0)
    warmup_lr: float = setting(0.0, "float", "learning rate that the warm-up starts from", low=0)
    min_lr: float = setting(0.0, "float", "learning rate that cosine, linear, poly, restarts, exponential and plateau "
                            "end at", "--lr-min", low=0)  # fmt: skip
    decay_epochs: float | None = setting(None, "float", "epochs between steps (step, restarts), or of patience "
                                         "(plateau)", "--lr-step-size", low=0, open_low=True)  # fmt: skip
    decay_rate: float = setting(0.1, "float", "factor of step, multistep and plateau; exponential: of an "
                                "epoch", "--lr-gamma", low=0, high=1, open_low=True, open_high=True)  # fmt: skip
    decay_milestones: tuple[int, ...] = setting((), "ints", "epochs at which multistep decays, such as 30,60", low=1)
    clip_grad: float | None = setting(None, "float", "largest norm of the gradient", "--clip-grad-norm", low=0,
                                      open_low=True)  # fmt: skip
    smoothing: float = setting(0.0, "float", "label smoothing", "--label-smoothing", low=0, high=1, open_high=True)
    layer_decay: float = setting(1.0, "float", "factor of the learning rate for each layer before the head, such as "
                                 "0.7", low=0, high=1, open_low=True)  # fmt: skip
    l2_sp: float = setting(0.0, "float", "pull towards the pretrained weights, in place of weight decay before the "
                           "head", low=0)  # fmt: skip
    model_ema: bool = setting(False, "bool", "validate and keep an exponential average of the weights")
    model_ema_decay: float | None = setting(None, "float", "its decay a step (else such that about the last epoch "
                                            "counts)", low=0, high=1, open_high=True)  # fmt: skip
    model_ema_warmup: bool = setting(False, "bool", "let it follow the first steps faster")
    swa_start: int | None = setting(None, "int", "validate and keep the mean of the weights from the end of this epoch "
                                    "on (SWA)", low=1)  # fmt: skip
    mixup: float = setting(0.0, "float", "alpha of mixup: pictures and labels are mixed in pairs (0: never)",
                           "--mixup-alpha", low=0)  # fmt: skip
    cutmix: float = setting(0.0, "float", "alpha of cutmix: a part of one picture in another (0: never)",
                            "--cutmix-alpha", low=0)  # fmt: skip
    mixup_off_epoch: int = setting(0, "int", "mix no more after so many epochs (0: to the end)", low=0)
    drop_path: float = setting(0.0, "float", "stochastic depth: probability that the last residual block is left out",
                               low=0, high=1, open_high=True)  # fmt: skip
    loss: str | None = setting(None, "str", "what is made small: ce, bce, focal, or of embeddings arcface, "
                               "cosface, triplet; multi-label: bce; regression: mse, "
                               "l1, huber; ordinal: coral",
                               choices=LOSSES)  # fmt: skip
    embedding_size: int | None = setting(None, "int", f"numbers of an embedding (else {SIZE}), for --loss arcface, "
                                         "cosface, triplet", low=1)  # fmt: skip
    margin: float | None = setting(None, "float", "their margin (else "
                                   f"{', '.join(f'{name} {value:g}' for name, value in MARGINS.items())})", low=0,
                                   open_low=True)  # fmt: skip
    loss_scale: float | None = setting(None, "float", f"their scale of the cosines (else {SCALE:g})", low=0,
                                       open_low=True)  # fmt: skip
    m_per_class: int | None = setting(None, "int", f"pictures of each class in a batch of --loss triplet (else "
                                      f"{PER_CLASS})", low=2)  # fmt: skip
    class_weights: str = setting("none", "str", "pictures of rare classes count more: none, balanced, or a power from "
                                 "0 to 1 of the classes' rarity")  # fmt: skip

    sampler: str = setting("shuffle", "str", "order of the pictures: shuffle, or balanced (each class as often as "
                           "the others)", choices=("shuffle", "balanced"))  # fmt: skip

    # pictures
    img_size: int | None = setting(None, "int", "side of the model's input (default: what the weights were made for)",
                                   low=8, high=4096)  # fmt: skip
    train_crop_size: int | None = setting(None, "int", "side of the training pictures, where it differs", low=8,
                                          high=4096)  # fmt: skip
    val_resize_size: int | None = setting(None, "int", "shorter side that pictures are resized to in evaluation",
                                          low=8, high=4096)  # fmt: skip
    val_crop_size: int | None = setting(None, "int", "side that is cut out of them then", low=8, high=4096)
    interpolation: str | None = setting(None, "str", "how pictures are resized", choices=tuple(InterpolationMode))
    no_aug: bool = setting(False, "bool", "train on the pictures as they are")
    scale: tuple[float, ...] = setting((0.6, 1.0), "floats", "area of the random crop, as parts of the picture", low=0,
                                       high=1, open_low=True)  # fmt: skip
    ratio: tuple[float, ...] = setting((0.75, 4 / 3), "floats", "width by height of the random crop", low=0,
                                       open_low=True)  # fmt: skip
    hflip: float | None = setting(None, "float", "probability of a mirror image (else 0.5; digits: 0)", low=0, high=1)
    vflip: float = setting(0.0, "float", "probability of a top-bottom flip", low=0, high=1)
    rotate: float = setting(0.0, "float", "random rotation, degrees to each side", "--degrees", low=0, high=180)
    color_jitter: float = setting(0.0, "float", "strength of random brightness, contrast and saturation", low=0, high=1)
    aa: str = setting("none", "str", "ra (RandAugment) or ta_wide (TrivialAugment)", "--auto-augment",
                      choices=AUTO_AUGMENT)  # fmt: skip
    reprob: float = setting(0.0, "float", "probability of random erasing", "--random-erase", low=0, high=1)

    # the run
    seed: int = setting(42, "int", "seed of everything random", low=0)
    eval_metric: str | None = setting(None, "str", "figure that chooses the best epoch (default: top1 where pictures "
                                      "have one class each, else loss)", choices=EVAL_METRICS)  # fmt: skip
    patience: int = setting(10, "int", "stop after this many epochs without improvement (0: never)", low=0)
    min_delta: float = setting(0.0, "float", "smallest change that counts as improvement", low=0)
    val_interval: int = setting(1, "int", "epochs between validations (always: after the last)", low=1)
    tensorboard: bool = setting(False, "bool", "write figures for TensorBoard, too, into the run's folder tensorboard")
    log_interval: int | None = setting(None, "int", "steps between lines about the running epoch (else: one a minute)",
                                       "--print-freq", low=1)  # fmt: skip
    checkpoint_interval: int | str | None = setting(None, "cadence", "steps or time (10m) between checkpoints (always: "
                                                    "one an epoch)", "--recovery-interval", low=1)  # fmt: skip
    checkpoint_hist: int = setting(2, "int", "checkpoints kept", low=1)
    max_steps: int | None = setting(None, "int", "stop after this many steps; --resume goes on", low=1)
    max_time: float | None = setting(None, "duration", "stop after this time (90s, 30m, 2h), counted from the start of "
                                     "this command; --resume goes on", low=0, open_low=True)  # fmt: skip

    def check(self) -> "Settings":
        """These settings, in their proper types. Raises UsageError that names the first senseless one."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(self, field.name, check_value(field, value))
        check_together(self)
        return self

    def resolved(self, recipe: str) -> "Settings":
        """A copy in which what was left open is decided by the recipe, "finetune" or "train".

        Only the model of a weights file and that of an earlier run stay open: they say it (start.py, continual.py).
        """
        chosen = dataclasses.replace(self)
        if chosen.weights is None and chosen.model is not None and is_weights_file(chosen.model):
            chosen.model, chosen.weights = None, chosen.model
        take_from_run(chosen, recipe)
        for name, value in RECIPES[recipe].items():
            says_its_model = name == "model" and chosen.weights is not None and (
                chosen.from_run is not None or is_weights_file(chosen.weights))  # fmt: skip
            if getattr(chosen, name) is None and not says_its_model:
                setattr(chosen, name, value)
        if chosen.lr_base is not None:
            share = chosen.batch_size * chosen.grad_accum_steps / chosen.lr_base_size
            chosen.lr = chosen.lr_base * (share if chosen.opt in ("sgd", "lars") else share**0.5)
            chosen.lr_base = None  # it is in lr now
        if chosen.lr is None:
            choose_rates(chosen, recipe)
        if chosen.weight_decay is None:
            chosen.weight_decay = USUAL[chosen.opt or "adamw"].decay
        if chosen.norm_weight_decay is None:
            chosen.norm_weight_decay = 0.0 if recipe == "finetune" else chosen.weight_decay
        if chosen.task is None:
            chosen.task = decide_task(chosen)
        if chosen.loss is None:
            chosen.loss = LOSSES_FOR[chosen.task][0]
        if chosen.eval_metric is None:
            chosen.eval_metric = METRICS_FOR[chosen.task][0]
        if chosen.hflip is None:
            chosen.hflip = 0.0 if chosen.data == DIGITS else 0.5
        check_together(chosen)
        return chosen

    @property
    def step_size(self) -> int:
        """Pictures that one step of the optimizer is made of."""
        return self.batch_size * self.grad_accum_steps

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, as args.toml holds them."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}  # fmt: skip


RECIPES: dict[str, dict[str, Any]] = {
    "finetune": {"model": "resnet20", "weights": "shapes", "head": "linear", "epochs": 20, "opt": "adamw",
                 "warmup_epochs": 1.0},
    "train": {"model": "resnet20", "weights": "none", "head": "linear", "epochs": 60, "opt": "sgd",
              "warmup_epochs": 2.0},
}  # fmt: skip

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def make_settings(values: Mapping[str, Any], source: str = "the arguments") -> Settings:
    """Settings from names and values. Raises UsageError for an unknown name, with the nearest known one."""
    for name in values:
        if name not in FIELDS:
            raise unknown_name(name, FIELDS, f"unknown setting {name!r} in {source}")
    return Settings(**dict(values))
