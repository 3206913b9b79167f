"""How pictures are prepared for published weights: a table from torchvision's documentation and timm's configurations.

A network sees only what it was trained to see. The same ResNet-50 was published many times, with pictures resized to
256, 232, 235 ... before the crop of 224, by different interpolations, normalised by different numbers; with the wrong
recipe it loses a few points of accuracy and nothing says why. Weights are recognised by what they are called:

    preprocessing("resnet50", "resnet50-11ad3fa6.pth")      torchvision's file: resize 232, crop 224
    preprocessing("resnet50", "IMAGENET1K_V2")              the same by torchvision's name
    preprocessing("resnet50", "timm/resnet50.a1_in1k")      a folder or a tag of timm: resize 235, bicubic
    preprocessing("resnet50")                               not known which: the oldest recipe of that name
"""

import dataclasses
import math
import os
import re
from typing import Any

from minires.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, preset_caffe, preset_eval
from minires.models.preact_resnet import PreActCifarResNet
from minires.models.registry import family_of
from minires.models.resnet import CifarResNet

HALF = (0.5, 0.5, 0.5)  # Inception's normalisation, to -1 ... 1
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # number of channels -> how pictures are opened
SMALL = 32  # side of the pictures that models for CIFAR are made for


def resized(resize: int, crop: int, interpolation: str = "bilinear") -> Preprocessing:
    """torchvision's way to say it: shorter side, crop of the middle."""
    return preset_eval(resize, crop, interpolation)


def cropped(size: int, crop_pct: float, interpolation: str = "bicubic", half: bool = False) -> Preprocessing:
    """timm's way to say it: the crop, and what part of the resized picture it is. half: its mean and std are 0.5."""
    mean, std = (HALF, HALF) if half else (IMAGENET_MEAN, IMAGENET_STD)
    return preset_eval(math.floor(size / crop_pct), size, interpolation, mean, std)


