"""Files in Keras's three layouts, written by h5py, and the network of keras.applications' ResNets as torch computes it.

Layers are given as rows (name, class, {weight: array}) in the order in which Keras lists them.
"""

import io
import json
import zipfile

import h5py
import numpy as np

GROUPS = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization", "Dense": "dense", "Activation": "activation"}
OLDER = {"kernel": "W_1:0", "bias": "b_1:0", "moving_mean": "running_mean_1:0", "moving_variance": "running_std_1:0"}


def layers_of(blocks, classes=10, older=False, seed=0):
    """The layers of a ResNet with so many blocks in each stage; random weights that keep the scale of what they see."""
    rng = np.random.default_rng(seed)

    def conv(name, size, inside, outside):
        scale = np.sqrt(2 / (size * size * inside))
        kernel = rng.standard_normal((size, size, inside, outside), np.float32) * np.float32(scale)
        return name, "Conv2D", {"kernel": kernel, "bias": small(outside)}

    def norm(name, channels):
        spread = rng.uniform(0.5, 1.5, (2, channels)).astype(np.float32)
        return name, "BatchNormalization", {"gamma": spread[0], "beta": small(channels), "moving_mean": small(channels),
                                            "moving_variance": spread[1]}  # fmt: skip

    def small(count):
        return rng.standard_normal(count, np.float32) * np.float32(0.1)

    def named(stage, block, number, kind):
        if not older:
            return f"conv{stage}_block{block}_{number}_{kind}"
        branch = "1" if number == 0 else f"2{'abc'[number - 1]}"
        return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(96 + block)}_branch{branch}"

    layers = [conv("conv1" if older else "conv1_conv", 7, 3, 64), norm("bn_conv1" if older else "conv1_bn", 64)]
    before = 64
    for stage, count in enumerate(blocks, 2):
        width = 64 * 2 ** (stage - 2)
        for block in range(1, count + 1):
            sizes = {1: (1, before, width), 2: (3, width, width), 0: (1, before, 4 * width), 3: (1, width, 4 * width)}
            numbers = (1, 2, 0, 3) if block == 1 else (1, 2, 3)
            layers += [conv(named(stage, block, number, "conv"), *sizes[number]) for number in numbers]
            layers += [norm(named(stage, block, number, "bn"), sizes[number][2]) for number in numbers]
            before = 4 * width
    if classes:
        kernel = rng.standard_normal((before, classes), np.float32) * np.float32(before**-0.5)
        layers.append(("fc1000" if older else "predictions", "Dense", {"kernel": kernel, "bias": small(classes)}))
    return layers


def state_of(layers):
    """The layers as minires.io.keras_files reads them: "layer/weight" -> array."""
    return {f"{name}/{weight}": array for name, _, weights in layers for weight, array in weights.items()}


# ---------------------------------------------------------------------------------------------------------- layouts


def legacy(layers, whole=False, keras1=False, owner=None, **options):
    """The content of an .h5 file; whole: with an optimizer and a description; owner: a model inside the model."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        top = file.create_group("model_weights") if whole else file
        names = [name for name, *_ in layers] if owner is None else [owner]
        top.attrs["layer_names"] = np.array([name.encode() for name in names])
        top.attrs["backend"] = "tensorflow"
        for name, _, weights in layers:
            group = top.require_group(name if owner is None else owner)
            written = []
            for weight, array in weights.items():
                path = f"{name}_{OLDER.get(weight, f'{weight}_1:0')}" if keras1 else f"{name}/{weight}:0"
                group.create_dataset(path, data=array, **options)
                written.append(path.encode())
            if owner is None:
                group.attrs["weight_names"] = np.array(written) if written else np.zeros(0)
        if whole:
            file.attrs["model_config"] = json.dumps({"class_name": "Functional"})
            file.create_dataset("optimizer_weights/adam/iteration:0", data=np.int64(3))
    return buffer.getvalue()


def numbered(layers, named=True, root="layers", owner=None):
    """The content of a .weights.h5 file; named: with the attribute that says what the layers are called."""
    buffer, counts = io.BytesIO(), {}
    with h5py.File(buffer, "w") as file:
        top = file.create_group(root)
        if owner is not None:
            top = top.create_group(f"{owner}/layers")
        for name, kind, weights in layers:
            number = counts[kind] = counts.get(kind, -1) + 1
            group = top.create_group(f"{GROUPS[kind]}{f'_{number}' if number else ''}/vars")
            if named:
                group.attrs["name"] = name
            for index, array in enumerate(weights.values()):
                group.create_dataset(str(index), data=array)
        file.create_group("optimizer/vars").create_dataset("0", data=np.int64(3))
    return buffer.getvalue()


def archive(layers, config=None, **options):
    """The content of a .keras file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps({"module": "keras", "config": {"layers": []}} if config is None
                                                else config))  # fmt: skip
        file.writestr("model.weights.h5", numbered(layers, **options))
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------- network


def network(layers, images, eps=1.001e-5):
    """Logits (N, classes) for images (N, H, W, 3), as keras.applications.ResNet defines the network, in eval mode."""
    import torch
    import torch.nn.functional as F

    weights = {name: {key: torch.from_numpy(array) for key, array in own.items()} for name, _, own in layers}
    convs, norms, (head, *_) = ([name for name, kind, _ in layers if kind == wanted]
                                for wanted in ("Conv2D", "BatchNormalization", "Dense"))  # fmt: skip

    def conv_norm(x, stride=1, padding=0):
        conv, norm = (
            weights[convs.pop(0)],
            {key: array.view(1, -1, 1, 1) for key, array in weights[norms.pop(0)].items()},
        )
        x = F.conv2d(x, conv["kernel"].permute(3, 2, 0, 1), conv["bias"], stride, padding)
        return (x - norm["moving_mean"]) / (norm["moving_variance"] + eps).sqrt() * norm["gamma"] + norm["beta"]

    x = F.pad(torch.from_numpy(images).permute(0, 3, 1, 2), (3, 3, 3, 3))  # ZeroPadding2D, then "valid"
    x = F.pad(conv_norm(x, 2).relu(), (1, 1, 1, 1))
    x = F.max_pool2d(x, 3, 2)
    while convs:
        first = len(convs) > 2 and convs[2].endswith(("_0_conv", "_branch1"))  # then with a shortcut of its own
        stride = 2 if first and "2" not in convs[0][:5] else 1  # conv2_block1_1_conv, res2a_branch2a
        out = conv_norm(conv_norm(x, stride).relu(), 1, "same").relu()
        shortcut = conv_norm(x, stride) if first else x
        x = (conv_norm(out) + shortcut).relu()
    return (x.mean((2, 3)) @ weights[head]["kernel"] + weights[head]["bias"]).numpy()
