"""Makes the tiny BERT of the tests, and golden.json: what it must answer.

    python3 make.py        (needs numpy; writes beside itself, the same bytes every time)

The network has random weights, so its vectors mean little, but texts that share words are nearer to each other than
others. golden.json comes from the code below, which shares nothing with the server: plain numpy in double precision, one
sentence and one head at a time, and its own WordPiece for the ASCII texts used here.
"""

import json
import math
import pathlib
import re
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent
HIDDEN, LAYERS, HEADS, WIDE, POSITIONS, MAX_TOKENS = 32, 2, 4, 64, 128, 64
TRAP = 128  # tokenizer.json cuts and pads to this; sentence_bert_config.json must win

WORDS = """a about above after again all an and animal animals any are around as at attack autumn away baby back be bear bears
because been before below between big bird birds black blue bone book books boy bread brown by can car cat cats child
children city cold collection come could country cow dark database day days deep did different dinner do document documents
does dog dogs down earth east eat eats embedding evening every eye eyes fall farm fast father field film find fire fish flower
fly food for forest fox foxes friend from fruit garden get girl give go good grass great green ground grow had hand has have he
head hear heard her here high hill him his home horse hot house how human hunt hunting i ice if in index into is it its jump
jumped jumps just kind know lake land large last lazy leaf learn left life light like lion little live lives long look loud love
low made magnetic make makes man many may me meat mice milk minute model moon more morning most mother mountain mouse much
music my name near nearest need never new next night no noise north not now number numbers of off old on one only open or
other our out over own paper people place plant plants play point predators prey quick quiet rabbit rabbits rain read red
river road rock room run runs sea search season see sentence server she short show sky sleep slow small smell snow so some
song sound sounds south space spring star stone story stream street summer sun swim tail take talk tall team than that the
their them then there these they thing things think this three time to town tree trees try two under up use very voice walk
want warm was water way we were west what when where which while white who why wild will wind window winter with wolf
wolves wondering woman wood word words work world would write year yellow you young your zoo""".split()
PIECES = ["##s", "##es", "##ed", "##ing", "##er", "##ly", "##est", "##ness", "##ion", "##al"]
CHARACTERS = list("abcdefghijklmnopqrstuvwxyz0123456789.,?!'-:;()")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, *(f"##{c}" for c in CHARACTERS if c.isalnum()), *PIECES]
VOCABULARY += [word for word in sorted(set(WORDS)) if word not in VOCABULARY]
IDS = {token: id for id, token in enumerate(VOCABULARY)}

TEXTS = [
    "",
    "foxes",
    "Foxes can make over 40 different sounds.",
    "I was wondering, how many sounds can foxes make?",
    "Foxes have many predators: wolves, bears and humans",
    "The quick brown fox jumps over the lazy dog!",
    "unwonted SPELLINGS of xylophones",
    "snow \u2603 and ice",  # a character of no vocabulary
    "a" * 101 + " is too long for a word",
    " ".join(["the wolf can hear a mouse"] * 10 + ["in", "snow"]),  # 64 tokens with [CLS] and [SEP]: all are read
    " ".join(["the wolf can hear a mouse"] * 10 + ["in", "deep", "snow"]),  # one too many
    " ".join(["search the nearest document"] * 100),
]


def make_weights():
    random = np.random.default_rng(20260101)
    normal = lambda *shape, scale: (random.standard_normal(shape) * scale).astype(np.float32)
    weights = {
        "embeddings.word_embeddings.weight": normal(len(VOCABULARY), HIDDEN, scale=1.0),
        "embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN, scale=0.1),
        "embeddings.token_type_embeddings.weight": normal(2, HIDDEN, scale=0.1),
    }

    def norm(name):
        weights[f"{name}.weight"] = 1 + normal(HIDDEN, scale=0.1)
        weights[f"{name}.bias"] = normal(HIDDEN, scale=0.1)

    def linear(name, inputs, outputs):
        weights[f"{name}.weight"] = normal(outputs, inputs, scale=inputs**-0.5)
        weights[f"{name}.bias"] = normal(outputs, scale=0.1)

    norm("embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        for part in ["query", "key", "value"]:
            linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", HIDDEN, WIDE)
        linear(f"{layer}.output.dense", WIDE, HIDDEN)
        norm(f"{layer}.output.LayerNorm")
    return weights


def write_safetensors(path, weights):
    header, data = {}, b""
    for name, values in weights.items():
        end = len(data) + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), end]}
        data += values.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_json(name, value):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_config():
    write_json("config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": WIDE, "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "vocab_size": len(VOCABULARY),
    })
    write_json("sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write_json("modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
    write_json("1_Pooling/config.json", {
        "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    })
    special = lambda token: {"id": token, "ids": [IDS[token]], "tokens": [token]}
    write_json("tokenizer.json", {
        "version": "1.0",
        "truncation": {"max_length": TRAP, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": TRAP}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [{"id": IDS[token], "special": True, "content": token, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False} for token in VOCABULARY[:5]],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": IDS},
    })


def word_pieces(word):
    """The longest known beginning, then the longest known continuation, and so on."""
    pieces, start = [], 0
    while start < len(word) <= 100:
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in IDS:
                pieces.append(IDS[piece])
                start = end
                break
        else:
            return [IDS["[UNK]"]]
    return pieces or [IDS["[UNK]"]]


def tokenize(text):
    """Token ids, and whether some were cut off."""
    words = re.findall(r"[a-z0-9\u2603]+|[^\sa-z0-9\u2603]", text.lower())
    ids = [id for word in words for id in word_pieces(word)]
    return [IDS["[CLS]"], *ids[:MAX_TOKENS - 2], IDS["[SEP]"]], len(ids) > MAX_TOKENS - 2


def embed(weights, ids):
    weights = {name: values.astype(np.float64) for name, values in weights.items()}
    erf = np.vectorize(math.erf)

    def norm(x, name):
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        return centred / np.sqrt(variance + 1e-12) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        query, key, value = (linear(x, f"{layer}.attention.self.{part}") for part in ["query", "key", "value"])
        heads = []
        for columns in np.split(np.arange(HIDDEN), HEADS):
            scores = query[:, columns] @ key[:, columns].T / math.sqrt(len(columns))
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(powers / powers.sum(axis=1, keepdims=True) @ value[:, columns])
        attended = linear(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        wide = linear(x, f"{layer}.intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide / math.sqrt(2)))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


if __name__ == "__main__":
    weights = make_weights()
    write_config()
    write_safetensors(HERE / "model.safetensors", weights)
    golden = []
    for text in TEXTS:
        ids, truncated = tokenize(text)
        vector = [round(value, 8) for value in embed(weights, ids).tolist()]
        golden.append({"text": text, "ids": ids, "truncated": truncated, "vector": vector})
    lines = ",\n".join(json.dumps(entry) for entry in golden)
    (HERE / "golden.json").write_text(f"[\n{lines}\n]\n")
