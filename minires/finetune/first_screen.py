"""What a job says before it begins: the data, the model, the memory it will take, and the plan."""

from typing import TYPE_CHECKING

from minires.finetune.devices import describe_device
from minires.finetune.embedding_settings import SIZE, makes_embeddings
from minires.finetune.estimates import show_bytes
from minires.finetune.fitting import drops_last, steps_in_epoch
from minires.finetune.setting_checks import LOSSES_FOR, class_weight_power
from minires.finetune.settings import FIELDS, flag, shown
from minires.finetune.tasks import MultiLabel, Ordinal, Regression
from minires.finetune.tasks.deciding import why

if TYPE_CHECKING:
    from minires.finetune.job import Job

EXTRAS = ("sam", "probe_lr", "layer_decay", "l2_sp", "model_ema", "model_ema_decay", "swa_start", "distill",
          "distill_temperature", "store_rehearsal", "mixup", "cutmix", "drop_path", "aa",
          "sampler")  # told where they are not as usual  # fmt: skip
UNEQUAL = 4  # times the pictures of the smallest class: a note


def first_screen(job: "Job") -> str:
    """Several lines for people."""
    old = [] if job.old is None else job.old.lines()
    return "\n".join([*_data(job), *old, *_model(job), *_plan(job)])


def _data(job: "Job") -> list[str]:
    settings = job.settings
    table = f", labels in {settings.labels}" if settings.labels else ""
    lines = [f"data     {settings.data}{table}", *(f"         {line}" for line in job.report.lines())]
    if settings.samples_per_class:
        new = "new ones " if settings.from_run else ""
        lines.append(f"         trained on {len(job.splits['train'])} pictures: at most {settings.samples_per_class} "
                     f"{new}of each class")  # fmt: skip
    return [*lines, *_labels(job)]


def _labels(job: "Job") -> list[str]:
    """What the labels are taken for."""
    settings, task = job.settings, job.task
    shown = ", ".join(job.classes[:10]) + (", ..." if len(job.classes) > 10 else "")
    if isinstance(task, Regression):
        named = f": {', '.join(task.names)}" if task.names else ""
        usual = ", ".join(f"{value:.4g}" for value in task.known["usual"])
        return [f"         labels are numbers (regression){named}; mean of the training pictures: {usual}"]
    if isinstance(task, MultiLabel):
        each = sum(task.known["usual"])
        tuned = "(--threshold)" + (", in the end from its own (--tune-thresholds)" if settings.tune_thresholds else "")
        return [f"         any number of labels a picture (multi-label), {each:.2g} on average: {shown}",
                f"         a label is said from the probability {task.threshold:g} on {tuned}"]  # fmt: skip
    if isinstance(task, Ordinal):
        return [f"         classes in this order (ordinal): {shown}"]
    notes = [note for note in (why(settings, job.classes), _imbalance(job)) if note]
    return [f"         classes: {shown}", *(f"         note: {note}" for note in notes)]


def _imbalance(job: "Job") -> str | None:
    """What helps where some classes are rare, unless something of it is there already."""
    settings, counts = job.settings, [count for count in job.class_counts() if count]
    helped = settings.sampler != "shuffle" or class_weight_power(settings.class_weights) or settings.loss == "focal"
    if helped or settings.eval_metric != "top1" or max(counts) < UNEQUAL * min(counts):
        return None
    return (f"the largest class has {max(counts) / min(counts):.0f} times the pictures of the smallest: --sampler "
            "balanced or --class-weights balanced, with --eval-metric macro_f1, heed the rare ones")  # fmt: skip


def _model(job: "Job") -> list[str]:
    settings, model = job.settings, job.model
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    size = job.preprocessing.output_size
    head = "linear" if settings.head in (None, "linear") else f"hidden {settings.head}"
    if makes_embeddings(settings):
        head = f"embeddings of {settings.embedding_size or SIZE} numbers"
    head = f"new head: {head}"
    if job.old is not None:
        head = f"its head with {len(job.old.added)} new classes behind {len(job.old.loaded.classes)}"
    side = "pictures" if size is None else f"{size[1]} x {size[0]} pictures"
    lines = [
        f"model    {settings.model}, weights: {job.start_point.origin}, {side}, {head}",
        f"         {trained:,} of {total:,} parameters are trained in the first epoch; batch norm: {settings.bn}",
        f"         strategy {settings.strategy}: {job.strategy.describe()}",
    ]  # fmt: skip
    if job.device.type != "cpu":
        lines.append(f"device   {describe_device(job.device, settings.amp)}")
    if job.memory is None:
        return lines
    whole = f"; if everything were trained {show_bytes(job.memory_of_all.total)}" if job.memory_of_all else ""
    return [*lines, f"memory   {job.memory}{whole}"]


def _plan(job: "Job") -> list[str]:
    settings = job.settings
    assert settings.lr is not None
    samples = len(job.splits["train"])
    parts = f" in {settings.grad_accum_steps} parts of {settings.batch_size}" if settings.grad_accum_steps > 1 else ""
    lines = [
        f"plan     {settings.epochs} epochs of {steps_in_epoch(samples, settings.step_size)} steps, batch size "
        f"{settings.step_size}{parts}, seed {settings.seed}",
        f"         {settings.opt}, lr {settings.lr:g}, schedule {settings.sched}, warm-up "
        f"{settings.warmup_epochs:g} epochs, weight decay {settings.weight_decay:g} (norms and biases "
        f"{settings.norm_weight_decay:g})",
    ]  # fmt: skip
    if settings.loss not in (None, LOSSES_FOR[job.task.name][0]) or class_weight_power(settings.class_weights):
        lines.append(f"         loss {settings.loss}, class weights {settings.class_weights}")
    extras = [f"{flag(name)}{'' if value is True else f' {shown(value)}'}" for name in EXTRAS
              if (value := getattr(settings, name)) != FIELDS[name].default]  # fmt: skip
    if extras:
        lines.append(f"         also: {', '.join(extras)}")
    if drops_last(samples, settings.step_size):
        lines.append("         each epoch leaves out one picture, another one each time: alone in the last batch it "
                     "would have no variance for batch norm")  # fmt: skip
    return lines
