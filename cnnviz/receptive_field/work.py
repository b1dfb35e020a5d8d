"""How many multiply-adds an operator takes: one formula per operator, in a table.

A formula is told what a rule is: the arguments by name, of whose fields it takes the shapes, and
the shape of the result. Additions of a bias are not counted, nor is anything element by element.
They are those of torch's flop counter, which is not imported because it takes triton along: a
tenth of a second at every start.
"""

from collections.abc import Callable
from math import prod

from cnnviz.receptive_field.field import Field
from cnnviz.receptive_field.operands import Arguments, Shape

Count = Callable[[Arguments, Shape], int]


def convolution(arguments: Arguments, shape: Shape) -> int:
    """Each place of the result, or of the input if transposed, meets one filter's numbers."""
    fields: list[Field] = [arguments["input"], arguments["weight"]]
    picture, weight = fields
    places = picture.shape if arguments["transposed"] else shape
    return prod(places) * prod(weight.shape[1:])


def packed(arguments: Arguments, shape: Shape) -> int:
    """Each number of the result takes a filter of 8-bit numbers."""
    weight: Field = arguments["weight"]
    return prod(shape) * prod(weight.shape[1:])


def matrix_product(arguments: Arguments, shape: Shape) -> int:
    """Each number of the result is a sum over a column of the second factor."""
    second: Field = arguments["batch2" if "batch2" in arguments else "mat2"]
    return prod(shape) * second.shape[-2]


def attention(arguments: Arguments, shape: Shape) -> int:
    """Queries with keys, and what comes out with values."""
    fields: list[Field] = [arguments[name] for name in ("query", "key", "value")]
    query, key, value = (field.shape for field in fields)
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


WORK: dict[str, Count] = {
    name: count
    for names, count in {
        "convolution _convolution cudnn_convolution convolution_overrideable": convolution,
        "mm addmm bmm baddbmm _scaled_mm": matrix_product,
        "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
        "_scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_cudnn_attention": attention,
        "quantized::conv2d quantized::conv2d_relu quantized::linear quantized::linear_relu": packed,
    }.items()
    for name in names.split()
}