# What the weights are called: model.tag, torchvision's or timm's file (without its ending); a name alone stands for
# weights of which nothing else is known.
TABLE: tuple[tuple[Preprocessing, str], ...] = (
    (resized(256, 224), """
        resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d wide_resnet50_2 wide_resnet101_2
        resnet18.IMAGENET1K_V1 resnet18-f37072fd resnet34.IMAGENET1K_V1 resnet34-b627a593
        resnet50.IMAGENET1K_V1 resnet50-0676ba61 resnet101.IMAGENET1K_V1 resnet101-63fe2227
        resnet152.IMAGENET1K_V1 resnet152-394f9c45 resnext50_32x4d.IMAGENET1K_V1 resnext50_32x4d-7cdf4587
        resnext101_32x8d.IMAGENET1K_V1 resnext101_32x8d-8ba56ff5 wide_resnet50_2.IMAGENET1K_V1 wide_resnet50_2-95faca4d
        wide_resnet101_2.IMAGENET1K_V1 wide_resnet101_2-32ee1156
        resnet50-19c8e357 resnet101-5d3b4d8f resnet152-b121ed2d resnet18-5c106cde resnet34-333f7ec4
     """),
    (resized(232, 224), """
        resnext101_64x4d resnext101_64x4d.IMAGENET1K_V1 resnext101_64x4d-173b62eb
        resnet50.IMAGENET1K_V2 resnet50-11ad3fa6 resnet101.IMAGENET1K_V2 resnet101-cd907fc2
        resnet152.IMAGENET1K_V2 resnet152-f82ba261 resnext50_32x4d.IMAGENET1K_V2 resnext50_32x4d-1a0047aa
        resnext101_32x8d.IMAGENET1K_V2 resnext101_32x8d-110c445d wide_resnet50_2.IMAGENET1K_V2 wide_resnet50_2-9ba9bcbe
        wide_resnet101_2.IMAGENET1K_V2 wide_resnet101_2-d733dc28
     """),
    (cropped(224, 0.875, "bilinear"), """
        resnet18.tv_in1k resnet34.tv_in1k resnet50.tv_in1k resnet101.tv_in1k resnet152.tv_in1k resnext50_32x4d.tv_in1k
        resnext101_32x8d.tv_in1k resnext101_64x4d.tv_in1k wide_resnet50_2.tv_in1k wide_resnet101_2.tv_in1k
        resnet18.fb_ssl_yfcc100m_ft_in1k semi_supervised_resnet18-d92f0530
        resnet18.fb_swsl_ig1b_ft_in1k semi_weakly_supervised_resnet18-118f1556
        resnet50.fb_ssl_yfcc100m_ft_in1k semi_supervised_resnet50-08389792
        resnet50.fb_swsl_ig1b_ft_in1k semi_weakly_supervised_resnet50-16a12f1b
        resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k semi_supervised_resnext50_32x4-ddb3e555
        resnext50_32x4d.fb_swsl_ig1b_ft_in1k semi_weakly_supervised_resnext50_32x4-72679e44
        resnext101_32x8d.fb_wsl_ig1b_ft_in1k ig_resnext101_32x8-c38310e5
        resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k semi_supervised_resnext101_32x8-2cfe2f8b
        resnext101_32x8d.fb_swsl_ig1b_ft_in1k semi_weakly_supervised_resnext101_32x8-b4712904
     """),
    (cropped(176, 0.875, "bilinear"), """
        resnet50.tv2_in1k resnet101.tv2_in1k resnet152.tv2_in1k resnext50_32x4d.tv2_in1k resnext101_32x8d.tv2_in1k
        wide_resnet50_2.tv2_in1k wide_resnet101_2.tv2_in1k
     """),
    (cropped(224, 0.95), """
        resnet18.a1_in1k resnet18_a1_0-d63eafa0 resnet18.a2_in1k resnet18_a2_0-b61bd467
        resnet34.a1_in1k resnet34_a1_0-46f8f793 resnet34.a2_in1k resnet34_a2_0-82d47d71
        resnet50.a1_in1k resnet50_a1_0-14fe96d1 resnet50.a2_in1k resnet50_a2_0-a2746f79
        resnet50.b1k_in1k resnet50_b1k-532a802a resnet50.b2k_in1k resnet50_b2k-1ba180c1
        resnet50.c1_in1k resnet50_c1-5ba5e060 resnet50.c2_in1k resnet50_c2-d01e05b2
        resnet50.d_in1k resnet50_d-f39db8af
        resnet101.a1h_in1k resnet101_a1h-36d3f2aa resnet101.a1_in1k resnet101_a1_0-cdcb52a9
        resnet101.a2_in1k resnet101_a2_0-6edb36c7 resnet152.a1h_in1k resnet152_a1h-dc400468
        resnet152.a1_in1k resnet152_a1_0-2eee8a7a resnet152.a2_in1k resnet152_a2_0-b4c6978f
        resnext50_32x4d.a1h_in1k resnext50_32x4d_a1h-0146ab0a resnext50_32x4d.a1_in1k resnext50_32x4d_a1_0-b5a91a1d
        resnext50_32x4d.a2_in1k resnext50_32x4d_a2_0-efc76add resnext101_64x4d.c1_in1k resnext101_64x4d_c-0d0e0cc0
        resnet50d.a1_in1k resnet50d_a1_0-e20cff14 resnet50d.a2_in1k resnet50d_a2_0-a3adc64d
        seresnet50 seresnet50.a1_in1k seresnet50_a1_0-ffa00869 seresnet50.a2_in1k seresnet50_a2_0-850de0d9
        seresnext101_32x8d seresnext101_32x8d.ah_in1k seresnext101_32x8d_ah-e6bc4c0a
     """),
    (cropped(160, 0.95), """
        resnet18.a3_in1k resnet18_a3_0-40c531c8 resnet34.a3_in1k resnet34_a3_0-a20cabb6
        resnet50.a3_in1k resnet50_a3_0-59cae1ef resnet101.a3_in1k resnet101_a3_0-1db14157
        resnet152.a3_in1k resnet152_a3_0-134d4688 resnext50_32x4d.a3_in1k resnext50_32x4d_a3_0-3e450271
        resnet50d.a3_in1k resnet50d_a3_0-403fdfad seresnet50.a3_in1k seresnet50_a3_0-317ecd56
     """),
    (cropped(176, 0.9), "resnet50.a1h_in1k resnet50_a1h2_176-001a1197"),
    (cropped(224, 0.875), """
        resnet18.gluon_in1k gluon_resnet18_v1b-0757602b resnet34.gluon_in1k gluon_resnet34_v1b-c6d82d59
        resnet50.gluon_in1k gluon_resnet50_v1b-0ebe02e2 resnet101.gluon_in1k gluon_resnet101_v1b-3b017079
        resnet152.gluon_in1k gluon_resnet152_v1b-c1edb0dd resnext50_32x4d.gluon_in1k gluon_resnext50_32x4d-e6a097c1
        resnext101_64x4d.gluon_in1k gluon_resnext101_64x4d-f9a8e184 resnet50d.gluon_in1k gluon_resnet50_v1d-818a1b1b
        resnet101d.gluon_in1k gluon_resnet101_v1d-0f9c8644 resnet152d.gluon_in1k gluon_resnet152_v1d-bd354e12
        seresnext50_32x4d.gluon_in1k gluon_seresnext50_32x4d-90cf2d6e
        resnet34.bt_in1k resnet34-43635321 resnet50.bt_in1k rw_resnet50-86acaeed
        resnet50.ram_in1k resnet50_ram-a26f946b resnet50.am_in1k resnet50_am-6c502b37
        resnet50.ra_in1k resnet50_ra-85ebb6e5 resnext50_32x4d.ra_in1k resnext50_32x4d_ra-d733960d
        wide_resnet50_2.racm_in1k wide_resnet50_racm-8234f177
        resnet18d resnet18d.ra2_in1k resnet18d_ra2-48a79e06 resnet34d resnet34d.ra2_in1k resnet34d_ra2-f8dcfcaf
        resnet50d resnet50d.ra2_in1k resnet50d_ra2-464e36ba seresnet50.ra2_in1k seresnet50_ra_224-8efdb4bb
        seresnext50_32x4d seresnext50_32x4d.racm_in1k seresnext50_32x4d_racm-a304a460
        seresnet18 seresnet34 seresnet101 seresnet152
     """),
    (cropped(224, 0.94), "resnet50_gn resnet50_gn.a1h_in1k resnet50_gn_a1h2-8fe6c4d0"),
    (cropped(256, 0.95), """
        resnet101d resnet101d.ra2_in1k resnet101d_ra2-2803ffab resnet152d resnet152d.ra2_in1k resnet152d_ra2-5cac0439
     """),
    (cropped(224, 1.0), "resnet50.bamboo"),
    (cropped(224, 0.9, half=True), """
        resnet34.ra4_e3600_r224_in1k resnet18d.ra4_e3600_r224_in1k
        resnetv2_18 resnetv2_18.ra4_e3600_r224_in1k resnetv2_34 resnetv2_34.ra4_e3600_r224_in1k
     """),
    (cropped(224, 0.95, half=True), """
        resnet50d.ra4_e3600_r224_in1k resnetv2_50 resnetv2_50.a1h_in1k resnetv2_101 resnetv2_101.a1h_in1k
     """),
    (cropped(224, 0.875, half=True), "resnetv2_152 resnetv2_50x1_bit resnetv2_50x1_bit.goog_distilled_in1k"),
    (cropped(448, 1.0, "bilinear", half=True), """
        resnetv2_101x1_bit resnetv2_101x1_bit.goog_in21k_ft_in1k resnetv2_50x1_bit.goog_in21k_ft_in1k
     """),
    (cropped(224, 0.875, "bilinear", half=True), "resnetv2_50x1_bit.goog_in21k resnetv2_101x1_bit.goog_in21k"),
    (cropped(299, 0.8975, half=True), """
        inception_resnet_v2 inception_resnet_v2.tf_in1k inception_resnet_v2.tf_ens_adv_in1k
     """),
    (preset_caffe(), "resnet50_keras resnet101_keras resnet152_keras"),
)  # fmt: skip

