"""The quality of BM25 elsewhere: nDCG@10 by bm25s, to stand beside `pgfox evaluate --mode full-text`.

    python -m venv .venv && .venv/bin/pip install -r benches/words/requirements.txt
    .venv/bin/python benches/words/reference.py [--binary] FOLDER...

Each folder is a collection in the layout of BEIR: corpus.jsonl, queries.jsonl and qrels.tsv. The text of a document is its
title, a blank and its text. BM25 is that of Lucene with k1 1.2 and b 0.75, over the stems of Snowball without the stop
words of English. Queries without a relevant document do not count, as in `pgfox evaluate`.
"""

import argparse
import json
import math
import pathlib

import bm25s
import Stemmer

RESULTS = 10


def read_records(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def read_grades(path):
    """The grades above 0 of each query, by document."""
    grades = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file):
            query, document, grade = line.rstrip("\n").split("\t")
            if number == 0 and not grade.lstrip("-").isdigit():
                continue
            if int(grade) > 0:
                grades.setdefault(query, {})[document] = int(grade)
    return grades


def ndcg(found, grades):
    """`found`: the ids of the results, best first."""
    gain = sum(grades.get(document, 0) / math.log2(rank + 2) for rank, document in enumerate(found[:RESULTS]))
    best = sorted(grades.values(), reverse=True)[:RESULTS]
    return gain / sum(grade / math.log2(rank + 2) for rank, grade in enumerate(best))


def evaluate(folder, binary):
    corpus = read_records(folder / "corpus.jsonl")
    grades = read_grades(folder / "qrels.tsv")
    if binary:
        grades = {query: dict.fromkeys(documents, 1) for query, documents in grades.items()}
    queries = [query for query in read_records(folder / "queries.jsonl") if query["_id"] in grades]

    stemmer = Stemmer.Stemmer("english")

    def words(texts):
        # As lists of strings: words of queries that no document has are then left out by bm25s itself.
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)

    texts = [f"{document.get('title', '')} {document['text']}".strip() for document in corpus]
    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    retriever.index(words(texts), show_progress=False)
    ids = [document["_id"] for document in corpus]
    results, scores = retriever.retrieve(
        words([query["text"] for query in queries]), k=min(RESULTS, len(ids)), show_progress=False
    )
    total = 0.0
    for query, found, points in zip(queries, results, scores):
        total += ndcg([ids[number] for number, score in zip(found, points) if score > 0], grades[query["_id"]])
    return len(corpus), len(queries), total / len(queries)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=pathlib.Path)
    parser.add_argument("--binary", action="store_true", help="every grade above 0 counts the same")
    arguments = parser.parse_args()
    print(f"bm25s {bm25s.__version__}, Lucene, k1 1.2, b 0.75, Snowball, stop words of English")
    print(f"{'':>20} {'documents':>10} {'queries':>8} {'nDCG@10':>8}")
    for folder in arguments.folders:
        documents, queries, value = evaluate(folder, arguments.binary)
        print(f"{folder.resolve().name:>20} {documents:>10} {queries:>8} {value:>8.4f}")


if __name__ == "__main__":
    main()
