"""How the weights of an ONNX file are stored: in half precision or in bytes, and as plain numbers again.

Whatever the form, a network computes in single precision: its graph begins with the operations that restore each
stored weight, which OpenVINO and ONNX Runtime fold away when they load it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Initialisers with fewer values stay in single precision: they cost nothing, and biases want the digits.
_STORED_FROM = 1024
_HALF, _BYTE, _STEP = ".half", ".byte", ".step"
_LARGEST_BYTE = 127

#: What the names of a network's part of the graph begin with in a file of :mod:`heightpose.models.ensemble`.
MEMBER = "net{}/"


def store_half(proto: Any) -> None:
    """Store large float32 initialisers as float16, each followed by a Cast back; edits ``proto``."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    for tensor in _large(proto):
        value, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(value).max() > np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), name + _HALF))
        nodes.append(
            helper.make_node("Cast", [name + _HALF], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        )
    _put_first(proto, nodes)


def store_bytes(proto: Any) -> None:
    """Store large float32 initialisers as int8, with one step per output channel; edits ``proto``.

    A weight is its byte times the step of its channel, the channel's largest magnitude over 127 (symmetric, as in
    Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, section 3.1). Only the
    file is in bytes: nothing is computed in them, and activations are not touched.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    for tensor in _large(proto):
        value, name = numpy_helper.to_array(tensor), tensor.name
        largest = np.abs(value).max(axis=tuple(range(1, value.ndim)), keepdims=True)
        step = np.where(largest > 0, largest / _LARGEST_BYTE, 1.0).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(np.rint(value / step).astype(np.int8), name + _BYTE))
        proto.graph.initializer.append(numpy_helper.from_array(step, name + _STEP))
        whole = f"{name}.whole"
        nodes += [
            helper.make_node("Cast", [name + _BYTE], [whole], name=f"{name}.cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [whole, name + _STEP], [name], name=f"{name}.scale"),
        ]
    _put_first(proto, nodes)


def restore(proto: Any) -> None:
    """Undo :func:`store_half` and :func:`store_bytes`: every weight float32 again, as the graph would make it; edits
    ``proto``."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    gone = set()  # names whose nodes go: what they gave is there already
    for tensor in list(proto.graph.initializer):
        for ending in (_HALF, _BYTE):
            if not tensor.name.endswith(ending):
                continue
            name = tensor.name.removesuffix(ending)
            value = numpy_helper.to_array(tensor).astype(np.float32)
            step = stored.get(name + _STEP) if ending == _BYTE else None
            gone.add(tensor.name)
            if step is not None:
                value *= numpy_helper.to_array(step)
                gone.add(step.name)
                proto.graph.initializer.remove(step)
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    _replace_nodes(proto, [node for node in proto.graph.node if not gone.intersection(node.input)])


def _large(proto: Any) -> list[Any]:
    from onnx import TensorProto

    return [
        tensor
        for tensor in proto.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _STORED_FROM
    ]


def _put_first(proto: Any, nodes: list[Any]) -> None:
    _replace_nodes(proto, nodes + list(proto.graph.node))


def _replace_nodes(proto: Any, nodes: list[Any]) -> None:
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
