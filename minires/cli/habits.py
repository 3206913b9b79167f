"""What people type out of habit who come from torchvision, timm or Ultralytics, and the answer to it.

Names of timm and torchvision that mean the same here are aliases in the settings' table. Here stand those that mean
something else, are not needed, or are not built.
"""

# Flags of things that this version does not do, and why or what to use.
NOT_BUILT = {
    "--amp-impl": "",
    "--model-ema-steps": "--model-ema averages after every step",
    "--mixup-prob": "", "--drop-block": "", "--sync-bn": "", "--synchronize-bn": "", "--split-bn": "",
    "--ra-magnitude": "", "--ra-reps": "", "--ra-sampler": "", "--aug-repeats": "", "--jsd-loss": "",
    "--clip-mode": "--clip-grad is by the norm",
    "--mean": "it follows from the weights", "--std": "it follows from the weights", "--remode": "",
    "--log-wandb": "events.jsonl is for machines",
    "--bias-weight-decay": "--norm-weight-decay is for norms and biases", "--cooldown-epochs": "",
    "--lr-cycle-mul": "", "--lr-cycle-decay": "", "--lr-cycle-limit": "", "--lr-noise": "", "--epoch-repeats": "",
    "--world-size": "one process trains", "--dist-url": "one process trains", "--local-rank": "one process trains",
}  # fmt: skip

# Flags that have another name here.
OTHER_NAMES = {
    "--pretrained": "--weights", "--initial-checkpoint": "--weights", "--pretrained-path": "--weights",
    "--imgsz": "--img-size", "--input-size": "--img-size", "--batch": "--batch-size", "--lr0": "--lr",
    "--lrf": "--min-lr", "--crop-pct": "--val-resize-size and --val-crop-size", "--nc": "--num-classes",
    "--train-interpolation": "--interpolation", "--test-only": "minires evaluate",
    "--save-period": "--checkpoint-interval", "--drop": "--head-dropout", "--project": "--output",
    "--name": "--output", "--experiment": "--output", "--exist-ok": "--overwrite", "--results-format": "--format",
    "--results-file": "--output", "--fliplr": "--hflip", "--flipud": "--vflip", "--dropout": "--head-dropout",
    "--source": "the pictures without a flag", "--conf": "--topk", "--cfg": "--config", "--bce-loss": "--loss bce",
    "--patience-epochs": "--decay-epochs with --sched plateau", "--time": "--max-time", "--cls-pw": "--class-weights",
    "--lr-warmup-decay": "--warmup-lr",
    "--decay-milestone": "--decay-milestones", "--cos-lr": "--sched cosine",
    "--random-erase-prob": "--reprob", "--val-check-interval": "--val-interval", "--fast-dev-run": "--dry-run",
    "--ckpt-path": "--resume", "--no-resume-opt": "--weights RUN, which takes the weights alone",
    "--start-epoch": "--resume, which knows the epoch", "--dataset": "--data", "--num-workers": "--workers",
    "--nesterov": "--opt sgd, which is Nesterov's", "--hue": "--color-jitter", "--accumulate": "--grad-accum-steps",
    "--gradient-accumulation-steps": "--grad-accum-steps", "--learning-rate": "--lr", "--max-epochs": "--epochs",
    "--channels": "--in-chans", "--gpu": "--device", "--gpus": "--device", "--validation-split": "--val-split",
    "--val": "--val-split", "--drop-rate": "--head-dropout", "--drop-path-rate": "--drop-path",
    "--amp-dtype": "--amp float16 or --amp bfloat16", "--native-amp": "--amp",
    "--checkpoint": "--weights, and for evaluate and predict the model without a flag",
}  # fmt: skip

# Flags that say what is so anyway.
NOT_NEEDED = {
    "--pin-mem": "--device cuda pins by itself", "--no-prefetcher": "-j 0 prepares batches in place",
    "--channels-last": "pictures are kept so", "--deterministic": "every run is", "--save-model": "every run saves it",
    "--cache-dataset": "the folder is listed quickly",
    "--use-v2": "the transforms are torchvision's", "--backend": "Pillow reads the pictures",
    "--fuser": "layers are fused as they are", "--torchcompile": "nothing is compiled",
    "--torchscript": "nothing is compiled", "--gp": "the last features are averaged over the picture",
    "--recount": "there are no recounted samples",
}  # fmt: skip