RECIPES: dict[str, Preprocessing] = {name: recipe for recipe, names in TABLE for name in names.split()}


def preprocessing(name: str, weights: Any = None) -> Preprocessing:
    """What a model of this name is given, with these weights (a path, torchvision's name or timm's tag) if known.

    Where nothing is known: torchvision's 224 of 256, or 32 x 32 for models that are made for CIFAR. ValueError for an
    unknown model.
    """
    found = None if weights is None else find(name, weights)
    if found is not None:
        return found
    small = family_of(name) in (CifarResNet, PreActCifarResNet)
    return RECIPES.get(name) or (preset_eval((SMALL, SMALL), None) if small else resized(256, 224))


def for_channels(found: Preprocessing, channels: int) -> Preprocessing:
    """The same for pictures of another number of channels, 1 (grey), 3 (RGB) or 4 (RGBA); ValueError for others.

    Mean and standard deviation of grey are the averages of the colours', those of a colour grey's, and opacity is
    brought from 0 ... 1 to -1 ... 1.
    """
    if channels not in MODES:
        raise ValueError(f"pictures have 1 (grey), 3 (RGB) or 4 (RGBA) channels, not {channels}")
    mode = MODES[channels]
    if mode == found.mode:
        return found
    if found.channel_order == "BGR" and mode == "RGBA":
        raise ValueError("pictures of 4 channels do not go with weights that want blue, green and red in this order")
    half = 0.5 if found.scale == "0..1" else 127.5
    mean, std = (_of_mode(values[:3], mode, half) for values in (found.mean, found.std))
    return dataclasses.replace(found, mode=mode, channel_order="RGB", mean=mean, std=std)


def _of_mode(values: tuple[float, ...], mode: str, half: float) -> tuple[float, ...]:
    """Values of grey, or of red, green and blue, for the channels of a mode; `half`: that of opacity."""
    average = sum(values) / len(values)
    colours = values if len(values) == 3 else (average,) * 3
    return {"L": (average,), "RGB": colours, "RGBA": (*colours, half)}[mode]


def find(name: str, weights: Any) -> Preprocessing | None:
    """The recipe of weights that are recognised by their path or tag; None for others, such as one's own."""
    path = os.fspath(weights)
    if f"{name}.{path}" in RECIPES:
        return RECIPES[f"{name}.{path}"]
    for part in reversed(re.split(r"[\\/]|--", path)):  # Hugging Face's cache: models--timm--resnet50.a1_in1k/...
        stem = re.sub(r"\.(pth|pt|bin|safetensors|npz|tar)$", "", part)
        for known in (part, stem):
            if ("." in known or "-" in known) and known in RECIPES:
                return RECIPES[known]
    return None
