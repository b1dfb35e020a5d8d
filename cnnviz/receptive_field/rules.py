"""A table: which rule each aten operator follows.

The rules are small functions in rooms beside this one, by what operators do to places: `windows`,
`rearranging`, `mixing`. Operators that torch calls pointwise need no entry.
"""

from cnnviz.receptive_field import mixing, rearranging, windows
from cnnviz.receptive_field.field import Field, met
from cnnviz.receptive_field.operands import Arguments, Rule, Shape, fields_of
from cnnviz.receptive_field.taps import antialiased


def pointwise(arguments: Arguments, shape: Shape) -> Field:
    """Elements meet one by one, broadcast to the result."""
    return met([field for field in fields_of(arguments) if field.reads_input], shape)


RULES: dict[str, Rule] = {
    name: rule
    for names, rule in {
        "_to_copy clone contiguous alias detach lift_fresh dropout native_dropout "
        "masked_fill where clamp hardtanh hardswish hardsigmoid relu6 prelu "
        "_prelu_kernel": pointwise,
        "view _unsafe_view reshape flatten _reshape_alias unflatten": rearranging.view,
        "mean sum amax amin max min var std prod logsumexp any all norm linalg_vector_norm "
        "argmax argmin var_mean": mixing.reduction,
        "convolution _convolution": windows.convolution,
        "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices "
        "avg_pool1d avg_pool2d avg_pool3d": windows.pooling,
        "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d _adaptive_avg_pool3d "
        "adaptive_max_pool2d adaptive_max_pool3d": windows.adaptive_pooling,
        "_softmax _log_softmax _safe_softmax": mixing.softmax,
        "cumsum cumprod logcumsumexp": mixing.accumulation,
        "sort": mixing.sorting,
        "channel_shuffle native_channel_shuffle": mixing.channel_shuffle,
        "repeat": rearranging.repetition,
        "fill_": rearranging.filled,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm": mixing.batch_norm,
        "native_layer_norm": mixing.layer_norm,
        "native_group_norm": mixing.group_norm,
        "as_strided": rearranging.restrided,
        "squeeze": rearranging.squeeze,
        "unsqueeze": rearranging.unsqueeze,
        "permute": rearranging.permute,
        "transpose t": rearranging.transpose,
        "expand": rearranging.expand,
        "slice": rearranging.slicing,
        "split split_with_sizes chunk": rearranging.split,
        "select unbind": rearranging.select,
        "cat": rearranging.concatenation,
        "stack": rearranging.stacking,
        "flip": rearranging.flip,
        "roll": rearranging.roll,
        "constant_pad_nd": windows.padded("constant"),
        "reflection_pad1d reflection_pad2d reflection_pad3d": windows.padded("reflect"),
        "replication_pad1d replication_pad2d replication_pad3d": windows.padded("replicate"),
        "pixel_shuffle": windows.pixel_shuffle,
        "pixel_unshuffle": windows.pixel_unshuffle,
        "mm bmm": mixing.matrix_product,
        "addmm baddbmm": mixing.added_product,
        "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_attention_math": mixing.attention,
        "upsample_nearest1d upsample_nearest2d": windows.nearest_neighbour(halved=False),
        "_upsample_nearest_exact1d _upsample_nearest_exact2d": windows.nearest_neighbour(
            halved=True
        ),
        "upsample_linear1d upsample_bilinear2d": windows.smooth(1),
        "upsample_bicubic2d": windows.smooth(2),
        "_upsample_bilinear2d_aa": windows.smooth(1, antialiased),
        "_upsample_bicubic2d_aa": windows.smooth(2, antialiased),
        "copy_": rearranging.copied,
        "quantize_per_tensor dequantize quantized::add quantized::add_relu quantized::mul "
        "quantized::mul_relu quantized::hardswish quantized::batch_norm2d "
        "quantized::batch_norm2d_relu quantized::relu6 quantized::leaky_relu": pointwise,
        "quantized::conv2d quantized::conv2d_relu": windows.quantized_convolution,
        "quantized::linear quantized::linear_relu": mixing.quantized_linear,
        "quantized::cat": rearranging.quantized_concatenation,
        "quantized_max_pool2d": windows.pooling,
    }.items()
    for name in names.split()
}


# Operators of which nothing is to be known, each with the reason.
PICKED: dict[str, str] = dict.fromkeys(
    (
        "index", "nonzero", "topk", "grid_sampler_2d", "grid_sampler_3d", "torchvision::roi_align",
        "torchvision::nms", "torchvision::deform_conv2d",
    ),
    "which places are read depends on the values",
)  # fmt: skip


# Results that do not depend on what went in, each with the reason.
CONSTANT: dict[str, str] = {
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), "the shape is read"),
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty", "new_full"), "the device is read"),
    **dict.fromkeys(("rand_like", "randn_like"), "the shape is read"),
    "zero_": "what was there is overwritten",
}
