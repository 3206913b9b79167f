"""What torch.nn.utils has and minires, too: folding a batch norm into the convolution before it."""

from minires.nn.fuse import fuse_conv_bn_eval, fuse_conv_bn_weights

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights"]
