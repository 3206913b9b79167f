"""Pictures from folders, tables and arrays; their transforms; and the loader that makes batches of them."""

from minires.data import datasets, transforms
from minires.data.arrays import ArrayDataset, Subset
from minires.data.classes import read_class_map
from minires.data.collate import collate, default_collate
from minires.data.combining import ConcatDataset, TensorDataset, random_split
from minires.data.datasets import SegmentationFolder
from minires.data.digits import load_digits
from minires.data.files import FileDataset
from minires.data.fingerprint import differences, fingerprint
from minires.data.folder import ImageFolder, folder_splits
from minires.data.images import IMG_EXTENSIONS, MAX_PIXELS, open_image, read_header
from minires.data.labels_dataset import MultiLabelDataset
from minires.data.labels_opening import open_table
from minires.data.labels_table import Columns, LabelTable, read_table
from minires.data.loader import DataLoader, last_batch_size
from minires.data.prefetch import Prefetcher
from minires.data.samplers import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from minires.data.sampling import BalancedSampler, MPerClassSampler
from minires.data.scan import ScanReport, scan
from minires.data.shapes import ShapeScenes, ShapesDataset
from minires.data.split import split, split_dataset
from minires.data.table import CSVDataset, read_splits, write_splits
from minires.data.transforms import Preprocessing, preset_caffe, preset_eval, preset_train

__all__ = [
    "IMG_EXTENSIONS",
    "MAX_PIXELS",
    "ArrayDataset",
    "BalancedSampler",
    "BatchSampler",
    "CSVDataset",
    "Columns",
    "ConcatDataset",
    "DataLoader",
    "FileDataset",
    "ImageFolder",
    "LabelTable",
    "MPerClassSampler",
    "MultiLabelDataset",
    "Prefetcher",
    "Preprocessing",
    "RandomSampler",
    "ScanReport",
    "SegmentationFolder",
    "SequentialSampler",
    "ShapeScenes",
    "ShapesDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "collate",
    "datasets",
    "default_collate",
    "differences",
    "fingerprint",
    "folder_splits",
    "last_batch_size",
    "load_digits",
    "open_image",
    "open_table",
    "preset_caffe",
    "preset_eval",
    "preset_train",
    "random_split",
    "read_class_map",
    "read_header",
    "read_splits",
    "read_table",
    "scan",
    "split",
    "split_dataset",
    "transforms",
    "write_splits",
]
