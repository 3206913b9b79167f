"""torchvision's ResNet written anew for torch, the oracle of the tests: its names, shapes and order of computation."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, cin, planes, stride, downsample, bottleneck, groups=1, width=64, dilation=1):
        super().__init__()
        self.bottleneck = bottleneck
        if bottleneck:
            inner = int(planes * width / 64) * groups
            self.conv1 = nn.Conv2d(cin, inner, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, dilation, dilation, groups, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, planes * 4, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(planes * 4)
        else:
            self.conv1 = nn.Conv2d(cin, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.bottleneck:
            out = self.bn3(self.conv3(torch.relu(out)))
        return torch.relu(out + identity)


class TorchResNet(nn.Module):
    def __init__(self, layers, bottleneck, num_classes=1000, groups=1, width=64, dilate=(False, False, False)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        cin, dilation, expansion = 64, 1, 4 if bottleneck else 1
        for number, blocks in enumerate(layers):
            planes, stride, before = 64 * 2**number, 1 if number == 0 else 2, dilation
            if number and dilate[number - 1]:
                dilation, stride = dilation * stride, 1
            row = []
            for position in range(blocks):
                cout, downsample = planes * expansion, None
                if position == 0 and (stride != 1 or cin != cout):
                    downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
                first = position == 0
                row.append(Block(cin, planes, stride if first else 1, downsample, bottleneck, groups, width,
                                 before if first else dilation))  # fmt: skip
                cin = cout
            self.add_module(f"layer{number + 1}", nn.Sequential(*row))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(cin, num_classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


LAYERS = {
    "resnet18": ([2, 2, 2, 2], False),
    "resnet34": ([3, 4, 6, 3], False),
    "resnet50": ([3, 4, 6, 3], True),
    "resnet101": ([3, 4, 23, 3], True),
    "resnet152": ([3, 8, 36, 3], True),
}
