"""Builds the ONNX graph of a BERT sentence encoder from its safetensors file, for onnxruntime."""

import json
import pathlib
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    header_len = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + header_len])
    header.pop("__metadata__", None)
    types = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + header_len + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def build(model_dir):
    """The graph (input_ids, attention_mask: int64 [batch, length]) -> vectors: float [batch, hidden], as bytes."""
    model_dir = pathlib.Path(model_dir)
    config = json.loads((model_dir / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    weights = read_safetensors(model_dir / "model.safetensors")
    nodes, constants = [], []

    def constant(name, value, dtype=np.float32):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(kind, *inputs, **attributes):
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(x, name):
        weight = constant(f"{name}.w", weights[f"{name}.weight"].T)
        return node("Add", node("MatMul", x, weight), constant(f"{name}.b", weights[f"{name}.bias"]))

    def norm(x, name):
        scale, shift = (constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ["weight", "bias"])
        return node("LayerNormalization", x, scale, shift, axis=-1, epsilon=config["layer_norm_eps"])

    # Positions by Slice: onnxruntime fuses that, a Gather over a Range not.
    length = node("Slice", node("Shape", "input_ids"), constant("1", [1], np.int64), constant("2", [2], np.int64))
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    zero = constant("0", [0], np.int64)
    positions = node("Slice", constant("positions", table), zero, length, zero)
    words = node("Gather", constant("words", weights["embeddings.word_embeddings.weight"]), "input_ids")
    x = norm(node("Add", words, positions), "embeddings.LayerNorm")

    mask = node("Cast", "attention_mask", to=TensorProto.FLOAT)
    wide_mask = node("Unsqueeze", mask, constant("axes", [1, 2], np.int64))
    penalty = node("Mul", node("Sub", constant("one", 1.0), wide_mask), constant("lowest", -1e9))
    split = constant("split", [0, 0, heads, hidden // heads], np.int64)
    join = constant("join", [0, 0, hidden], np.int64)
    for layer in (f"encoder.layer.{i}" for i in range(config["num_hidden_layers"])):
        def head(part, permutation):
            return node("Transpose", node("Reshape", linear(x, f"{layer}.attention.self.{part}"), split), perm=permutation)
        scores = node("MatMul", head("query", [0, 2, 1, 3]), head("key", [0, 2, 3, 1]))
        scores = node("Div", scores, constant(f"{layer}.scale", (hidden / heads) ** 0.5))
        scores = node("Softmax", node("Add", scores, penalty), axis=-1)
        context = node("Transpose", node("MatMul", scores, head("value", [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        attended = linear(node("Reshape", context, join), f"{layer}.attention.output.dense")
        x = norm(node("Add", x, attended), f"{layer}.attention.output.LayerNorm")
        wide = linear(x, f"{layer}.intermediate.dense")
        half = node("Mul", wide, constant(f"{layer}.half", 0.5))
        error = node("Erf", node("Div", wide, constant(f"{layer}.root", 2**0.5)))
        wide = node("Mul", half, node("Add", error, constant(f"{layer}.one", 1.0)))
        x = norm(node("Add", x, linear(wide, f"{layer}.output.dense")), f"{layer}.output.LayerNorm")

    token_mask = node("Unsqueeze", mask, constant("last", [2], np.int64))
    total = node("ReduceSum", node("Mul", x, token_mask), constant("tokens", [1], np.int64), keepdims=0)
    count = node("ReduceSum", mask, constant("tokens2", [1], np.int64), keepdims=1)
    mean = node("Div", total, count)
    vectors = node("Div", mean, node("ReduceL2", mean, axes=[1], keepdims=1))
    nodes[-1].output[0] = "vectors"

    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
              for name in ["input_ids", "attention_mask"]]
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", hidden])]
    graph = helper.make_graph(nodes, "bert", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
