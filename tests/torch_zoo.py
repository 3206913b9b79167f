"""The models of the zoo written anew for torch, with torchvision's and timm's keys: oracles of the tests.

Written from the structure of the published weights' keys and from the papers, in another style than minires' own: one
function a shape, few classes.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


def sequence(**parts):
    return nn.Sequential(OrderedDict(parts))


def group_norm(channels):
    return nn.GroupNorm(32, channels)


class StdConv(nn.Conv2d):
    """A convolution whose windows are normalised as batch norm normalises channels."""

    eps = 1e-8

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True, eps=self.eps).reshape_as(self.weight)
        return self._conv_forward(x, weight, self.bias)


# ------------------------------------------------------------------------------- ResNet, ResNeXt, -D, SE-, group norm


class SE(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class V1Block(nn.Module):
    def __init__(self, cin, planes, stride, downsample, o):
        super().__init__()
        inner = int(planes * o["width"] / 64) * o["groups"]
        kernels = [(cin, inner, 1, 1), (inner, inner, 3, stride), (inner, planes * 4, 1, 1)]
        if not o["bottleneck"]:
            kernels = [(cin, planes, 3, stride), (planes, planes, 3, 1)]
        self.count = len(kernels)
        for n, (a, b, k, s) in enumerate(kernels, 1):
            groups = o["groups"] if o["bottleneck"] and k == 3 else 1
            self.add_module(f"conv{n}", nn.Conv2d(a, b, k, s, k // 2, groups=groups, bias=False))
            self.add_module(f"bn{n}", o["norm"](b))
        cout = kernels[-1][1]
        if o["se"]:
            self.se = SE(cout, {64: 8, 128: 8, 256: 16, 512: 32, 1024: 64, 2048: 128}[cout])
        self.downsample = downsample

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = torch.relu(y) if n < self.count else y
        y = self.se(y) if hasattr(self, "se") else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class V1(nn.Module):
    def __init__(self, layers, bottleneck, num_classes=1000, groups=1, width=64, deep=False, se=False,
                 norm=nn.BatchNorm2d):  # fmt: skip
        super().__init__()
        o = {"bottleneck": bottleneck, "groups": groups, "width": width, "se": se, "norm": norm}
        if deep:
            self.conv1 = nn.Sequential(
                nn.Conv2d(3, 32, 3, 2, 1, bias=False), norm(32), nn.ReLU(),
                nn.Conv2d(32, 32, 3, 1, 1, bias=False), norm(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 1, 1, bias=False),
            )  # fmt: skip
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        cin, expansion = 64, 4 if bottleneck else 1
        for number, count in enumerate(layers):
            planes, stride, row = 64 * 2**number, 1 if number == 0 else 2, []
            for position in range(count):
                down, cout = None, planes * expansion
                if position == 0 and (stride, cin) != (1, cout):
                    down = [nn.Conv2d(cin, cout, 1, 1 if deep else stride, bias=False), norm(cout)]
                    if deep:
                        pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
                        down.insert(0, pool if stride == 2 else nn.Identity())
                    down = nn.Sequential(*down)
                row.append(V1Block(cin, planes, stride if position == 0 else 1, down, o))
                cin = cout
            self.add_module(f"layer{number + 1}", nn.Sequential(*row))
        self.fc = nn.Linear(cin, num_classes)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


# ---------------------------------------------------------------------------------------------------- pre-activation


class V2Block(nn.Module):
    def __init__(self, cin, planes, stride, project, bottleneck, conv, norm):
        super().__init__()
        cout = planes * 4 if bottleneck else planes
        self.downsample = sequence(conv=conv(cin, cout, 1, stride, bias=False)) if project else None
        kernels = [(cin, planes, 3, stride), (planes, cout, 3, 1)]
        if bottleneck:
            kernels = [(cin, planes, 1, 1), (planes, planes, 3, stride), (planes, cout, 1, 1)]
        self.count = len(kernels)
        for n, (a, b, k, s) in enumerate(kernels, 1):
            self.add_module(f"norm{n}", norm(a))
            self.add_module(f"conv{n}", conv(a, b, k, s, k // 2, bias=False))

    def forward(self, x):
        active = torch.relu(self.norm1(x))
        y = self.conv1(active)
        for n in range(2, self.count + 1):
            y = getattr(self, f"conv{n}")(torch.relu(getattr(self, f"norm{n}")(y)))
        return y + (x if self.downsample is None else self.downsample(active))


class V2(nn.Module):
    def __init__(self, layers, bottleneck, num_classes=1000, bit=False):
        super().__init__()
        conv, norm = (StdConv, group_norm) if bit else (nn.Conv2d, nn.BatchNorm2d)
        self.stem = sequence(conv=conv(3, 64, 7, 2, 3, bias=False))
        self.bit, cin, rows = bit, 64, []
        for number, count in enumerate(layers):
            planes, stride, row = 64 * 2**number, 1 if number == 0 else 2, []
            for position in range(count):
                cout = planes * 4 if bottleneck else planes
                project = position == 0 and (stride, cin) != (1, cout)
                row.append(V2Block(cin, planes, stride if position == 0 else 1, project, bottleneck, conv, norm))
                cin = cout
            rows.append(sequence(blocks=nn.Sequential(*row)))
        self.stages = nn.Sequential(*rows)
        self.norm = norm(cin)
        self.head = sequence(fc=nn.Conv2d(cin, num_classes, 1))

    def forward(self, x):
        x = self.stem(x)
        x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2) if self.bit else F.max_pool2d(x, 3, 2, 1)
        x = torch.relu(self.norm(self.stages(x)))
        return self.head(x.mean((2, 3), keepdim=True)).flatten(1)


# ------------------------------------------------------------------------------------------------ Inception-ResNet-v2


class Cell(nn.Module):
    """Branches side by side; with a scale: added to the input. A row is (in, out, (kh, kw), stride, pad), or a pool."""

    def __init__(self, rows, scale=None, channels=None, relu=True):
        super().__init__()
        self.count, self.scale, self.relu = len(rows), scale, relu
        for number, row in enumerate(rows):
            parts = [part if isinstance(part, nn.Module) else unit(*part) for part in row]
            self.add_module(f"branch{number}", parts[0] if len(parts) == 1 else nn.Sequential(*parts))
        if scale is not None:
            self.conv2d = nn.Conv2d(sum(row[-1][1] for row in rows), channels, 1)

    def forward(self, x):
        y = torch.cat([getattr(self, f"branch{number}")(x) for number in range(self.count)], 1)
        if self.scale is None:
            return y
        y = self.conv2d(y) * self.scale + x
        return torch.relu(y) if self.relu else y


def unit(cin, cout, kernel=1, stride=1, padding=0):
    conv = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False)
    return sequence(conv=conv, bn=nn.BatchNorm2d(cout, eps=1e-3), relu=nn.ReLU())


class InceptionResNetV2(nn.Module):
    def __init__(self, num_classes=1000, layers=(10, 20, 9)):
        super().__init__()
        self.conv2d_1a, self.conv2d_2a = unit(3, 32, 3, 2), unit(32, 32, 3)
        self.conv2d_2b, self.conv2d_3b, self.conv2d_4a = unit(32, 64, 3, 1, 1), unit(64, 80), unit(80, 192, 3)
        self.mixed_5b = Cell([
            [(192, 96)], [(192, 48), (48, 64, 5, 1, 2)], [(192, 64), (64, 96, 3, 1, 1), (96, 96, 3, 1, 1)],
            [nn.AvgPool2d(3, 1, 1, count_include_pad=False), (192, 64)],
        ])  # fmt: skip
        a = [[(320, 32)], [(320, 32), (32, 32, 3, 1, 1)], [(320, 32), (32, 48, 3, 1, 1), (48, 64, 3, 1, 1)]]
        self.repeat = nn.Sequential(*(Cell(a, 0.17, 320) for _ in range(layers[0])))
        self.mixed_6a = Cell([[(320, 384, 3, 2)], [(320, 256), (256, 256, 3, 1, 1), (256, 384, 3, 2)],
                              [nn.MaxPool2d(3, 2)]])  # fmt: skip
        b = [[(1088, 192)], [(1088, 128), (128, 160, (1, 7), 1, (0, 3)), (160, 192, (7, 1), 1, (3, 0))]]
        self.repeat_1 = nn.Sequential(*(Cell(b, 0.10, 1088) for _ in range(layers[1])))
        self.mixed_7a = Cell([
            [(1088, 256), (256, 384, 3, 2)], [(1088, 256), (256, 288, 3, 2)],
            [(1088, 256), (256, 288, 3, 1, 1), (288, 320, 3, 2)], [nn.MaxPool2d(3, 2)],
        ])  # fmt: skip
        c = [[(2080, 192)], [(2080, 192), (192, 224, (1, 3), 1, (0, 1)), (224, 256, (3, 1), 1, (1, 0))]]
        self.repeat_2 = nn.Sequential(*(Cell(c, 0.20, 2080) for _ in range(layers[2])))
        self.block8 = Cell(c, 1.0, 2080, relu=False)
        self.conv2d_7b = unit(2080, 1536)
        self.classif = nn.Linear(1536, num_classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))), 3, 2)
        x = F.max_pool2d(self.conv2d_4a(self.conv2d_3b(x)), 3, 2)
        x = self.repeat_1(self.mixed_6a(self.repeat(self.mixed_5b(x))))
        x = self.conv2d_7b(self.block8(self.repeat_2(self.mixed_7a(x))))
        return self.classif(x.mean((2, 3)))


# -------------------------------------------------------------------------------------------------------------- names

DEPTHS = {18: ([2, 2, 2, 2], False), 34: ([3, 4, 6, 3], False), 50: ([3, 4, 6, 3], True),
          101: ([3, 4, 23, 3], True), 152: ([3, 8, 36, 3], True)}  # fmt: skip

MODELS = {
    "resnext50_32x4d": (V1, 50, {"groups": 32, "width": 4}),
    "resnext101_32x8d": (V1, 101, {"groups": 32, "width": 8}),
    "resnext101_64x4d": (V1, 101, {"groups": 64, "width": 4}),
    "wide_resnet50_2": (V1, 50, {"width": 128}),
    "wide_resnet101_2": (V1, 101, {"width": 128}),
    "resnet50_gn": (V1, 50, {"norm": group_norm}),
    **{f"resnet{depth}d": (V1, depth, {"deep": True}) for depth in DEPTHS},
    **{f"seresnet{depth}": (V1, depth, {"se": True}) for depth in DEPTHS},
    "seresnext50_32x4d": (V1, 50, {"groups": 32, "width": 4, "se": True}),
    "seresnext101_32x8d": (V1, 101, {"groups": 32, "width": 8, "se": True}),
    **{f"resnetv2_{depth}": (V2, depth, {}) for depth in DEPTHS},
    "resnetv2_50x1_bit": (V2, 50, {"bit": True}),
    "resnetv2_101x1_bit": (V2, 101, {"bit": True}),
}


def torch_model(name, layers=None, num_classes=1000):
    """The model of this name; with `layers`, of so many blocks instead."""
    if name == "inception_resnet_v2":
        return InceptionResNetV2(num_classes, layers or (10, 20, 9))
    kind, depth, options = MODELS[name]
    usual, bottleneck = DEPTHS[depth]
    return kind(layers or usual, bottleneck, num_classes=num_classes, **options)
