"""Readers of published data sets in their published files, with torchvision's names. Nothing is fetched."""

from minires.data.datasets.cifar import CIFAR10, CIFAR100
from minires.data.datasets.coco import CocoCaptions, CocoDetection
from minires.data.datasets.idx import KMNIST, MNIST, FashionMNIST, read_idx
from minires.data.datasets.segmentation import SegmentationFolder
from minires.data.datasets.voc import VOC_CLASSES, VOCDetection, VOCSegmentation, read_voc

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "VOC_CLASSES",
    "CocoCaptions",
    "CocoDetection",
    "FashionMNIST",
    "SegmentationFolder",
    "VOCDetection",
    "VOCSegmentation",
    "read_idx",
    "read_voc",
]
